"""The verdict on a pair of models, and its parts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from specd.lmstudio.draft_cache import CacheOpinion
from specd.lmstudio.model import Model

VerdictKind: TypeAlias = Literal[
    "identical", "compatible", "incompatible", "unsupported", "unknown"
]

FITTING: Final[tuple[VerdictKind, ...]] = ("identical", "compatible")
"""The verdicts with which a pair may be used."""

EngineText: TypeAlias = Literal["same", "may differ", "unknown"]


@dataclass(frozen=True, slots=True)
class Difference:
    """An id that means different things: its text (or byte spelling) in the main and in the draft.

    ``None``: the model does not have this id.
    """

    id: int
    main: str | None
    draft: str | None


@dataclass(frozen=True, slots=True)
class Missing:
    """A token the main has and the draft lacks; it costs acceptance, never correctness."""

    id: int
    text: str


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Of the main's ``tokens`` in the probe texts, how many the draft splits ``otherwise``.

    That costs acceptance, never correctness. ``tokens`` is 0 if the files alone show that both
    split alike.
    """

    tokens: int
    different: int


@dataclass(frozen=True, slots=True)
class EngineOpinion:
    """What one engine does with a pair; ``name`` is "mlx-engine" or "llama.cpp".

    ``accepts``: the engine loads both models and speculates; None if unknown. ``text``: "same" if
    the answer with the draft is the main's own (at temperature 0 up to rounding ties, otherwise in
    distribution). ``why`` is a sentence.
    """

    name: str
    accepts: bool | None
    text: EngineText
    why: str

    @property
    def objects(self) -> bool:
        """Whether the engine refuses the draft, or its answers differ with the draft."""
        return self.accepts is False or self.text == "may differ"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on drafting for ``main`` with ``draft`` (both names as the caller gave them).

    ``reasons``: sentences for a person, the deciding one first. ``differences``: the first few;
    ``difference_count``: the number of all. ``counts``: the number of ids of each kind.
    ``segmentation`` is None if unknown. ``advice`` never decides. ``engines``: the opinions of the
    engines that can run the pair, first the one that will; of every engine if only tokens were
    compared. ``cache_lists``: LM Studio's compatibility cache lists the draft; None if it does not
    know the main. ``validated``: what running the engine has proven, "" if it was not run.
    """

    main: str
    draft: str
    kind: VerdictKind
    reasons: tuple[str, ...]
    differences: tuple[Difference, ...] = ()
    difference_count: int = 0
    missing_in_draft: tuple[Missing, ...] = ()
    advice: tuple[str, ...] = ()
    engines: tuple[EngineOpinion, ...] = ()
    cache_lists: bool | None = None
    validated: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    segmentation: Segmentation | None = None

    @property
    def engine(self) -> EngineOpinion | None:
        """The opinion of the engine that will run the pair."""
        return self.engines[0] if self.engines else None

    @property
    def usable(self) -> bool:
        """Whether specd may configure the pair."""
        return self.kind in FITTING and not (self.engine is not None and self.engine.objects)

    @property
    def worth_trying(self) -> bool:
        """Whether specd may choose the draft by itself, without the user naming it."""
        return self.usable and (self.engine is None or self.engine.text == "same")


def with_cache(
    verdict: Verdict, main: Model, draft: Model, opinion: CacheOpinion | None
) -> Verdict:
    """The verdict with the entry of LM Studio's compatibility cache, if it knows the main."""
    listed = opinion.pairs.get(main.identifier) if opinion is not None else None
    return verdict if listed is None else replace(verdict, cache_lists=draft.identifier in listed)


def to_json(verdict: Verdict) -> dict[str, Any]:
    """The stable JSON of ``specd check --json``, with ``kind`` as "verdict"."""
    fields = asdict(verdict)
    return {
        "main": fields.pop("main"),
        "draft": fields.pop("draft"),
        "verdict": fields.pop("kind"),
        "engine": None if verdict.engine is None else asdict(verdict.engine),
        **fields,
    }


def from_json(record: dict[str, Any]) -> Verdict:
    """The verdict of ``to_json``.

    Field by field, because `specd check` calls it, and importing a library would cost it 10 ms.

    Raises:
        KeyError, TypeError: it is not a verdict.
    """
    record = {**record, "kind": record["verdict"]}
    del record["verdict"], record["engine"]
    segmentation = record["segmentation"]
    record |= {
        "reasons": tuple(record["reasons"]),
        "differences": tuple(Difference(**each) for each in record["differences"]),
        "missing_in_draft": tuple(Missing(**each) for each in record["missing_in_draft"]),
        "advice": tuple(record["advice"]),
        "engines": tuple(EngineOpinion(**each) for each in record["engines"]),
        "segmentation": None if segmentation is None else Segmentation(**segmentation),
    }
    return Verdict(**record)

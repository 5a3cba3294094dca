"""The verdict on a pair of models, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

VerdictKind: TypeAlias = Literal[
    "identical", "compatible", "incompatible", "unsupported", "unknown"
]


@dataclass(frozen=True, slots=True)
class Difference:
    """An id that means different things: its text (or byte spelling) in the main and in the draft.

    ``None`` stands for an id the model does not have.
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
    """Of ``tokens`` into which the main splits a probe text, how many the draft splits otherwise.

    That costs acceptance, never correctness. ``tokens`` is 0 where the files alone tell that both
    split alike.
    """

    tokens: int
    different: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What specd says of drafting for ``main`` with ``draft`` (both as the caller named them).

    ``reasons`` are sentences for a person, the deciding one first. ``differences`` holds the first
    few; ``difference_count`` all. ``counts`` tells how many ids are of each kind. ``segmentation``
    is None where nobody has looked. ``advice`` never decides. ``others`` maps a rule's name
    ("mlx-engine", "llama.cpp", "lm-studio-cache") to what it would say and where it is wrong.
    ``validated`` says what was proven with MLX, empty when nothing was yet.
    """

    main: str
    draft: str
    kind: VerdictKind
    reasons: tuple[str, ...]
    differences: tuple[Difference, ...] = ()
    difference_count: int = 0
    missing_in_draft: tuple[Missing, ...] = ()
    advice: tuple[str, ...] = ()
    others: dict[str, str] = field(default_factory=dict)
    validated: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    segmentation: Segmentation | None = None

    @property
    def usable(self) -> bool:
        """Whether specd may configure the pair."""
        return self.kind in ("identical", "compatible")

    @property
    def dropped(self) -> str | None:
        """Why LM Studio's MLX engine would drop the draft of a usable pair; None: it would not."""
        says = self.others.get("mlx-engine", "")
        if not self.usable or not says.startswith("refuses: "):
            return None
        return says.removeprefix("refuses: ").partition(" — ")[0]

    @property
    def worth_trying(self) -> bool:
        """Whether a draft that nobody asked for by name may be taken."""
        return self.usable and self.dropped is None


def from_record(record: dict[str, Any]) -> Verdict:
    """A verdict from its own fields, as ``dataclasses.asdict`` gives them.

    Raises:
        KeyError, TypeError: it is none.
    """
    segmentation = record["segmentation"]
    return Verdict(
        **{
            **record,
            "reasons": tuple(record["reasons"]),
            "differences": tuple(Difference(**each) for each in record["differences"]),
            "missing_in_draft": tuple(Missing(**each) for each in record["missing_in_draft"]),
            "advice": tuple(record["advice"]),
            "segmentation": None if segmentation is None else Segmentation(**segmentation),
        }
    )

"""What the configuration asks for, given the models that are there (pure).

A pair as the user wrote it becomes a ``DesiredPair``: both models found, a draft chosen, the length
known, or what stands in the way. Nothing here touches a disk: verdicts, the benchmark's choices and
what the user set in LM Studio are handed in (``Known``).

With ``draft = "auto"`` a draft model is taken once its tokens are proven, the most promising one
until the benchmark has confirmed a better. Prediction heads and sidecars are never switched on
unmeasured: they are candidates of the benchmark. A draft that the user set in LM Studio and that
works is adopted: it stays until specd.toml names another or the benchmark confirms a faster one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from specd import config
from specd.bench.choice import Choice
from specd.lmstudio import drafters, names
from specd.lmstudio.model import OWN_HEADS, Model
from specd.lmstudio.model_defaults import DraftDefaults
from specd.tokenizer import suggest
from specd.tokenizer.verdict import Verdict

PairState: TypeAlias = Literal[
    "wanted", "adopted", "unmeasured", "waiting", "refused", "withdrawn", "missing"
]

Reason: TypeAlias = Literal[
    "AsNamed",
    "Measured",
    "MostPromising",
    "SetInLMStudio",
    "NotMeasured",
    "Comparing",
    "NoSuchMain",
    "NoSuchDraft",
    "SwitchedOff",
    "InTrial",
    "NoGain",
    "SameFile",
    "SeveralSwitches",
    "NoHeads",
    "NotItsDrafter",
    "VerdictForbids",
    "NoDraft",
]


NOTHING_SET: Final = DraftDefaults()


@dataclass(frozen=True, slots=True)
class DesiredPair:
    """One pair of specd.toml, resolved.

    - "wanted": main, draft and verdict are there, and the pair is to be configured;
    - "adopted": what the user set in LM Studio drafts, and stays;
    - "unmeasured": only heads or sidecars could draft, and none was measured: nothing is written;
    - "waiting": a verdict is being worked out (``undecided`` names the drafts it is about);
    - "refused": the verdict, or the lack of any usable draft, forbids it;
    - "withdrawn": speculation is to be off for this main (switched off, or measured slower, and
      then ``draft`` is what was measured);
    - "missing": a named model is not installed or not unambiguous.

    ``mtp`` says that the main drafts with its own prediction heads, and ``draft`` is None.
    ``draft_tokens`` is None where LM Studio's own default is to stay. ``reason`` is why the pair is
    in its state, ``why`` the same as a sentence. ``candidates`` are the heads ("mtp") and sidecars
    that a benchmark may try for the main. ``users`` is what the user set for the main in LM Studio.
    ``instead`` says what could be drafted for where the engine drafts for no such main, else "".
    """

    asked: config.Pair
    state: PairState
    why: str
    main: Model | None = None
    draft: Model | None = None
    draft_tokens: int | None = None
    mtp: bool = False
    verdict: Verdict | None = None
    undecided: tuple[Model, ...] = ()
    reason: Reason = "AsNamed"
    candidates: tuple[str, ...] = ()
    users: DraftDefaults = NOTHING_SET
    instead: str = ""

    @property
    def name(self) -> str:
        """``main ← draft`` as a person would say it."""
        main = self.main.key if self.main else self.asked.main
        return f"{main} ← {self.drafts_with or self.asked.draft}"

    @property
    def drafts_with(self) -> str | None:
        """The draft's key, "mtp" for the main's own heads; None where nothing drafts."""
        return self.draft.key if self.draft else OWN_HEADS if self.mtp else None

    @property
    def one_at_a_time(self) -> bool:
        """Whether the main has to be loaded for one request at a time to speculate well.

        MLX speculates for one only, as it does with a quantized cache whatever it is loaded for;
        prediction heads were reported to mix the content of several.
        """
        if self.main is not None and self.main.format == "mlx":
            return not self.users.quantized_cache
        return self.mtp or (self.draft is not None and self.draft.drafter == "mtp")

    @property
    def speculates(self) -> bool:
        """Whether the main is to speculate, with a draft of specd's or of the user's."""
        return self.state in ("wanted", "adopted")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the models, to resolve pairs with.

    ``verdict`` returns the verdict on (main, draft), None while it is not known. ``rank`` returns
    the drafts worth trying for a main, the most promising first. ``choose`` returns the
    benchmarks' best of a main's drafts, named by their keys; None before the first benchmark.
    ``users`` returns what the user set in LM Studio for a main, without specd's own values.
    ``refuses_main`` returns why the engine drafts for no such main, None if it does.
    """

    verdict: Callable[[Model, Model], Verdict | None]
    rank: Callable[[Model, Sequence[Model]], Sequence[Model]]
    choose: Callable[[Model, Sequence[str]], Choice | None]
    users: Callable[[Model], DraftDefaults] = lambda _: NOTHING_SET
    refuses_main: Callable[[Model], str | None] = lambda _: None


def resolve(
    wanted: config.SpecdConfig, models: Sequence[Model], known: Known
) -> tuple[DesiredPair, ...]:
    """Resolve every pair of specd.toml in order; the first of two with the same main counts."""
    pairs: list[DesiredPair] = []
    taken: dict[str, str] = {}
    for asked in wanted.pair:
        pair = _resolve_one(asked, wanted, models, known)
        if (main := pair.main) is not None and (first := taken.get(main.defaults)):
            why = (
                f"{main.key} is already the main model of an earlier [[pair]]"
                if main.key == first
                else f"LM Studio reads one file, {main.defaults}.json, for {main.key} and for "
                f"{first}, the main model of an earlier [[pair]]"
            )
            why += "; remove one of the two from specd.toml"
            pair = replace(pair, state="refused", reason="SameFile", why=why)
        elif main is not None:
            taken[main.defaults] = main.key
            if pair.state == "refused" and (refusal := known.refuses_main(main)):
                pair = replace(pair, why=refusal, instead=suggest.instead_of(main, models))
        pairs.append(pair)
    return tuple(pairs)


def _resolve_one(
    asked: config.Pair, wanted: config.SpecdConfig, models: Sequence[Model], known: Known
) -> DesiredPair:
    try:
        main = names.resolve(asked.main, models)
    except names.NameProblem as problem:
        return DesiredPair(asked, "missing", f"main model: {problem}", reason="NoSuchMain")
    if main.drafter is not None:
        why = f"main model: {main.key} is a drafter and no model"
        return DesiredPair(asked, "missing", why, reason="NoSuchMain")
    sidecars = drafters.for_main(main, models)
    heads = (OWN_HEADS,) if _has_heads(main) else ()
    pair = DesiredPair(
        asked,
        "wanted",
        "",
        main=main,
        candidates=(*heads, *(each.key for each in sidecars)),
        users=known.users(main),
    )
    if not wanted.speculation.enabled:
        return replace(
            pair,
            state="withdrawn",
            reason="SwitchedOff",
            why="speculation is switched off in specd.toml (enabled = false)",
        )
    if asked.draft == "auto" and pair.users.several and main.format == "gguf":
        why = (
            f"several ways of drafting are switched on for {main.key} in LM Studio, which allows "
            "one; switch the others off there, or name the draft in specd.toml"
        )
        return replace(pair, state="refused", reason="SeveralSwitches", why=why)
    if asked.draft == "auto":
        return _choose_draft(pair, main, models, known)
    if asked.draft == OWN_HEADS:
        own = [each for each in sidecars if each.drafter == "mtp"]
        if not heads and len(own) == 1:
            return _drafter(pair, main, own[0], known)
        return _own_heads(pair, main, known)
    try:
        draft = names.resolve(asked.draft, models)
    except names.NameProblem as problem:
        return replace(pair, state="missing", reason="NoSuchDraft", why=f"draft model: {problem}")
    if draft.drafter is not None:
        return _drafter(pair, main, draft, known)
    return _judge(replace(pair, draft=draft), main, draft, known)


def _has_heads(main: Model) -> bool:
    return main.format == "gguf" and main.mtp_heads > 0


def _judge(pair: DesiredPair, main: Model, draft: Model, known: Known) -> DesiredPair:
    found = known.verdict(main, draft)
    if found is None:
        return _waiting(pair, (draft,))
    why = f"{found.kind}: {found.reasons[0]}"
    pair = replace(pair, verdict=found, why=why)
    if not found.usable:
        return replace(pair, state="refused", reason="VerdictForbids")
    return _measured(pair, known.choose(main, (draft.key,)))


def _waiting(pair: DesiredPair, undecided: tuple[Model, ...]) -> DesiredPair:
    return replace(
        pair,
        state="waiting",
        reason="Comparing",
        undecided=undecided,
        why="the tokenizers are being compared",
    )


def _measured(pair: DesiredPair, choice: Choice | None) -> DesiredPair:
    """The pair with its benchmarks' result: its draft length, or withdrawn without a gain."""
    if choice is not None and choice.draft is None:
        return replace(pair, state="withdrawn", reason="NoGain", mtp=False, why=choice.reason)
    return replace(
        pair,
        draft_tokens=_length(pair.asked, choice),
        reason="Measured" if choice else pair.reason,
        why=choice.reason if choice else pair.why,
    )


def _choose_draft(
    pair: DesiredPair, main: Model, models: Sequence[Model], known: Known
) -> DesiredPair:
    candidates = known.rank(main, models)
    verdicts = {draft.identifier: known.verdict(main, draft) for draft in candidates}
    undecided = tuple(draft for draft in candidates if verdicts[draft.identifier] is None)
    usable = [
        draft
        for draft in candidates
        if (found := verdicts[draft.identifier]) is not None and found.worth_trying
    ]
    tried = (*pair.candidates, *(draft.key for draft in usable))
    choice = known.choose(main, tried) if tried else None
    confirmed = choice if choice is not None and choice.confirmed else None
    adopted = _adopted(pair, main, models, known)
    if adopted is not None and (confirmed is None or not _beats(confirmed, adopted, main, known)):
        return adopted
    if choice is not None and choice.draft is None:
        measured = next((draft for draft in usable if draft.key == choice.measured), None)
        return replace(_measured(pair, choice), draft=measured, undecided=undecided)
    if confirmed is not None and confirmed.draft == OWN_HEADS:
        return _own_heads(pair, main, known)
    sidecars = drafters.for_main(main, models) if confirmed is not None else ()
    for sidecar in sidecars:
        if confirmed is not None and sidecar.key == confirmed.draft:
            return _drafter(pair, main, sidecar, known)
    best = next((each for each in usable if confirmed and each.key == confirmed.draft), None)
    if best is not None:
        return _measured(
            replace(pair, draft=best, verdict=verdicts[best.identifier], undecided=undecided),
            choice,
        )
    if undecided:
        # The most promising draft may be among those still being compared: wait, rather than write
        # one draft now and another a second later.
        return _waiting(pair, undecided)
    if usable:
        return replace(
            pair,
            draft=usable[0],
            draft_tokens=_length(pair.asked, None),
            verdict=verdicts[usable[0].identifier],
            reason="MostPromising",
            why=f"the most promising of {len(usable)} proven drafts; "
            + (choice.reason if choice is not None else "not benchmarked yet"),
        )
    if pair.candidates:
        return replace(
            pair,
            state="unmeasured",
            reason="NotMeasured",
            why=f"could draft and were not measured: {', '.join(pair.candidates)}; "
            "`specd bench` measures them, or name one as the draft in specd.toml",
        )
    why = _no_draft(main, candidates, verdicts)
    return replace(pair, state="refused", reason="NoDraft", why=why)


def _no_draft(main: Model, candidates: Sequence[Model], verdicts: dict[str, Verdict | None]) -> str:
    if not candidates:
        return (
            f"no installed model could draft for {main.key}; install a smaller model of its family"
        )
    first = candidates[0]
    found = verdicts[first.identifier]
    reason = f" ({first.key}: {found.reasons[0]})" if found else ""
    return f"none of {len(candidates)} smaller models may draft for {main.key}{reason}"


def _adopted(
    pair: DesiredPair, main: Model, models: Sequence[Model], known: Known
) -> DesiredPair | None:
    """The pair with the draft that the user set in LM Studio, where it works."""
    users = pair.users
    named = names.lookup(users.draft_model, models) if users.draft_model else None
    kept = replace(
        pair,
        state="adopted",
        reason="SetInLMStudio",
        draft_tokens=_length(pair.asked, None) or users.draft_tokens,
        why="kept: set in LM Studio",
    )
    if users.mtp and _has_heads(main):
        return replace(kept, mtp=True, verdict=_own_tokens(main, OWN_HEADS))
    if users.sidecar is not None and named is not None:
        # LM Studio's own switch: whether the file fits, it says itself when it loads the main.
        return replace(kept, draft=named, verdict=_own_tokens(main, named.key))
    if named is None or named.drafter is not None:
        return None
    found = known.verdict(main, named)
    if found is None:
        return _waiting(pair, (named,))
    if main.format == "gguf" and users.of_request:
        # Newer LM Studios look for it elsewhere: it is written there too.
        kept = replace(kept, state="wanted")
    return replace(kept, draft=named, verdict=found) if found.usable else None


def _beats(confirmed: Choice, adopted: DesiredPair, main: Model, known: Known) -> bool:
    """Whether a benchmark found a faster draft than the adopted one, which it measured too."""
    theirs = adopted.drafts_with
    if theirs is None or confirmed.draft in (None, theirs):
        return False
    return known.choose(main, (theirs,)) is not None


def _own_heads(pair: DesiredPair, main: Model, known: Known) -> DesiredPair:
    if not _has_heads(main):
        why = f"{main.key} has no prediction heads: its weights hold none"
        if main.mtp_heads:
            why = f"LM Studio's MLX engine does not run the prediction heads of {main.key}"
        if main.format == "mlx":
            why += "; a GGUF file of the model may have some that run"
        return replace(pair, state="refused", reason="NoHeads", why=why)
    pair = replace(pair, mtp=True, verdict=_own_tokens(main, OWN_HEADS), why=_UNMEASURED)
    return _measured(pair, known.choose(main, (OWN_HEADS,)))


def _drafter(pair: DesiredPair, main: Model, drafter: Model, known: Known) -> DesiredPair:
    pair = replace(pair, draft=drafter, why=_UNMEASURED)
    if not drafters.runs(drafter):
        why = f"{drafter.key} is a drafter and no model; LM Studio cannot run it"
        return replace(pair, state="refused", reason="NotItsDrafter", why=why)
    if not drafters.fits(main, drafter):
        why = f"{drafter.key} is a drafter that was not made for {main.key}"
        return replace(pair, state="refused", reason="NotItsDrafter", why=why)
    pair = replace(pair, verdict=_own_tokens(main, drafter.key))
    return _measured(pair, known.choose(main, (drafter.key,)))


_UNMEASURED = "asked for in specd.toml; not benchmarked yet"


def _own_tokens(main: Model, drafter: str) -> Verdict:
    why = "heads and sidecars draft in the main's own tokens"
    return Verdict(main.key, drafter, "compatible", (why,))


def _length(asked: config.Pair, choice: Choice | None) -> int | None:
    """The length in specd.toml, else the confirmed one, else None: LM Studio's default."""
    if asked.draft_tokens != "auto":
        return asked.draft_tokens
    return choice.draft_tokens if choice is not None and choice.confirmed else None

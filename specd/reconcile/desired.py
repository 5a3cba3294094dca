"""What the configuration asks for, given the models that are there (pure).

A pair as the user wrote it becomes a ``WantedPair``: both models found, a draft chosen, the length
known, or a sentence saying what stands in the way. Nothing here touches a disk: the verdicts and
the benchmark's choices are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from specd import config
from specd.bench.choice import Choice
from specd.lmstudio import names
from specd.lmstudio.model import OWN_HEADS, Model
from specd.tokenizer.verdict import Verdict

PairState: TypeAlias = Literal["wanted", "waiting", "refused", "withdrawn", "missing"]


@dataclass(frozen=True, slots=True)
class WantedPair:
    """One pair of specd.toml, resolved.

    - "wanted": main, draft and verdict are there, and the pair is to be configured;
    - "waiting": a verdict is being worked out (``undecided`` names the drafts it is about);
    - "refused": the verdict, or the lack of any usable draft, forbids it;
    - "withdrawn": speculation is to be off for this main (switched off, or measured slower, and
      then ``draft`` is what was measured);
    - "missing": a named model is not installed or not unambiguous.

    ``mtp`` says that the main drafts with its own prediction heads, and ``draft`` is None.
    ``draft_tokens`` is None where LM Studio's own default is to stay. ``why`` is a sentence.
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

    @property
    def name(self) -> str:
        """``main ← draft`` as a person would say it."""
        main = self.main.key if self.main else self.asked.main
        draft = self.draft.key if self.draft else MTP if self.mtp else self.asked.draft
        return f"{main} ← {draft}"


LookUp: TypeAlias = Callable[[Model, Model], Verdict | None]
"""The verdict on (main, draft), None while nobody has worked it out."""

Rank: TypeAlias = Callable[[Model, Sequence[Model]], Sequence[Model]]
"""The drafts worth trying for a main, most promising first."""

Choose: TypeAlias = Callable[[Model, Sequence[str]], Choice | None]
"""What the benchmarks say is best for a main among drafts, by their keys; None before the first."""

MTP: Final = OWN_HEADS
"""What a main's own multi-token prediction heads are called where a draft is named."""


def resolve(
    wanted: config.SpecdConfig,
    models: Sequence[Model],
    *,
    verdict: LookUp,
    rank: Rank,
    choose: Choose,
) -> tuple[WantedPair, ...]:
    """Resolve every pair of specd.toml in order; the first of two with the same main counts."""
    pairs: list[WantedPair] = []
    taken: set[str] = set()
    for asked in wanted.pair:
        pair = _resolve_one(asked, wanted, models, verdict, rank, choose)
        if pair.main is not None:
            main = pair.main.identifier
            if main in taken:
                pair = replace(
                    pair,
                    state="refused",
                    why=f"{pair.main.key} is already the main model of an earlier [[pair]]; "
                    "remove one of the two from specd.toml",
                )
            taken.add(main)
        pairs.append(pair)
    return tuple(pairs)


def _resolve_one(
    asked: config.Pair,
    wanted: config.SpecdConfig,
    models: Sequence[Model],
    verdict: LookUp,
    rank: Rank,
    choose: Choose,
) -> WantedPair:
    try:
        main = names.resolve(asked.main, models)
    except names.NameProblem as problem:
        return WantedPair(asked, "missing", f"main model: {problem}")
    pair = WantedPair(asked, "wanted", "", main=main)
    if not wanted.speculation.enabled:
        return replace(
            pair,
            state="withdrawn",
            why="speculation is switched off in specd.toml (enabled = false)",
        )
    if asked.draft == MTP:
        return _own_heads(pair, main, choose)
    if asked.draft == "auto":
        return _choose_draft(pair, main, models, verdict, rank, choose)
    try:
        draft = names.resolve(asked.draft, models)
    except names.NameProblem as problem:
        return replace(pair, state="missing", why=f"draft model: {problem}")
    return _judge(replace(pair, draft=draft), main, draft, verdict(main, draft), choose)


def _judge(
    pair: WantedPair, main: Model, draft: Model, found: Verdict | None, choose: Choose
) -> WantedPair:
    if found is None:
        return replace(
            pair, state="waiting", undecided=(draft,), why="the tokenizers are being compared"
        )
    pair = replace(pair, verdict=found)
    if not found.usable:
        return replace(pair, state="refused", why=f"{found.kind}: {found.reasons[0]}")
    choice = choose(main, (draft.key,))
    if choice is not None and choice.draft is None:
        return replace(pair, state="withdrawn", why=choice.reason)
    return replace(
        pair,
        draft_tokens=_length(pair.asked, choice),
        why=choice.reason if choice else f"{found.kind}: {found.reasons[0]}",
    )


def _choose_draft(
    pair: WantedPair,
    main: Model,
    models: Sequence[Model],
    verdict: LookUp,
    rank: Rank,
    choose: Choose,
) -> WantedPair:
    candidates = rank(main, models)
    verdicts = {draft.identifier: verdict(main, draft) for draft in candidates}
    undecided = tuple(draft for draft in candidates if verdicts[draft.identifier] is None)
    usable = [
        draft
        for draft in candidates
        if (found := verdicts[draft.identifier]) is not None and found.worth_trying
    ]
    own = (MTP,) if main.mtp_heads else ()
    choice = choose(main, (*own, *(draft.key for draft in usable))) if usable or own else None
    if choice is not None and choice.draft is None:
        measured = next((draft for draft in usable if draft.key == choice.measured), None)
        return replace(
            pair, state="withdrawn", draft=measured, undecided=undecided, why=choice.reason
        )
    if own and (choice is None or choice.draft == MTP):
        return _own_heads(pair, main, lambda *_: choice)
    if choice is not None:
        best = next((draft for draft in usable if draft.key == choice.draft), None)
        if best is not None:
            return replace(
                pair,
                draft=best,
                draft_tokens=_length(pair.asked, choice),
                verdict=verdicts[best.identifier],
                undecided=undecided,
                why=choice.reason,
            )
    if undecided:
        # The most promising draft may be among those still being compared: wait, rather than write
        # one draft now and another a second later.
        return replace(
            pair, state="waiting", undecided=undecided, why="the tokenizers are being compared"
        )
    if not usable:
        return replace(pair, state="refused", why=_no_draft(main, candidates, verdicts))
    best = usable[0]
    return replace(
        pair,
        draft=best,
        draft_tokens=_length(pair.asked, None),
        verdict=verdicts[best.identifier],
        why=f"the most promising of {len(usable)} proven drafts; not benchmarked yet",
    )


def _own_heads(pair: WantedPair, main: Model, choose: Choose) -> WantedPair:
    """The main drafting for itself; until something was measured, the first choice where it can.

    Its heads were trained to guess this very model's tokens, and are all but free beside it.
    """
    if not main.mtp_heads:
        return replace(
            pair,
            state="refused",
            why=f"{main.key} has no prediction heads of its own; only some GGUF files do",
        )
    choice = choose(main, (MTP,))
    if choice is not None and choice.draft is None:
        return replace(pair, state="withdrawn", why=choice.reason)
    return replace(
        pair,
        mtp=True,
        draft_tokens=_length(pair.asked, choice),
        verdict=Verdict(main.key, MTP, "identical", ("its own heads speak its own tokens",)),
        why=choice.reason if choice else "it drafts with its own prediction heads; not benchmarked",
    )


def _length(asked: config.Pair, choice: Choice | None) -> int | None:
    if asked.draft_tokens != "auto":
        return asked.draft_tokens
    return choice.draft_tokens if choice is not None else None


def _no_draft(main: Model, candidates: Sequence[Model], verdicts: dict[str, Verdict | None]) -> str:
    if not candidates:
        return (
            f"no installed model could draft for {main.key}; install a smaller model of its family"
        )
    first = candidates[0]
    found = verdicts[first.identifier]
    reason = f" ({first.key}: {found.reasons[0]})" if found else ""
    return f"none of {len(candidates)} smaller models may draft for {main.key}{reason}"

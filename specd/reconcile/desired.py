"""What the configuration asks for, given the installed models (pure).

Each [[pair]] of specd.toml becomes a ``DesiredPair``: both models found, a draft chosen, the length
known, or the reason why not. ``Known`` supplies verdicts, the benchmark's choices and the user's
settings in LM Studio.

With ``draft = "auto"`` specd takes the most promising draft model with proven tokens, until the
benchmark confirms a better one. It never switches on prediction heads or sidecars unmeasured: they
are candidates of the benchmark. A draft that the user set in LM Studio and that works is adopted:
it stays until specd.toml names another or the benchmark confirms a faster one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple, TypeAlias

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
    "NotProven",
    "NotReadable",
    "NoSuchMain",
    "NoSuchDraft",
    "SwitchedOff",
    "InTrial",
    "NoGain",
    "ChangesText",
    "SameFile",
    "SeveralSwitches",
    "NoHeads",
    "NotItsDrafter",
    "VerdictForbids",
    "NoDraft",
]


NOTHING_SET: Final = DraftDefaults()


class PairName(NamedTuple):
    """The keys of a pair's models; as text ``main ← draft``."""

    main: str
    draft: str

    def __str__(self) -> str:
        return f"{self.main} ← {self.draft}"


@dataclass(frozen=True, slots=True)
class DesiredPair:
    """One pair of specd.toml, resolved.

    - "wanted": main, draft and verdict are known, and specd configures the pair;
    - "adopted": the draft that the user set in LM Studio stays;
    - "unmeasured": only heads or sidecars could draft, and none was measured: nothing is written;
    - "waiting": the verdicts on the drafts ``undecided`` are not known yet, the proof of a named
      draft is due, or a store of specd's cannot be read: the model's file stays as it is;
    - "refused": the verdict forbids the pair, or there is no usable draft;
    - "withdrawn": no draft for this main: speculation is switched off, or ``draft`` was measured
      as slower;
    - "missing": a named model is not installed, or the name fits several.

    ``mtp``: the main drafts with its own prediction heads, and ``draft`` is None. ``draft_tokens``
    is None where LM Studio's own default stays. ``reason`` is why the pair is in its state, ``why``
    the same as a sentence. ``candidates`` are the heads ("mtp") and sidecars that a benchmark may
    try for the main. ``users`` holds the user's settings for the main in LM Studio. ``instead``
    proposes other mains where the engine speculates for none of this kind, else "".
    """

    configured: config.Pair
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

    def so(self, state: PairState, reason: Reason, why: str) -> DesiredPair:
        """The pair in another state."""
        return replace(self, state=state, reason=reason, why=why)

    @property
    def name(self) -> PairName:
        """Its models, as far as they are found."""
        main = self.main.key if self.main else self.configured.main
        return PairName(main, self.drafts_with or self.configured.draft)

    @property
    def drafts_with(self) -> str | None:
        """The draft's key, "mtp" for the main's own heads; None where nothing drafts."""
        return self.draft.key if self.draft else OWN_HEADS if self.mtp else None

    @property
    def one_at_a_time(self) -> bool:
        """Whether the main has to be loaded for one request at a time to speculate well.

        MLX speculates for one request only; with a quantized cache it takes one at a time anyway.
        With prediction heads, users report mixed answers for several requests.
        """
        if self.main is not None and self.main.format == "mlx":
            return not self.users.quantized_cache
        return self.mtp or (self.draft is not None and self.draft.drafter == "mtp")

    @property
    def speculates(self) -> bool:
        """Whether the main should speculate, with specd's draft or the user's."""
        return self.state in ("wanted", "adopted")


@dataclass(frozen=True, slots=True)
class Known:
    """Knowledge about the models, for ``resolve``.

    ``verdict`` returns the verdict on (main, draft), None while it is not known. ``rank`` returns
    the drafts worth trying for a main, the most promising first. ``choose`` returns the
    benchmarks' best of a main's drafts, named by their keys; None before the first benchmark.
    ``users`` returns the user's settings in LM Studio for a main, without specd's own values.
    ``refuses_main`` returns why the engine speculates for no such main, None if it does.
    ``proves`` returns whether specd runs the main's engine unasked to prove a pair.
    ``unread`` returns why what the others return is not all there is, None if it is.
    """

    verdict: Callable[[Model, Model], Verdict | None]
    rank: Callable[[Model, Sequence[Model]], Sequence[Model]]
    choose: Callable[[Model, Sequence[str]], Choice | None]
    users: Callable[[Model], DraftDefaults] = lambda _: NOTHING_SET
    refuses_main: Callable[[Model], str | None] = lambda _: None
    proves: Callable[[Model], bool] = lambda _: False
    unread: Callable[[], str | None] = lambda: None


def resolve(
    wanted: config.SpecdConfig, models: Sequence[Model], known: Known
) -> tuple[DesiredPair, ...]:
    """Resolve every pair of specd.toml in order; the first of two with the same main counts."""
    pairs: list[DesiredPair] = []
    taken: dict[str, str] = {}
    for configured in wanted.pair:
        pair = _resolve_one(configured, wanted, models, known)
        open_ = pair.state == "waiting" or configured.draft == "auto"
        if open_ and pair.main and pair.reason != "SwitchedOff" and (unread := known.unread()):
            pair = pair.so("waiting", "NotReadable", unread)
        if (main := pair.main) is not None and (first := taken.get(main.defaults)):
            why = (
                f"{main.key} is already the main model of an earlier [[pair]]"
                if main.key == first
                else f"LM Studio reads one file, {main.defaults}.json, for {main.key} and for "
                f"{first}, the main model of an earlier [[pair]]"
            )
            pair = pair.so("refused", "SameFile", why)
        elif main is not None:
            taken[main.defaults] = main.key
            if pair.state == "refused" and (refusal := known.refuses_main(main)):
                pair = replace(pair, why=refusal, instead=suggest.instead_of(main, models))
        pairs.append(pair)
    return tuple(pairs)


def _resolve_one(
    configured: config.Pair, wanted: config.SpecdConfig, models: Sequence[Model], known: Known
) -> DesiredPair:
    pair = DesiredPair(configured, "missing", "", reason="NoSuchMain")
    try:
        main = names.resolve(configured.main, models)
    except names.NameProblem as problem:
        return replace(pair, why=f"main model: {problem}")
    if main.drafter is not None:
        return replace(pair, why=f"main model: {main.key} is a drafter and no model")
    of = _Main(main, models, known)
    users = known.users(main)
    pair = replace(pair, main=main, candidates=of.candidates, users=users)
    if not wanted.speculation.enabled:
        why = "speculation is switched off in specd.toml (enabled = false)"
        return pair.so("withdrawn", "SwitchedOff", why)
    if configured.draft == OWN_HEADS:
        own = [each for each in of.sidecars if each.drafter == "mtp"]
        alone = not of.heads and len(own) == 1
        return of.kept(of.drafter(pair, own[0]) if alone else of.own_heads(pair))
    if configured.draft != "auto":
        return of.kept(of.named(pair))
    if users.several and main.format == "gguf":
        why = (
            f"several ways of drafting are switched on for {main.key} in LM Studio, which allows "
            "one"
        )
        return pair.so("refused", "SeveralSwitches", why)
    return of.chosen(pair)


class _Main:
    """Resolves the pair of one main; ``heads``: it has prediction heads that its engine runs."""

    def __init__(self, main: Model, models: Sequence[Model], known: Known) -> None:
        self.main = main
        self.models = models
        self.known = known
        self.heads = main.format == "gguf" and main.mtp_heads > 0
        self.sidecars = drafters.for_main(main, models)

    @property
    def candidates(self) -> tuple[str, ...]:
        """The heads and sidecars that a benchmark may try."""
        heads = (OWN_HEADS,) if self.heads else ()
        return (*heads, *(each.key for each in self.sidecars))

    def named(self, pair: DesiredPair) -> DesiredPair:
        """The pair with the draft that specd.toml names."""
        try:
            draft = names.resolve(pair.configured.draft, self.models)
        except names.NameProblem as problem:
            return pair.so("missing", "NoSuchDraft", f"draft model: {problem}")
        if draft.drafter is not None:
            return self.drafter(pair, draft)
        found = self.known.verdict(self.main, draft)
        pair = replace(pair, draft=draft)
        if found is None:
            return _waiting(pair, (draft,))
        pair = replace(pair, verdict=found)
        why = f"{found.kind}: {found.reasons[0]}"
        if not found.usable:
            return pair.so("refused", "VerdictForbids", why)
        choice = self.known.choose(self.main, (draft.key,))
        untried = choice is None and not found.validated
        if untried and not found.worth_trying and self.known.proves(self.main):
            return pair.so("waiting", "NotProven", self._not_proven(draft, found))
        return _measured(pair.so("wanted", "AsNamed", why), choice)

    def _not_proven(self, draft: Model, found: Verdict) -> str:
        why = found.engine.why if found.engine is not None else found.reasons[0]
        return (
            f"{why}; specd writes the draft once the engine has run with it, as "
            f"`specd check --deep {self.main.key} {draft.key}` does now"
        )

    def own_heads(self, pair: DesiredPair) -> DesiredPair:
        """The pair with the main's own prediction heads."""
        main = self.main
        if not self.heads:
            why = f"{main.key} has no prediction heads: its weights hold none"
            if main.mtp_heads:
                why = f"LM Studio's MLX engine does not run the prediction heads of {main.key}"
            if main.format == "mlx":
                why += "; a GGUF file of the model may have some that run"
            return pair.so("refused", "NoHeads", why)
        return self._in_own_tokens(replace(pair, mtp=True))

    def drafter(self, pair: DesiredPair, drafter: Model) -> DesiredPair:
        """The pair with a sidecar."""
        pair = replace(pair, draft=drafter)
        if not drafters.runs(drafter):
            why = f"{drafter.key} is a drafter and no model; LM Studio cannot run it"
            return pair.so("refused", "NotItsDrafter", why)
        if not drafters.fits(self.main, drafter):
            why = f"{drafter.key} is a drafter that was not made for {self.main.key}"
            return pair.so("refused", "NotItsDrafter", why)
        return self._in_own_tokens(pair)

    def _in_own_tokens(self, pair: DesiredPair) -> DesiredPair:
        """The pair with heads or a sidecar, as a benchmark left it."""
        key = pair.drafts_with or OWN_HEADS
        pair = replace(pair, verdict=self._own_tokens(key))
        pair = pair.so("wanted", "AsNamed", "named in specd.toml; not benchmarked yet")
        return _measured(pair, self.known.choose(self.main, (key,)))

    def chosen(self, pair: DesiredPair) -> DesiredPair:
        """The pair with ``draft = "auto"``."""
        ranked = self.known.rank(self.main, self.models)
        verdicts = [(draft, self.known.verdict(self.main, draft)) for draft in ranked]
        undecided = tuple(draft for draft, found in verdicts if found is None)
        usable = {draft.key: (draft, v) for draft, v in verdicts if v and v.worth_trying}
        tried = (*pair.candidates, *usable)
        choice = self.known.choose(self.main, tried) if tried else None
        confirmed = choice.draft if choice is not None and choice.confirmed else None
        adopted = self._adopted(pair)
        if adopted is not None and not self._beats(confirmed, adopted):
            return self._as_measured(adopted)
        if choice is not None and choice.draft is None:
            draft, verdict = usable.get(choice.measured or "", (None, None))
            pair = replace(pair, draft=draft, verdict=verdict, undecided=undecided)
            return _measured(pair, choice)
        if confirmed == OWN_HEADS:
            return self.own_heads(pair)
        if sidecar := [each for each in self.sidecars if each.key == confirmed]:
            return self.drafter(pair, sidecar[0])
        if confirmed in usable:
            draft, verdict = usable[confirmed]
            pair = replace(pair, draft=draft, verdict=verdict, undecided=undecided)
            return _measured(pair, choice)
        if undecided:
            # The most promising draft may be among those still being compared: wait, rather than
            # write one draft now and another a second later.
            return _waiting(pair, undecided)
        usable = {key: both for key, both in usable.items() if not self._is_out(key)}
        if usable:
            best = (choice and choice.draft) or ""
            draft, verdict = usable.get(best, next(iter(usable.values())))
            length = _length(pair.configured, None)
            so_far = choice.reason if choice is not None else "not benchmarked yet"
            most = f"the most promising of {len(usable)} proven drafts"
            why = f"{most if len(usable) > 1 else 'the only proven draft'}; {so_far}"
            pair = replace(pair, draft=draft, draft_tokens=length, verdict=verdict)
            return pair.so("wanted", "MostPromising", why)
        if pair.candidates:
            why = (
                f"could draft and were not measured: {', '.join(pair.candidates)}; "
                "`specd bench` measures them, or name one as the draft in specd.toml"
            )
            return pair.so("unmeasured", "NotMeasured", choice.reason if choice else why)
        return pair.so("refused", "NoDraft", self._no_draft(verdicts))

    def kept(self, pair: DesiredPair) -> DesiredPair:
        """The pair; what the user set in LM Studio stays, also without a gain or a proof."""
        unproven = pair.reason == "NotProven"
        if not (unproven or pair.state == "withdrawn") or not pair.users.drafts:
            return pair
        adopted = None if pair.users.several else self._adopted(replace(pair, draft=None))
        if adopted is None or adopted.drafts_with != (pair.drafts_with or OWN_HEADS):
            return pair
        if unproven:
            return adopted
        if pair.reason == "NoGain":
            return self._as_measured(adopted) if adopted.state == "adopted" else pair
        left = f"it was set in {pair.users.app}, where it still drafts: take it out there"
        return replace(pair, why=f"{pair.why}; {left}")

    def _as_measured(self, adopted: DesiredPair) -> DesiredPair:
        """The pair with the user's draft, and what a benchmark found against it."""
        theirs = adopted.drafts_with
        found = self.known.choose(self.main, (theirs,)) if theirs is not None else None
        if found is None or found.draft is not None:
            return adopted
        reason: Reason = "ChangesText" if found.changes_text else "SetInLMStudio"
        return replace(adopted, reason=reason, why=f"{adopted.why}; {found.reason}")

    def _no_draft(self, verdicts: Sequence[tuple[Model, Verdict | None]]) -> str:
        main = self.main.key
        if not verdicts:
            return f"no installed model could draft for {main}"
        first, found = verdicts[0]
        reason = f" ({first.key}: {found.reasons[0]})" if found else ""
        return f"none of {len(verdicts)} smaller models may draft for {main}{reason}"

    def _adopted(self, pair: DesiredPair) -> DesiredPair | None:
        """The pair with the draft that the user set in LM Studio, where it works."""
        users = pair.users
        named = names.lookup(users.draft_model, self.models) if users.draft_model else None
        length = _length(pair.configured, None) or users.draft_tokens
        kept = replace(pair, draft_tokens=length).so(
            "adopted", "SetInLMStudio", f"kept: set in {users.app}{users.also}"
        )
        if users.mtp and self.heads:
            return replace(kept, mtp=True, verdict=self._own_tokens(OWN_HEADS))
        if users.sidecar is not None and named is not None:
            # LM Studio checks whether the sidecar fits when it loads the main.
            return replace(kept, draft=named, verdict=self._own_tokens(named.key))
        if named is None or named.drafter is not None:
            return None
        found = self.known.verdict(self.main, named)
        if found is None:
            return _waiting(pair, (named,))
        if self.main.format == "gguf" and users.of_request:
            # Newer LM Studios read the draft in another place: specd writes it there too if it
            # is faster.
            choice = self.known.choose(self.main, (named.key,))
            if choice is not None and choice.draft is None:
                return None
            if choice is not None or found.worth_trying:
                kept = replace(kept, state="wanted")
        return replace(kept, draft=named, verdict=found) if found.usable else None

    def _is_out(self, draft: str) -> bool:
        """Whether benchmarks took this draft out."""
        choice = self.known.choose(self.main, (draft,))
        return choice is not None and choice.draft is None

    def _beats(self, confirmed: str | None, adopted: DesiredPair) -> bool:
        """Whether benchmarks measured the adopted draft and confirmed a faster one."""
        theirs = adopted.drafts_with
        if theirs is None or confirmed in (None, theirs):
            return False
        return self.known.choose(self.main, (theirs,)) is not None

    def _own_tokens(self, drafter: str) -> Verdict:
        why = "heads and sidecars draft in the main's own tokens"
        return Verdict(self.main.key, drafter, "compatible", (why,))


def _waiting(pair: DesiredPair, undecided: tuple[Model, ...]) -> DesiredPair:
    why = "the tokenizers are being compared"
    return replace(pair, undecided=undecided).so("waiting", "Comparing", why)


def _measured(pair: DesiredPair, choice: Choice | None) -> DesiredPair:
    """The pair with its benchmarks' result: the draft length, or withdrawn if there is no gain."""
    if choice is None:
        return replace(pair, draft_tokens=_length(pair.configured, None))
    if choice.draft is None:
        reason: Reason = "ChangesText" if choice.changes_text else "NoGain"
        return replace(pair, mtp=False).so("withdrawn", reason, f"taken out: {choice.reason}")
    pair = replace(pair, draft_tokens=_length(pair.configured, choice))
    return pair.so("wanted", "Measured", choice.reason)


def _length(configured: config.Pair, choice: Choice | None) -> int | None:
    """The length in specd.toml, else the confirmed one, else None: LM Studio's default."""
    if configured.draft_tokens != "auto":
        return configured.draft_tokens
    return choice.draft_tokens if choice is not None and choice.confirmed else None

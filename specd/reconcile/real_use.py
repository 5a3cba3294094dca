"""Whether draft tokens were seen for a pair, and if not, why (pure).

Three sources: the statistics that LM Studio keeps in conversations, those in its server log, and
those that a server returned to the last benchmark. The newest counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from specd.bench import silence
from specd.bench.use import DraftRequests, InUse, Observed, Probe, in_use
from specd.lmstudio import names
from specd.lmstudio.model import OWN_HEADS, Model
from specd.reconcile.desired import DesiredPair, PairName
from specd.reconcile.facts import DraftsSeen, ServerSeen
from specd.tokenizer.verdict import Verdict

ENOUGH = 3
"""This many answers without draft tokens mean that a pair does not speculate; one may be short."""


@dataclass(frozen=True, slots=True)
class PairUse:
    """One pair's use by source: ``chats`` (conversations), ``probe``, ``logged`` (server log).

    None: the source has nothing about the pair.
    """

    in_use: InUse
    chats: DraftRequests | None
    probe: Probe | None
    logged: DraftRequests | None = None


def uses(
    pairs: Sequence[DesiredPair],
    installed: Sequence[Model],
    seen: Observed,
    probes: Sequence[Probe],
    logged: Sequence[DraftRequests] = (),
) -> dict[PairName, PairUse]:
    """The figures of each pair from conversations, probes and the server's log, by its name."""
    drafts = [pair.draft for pair in pairs]

    def meant(name: str) -> Model | None:
        return names.lookup(name, installed)

    found: dict[PairName, PairUse] = {}
    for pair in pairs:
        key = pair.drafts_with
        if pair.main is None or key is None:
            continue

        def drafts_for(name: str, pair: DesiredPair = pair) -> bool:
            if pair.draft is None:
                return name == OWN_HEADS
            found = meant(name)
            return found is not None and found.identifier == pair.draft.identifier

        mine = [use for use in seen.uses if meant(use.main) == pair.main]
        drafted = [use for use in mine if use.draft and drafts_for(use.draft)]
        chats = [a for a in seen.asked if meant(a.main) == pair.main and drafts_for(a.draft)]
        # Newer logs name no draft: the configured one counts. Older ones may name no main: then
        # the draft shows which, if it drafts for one main only.
        in_log = [
            each
            for each in logged
            if (meant(each.main) == pair.main and (not each.draft or drafts_for(each.draft)))
            or (not each.main and drafts_for(each.draft) and drafts.count(pair.draft) == 1)
        ]
        found[pair.name] = PairUse(
            in_use(drafted, [use for use in mine if use.draft is None]),
            max(chats, key=_last, default=None),
            next((p for p in probes if (p.main, p.draft) == (pair.main.key, key)), None),
            max(in_log, key=_last, default=None),
        )
    return found


def drafts_seen(
    pairs: Sequence[DesiredPair],
    known: Mapping[PairName, PairUse],
    installed: Sequence[Model],
    server: ServerSeen | None,
    memory: int | None,
) -> tuple[DraftsSeen, ...]:
    """Of every pair with figures from any source; ``memory``: the machine's, in bytes."""
    return tuple(
        seen
        for pair in pairs
        if (use := known.get(pair.name)) is not None
        and (seen := _seen(pair, use, installed, server, memory)) is not None
    )


def _seen(
    pair: DesiredPair,
    use: PairUse,
    installed: Sequence[Model],
    server: ServerSeen | None,
    memory: int | None,
) -> DraftsSeen | None:
    main, key, probe = pair.main, pair.drafts_with, use.probe
    if main is None or key is None:
        return None
    answers, whose = max(
        (use.chats, "your last {} answers"),
        (use.logged, "the last {} answers with draft counts in {}'s server log"),
        key=lambda source: -1.0 if source[0] is None else _last(source[0]),
    )
    if probe is not None and (answers is None or probe.at >= _last(answers)):
        return DraftsSeen(
            main.key, key, probe.drafted, probe.accepted, "the last probe", probe.finding
        )
    if answers is None or (answers.ran == 0 and answers.answers < ENOUGH):
        return None
    of = whose.format(answers.answers, answers.app)
    finding = None
    if answers.ran == 0:
        likely = (
            "the model was loaded before its heads were switched on, or by an engine older than "
            "llama.cpp 2.15.0"
        )
        if pair.draft is not None:
            known = circumstances(main, pair.draft, installed, server, memory, pair.verdict)
            if not pair.one_at_a_time:  # several requests do not switch speculation off
                known = replace(known, parallel=1)
            likely = "; or ".join(silence.causes(known))
        finding = (
            f"{pair.name}: none of {of} has draft tokens although the draft was asked for. "
            f"Likely: {likely}"
        )
    where = f"{answers.ran} of {of}"
    if answers.bare >= ENOUGH:
        where += f"; none of the {answers.bare} answers after them has any"
    silent = answers.bare >= ENOUGH and answers.bare > answers.answers
    return DraftsSeen(main.key, key, answers.drafted, answers.accepted, where, finding, silent)


def _last(answers: DraftRequests) -> float:
    return answers.last or 0.0


def circumstances(
    main: Model,
    draft: Model,
    installed: Sequence[Model],
    server: ServerSeen | None,
    memory: int | None,
    verdict: Verdict | None,
) -> silence.Circumstances:
    """The facts that may explain why a pair drafts nothing; ``memory``: the machine's, in bytes."""
    served = server.served(main, installed) if server is not None else None
    instances = served.loaded_instances if served is not None else ()
    return silence.Circumstances(
        parallel=max((i.parallel for i in instances if i.parallel is not None), default=None)
        if main.format == "mlx"
        else 1,  # llama.cpp speculates for several
        vision=main.kind == "vlm",
        formats=(main.format, draft.format),
        weights=main.size_bytes + draft.size_bytes,
        memory=memory,
        draft_problem=draft.problem,
        refused=(
            verdict.engine.why
            if verdict is not None and verdict.engine is not None and verdict.engine.objects
            else None
        ),
    )

"""Whether a pair's tokens agree, whether it runs, and whether it is faster."""

from __future__ import annotations

from collections.abc import Sequence

from specd.bench import choice
from specd.bench.outcome import Kind, outcome
from specd.config import SpecdConfig
from specd.reconcile.conditions.condition import (
    Definition,
    Judgement,
    advice,
    detail,
    false,
    true,
    unknown,
)
from specd.reconcile.conditions.files import each
from specd.reconcile.desired import DesiredPair
from specd.reconcile.facts import DraftsSeen, Facts


def _tokenizers_compatible(facts: Facts, _: SpecdConfig) -> Judgement:
    judged = [(pair, pair.verdict) for pair in facts.pairs if pair.verdict is not None]
    bad = [pair for pair, verdict in judged if not verdict.usable]
    if bad:
        if all(verdict.kind == "unknown" for _, verdict in judged if not verdict.usable):
            return detail("FilesUnreadable", each(bad), "download that model again")
        return detail("Incompatible", each(bad), 'draft = "auto" takes a proven one instead')
    undecided = [pair for pair in facts.pairs if pair.verdict is None and pair.draft is not None]
    waiting = [pair for pair in facts.pairs if pair.state == "waiting"]
    if undecided or waiting:
        return unknown(waiting[0].reason if waiting else "Comparing", each(undecided or waiting))
    if not judged:
        return unknown("NoPairs", "there is no pair whose tokenizers could be compared")
    return true("Proven", ", ".join(f"{pair.name}: {verdict.kind}" for pair, verdict in judged))


TOKENIZERS_COMPATIBLE = Definition(
    "TokenizersCompatible",
    "In every pair, each token the draft can emit means the same to the main model.",
    "The tokenizer and configuration files of both models, id by id.",
    "A pair that is not proven is not configured. `specd check MAIN DRAFT` shows the first "
    'tokens that differ; choose another draft, or draft = "auto".',
    _tokenizers_compatible,
    "draft called incompatible",
)


def _engine_will_speculate(facts: Facts, _: SpecdConfig) -> Judgement:
    unsupported = [
        pair for pair in facts.pairs if pair.verdict and pair.verdict.kind == "unsupported"
    ]
    if unsupported:
        remedy = "take another main or draft; `specd check MAIN DRAFT` says why"
        remedy = "; ".join(pair.instead for pair in unsupported if pair.instead) or remedy
        return detail("EngineRefuses", each(unsupported), remedy)
    parallel = [each for each in facts.not_in_force if each.parallel]
    if parallel:
        words = "; ".join(map(str, parallel))
        why = "the MLX engine speculates for one request at a time only"
        remedy = " && ".join(f"`{each.command}`" for each in parallel)
        return false("Parallel", f"{words}: {why}", remedy)
    if not any(pair.verdict for pair in facts.pairs):
        return unknown("NoPairs", "specd has judged no pair yet")
    return true("NothingInTheWay", "nothing known switches speculation off")


ENGINE_WILL_SPECULATE = Definition(
    "EngineWillSpeculate",
    "Nothing in the model or the way it is loaded switches speculation off.",
    "The main model's config.json, and how the server has it loaded.",
    "specd cannot change how a model is built. Load it again with the command shown, or choose "
    "another.",
    _engine_will_speculate,
    "no faster",
)


def _speculation_observed(facts: Facts, _: SpecdConfig) -> Judgement:
    silent = [each for each in facts.drafts_seen if each.finding is not None]
    again = {
        it.pair.main.key: it
        for it in facts.not_in_force
        if it.pair.main is not None and not it.length_only
    }
    if unexplained := [each for each in silent if each.main not in again]:
        remedy = "restart LM Studio, load the model and send it a prompt"
        return false("NoDraftTokens", _findings(unexplained), remedy)
    if silent:
        # One fault with one remedy, whichever condition reports it.
        loads = [again[each.main] for each in silent]
        remedy = "; ".join(f"`{each.command}`" for each in loads)
        judge = detail if all(each.shown for each in loads) else false
        return judge("NoDraftTokens", _findings(silent), remedy)
    seen = [each for each in facts.drafts_seen if each.drafted > 0]
    if seen:
        words = "; ".join(
            f"{each.pair}: {each.accepted} of {each.drafted} draft tokens accepted ({each.where})"
            for each in seen
        )
        return true("Seen", words)
    return unknown("NotLooked", "no answer with a draft has been seen yet")


def _findings(seen: Sequence[DraftsSeen]) -> str:
    return "; ".join(each.finding for each in seen if each.finding is not None)


SPECULATION_OBSERVED = Definition(
    "SpeculationObserved",
    "Draft tokens were seen at work.",
    "The statistics of the server's answers, and those LM Studio keeps with conversations "
    "and in its server log (figures only, never text).",
    "A draft that cannot be loaded shows no draft tokens: when it is configured and none show, "
    "restart LM Studio and look again.",
    _speculation_observed,
    "no faster",
)


def _slower(
    facts: Facts, wanted: SpecdConfig, pairs: Sequence[DesiredPair], slow: str
) -> Judgement:
    """The judgement of pairs without a gain."""
    measured = [facts.benchmarks[pair.name] for pair in pairs]
    if not any(map(choice.decisive, measured)):
        return advice("unknown", "NotConfirmed", slow, choice.remedy(measured[0]))
    adopted = [pair for pair in pairs if pair.state == "adopted"]
    if any(pair.reason == "ChangesText" for pair in adopted):
        remedy = "take the draft out in LM Studio, or name another in specd.toml"
        return false("ChangesText", slow, remedy)
    users = "take the draft out in LM Studio: you set it there, and specd leaves it"
    if wanted.benchmark.on_slower == "disable":
        # As specd.toml wants it.
        remedy = "nothing: specd takes the draft out; `specd pairs` shows others"
        return advice("false", "NoGain", slow, users if adopted else remedy)
    remedy = "`specd config set benchmark.on_slower disable` takes it out"
    return false("NoGain", slow, users if adopted else remedy)


def _faster(facts: Facts, wanted: SpecdConfig) -> Judgement:
    found = {
        pair.name: outcome(facts.benchmarks[pair.name])
        for pair in facts.pairs
        if pair.name in facts.benchmarks
    }
    out = ("refused", "missing")
    if all(pair.state in out or pair.reason == "SwitchedOff" for pair in facts.pairs):
        return unknown("NoPairs", "there is no pair to measure")
    if not found:
        return advice("unknown", "NotMeasured", "no benchmark yet", "`specd bench` runs one now")

    def words(kind: Kind) -> str:
        return "; ".join(f"{name}: {it.words}" for name, it in found.items() if it.kind == kind)

    if slow := words("none"):
        slower = [
            pair for pair in facts.pairs if pair.name in found and found[pair.name].kind == "none"
        ]
        return _slower(facts, wanted, slower, slow)
    again = "`specd bench` measures again"
    if unsure := words("noise"):
        return advice("unknown", "WithinNoise", unsure, again)
    if unsure := words("unconfirmed"):
        return advice("unknown", "NotConfirmed", unsure, again)
    return true("Measured", words("faster"))


FASTER = Definition(
    "Faster",
    "The last benchmark's confidence interval lies above 1: the draft really is faster.",
    "The benchmark history; `specd bench` adds to it at once.",
    'With on_slower = "disable" specd takes a draft out that slows down; with "warn" it '
    "reports it and leaves it.",
    _faster,
    "no faster",
)

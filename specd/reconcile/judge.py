"""From facts to conditions: one small function per condition, listed once (pure).

"unknown" is for what could not be looked at, "true" also for what does not apply; "false" always
comes with what to do about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from specd.bench.outcome import Kind, outcome
from specd.config import SpecdConfig
from specd.lmstudio import names
from specd.lmstudio.home import Home, NoHome
from specd.reconcile.conditions import Condition, ConditionType, Status
from specd.reconcile.desired import WantedPair
from specd.reconcile.facts import Facts

Finding: TypeAlias = tuple[Status, str, str]
"""(status, reason, message) of a condition."""

Judge: TypeAlias = Callable[[Facts, SpecdConfig], Finding]


def conditions(
    facts: Facts, wanted: SpecdConfig, previous: Iterable[Condition], now: str
) -> tuple[Condition, ...]:
    """Every condition, in the order they are shown; ``since`` is kept while the status is.

    ``now`` is RFC 3339 with zone.
    """
    known = {condition.type: condition for condition in previous}
    judged: list[Condition] = []
    for kind, judge in JUDGES:
        status, reason, message = judge(facts, wanted)
        before = known.get(kind)
        since = before.since if before is not None and before.status == status else now
        judged.append(Condition(kind, status, reason, message, since))
    return tuple(judged)


def _config_valid(facts: Facts, _: SpecdConfig) -> Finding:
    if facts.config_problem is not None:
        return (
            "false",
            "Invalid",
            f"{facts.config_problem} — the last good configuration stays in force",
        )
    if not facts.config_there:
        return "true", "Defaults", f"there is none at {facts.config_path}: every default counts"
    return "true", "Parsed", f"{facts.config_path} is valid"


def _home_found(facts: Facts, _: SpecdConfig) -> Finding:
    if isinstance(facts.home, NoHome):
        if not facts.home.looked:
            return "unknown", "NotLooked", "LM Studio's home has not been looked for yet"
        return "false", "NoHome", str(facts.home)
    return "true", "Found", f"{facts.home.path} ({facts.home.how})"


def _settings_applied(facts: Facts, _: SpecdConfig) -> Finding:
    if not isinstance(facts.home, Home):
        return "unknown", "NoHome", "there is no LM Studio home to look into"
    if facts.settings_path is None:
        return "true", "NothingWanted", "specd.toml asks for nothing in settings.json"
    return _files_hold(facts, lambda path: path == facts.settings_path, "settings.json")


def _pairs_configured(facts: Facts, wanted: SpecdConfig) -> Finding:
    if not isinstance(facts.home, Home):
        return "unknown", "NoHome", "there is no LM Studio home to look into"
    if not wanted.pair:
        return (
            "unknown",
            "NoPairs",
            "specd.toml has no [[pair]]; add one, or run `specd install` to have one proposed",
        )
    for state, reason in (("missing", "ModelMissing"), ("refused", "PairRefused")):
        stuck = [pair for pair in facts.pairs if pair.state == state]
        if stuck:
            return "false", reason, _each(stuck)
    files = _files_hold(facts, lambda path: path != facts.settings_path, "the per-model configs")
    if files[0] != "true":
        return files
    waiting = [pair for pair in facts.pairs if pair.state == "waiting"]
    if waiting:
        return "unknown", "Comparing", _each(waiting)
    held = [change.key for change in facts.held]
    if held:
        return "true", "Held", f"left alone since you restored it: {', '.join(sorted(set(held)))}"
    withdrawn = [pair for pair in facts.pairs if pair.state == "withdrawn"]
    if withdrawn:
        return "true", "Withdrawn", _each(withdrawn)
    return "true", "Applied", f"{len(facts.pairs)} of {len(facts.pairs)} pairs stand as wanted"


def _files_hold(facts: Facts, mine: Callable[[object], bool], name: str) -> Finding:
    for blocked in facts.blocked:
        if mine(blocked.path):
            return "false", "Unreadable", f"{blocked.why}; specd writes nothing until it is"
    for applied in facts.applied:
        if mine(applied.edit.path) and applied.problem is not None:
            reason = "ReadOnly" if applied.permanent else "WriteFailed"
            return "false", reason, applied.problem
    for path in facts.pending:
        if mine(path):
            patience = facts.patience.get(path)
            if patience is not None and patience.backing_off:
                return "false", "BackingOff", f"{path} keeps being changed; see Uncontended"
            return "false", "Drifted", f"{path} is about to be restored"
    return "true", "Applied", f"every wanted value stands in {name}"


def _tokenizers_compatible(facts: Facts, _: SpecdConfig) -> Finding:
    judged = [pair for pair in facts.pairs if pair.verdict is not None]
    bad = [pair for pair in judged if pair.verdict is not None and not pair.verdict.usable]
    if bad:
        if all(pair.verdict is not None and pair.verdict.kind == "unknown" for pair in bad):
            return "false", "FilesUnreadable", _each(bad)
        return "false", "Incompatible", _each(bad)
    undecided = [pair for pair in facts.pairs if pair.verdict is None and pair.draft is not None]
    waiting = [pair for pair in facts.pairs if pair.state == "waiting"]
    if undecided or waiting:
        return "unknown", "Comparing", _each(undecided or waiting)
    if not judged:
        return "unknown", "NoPairs", "there is no pair whose tokenizers could be compared"
    kinds = ", ".join(
        f"{pair.name}: {pair.verdict.kind}" for pair in judged if pair.verdict is not None
    )
    return "true", "Proven", kinds


def _engine_will_speculate(facts: Facts, _: SpecdConfig) -> Finding:
    unsupported = [
        pair for pair in facts.pairs if pair.verdict and pair.verdict.kind == "unsupported"
    ]
    if unsupported:
        return "false", "EngineRefuses", _each(unsupported)
    parallel = _loaded_for_parallel_requests(facts)
    if parallel is not None:
        return "false", "Parallel", parallel
    dropped = [
        f"{pair.name}: LM Studio's MLX engine will drop this draft without a word, as "
        f"{pair.verdict.dropped}"
        for pair in facts.pairs
        if pair.state == "wanted" and pair.verdict and pair.verdict.dropped
    ]
    if dropped:
        return "false", "DraftDropped", "; ".join(dropped)
    if not any(pair.verdict for pair in facts.pairs):
        return "unknown", "NoPairs", "no pair has been judged yet"
    return "true", "NothingInTheWay", "nothing known switches speculation off"


def _loaded_for_parallel_requests(facts: Facts) -> str | None:
    if facts.server is None:
        return None
    keys = [model.key for model in facts.server.models]
    mains = {
        names.served_as(pair.main, keys, facts.models)
        for pair in facts.pairs
        if pair.main is not None
    }
    for model in facts.server.models:
        for instance in model.loaded_instances:
            if model.key in mains and instance.parallel is not None and instance.parallel > 1:
                return (
                    f"{model.key} is loaded for {instance.parallel} parallel requests, and the MLX "
                    "engine speculates only for one at a time; load it with parallel = 1"
                )
    return None


def _server_reachable(facts: Facts, _: SpecdConfig) -> Finding:
    seen = facts.server
    if seen is None:
        return "unknown", "NotAsked", "the server has not been asked yet"
    if seen.problem is None:
        return "true", "Answers", f"{seen.url} answers"
    if seen.refused:
        return "false", "Refused", seen.problem
    if facts.app is not None and facts.app.running:
        return (
            "false",
            "NoAnswer",
            f"{seen.problem}; LM Studio runs, so start its server (`lms server start`)",
        )
    return "unknown", "NotRunning", "LM Studio is not running"


def _speculation_observed(facts: Facts, _: SpecdConfig) -> Finding:
    findings = [proof for proof in facts.proofs if proof.finding is not None]
    if findings:
        return "false", "NoDraftTokens", "; ".join(proof.finding or "" for proof in findings)
    seen = [proof for proof in facts.proofs if proof.drafted > 0]
    if seen:
        words = "; ".join(
            f"{proof.main} ← {proof.draft}: {proof.accepted} of {proof.drafted} draft tokens "
            f"accepted ({proof.where})"
            for proof in seen
        )
        return "true", "Seen", words
    return "unknown", "NotLooked", "no answer with a draft has been seen yet"


def _faster(facts: Facts, wanted: SpecdConfig) -> Finding:
    measured = {
        pair.name: facts.benchmarks[pair.name]
        for pair in facts.pairs
        if pair.name in facts.benchmarks
    }
    if not measured:
        return "unknown", "NotMeasured", "not benchmarked yet; `specd bench` does it now"
    found = {name: outcome(result) for name, result in measured.items()}

    def told(kind: Kind) -> list[str]:
        return [f"{name}: {each.words}" for name, each in found.items() if each.kind == kind]

    if slow := told("none"):
        advice = (
            "the draft has been taken out"
            if wanted.benchmark.on_slower == "disable"
            else 'set [benchmark] on_slower = "disable" to have it taken out, or try another draft'
        )
        return "false", "NoGain", f"{'; '.join(slow)} — {advice}"
    if unsure := told("noise"):
        return "unknown", "WithinNoise", "; ".join(unsure)
    if unsure := told("unconfirmed"):
        return "unknown", "NotConfirmed", "; ".join(unsure)
    return "true", "Measured", "; ".join(told("faster"))


def _cache_agrees(facts: Facts, _: SpecdConfig) -> Finding:
    opinion = facts.opinion
    if opinion is None:
        return "unknown", "NoCache", "LM Studio keeps no compatibility cache here"
    if opinion.problem is not None:
        return "unknown", "Unreadable", opinion.problem
    wrong: list[str] = []
    for pair in facts.pairs:
        if pair.main is None or pair.draft is None or pair.verdict is None:
            continue
        if pair.verdict.kind == "unknown":  # which contradicts nobody
            continue
        drafts = opinion.pairs.get(pair.main.identifier)
        if drafts is None:
            continue
        listed = pair.draft.identifier in drafts
        if listed and not pair.verdict.usable:
            wrong.append(f"it lists {pair.name}, which is {pair.verdict.kind}")
        elif not listed and pair.verdict.usable:
            wrong.append(f"it does not list {pair.name}, which is {pair.verdict.kind}")
    if wrong:
        return (
            "false",
            "Disagrees",
            (
                f"LM Studio's cache is wrong: {'; '.join(wrong)} — `specd cache refresh` moves it "
                "aside so that the app rebuilds it"
            ),
        )
    return "true", "Agrees", "LM Studio's cache contradicts no verdict"


def _app_up_to_date(facts: Facts, _: SpecdConfig) -> Finding:
    if facts.app is None:
        return "unknown", "NotLooked", "LM Studio's process has not been looked for yet"
    if not facts.app.running:
        return (
            "true",
            "NotRunning",
            "LM Studio is not running; it will read the files when it starts",
        )
    started = facts.app.started
    if started is None:
        return "unknown", "StartUnknown", "LM Studio runs, but since when cannot be known"
    if facts.last_write is not None and facts.last_write > started:
        return (
            "false",
            "RestartNeeded",
            (
                "specd wrote to LM Studio's files after LM Studio was started; restart LM Studio "
                "to be sure that it uses them"
            ),
        )
    return "true", "StartedAfter", "LM Studio was started after specd's last write"


def _uncontended(facts: Facts, _: SpecdConfig) -> Finding:
    fights = [
        f"{path} was undone {patience.undone} times in a row"
        + (f", now waiting {patience.delay_s:.0f} s between writes" if patience.backing_off else "")
        for path, patience in facts.patience.items()
        if patience.contended
    ]
    if fights:
        who = f" (likely {facts.contender})" if facts.contender else ""
        return (
            "false",
            "Contended",
            f"{'; '.join(fights)}{who}: find out which program sets it back",
        )
    return "true", "Quiet", "nobody undoes specd's writes"


def _each(pairs: Iterable[WantedPair]) -> str:
    return "; ".join(f"{pair.name}: {pair.why}" for pair in pairs)


JUDGES: tuple[tuple[ConditionType, Judge], ...] = (
    ("ConfigValid", _config_valid),
    ("HomeFound", _home_found),
    ("SettingsApplied", _settings_applied),
    ("PairsConfigured", _pairs_configured),
    ("TokenizersCompatible", _tokenizers_compatible),
    ("EngineWillSpeculate", _engine_will_speculate),
    ("ServerReachable", _server_reachable),
    ("SpeculationObserved", _speculation_observed),
    ("Faster", _faster),
    ("CacheAgrees", _cache_agrees),
    ("AppUpToDate", _app_up_to_date),
    ("Uncontended", _uncontended),
)

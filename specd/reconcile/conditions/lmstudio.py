"""LM Studio itself: its server, its cache, and whether it has read what specd wrote."""

from __future__ import annotations

from specd.config import SpecdConfig
from specd.lmstudio.draft_cache import CacheOpinion
from specd.reconcile.conditions.condition import Definition, Judgement, advice, false, true, unknown
from specd.reconcile.facts import Facts


def _server_reachable(facts: Facts, _: SpecdConfig) -> Judgement:
    seen = facts.server
    if seen is None:
        return unknown("NotAsked", "specd has not asked the server yet")
    if seen.problem is None:
        return true("Answers", f"{seen.url} answers")
    if seen.remedy:
        return advice("false", "Refused", seen.problem, seen.remedy)
    if facts.app is not None and facts.app.running:
        return advice("false", "NoAnswer", seen.problem, "`lms server start` starts it")
    return unknown("NotRunning", "LM Studio is not running")


SERVER_REACHABLE = Definition(
    "ServerReachable",
    "LM Studio's local server answers. Not known while LM Studio is not running: no fault.",
    "The server's list of models, at its port in LM Studio's own configuration.",
    "Only the measurements through the server wait for it. `lms server start` starts it.",
    _server_reachable,
)


def _cache_agrees(facts: Facts, _: SpecdConfig) -> Judgement:
    opinion = facts.opinion
    if opinion is None:
        return unknown("NoCache", "LM Studio keeps no compatibility cache here")
    if opinion.problem is not None:
        return unknown("Unreadable", opinion.problem)
    dangerous, left_out = _contradicted(facts, opinion)
    words = f"LM Studio's compatibility cache is wrong: {'; '.join(dangerous + left_out)}"
    if dangerous:
        # A rebuilt cache would list it again.
        remedy = "do not choose it in LM Studio; `specd check MAIN DRAFT` says why"
        return false("ListsUnusable", words, remedy)
    # Drafts that the user has not chosen, but could choose.
    named = {pair.name for pair in facts.pairs}
    offered = [
        f"it lists {pair}, which is {kind}"
        for pair, kind in facts.listed_unusable
        if pair not in named
    ]
    if offered:
        words = f"LM Studio's compatibility cache is wrong: {'; '.join(offered + left_out)}"
        remedy = "do not choose it in LM Studio; `specd cache` says why"
        return advice("false", "ListsUnusable", words, remedy)
    if left_out:
        remedy = "`specd cache refresh` moves it aside so that LM Studio builds it anew"
        return advice("false", "LeavesOut", words, remedy)
    return true("Agrees", "LM Studio's cache contradicts no verdict")


def _contradicted(facts: Facts, opinion: CacheOpinion) -> tuple[list[str], list[str]]:
    """Drafts that the cache lists wrongly, and those that it leaves out wrongly."""
    dangerous: list[str] = []
    left_out: list[str] = []
    for pair in facts.pairs:
        if pair.main is None or pair.draft is None or pair.verdict is None:
            continue
        drafts = opinion.pairs.get(pair.main.identifier)
        # A verdict of "unknown" contradicts nothing.
        if drafts is None or pair.verdict.kind == "unknown":
            continue
        listed = pair.draft.identifier in drafts
        if listed and not pair.verdict.usable:
            dangerous.append(f"it lists {pair.name}, which is {pair.verdict.kind}")
        elif not listed and pair.verdict.usable:
            left_out.append(f"it does not list {pair.name}, which is {pair.verdict.kind}")
    return dangerous, left_out


CACHE_AGREES = Definition(
    "CacheAgrees",
    "LM Studio's own compatibility cache contradicts none of specd's verdicts.",
    "LM Studio's draft-model compatibility cache.",
    "specd never changes it by itself. `specd cache refresh` moves it aside, keeping a copy, "
    "so that LM Studio builds it anew.",
    _cache_agrees,
    "option missing",
)


def _app_up_to_date(facts: Facts, _: SpecdConfig) -> Judgement:
    waiting = [each for each in facts.not_in_force if not each.parallel]
    if waiting:
        remedy = "; ".join(f"`{each.command}`" for each in waiting)
        words = "; ".join(map(str, waiting))
        if any(each.shown for each in waiting):
            return false("LoadAgain", words, remedy)
        return advice("false", "LoadAgain", words, remedy)
    if facts.app is None:
        return unknown("NotLooked", "specd has not looked for LM Studio's process yet")
    for app, since in (("LM Studio", facts.app.started), ("Bionic", facts.app.bionic_started)):
        written = facts.settings_written.get(app)
        if written is not None and since is not None and written > since:
            return false(
                "RestartNeeded",
                f"specd wrote {app}'s settings.json after {app} was started, and {app} reads it "
                "only when it starts",
                f"restart {app}",
            )
    if not facts.app.running and facts.server is not None and facts.server.problem is None:
        return unknown("StartUnknown", "LM Studio's server answers; its process is not seen here")
    if not facts.app.running:
        return true("NotRunning", "LM Studio is not running; it reads the files when it starts")
    if facts.app.started is None:
        return unknown("StartUnknown", "LM Studio is running; its start time cannot be read")
    return true("StartedAfter", "no write of specd's needs a restart of LM Studio")


APP_UP_TO_DATE = Definition(
    "AppUpToDate",
    "What specd wrote is in force: settings.json since LM Studio's start, a model's defaults since "
    "it was loaded.",
    "When LM Studio's process was started, what the server says of each loaded model, and the "
    "journal.",
    "LM Studio reads settings.json when it starts and a model's defaults when it loads it. specd "
    'loads a model again by itself with [agent] reload = "when-idle" only.',
    _app_up_to_date,
    "option missing",
)

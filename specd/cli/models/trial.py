"""``specd trial``: a randomised trial of whether the draft makes your own work faster."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from dataclasses import asdict, replace
from datetime import datetime

from specd.bench import trial
from specd.bench.outcome import ratio
from specd.bench.trial import Estimate, Trial
from specd.cli import alive, ask, world
from specd.cli.models import check
from specd.cli.paint import complain, dumps, say, width, wrap
from specd.cli.parser import Parser, between
from specd.lmstudio import model_defaults
from specd.reconcile import survey, trials
from specd.reconcile.entry import EVERYTHING
from specd.reconcile.trials import Trials

DAYS = 7.0

CONSENT = (
    "For {days} specd draws at random, whenever {main} is not loaded, whether its next load "
    "has the draft {draft}. It reads the figures that LM Studio keeps with your answers (tokens "
    "and seconds, never text). It ends by itself, and then {main} is configured as specd.toml says."
)


parser = Parser(
    prog="specd trial",
    description="Find out in your daily use whether the draft makes a main faster. Without a "
    "word, show how far the trial is.",
    examples=("specd trial start qwen3-8b --days 7", "specd trial", "specd trial stop"),
    exit_codes={0: "done", 1: "there is no trial", 2: "it cannot begin"},
)
parser.add_argument("verb", nargs="?", choices=("start", "stop"), help="begin one, or end it")
parser.add_argument("main", nargs="?", metavar="MAIN", help="of a pair in specd.toml")
parser.add_argument(
    "--days", type=between(0.04, 90), default=DAYS, metavar="N", help="at the longest (7)"
)
parser.add_argument("--yes", action="store_true", help="begin without asking")
parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Start, stop or show."""
    seen = world.see()
    if args.verb == "start":
        return _start(args, seen)
    kept = Trials(seen.stores.state)
    if args.verb == "stop":
        kept.change(lambda before: before and trial.stop(before, time.time()))
        alive.request_look()
    running = kept.read()
    if running is None:
        say("there was no trial yet; `specd trial start` begins one", sys.stderr)
        return 1
    found = trials.estimate(running, seen.world.models, seen.stores.observed)
    if args.json:
        print(dumps({"trial": asdict(running), "estimate": asdict(found)}))
    else:
        print(render(running, found, _obstacle(running, seen), width()))
    return 0


def _start(args: argparse.Namespace, seen: world.Seen) -> int:
    if not seen.config.benchmark.observe_conversations:
        raise world.Unusable("the trial needs observe_conversations = true in specd.toml")
    _refuse_while_one_runs(Trials(seen.stores.state).read())
    main = check.find(args.main, seen.world.models) if args.main else None
    ready = [pair for pair in world.decide(seen) if pair.state == "wanted" and pair.drafts_with]
    pairs = [pair for pair in ready if main in (None, pair.main)]
    if ready and not pairs and main is not None:
        raise world.Unusable(f"no draft is configured for {main.key}; see `specd status`")
    if not pairs or pairs[0].main is None or pairs[0].drafts_with is None:
        raise world.Unusable("no pair of specd.toml is configured with a draft; see `specd status`")
    if len(pairs) > 1:
        names = ", ".join(pair.main.key for pair in pairs if pair.main is not None)
        raise world.Unusable(f"name one of these mains: {names}")
    files = {model_defaults.file_in(app, pairs[0].main) for app in seen.apps}
    held = seen.stores.journal.held()
    if EVERYTHING in held or any(p in files and model_defaults.drafts(key) for p, key in held):
        raise world.Unusable(
            f"you restored the draft of {pairs[0].main.key}, so specd leaves it alone; "
            "`specd apply` sets it again, then begin the trial"
        )
    pair = pairs[0].main.key, pairs[0].drafts_with
    days = f"{args.days:g} day{'s'[: args.days != 1]}"
    print(wrap(CONSENT.format(main=pair[0], draft=pair[1], days=days), width(), ""))
    if not args.yes and not _agreed():
        return 2
    fresh = trial.begin(*pair, now=time.time(), days=args.days, seed=secrets.randbits(62))
    server = survey.ask_server(seen.home, seen.config.lmstudio) if seen.home else None
    standing = trials.loaded(fresh, seen.world.models, server) is True
    fresh = replace(fresh, before=standing)
    begun = Trials(seen.stores.state).change(
        lambda before: fresh if before is None or before.ended is not None else before
    )
    if begun is not fresh:
        _refuse_while_one_runs(begun)
    alive.request_look()
    say("the trial has begun; `specd trial` shows how far it is, `specd trial stop` ends it")
    if (obstacle := _obstacle(fresh, seen)) is not None:
        print(wrap(obstacle, width(), ""))
    return 0


def _refuse_while_one_runs(last: Trial | None) -> None:
    if last is not None and last.ended is None:
        raise world.Unusable(f"a trial of {last.main} is running; `specd trial stop` ends it")


def _agreed() -> bool:
    if not sys.stdin.isatty():
        complain("--yes begins without the question")
        return False
    try:
        return input("Begin? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt) as ended:
        print("\nthe trial has not begun")
        raise SystemExit(130 if isinstance(ended, KeyboardInterrupt) else 2) from None


def render(running: Trial, found: Estimate, obstacle: str | None, columns: int) -> str:
    """How far the trial is, or what it found."""
    without, with_draft = found.loads
    loads = (
        f"{with_draft} with the draft, {without} without "
        f"({found.answers[1]} and {found.answers[0]} answers)"
    )
    rows = [("loads with answers", loads)]
    if found.speedup is not None:
        unsure = ", and two loads of each kind are needed to say how sure that is"
        speed = ratio(found.speedup, found.interval) + ("" if found.interval else unsure)
        rows.append(("speed-up so far", speed))
    rows += [(f"  {name}", f"{value:.2f}×") for name, value in found.parts]
    lines = [wrap(f"{running.main} ← {running.draft}", columns, " " * 4)]
    lead, indent = ("  {}\n    ", " " * 4) if columns < 60 else ("  {:<19}  ", " " * 23)
    lines += [lead.format(name) + wrap(text, columns, indent) for name, text in rows]
    for text in (_state(running, found, time.time()), *filter(None, [obstacle])):
        lines.append(f"  {wrap(text, columns, '  ')}")
    return "\n".join(lines)


def _state(running: Trial, found: Estimate, now: float) -> str:
    if running.ended is None:
        left = max(0.0, running.until - now) / trial.DAY_S
        when = f"it ends in {left:.1f} days at the latest"
        if found.needed is not None:
            return f"runs; a gain of this size is decided after about {found.needed} loads; {when}"
        return f"runs; {when}"
    at = datetime.fromtimestamp(running.ended).astimezone().strftime("%Y-%m-%d %H:%M")
    if running.ending == "decided" and found.speedup is not None:
        verdict = "the draft makes your work faster"
        if found.speedup < 1:
            verdict = f"the draft makes it slower: take {running.draft} out of specd.toml"
        return f"decided on {at}: {verdict}"
    return f"ended on {at} without a decision, as {_WHY[running.ending or 'stopped']}"


_WHY = {
    "decided": "it was decided",
    "time": "its days are over",
    "loads": "it had all its loads",
    "stopped": "you ended it",
    "restored": "LM Studio's settings were restored",
    "gone": "specd no longer configures its pair",
}


_STUCK = ("Unreadable", "ReadOnly", "WriteFailed")
"""Reasons of ``PairsConfigured`` that keep the drawn state from being written."""


def _obstacle(running: Trial, seen: world.Seen) -> str | None:
    """Why a running trial waits, with the remedy."""
    if running.ended is not None:
        return None
    try:
        status = ask.ask("GET", "/v1/status", state=seen.stores.state)
    except ask.CannotAsk:
        return "the trial waits: specd does not run; `specd start` starts it"
    if status["paused"]:
        return "the trial waits: specd is paused; `specd resume` lets it go on"
    for each in status["conditions"]:
        if each["type"] == "PairsConfigured" and each["reason"] in _STUCK:
            return f"the trial waits: {each['message']}"
    server = survey.ask_server(seen.home, seen.config.lmstudio) if seen.home else None
    if trials.loaded(running, seen.world.models, server) is None:
        return (
            "the trial waits: loads are seen on LM Studio's server, which does not list "
            f"{running.main}; `lms server start` starts it"
        )
    if running.before:
        return (
            f"{running.main} has been loaded since before the trial, which does not count: unload "
            "it, and the next load does"
        )
    return None

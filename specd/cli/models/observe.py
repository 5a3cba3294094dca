"""``specd observe``: speed and acceptance in the user's own chats."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, TypeAlias

from specd.bench.expected import ExpectedSpeed, expected
from specd.bench.observed import ObservedStore
from specd.bench.use import Observed, Use, accepted_per_round, by_pair, in_use
from specd.cli import world
from specd.cli.look import status
from specd.cli.paint import complain, dumps, paint, plural, safe, width, wrap
from specd.cli.parser import Parser
from specd.lmstudio import conversations, names
from specd.lmstudio.model import OWN_HEADS, Model
from specd.reconcile.stores import WORKER_MEMORY
from specd.worker.client import Limits, WorkerError, run_task

Promised: TypeAlias = Mapping[tuple[str, str], tuple[ExpectedSpeed, ...]]

READ_S = 600.0
READ_SHARE = 0.9
"""Reading takes this share of the time; the rest is for the sums."""


parser = Parser(
    prog="specd observe",
    description="Show how fast your own chats are, with and without a draft. Reads the "
    "figures LM Studio keeps with each answer, and never a word of text.",
    examples=("specd observe", "specd observe --json"),
    exit_codes={0: "done", 1: "not all could be read", 2: "switched off or no LM Studio home"},
)
parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Let a worker read new answers, and print all figures."""
    seen = world.see()
    if not seen.config.benchmark.observe_conversations:
        complain("your chats are not read: observe_conversations is false in specd.toml")
        return 2
    request = seen.stores.observe_request(
        conversations.directory(seen.home.path), READ_S * READ_SHARE
    )
    code = 0
    try:
        if sys.stderr.isatty():
            print("reading the figures in your chats …", file=sys.stderr)
        if not run_task("observe", request, limits=Limits(READ_S, WORKER_MEMORY))["done"]:
            complain("not all was read in time; run it again to go on")
            code = 1
    except WorkerError as error:
        complain(f"not all was read: {error}")
        code = 1
    sums = _one_name_each(seen.stores.observed, seen.world.models)
    promised = {
        (main, draft): expected(drafted, measured)
        for main, draft, drafted, _ in by_pair(sums.uses)
        if (measured := seen.measured(main, draft)) is not None
    }
    if args.json:
        print(dumps(to_json(sums, promised)))
    else:
        print(render(sums, promised, width()))
    return code


def _one_name_each(store: ObservedStore, installed: Sequence[Model]) -> Observed:
    """The sums with one name for each main: chats name the same model by key, file or number."""
    sums = store.sums()
    first: dict[str, str] = {}

    def name(main: str) -> str:
        try:
            return first.setdefault(names.resolve(main, installed).identifier, main)
        except names.NameProblem:
            return main

    asked = tuple(replace(each, main=name(each.main)) for each in sums.asked)
    return replace(sums, uses=store.uses(name), asked=asked)


def to_json(sums: Observed, promised: Promised) -> dict[str, Any]:
    """``{"read_at", "uses": [{main, draft, draft_tokens, answers, tps, …}], "pairs": […]}``.

    A pair's "expected" is what its latest benchmark promises on these prompts, by draft length.
    """
    return {
        "read_at": _time(sums.at),
        "uses": [
            {
                **asdict(use),
                "first": _time(use.first),
                "last": _time(use.last),
                "acceptance": use.acceptance,
                "weeks": [{**asdict(week), "start": _time(week.start)} for week in use.weeks],
            }
            for use in sums.uses
        ],
        "pairs": [
            {
                "main": main,
                "draft": draft,
                **asdict(in_use(drafted, plain)),
                "expected": [asdict(each) for each in promised.get((main, draft), ())],
            }
            for main, draft, drafted, plain in by_pair(sums.uses)
        ],
        "asked": [{**asdict(each), "last": _time(each.last)} for each in sums.asked],
    }


def render(sums: Observed, promised: Promised, columns: int) -> str:
    """Everything for people."""
    if not sums.uses:
        none = "no answers yet: LM Studio keeps its figures with chats made in the app"
        return wrap(none, columns, "  ")
    lines: list[str] = []
    for main in dict.fromkeys(use.main for use in sums.uses):
        lines += [paint(safe(main), "bold")]
        lines += [f"  {_use(use)}" for use in sums.uses if use.main == main]
        for pair_main, draft, drafted, plain in by_pair(sums.uses):
            if pair_main == main and plain:
                text = status.in_use(asdict(in_use(drafted, plain)))
                lines.append(f"  {wrap(f'{draft}: {text}', columns, ' ' * 4)}")
            if pair_main == main and (found := promised.get((main, draft))):
                lines.append(f"  {wrap(f'{draft}: {_promise(found)}', columns, ' ' * 4)}")
        for each in sums.asked:
            if each.main == main and each.ran == 0:
                text = (
                    f"{each.draft} was requested in {plural(each.answers, 'answer')} and never ran"
                )
                lines.append(f"  {paint('✗', 'red')} {safe(text)}")
    return "\n".join(lines)


def _promise(found: Sequence[ExpectedSpeed]) -> str:
    best = max(found, key=lambda each: each.tps)
    return (
        f"by the latest benchmark's costs, prompts like yours run at {best.tps:.1f} tokens/s "
        f"({best.speedup:.2f}×) with {plural(best.draft_tokens, 'draft token')}, the best of "
        f"{plural(len(found), 'length')} that your answers allow to compare"
    )


def _use(use: Use) -> str:
    draft = f"← {use.draft}" if use.draft else "without a draft"
    if use.draft == OWN_HEADS:
        draft = "with its own heads (mtp)"
    length = ""
    if use.draft_tokens is not None:
        length = f", {plural(use.draft_tokens, 'draft token')}"
    speed = f"{use.tps:.1f} tokens/s" if use.tps is not None else "speed not known"
    taken = f", {use.acceptance:.0%} accepted" if use.acceptance is not None else ""
    per_round = [
        f"{found:.1f} with {n}"
        for n in (1, 2, 3, 4, 6, 8)
        if (found := accepted_per_round(use.rounds, n)) is not None
    ]
    rounds = f"; accepted per round: {', '.join(per_round)}" if per_round else ""
    last = f", last on {_day(use.last)}" if use.last else ""
    return safe(f"{draft}{length}: {speed}{taken}, {plural(use.answers, 'answer')}{last}{rounds}")


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _day(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds).astimezone()
    return f"{moment.day} {moment:%b %Y}"

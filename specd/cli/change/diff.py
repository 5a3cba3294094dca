"""``specd diff``: what would change in LM Studio's files, as unified diffs; changes nothing."""

from __future__ import annotations

import argparse
import sys

from specd.agent import report
from specd.cli import world
from specd.cli.paint import Ink, complain, dumps, paint, safe, short, width, wrap
from specd.cli.parser import Parser
from specd.reconcile.conditions.files import remedy_of
from specd.reconcile.desired import DesiredPair
from specd.reconcile.plan import Plan, unified_diff

_INKS: dict[str, Ink] = {"+": "green", "-": "red", "@": "blue"}


parser = Parser(
    prog="specd diff",
    description="Show what `specd apply` would change in LM Studio's files, changing nothing.",
    examples=("specd diff", "specd diff --json"),
    exit_codes={0: "nothing to change", 1: "something would change", 2: "bad input"},
)
parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Plan and print."""
    seen = world.see()
    pairs = world.decide(seen)
    made = world.reconciler(seen, pairs, by="specd diff").plan()
    print_plan(made, pairs, as_json=args.json)
    if not made.edits and sys.stdout.isatty() and not args.json:
        print("nothing to change")
    return 1 if made.edits else 0


def print_plan(made: Plan, pairs: tuple[DesiredPair, ...], *, as_json: bool) -> None:
    """Print the plan for people or programs; obstacles go to standard error."""
    if as_json:
        print(dumps(report.plan(made)))
        return
    for edit in made.edits:
        for line in unified_diff(edit).splitlines():
            ink = _INKS.get(line[:1])
            text = _fitted(line) if sys.stdout.isatty() else safe(line.replace("\t", "    "))
            print(paint(text, ink))
    if made.held:
        held = ", ".join(change.key for _, change in made.held)
        complain(f"left alone since you restored it: {held}; `specd apply` sets it again")
    for obstacle in obstacles(made, pairs):
        complain(obstacle)


def obstacles(made: Plan, pairs: tuple[DesiredPair, ...]) -> list[str]:
    """Why LM Studio's files cannot be as specd.toml wants them; empty if they can."""
    stuck = [pair for pair in pairs if pair.state in ("missing", "refused", "waiting")]
    reasons = [f"{pair.name}: {pair.why}; {remedy_of(pair)}".removesuffix("; ") for pair in stuck]
    return [*(each.why for each in made.blocked), *reasons]


def _fitted(line: str) -> str:
    """``line`` for a terminal: wrapped below its first word."""
    lead = len(line) - len(line[1:].lstrip())
    if line.startswith(("--- ", "+++ ")):
        lead = 4
    start = line[:lead].expandtabs(4)
    return start + wrap(short(line[lead:].expandtabs(4)), width(), " " * len(start))

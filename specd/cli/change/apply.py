"""``specd apply``: make LM Studio's files as wanted, once, with or without the daemon."""

from __future__ import annotations

import argparse

from specd.cli import alive, ask, world
from specd.cli.change import diff
from specd.cli.paint import complain, say, short
from specd.cli.parser import NO_ANSWER, Parser
from specd.reconcile.apply import describe
from specd.reconcile.reconciler import Reconciler

parser = Parser(
    prog="specd apply",
    description="Make LM Studio's files as specd.toml wants them, now and once. Values that you "
    "restored are set again, and kept.",
    examples=("specd apply --dry-run", "specd apply"),
    exit_codes={
        0: "every value is as wanted",
        1: "not every value could be written",
        2: "bad input",
        **NO_ANSWER,
    },
)
parser.add_argument("--dry-run", action="store_true", help="only show what would change")


def run(args: argparse.Namespace) -> int:
    """Plan and write; print what was written."""
    seen = world.see()
    pairs = world.decide(seen)
    reconciler = world.reconciler(seen, pairs, by="specd apply", heeds_held=False)
    planned = reconciler.plan()
    if args.dry_run:
        diff.print_plan(planned, pairs, as_json=False)
        return 0
    try:  # a running daemon does it: it would not notice a release by another process
        answer = alive.give("/v1/apply", None)
        written, problems = answer["written"], answer["problems"]
    except ask.NotRunning:
        written, problems = _directly(seen, reconciler)
    for entry in filter(None, map(seen.stores.journal.get, written)):
        for change in entry.changes:
            undo = f"(undo: specd restore {entry.id})"
            say(f"{short(str(entry.path))}: {describe(change)} {undo}")
    if not written and not problems:
        print("nothing to change")
    complaints = [*problems, *diff.obstacles(planned, pairs)]
    for complaint in complaints:
        complain(complaint)
    return 1 if complaints else 0


def _directly(seen: world.Seen, reconciler: Reconciler) -> tuple[list[int], list[str]]:
    for line in seen.stores.clear(()):
        complain(line)
    seen.stores.journal.hand_over(released=True)
    done = reconciler.run(None, force=True)
    problems = [each.problem for each in done.applied if each.problem is not None]
    if done.overtaken or any(each.conflict and each.problem is None for each in done.applied):
        problems.append("LM Studio changed its files meanwhile; run `specd apply` again")
    return [each.journal_id for each in done.applied if each.journal_id is not None], problems

"""``specd apply``: make LM Studio's files as wanted, once, with or without the daemon."""

from __future__ import annotations

import argparse
import sys

from specd.cli import diff, world
from specd.reconcile.apply import describe


def parser() -> argparse.ArgumentParser:
    """The arguments of ``specd apply``."""
    made = argparse.ArgumentParser(
        prog="specd apply",
        description="Make LM Studio's files as specd.toml wants them, now and once. Values you had "
        "restored are taken under specd's care again.",
        epilog="examples: specd apply --dry-run; specd apply; "
        "exit code: 0 everything stands as wanted, 1 something could not be, 2 bad input",
    )
    made.add_argument("--dry-run", action="store_true", help="only show it, as `specd diff` does")
    return made


def run(args: argparse.Namespace) -> int:
    """Plan, write and say what was written."""
    try:
        seen = world.see()
    except world.Unusable as problem:
        print(f"specd: {problem}", file=sys.stderr)
        return 2
    if not args.dry_run:
        seen.stores.release()
    pairs = world.decide(seen)
    reconciler = world.reconciler(seen, pairs, by="specd apply")
    planned = reconciler.plan()
    if args.dry_run:
        diff.print_plan(planned, pairs, as_json=False)
        return 0
    done = reconciler.run(None, force=True)
    for applied in done.applied:
        for change in applied.edit.changes if applied.journal_id is not None else ():
            undo = f"specd restore {applied.journal_id}"
            print(f"{applied.edit.path}: {describe(change)} (undo: {undo})")
        if applied.problem is not None:
            print(f"specd: {applied.problem}", file=sys.stderr)
    if not done.applied:
        print("nothing to change")
    for blocked in planned.blocked:
        print(f"specd: {blocked.why}", file=sys.stderr)
    stuck = [pair for pair in pairs if pair.state in ("missing", "refused", "waiting")]
    for pair in stuck:
        print(f"specd: {pair.name}: {pair.why}", file=sys.stderr)
    failed = any(applied.problem is not None for applied in done.applied)
    return 1 if failed or planned.blocked or stuck else 0

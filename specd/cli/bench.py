"""``specd bench``: measure now, in the foreground, with progress."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from specd.bench import prompts
from specd.cli import check, world
from specd.lmstudio import names
from specd.lmstudio.model import Model
from specd.worker.client import Limits, WorkerError, run_task


def parser() -> argparse.ArgumentParser:
    """The arguments of ``specd bench``."""
    made = argparse.ArgumentParser(
        prog="specd bench",
        description="Measure whether a draft makes its main faster, and with which draft length. "
        "Without arguments, every pair of specd.toml.",
        epilog="example: specd bench qwen3-8b qwen3-0.6b --quick",
    )
    made.add_argument("main", nargs="?", metavar="MAIN", help="a model name or folder")
    made.add_argument("drafts", nargs="*", metavar="DRAFT", help="one or more drafts for MAIN")
    made.add_argument("--suite", choices=sorted(prompts.SUITES), default="standard")
    made.add_argument("--quick", action="store_true", help="short answers: a rough look")
    made.add_argument("--minutes", type=float, default=10.0, help="time limit (10)")
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def run(args: argparse.Namespace) -> int:
    """Measure and print; exit code 0 measured, 1 it could not be, 2 bad input."""
    try:
        stores, pairs = _pairs(args)
    except (world.Unusable, names.NameProblem) as problem:
        print(f"specd: {problem}", file=sys.stderr)
        return 2
    if not pairs:
        print("specd: there is no proven pair to measure; see `specd pairs`", file=sys.stderr)
        return 2
    request = stores.bench_request(
        pairs, suite=args.suite, quick=args.quick, seconds=args.minutes * 54
    )
    try:
        result = _measure(request, args.minutes * 60, show=not args.json)
    except WorkerError as error:
        print(f"specd: not measured: {error}", file=sys.stderr)
        return 1
    found = result["results"]
    if args.json:
        print(json.dumps(found[0] if len(found) == 1 else found, indent=2, ensure_ascii=False))
    else:
        for each in found:
            print(render(each))
    return 0


def _pairs(args: argparse.Namespace) -> tuple[Any, list[tuple[Model, Model]]]:
    words = [args.main, *args.drafts] if args.main else []
    if words and all(map(check.is_path, words)):
        stores = world.open_stores()
        main, *drafts = (check.find(word, ()) for word in words)
        return stores, [(main, draft) for draft in drafts]
    seen = world.see()
    if args.main is None:
        pairs = world.decide(seen)
        return seen.stores, seen.stores.worth_measuring(pairs, seen.world.models)
    main = check.find(args.main, seen.world.models)
    drafts = [check.find(each, seen.world.models) for each in args.drafts]
    if not drafts:
        pairs = tuple(p for p in world.decide(seen) if p.main == main)
        return seen.stores, seen.stores.worth_measuring(pairs, seen.world.models)
    return seen.stores, [(main, draft) for draft in drafts]


def _measure(request: dict[str, Any], seconds: float, *, show: bool) -> dict[str, Any]:
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not show) as bar:
        task = bar.add_task("starting", total=1.0)

        def step(said: dict[str, Any]) -> None:
            bar.update(task, description=said["step"], completed=said["done"])

        return run_task("bench", request, limits=Limits(seconds), on_progress=step)


def render(result: dict[str, Any]) -> str:
    """One result for people."""
    best = result["best"]
    lines = [
        f"{result['main']} ← {result['draft']}  (suite {result['suite']}, {result['engine']})",
        f"  without a draft   {result['baseline_tps']:.1f} tokens/s",
    ]
    shown = [each for each in result["lengths"] if each["draft_tokens"] in _SHOWN]
    lines.append("  draft tokens   acceptance   predicted tokens/s")
    lines += [
        f"  {each['draft_tokens']:>12}   {each['acceptance']:>10.0%}   "
        f"{each['predicted_tps']:>10.1f}  ({each['predicted_speedup']:.2f}×)"
        for each in shown
    ]
    measured, bounds = best["measured_speedup"], best["interval"]
    if measured is not None:
        span = f" [{bounds[0]:.2f}, {bounds[1]:.2f}]" if bounds else ""
        lines.append(f"  measured          {measured:.2f}×{span}")
    if best["draft_tokens"] == 0:
        lines.append("  verdict           no gain: this main is best without this draft here")
    else:
        lines.append(f"  verdict           {best['draft_tokens']} draft tokens")
    if not result["text_equal"]:
        lines.append("  caution           the texts with and without the draft differ")
    return "\n".join(lines)


_SHOWN = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16)

"""``specd history``: every benchmark that was run, for people, for programs, for a spreadsheet."""

from __future__ import annotations

import argparse
import csv
import json
import sys
import unicodedata
from collections import defaultdict
from dataclasses import asdict
from datetime import datetime
from typing import Any

from specd.bench.history import Run
from specd.bench.outcome import ratio
from specd.bench.result import BenchResult
from specd.cli import world
from specd.cli.models import charts
from specd.cli.paint import complain, dumps, paint, plural, safe, width, wrap
from specd.cli.parser import Parser, number
from specd.lmstudio.model import OWN_HEADS
from specd.reconcile.engine import REPETITIONS

SHOWN = 20

COLUMNS = (
    "id", "started_at", "main", "draft", "engine", "suite", "baseline_tps", "draft_tokens",
    "predicted_speedup", "measured_speedup", "low", "high", "text_equal", "model_seconds",
    "specd", "mlx-lm", "os", "machine", "load_average", "on_battery", "thermal", "main_files",
    "draft_files",
)  # fmt: skip
"""The columns of ``--csv``; those after ``model_seconds`` are of the circumstances."""


parser = Parser(
    prog="specd history",
    description="Show every benchmark that was run, the newest first. With a number, all that "
    "is known of one: figures, circumstances, and how to measure the same again.",
    examples=("specd history --csv > runs.csv", "specd history 12"),
    exit_codes={0: "shown", 2: "there is no such run"},
)
parser.add_argument("run", nargs="?", type=number, metavar="RUN", help="the number of one run")
parser.add_argument(
    "--limit", type=number, metavar="N", help=f"at most so many ({SHOWN}; all for JSON and CSV)"
)
form = parser.add_mutually_exclusive_group()
form.add_argument("--json", action="store_true", help="print JSON")
form.add_argument("--csv", action="store_true", help="print comma-separated values")


def run(args: argparse.Namespace) -> int:
    """Print the history, or one run."""
    history = world.open_stores().history
    everything = 1_000_000 if args.json or args.csv else SHOWN
    runs = history.runs(everything if args.limit is None else args.limit)
    if args.run is not None:
        found = history.run(args.run)
        if found is None:
            complain(f"there is no run {args.run}; `specd history` lists them")
            return 2
        runs = (found,)
    if args.json:
        print(dumps([to_json(each) for each in runs]))
    elif args.csv:
        write_csv(runs)
    elif args.run is not None:
        print(render_one(runs[0], width()))
    else:
        print(render(runs, width()))
    return 0


def to_json(each: Run) -> dict[str, Any]:
    """``{"id", …the result's own members…, "context": {…}}``."""
    return {"id": each.id, **asdict(each.result), "context": each.context}


def write_csv(runs: tuple[Run, ...]) -> None:
    """One line per run, to standard output."""
    writer = csv.DictWriter(sys.stdout, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for each in runs:
        used = each.result.used
        low, high = used.interval or (None, None)
        row = {**each.context, **asdict(each.result), **asdict(each.result.best), "id": each.id}
        row |= {"measured_speedup": used.measured_speedup, "low": low, "high": high}
        writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: object) -> object:
    """The value, safe for a spreadsheet: text becomes no formula and no second row."""
    if not isinstance(value, str):
        return value
    text = safe(value)
    return f"'{text}" if unicodedata.normalize("NFKC", text[:1]) in ("=", "+", "-", "@") else text


def render(runs: tuple[Run, ...], columns: int) -> str:
    """The runs as a table, then a plot of every pair that was measured several times."""
    if not runs:
        return wrap("nothing has been measured yet; `specd bench` does it now", columns, "  ")
    heading = _row(f"{'no.':>5}  {'when':<16}  {'speed-up':<19}", "pair", columns)
    lines = [paint(heading, "bold")]
    for each in runs:
        head = f"{each.id:>5}  {when(each.result.started_at)}  {speedup(each.result):<19}"
        pair = f"{each.result.main} ← {each.result.draft}"
        lines.append(_row(head, f"{pair}, {length(each.result)}, {each.result.engine}", columns))
    by_pair: dict[str, list[Run]] = defaultdict(list)
    for each in runs:
        by_pair[f"{each.result.main} ← {each.result.draft}"].append(each)
    for name, of_pair in by_pair.items():
        if drawn := charts.speedups(of_pair, columns):
            lines += ["", paint(safe(name), "bold"), drawn]
    return "\n".join(lines)


def _row(head: str, tail: str, columns: int) -> str:
    """Both on one line; on a terminal that is too narrow, wrapped below the number."""
    tail = safe(tail)
    if len(head) + 2 + len(tail) <= columns or not sys.stdout.isatty():
        return f"{head}  {tail}"
    return f"{head[:7]}{wrap(f'{head[7:]} {tail}', columns, ' ' * 7)}"


def render_one(each: Run, columns: int) -> str:
    """One run with everything stored about it."""
    result = each.result
    lines = [
        paint(safe(f"{result.main} ← {result.draft}"), "bold"),
        f"  run {each.id}, {when(result.started_at)}, {result.engine}, suite {result.suite}",
        f"  {result.baseline_tps:.1f} tokens/s without a draft",
        f"  {speedup(result)}, {length(result)}; {result.model_seconds:.0f} s of generating",
    ]
    lines += [f"  note: {safe(note)}" for note in result.notes]
    if drawn := charts.lengths(result, columns):
        lines += ["", drawn]
    if bars := charts.classes(result):
        lines += ["", "  accepted, by class of prompts", bars]
    lines += ["", f"  again: {safe(command(each))}", "  measured on"]
    lines += [f"    {safe(name)}: {safe(_plain(value))}" for name, value in each.context.items()]
    return "\n".join(lines)


def command(each: Run) -> str:
    """The command that measures the same again."""
    result = each.result
    # "auto" takes llama.cpp for every GGUF main, and repetitions are measured beside any draft.
    engine = f" --engine {'auto' if result.engine == 'llama.cpp' else result.engine}"
    draft = OWN_HEADS if result.draft == REPETITIONS else result.draft
    heat = result.at_temperature.temperature if result.at_temperature else 0
    quick = " --quick" if each.context.get("quick") else ""
    words = f"{result.main} {draft}{engine} --suite {result.suite} --temperature {heat:g}{quick}"
    return f"specd bench {words}"


def speedup(result: BenchResult) -> str:
    """The measured speed-up with its interval, in words."""
    if result.used.measured_speedup is None and not result.far_slower:
        return "not confirmed"
    return ratio(result.speedup, result.used.interval)


def length(result: BenchResult) -> str:
    """The chosen draft length, in words."""
    tokens = result.best.draft_tokens
    return plural(tokens, "draft token") if tokens else "no draft is best"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def when(time_of: str) -> str:
    """A time of the history, here and to the minute."""
    return datetime.fromisoformat(time_of).astimezone().strftime("%Y-%m-%d %H:%M")

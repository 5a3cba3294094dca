"""``specd bench compare A B``: two runs side by side, and whether they differ at all."""

from __future__ import annotations

import argparse
from typing import Any

from specd.bench.circumstances import REASONS
from specd.bench.history import Run
from specd.cli import world
from specd.cli.models import history
from specd.cli.paint import complain, dumps, safe, width, wrap
from specd.cli.parser import Parser, number

CIRCUMSTANCES = (*REASONS, "specd", "machine", "on_battery", "thermal")
"""Circumstances that may explain a difference, by their names in a run's context."""


parser = Parser(
    prog="specd bench compare",
    description="Compare two runs of the history. They differ where their intervals "
    "do not overlap; what else differs between them is listed. `specd history` lists the runs.",
    exit_codes={0: "shown", 2: "there is no such run"},
)
parser.add_argument("one", type=number, metavar="A", help="the number of a run")
parser.add_argument("other", type=number, metavar="B", help="the number of another")
parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Look both up and print."""
    kept = world.open_stores().history
    one, other = (kept.run(number) for number in (args.one, args.other))
    if one is None or other is None:
        missing = args.one if one is None else args.other
        complain(f"there is no run {missing}; `specd history` lists them")
        return 2
    compared = compare(one, other)
    print(dumps(compared) if args.json else render(one, other, compared))
    return 0


def compare(one: Run, other: Run) -> dict[str, Any]:
    """``{"a", "b", "baseline_ratio", "speedup_ratio", "differ", "changed"}``.

    The ratios are B's over A's, None where either was not measured. ``differ`` is whether the
    intervals of the speed-ups do not overlap, None where either has none. ``changed`` maps what
    differs between the circumstances to [A's, B's].
    """
    a, b = one.result.used, other.result.used
    ratio = None
    if a.measured_speedup and b.measured_speedup:
        ratio = b.measured_speedup / a.measured_speedup
    differ = None
    if a.interval is not None and b.interval is not None:
        differ = a.interval[0] > b.interval[1] or b.interval[0] > a.interval[1]
    return {
        "a": history.to_json(one),
        "b": history.to_json(other),
        "baseline_ratio": other.result.baseline_tps / one.result.baseline_tps,
        "speedup_ratio": ratio,
        "differ": differ,
        "changed": {
            name: [before, now]
            for name in ("main", "draft", "engine", "suite", *CIRCUMSTANCES)
            if (before := _known(one, name)) != (now := _known(other, name))
        },
    }


def _known(each: Run, name: str) -> Any:
    own = {name: getattr(each.result, name) for name in ("main", "draft", "engine", "suite")}
    return own.get(name, each.context.get(name))


def _shown(run: Run) -> tuple[str, ...]:
    found = run.result
    speed = f"{found.baseline_tps:.1f} tokens/s"
    return history.when(found.started_at), speed, history.speedup(found), history.length(found)


def render(one: Run, other: Run, compared: dict[str, Any]) -> str:
    """Both runs for people."""
    lines = [
        wrap(safe(f"run {each.id}: {each.result.main} ← {each.result.draft}"), width(), "  ")
        for each in (one, other)
    ]
    rows = [("", f"run {one.id}", f"run {other.id}")]
    rows += zip(
        ("when", "without a draft", "speed-up", "draft length"),
        _shown(one),
        _shown(other),
        strict=True,
    )
    wide = max(len(row[1]) for row in rows)
    lines += ["", *(f"{what:<15}  {a:<{wide}}  {b}".rstrip() for what, a, b in rows)]
    verdict = {
        True: "the speed-ups differ: their intervals do not overlap",
        False: "the speed-ups do not differ beyond the noise",
        None: "whether they differ is not known: one has no interval",
    }[compared["differ"]]
    lines += ["", verdict]
    lines += [
        f"  {wrap(safe(f'{name}: {before} → {now}'), width(), ' ' * 4)}"
        for name, (before, now) in compared["changed"].items()
    ]
    return "\n".join(lines)

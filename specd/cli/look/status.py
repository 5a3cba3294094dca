"""``specd status``: how things stand, on one screen.

Imports nothing heavy: this command is typed often, and measured against an empty interpreter.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import datetime
from typing import Any

from specd.cli import ask
from specd.cli.paint import Ink, paint, short, wants_colour, width, wrap
from specd.cli.parser import Parser

HEALTHY, DEGRADED = 0, 1

NARROW = 70
"""Columns below which what is said of a condition stands below its name."""

LONGEST_VALUE = 60
"""Characters shown of a value that was written; the path of a model in two folders fits."""

# ECMA-48: drawing over the old screen line by line does not flicker, as clearing it first would.
TO_TOP, NEWLINE, ERASED, REST_ERASED = "\x1b[H", "\n", "\x1b[K\n", "\x1b[K\n\x1b[J"

_MARKS: dict[str, tuple[str, Ink]] = {
    "true": ("✓", "green"),
    "false": ("✗", "red"),
    "unknown": ("·", "grey"),
}


def parser() -> Parser:
    """The arguments of ``specd status``."""
    made = Parser(
        prog="specd status",
        description="Show how things stand: conditions, pairs, last writes, next benchmark.",
        examples=("specd status", "specd status --watch", "specd status --json | jq .state"),
        exit_codes={
            0: "healthy",
            1: "a condition is false",
            3: "specd is not running",
            4: "it hangs",
            5: "it is of another version",
            6: "its socket is another user's",
        },
    )
    made.add_argument("--json", action="store_true", help="print the daemon's answer as JSON")
    made.add_argument(
        "--watch",
        action="store_true",
        help="keep showing it until Ctrl-C; with --json, one line every second",
    )
    return made


def run(args: argparse.Namespace) -> int:
    """Ask the daemon and print its answer."""
    if not args.watch:
        code, shown = _look(as_json=args.json, indent=2)
        # What went wrong is no answer: it must not reach a program that reads standard output.
        print(shown, file=sys.stdout if args.json or code in (HEALTHY, DEGRADED) else sys.stderr)
        return code
    code = HEALTHY
    try:
        while True:
            code, shown = _look(as_json=args.json, indent=None)
            live = sys.stdout.isatty() and not args.json
            print(f"{TO_TOP}{shown.replace(NEWLINE, ERASED)}{REST_ERASED}" if live else shown)
            sys.stdout.flush()
            time.sleep(1)
    except KeyboardInterrupt:
        return code


def _look(*, as_json: bool, indent: int | None) -> tuple[int, str]:
    """The exit code, and what to print."""
    try:
        answer = ask.ask("GET", "/v1/status")
    except ask.CannotAsk as problem:
        told = json.dumps({"state": "stopped", "error": str(problem)}, indent=indent)
        return problem.exit_code, told if as_json else f"specd: {problem}"
    code = HEALTHY if answer["state"] == "healthy" else DEGRADED
    if as_json:
        return code, json.dumps(answer, indent=indent, ensure_ascii=False)
    return code, render(answer, width(), colour=wants_colour())


def render(status: dict[str, Any], columns: int, *, colour: bool) -> str:
    """The screen: at most ``columns`` wide where words allow it."""
    lines = [_headline(status, columns, colour=colour), ""]
    lines += [_condition(each, columns, colour=colour) for each in status["conditions"]]
    if status["pairs"]:
        lines += ["", paint("Pairs", "bold", colour=colour)]
        lines += [_pair(each, columns, colour=colour) for each in status["pairs"]]
    lines += ["", paint("Last writes", "bold", colour=colour), *_writes(status, columns)]
    lines += ["", *_tail(status, columns)]
    return "\n".join(lines)


def _headline(status: dict[str, Any], columns: int, *, colour: bool) -> str:
    ink: Ink = "green" if status["state"] == "healthy" else "red"
    parts = [
        f"specd {status['version']}: {status['state']}",
        "paused" * status.get("paused", False),
    ]
    parts += [f"up {_span(status['uptime_s'])}", short(status["home"] or "no LM Studio home")]
    line = wrap(" · ".join(filter(None, parts)), columns, "  ")
    line = line.replace(status["state"], paint(status["state"], ink, colour=colour), 1)
    return line.replace(" · paused", f" · {paint('paused', 'yellow', colour=colour)}", 1)


def _condition(condition: dict[str, Any], columns: int, *, colour: bool) -> str:
    mark, ink = _MARKS[condition["status"]]
    narrow = columns < NARROW
    indent = " " * (4 if narrow else 24)
    name = f"{condition['type']}\n{indent}" if narrow else f"{condition['type']:<20}  "
    lead = f"{paint(mark, ink, colour=colour)} {name}"
    if condition["status"] != "false":
        return f"{lead}{wrap(short(condition['message']), columns, indent)}"
    step = wrap(f"→ {short(condition['remedy'])}", columns, f"{indent}  ")
    return (
        f"{lead}{wrap(short(condition['message']), columns, indent)}\n"
        f"{indent}{paint(step, 'bold', colour=colour)}"
    )


def _pair(pair: dict[str, Any], columns: int, *, colour: bool) -> str:
    draft = pair["draft"] or "(no draft)"
    length = "LM Studio's default length"
    if pair["draft_tokens"] is not None:
        length = f"{pair['draft_tokens']} draft tokens"
    gain = pair.get("gain") or "not measured"
    if pair.get("measured_at"):
        gain += f", {_ago(pair['measured_at'])}"
    if pair.get("stale"):
        gain += f", stale: {', '.join(pair['stale'])}"
    name = paint(wrap(f"{pair['main']} ← {draft}", columns, " " * 4), "bold", colour=colour)
    facts = f"{pair['verdict'] or 'no verdict yet'} · {length} · {gain}"
    lines = f"  {name}\n    {wrap(facts, columns, ' ' * 4)}"
    if pair.get("state") != "wanted" and pair.get("why"):
        lines += f"\n    {wrap(pair['why'], columns, ' ' * 4)}"
    observed = pair.get("observed")
    if observed and observed["drafted"]:
        share = observed["accepted"] / observed["drafted"]
        lines += f"\n    seen in use: {share:.0%} of {observed['drafted']} draft tokens accepted"
    if pair.get("in_use"):
        lines += f"\n    {wrap(in_use(pair['in_use']), columns, ' ' * 4)}"
    return lines


def in_use(used: dict[str, Any]) -> str:
    """What the user's own answers show of a pair, in words."""
    sides = [
        f"{used[speed]:.1f} tokens/s {which} over {used[count]} answer{'s'[: used[count] != 1]}"
        for count, speed, which in (
            ("answers", "tps", "with the draft"),
            ("baseline_answers", "baseline_tps", "without"),
        )
        if used[speed] is not None
    ]
    if not sides:
        return "your own chats: no speeds yet"
    ratio = f" ({used['speedup']:.2f}×)" if used["speedup"] is not None else ""
    caution = f"; caution: {used['caution']}" if used["caution"] else ""
    return f"your own chats: {', '.join(sides)}{ratio}{caution}"


def _writes(status: dict[str, Any], columns: int) -> list[str]:
    writes = status["last_writes"]
    if not writes:
        return [f"  {wrap('nothing that specd wrote stands in the files now', columns, '  ')}"]
    lines: list[str] = []
    for write in writes:
        # The headline says where LM Studio's home is.
        path = write["path"].removeprefix(f"{status['home']}/")
        what = f"{_ago(write['time'])}: {short(path)}"
        lines.append(f"{write['id']:>5}  {wrap(what, columns, ' ' * 7)}")
        lines += [
            f"{' ' * 7}{wrap(_changed(change), columns, ' ' * 9)}" for change in write["changes"]
        ]
    lines.append(f"  {wrap('`specd restore NUMBER` undoes one', columns, '  ')}")
    return lines


def _changed(change: dict[str, Any]) -> str:
    return f"{change['key']}: {_value(change['old'])} → {_value(change['new'])}"


def _value(value: object) -> str:
    if value is None:
        return "(unset)"
    told = json.dumps(value, ensure_ascii=False)
    return told if len(told) <= LONGEST_VALUE else f"{told[: LONGEST_VALUE - 1]}…"


def _tail(status: dict[str, Any], columns: int) -> list[str]:
    lines: list[str] = []
    if status.get("held"):
        held = f"left alone since you restored it: {', '.join(status['held'])}"
        lines.append(f"Held            {wrap(held, columns, ' ' * 16)}")
    lines += [
        f"Fault           {wrap(fault, columns, ' ' * 16)}" for fault in status.get("faults", ())
    ]
    upcoming = status.get("benchmark") or _when(status["next_benchmark"])
    lines.append(f"Next benchmark  {wrap(upcoming, columns, ' ' * 16)}")
    return lines


def _when(time_of: str | None) -> str:
    if time_of is None:
        return "none scheduled"
    return datetime.fromisoformat(time_of).astimezone().strftime("%a %d %b %H:%M")


def _ago(time_of: str) -> str:
    passed = datetime.now().astimezone() - datetime.fromisoformat(time_of)
    return f"{_span(max(0.0, passed.total_seconds()))} ago"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

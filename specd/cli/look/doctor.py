"""``specd doctor``: look at everything that could be wrong, and say what to do about it."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from specd.cli.look.checks import Finding, Grade, examine
from specd.cli.paint import Ink, dumps, paint, wants_colour, width, wrap
from specd.cli.parser import Parser

_MARKS: dict[Grade, tuple[str, Ink]] = {
    "ok": ("✓", "green"),
    "note": ("·", "grey"),
    "fail": ("✗", "red"),
}

NAME = 29


def parser() -> Parser:
    """The arguments of ``specd doctor``."""
    made = Parser(
        prog="specd doctor",
        description="Check everything from Python to LM Studio's files, and say what to do about "
        "what is wrong. Changes nothing.",
        examples=("specd doctor", "specd doctor --json"),
        exit_codes={0: "nothing is wrong", 1: "something is"},
    )
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def run(args: argparse.Namespace) -> int:
    """Examine and report."""
    found = examine()
    if args.json:
        print(dumps([asdict(each) for each in found]))
    else:
        for each in found:
            print(_shown(each, width(), colour=wants_colour()))
    wrong = sum(each.grade == "fail" for each in found)
    if not args.json:
        print(f"\n{wrong} of {len(found)} checks failed" if wrong else "\nnothing is wrong")
    return 1 if wrong else 0


def _shown(finding: Finding, columns: int, *, colour: bool) -> str:
    mark, ink = _MARKS[finding.grade]
    lead = f"{paint(mark, ink, colour=colour)} {finding.name:<{NAME}}"
    narrow = columns < 70
    indent = " " * 4 if narrow else " " * (NAME + 2)
    text = wrap(finding.says, columns, indent)
    shown = f"{lead.rstrip()}\n{indent}{text}" if narrow else f"{lead}{text}"
    if finding.remedy:
        advice = wrap(f"→ {finding.remedy}", columns, f"{indent}  ")
        shown += f"\n{indent}{paint(advice, 'bold', colour=colour)}"
    return shown

"""``specd doctor``: check everything that could be wrong, and say what to do about it."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from specd.agent import selftest
from specd.cli.look.checks import Finding, Grade, examine
from specd.cli.paint import Ink, dumps, paint, say, short, width, wrap
from specd.cli.parser import Parser
from specd.cli.world import configuration_or_default
from specd.lmstudio import home as homes

_MARKS: dict[Grade, tuple[str, Ink]] = {
    "ok": ("✓", "green"),
    "note": ("·", "grey"),
    "fail": ("✗", "red"),
}

NAME = 29


parser = Parser(
    prog="specd doctor",
    description="Check everything from Python to LM Studio's files, and say what to do about "
    "what is wrong. Changes nothing.",
    examples=("specd doctor", "specd doctor --json", "specd doctor --self-test"),
    exit_codes={0: "nothing is wrong", 1: "something is"},
)
parser.add_argument("--json", action="store_true", help="print JSON")
parser.add_argument(
    "--self-test",
    action="store_true",
    help="try on this machine what specd relies on (under a minute), and print a report "
    "that can be pasted into an issue",
)


def run(args: argparse.Namespace) -> int:
    """Examine and report."""
    if args.self_test:
        return _self_test(as_json=args.json)
    found = examine()
    if args.json:
        print(dumps([asdict(each) for each in found]))
    else:
        for each in found:
            print(_shown(each, width()))
    wrong = sum(each.grade == "fail" for each in found)
    if not args.json:
        print(f"\n{wrong} of {len(found)} checks failed" if wrong else "\nnothing is wrong")
    return 1 if wrong else 0


def _self_test(*, as_json: bool) -> int:
    home = homes.find_home(configuration_or_default().lmstudio.home)
    results = []
    if not as_json:
        say(selftest.machine())
    for each in selftest.run(home):
        results.append(each)
        if not as_json:
            mark = "ok  " if each.passed else "FAIL"
            say(short(f"{mark} {each.name:<24} {each.seconds:5.2f} s  {each.says}"))
    if as_json:
        print(dumps({"machine": selftest.machine(), "checks": [asdict(r) for r in results]}))
    return 0 if all(each.passed for each in results) else 1


def _shown(finding: Finding, columns: int) -> str:
    mark, ink = _MARKS[finding.grade]
    lead = f"{paint(mark, ink)} {finding.name:<{NAME}}"
    narrow = columns < 70
    indent = " " * 4 if narrow else " " * (NAME + 2)
    text = wrap(finding.says, columns, indent)
    shown = f"{lead.rstrip()}\n{indent}{text}" if narrow else f"{lead}{text}"
    if finding.remedy:
        advice = wrap(f"→ {finding.remedy}", columns, f"{indent}  ")
        shown += f"\n{indent}{paint(advice, 'bold')}"
    return shown

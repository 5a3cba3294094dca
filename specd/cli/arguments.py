"""Arguments that are wrong answer with the nearest that is right."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import NoReturn


def parse(made: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The parsed arguments; exit code 2 with one line of help where they make no sense."""

    def complain(message: str) -> NoReturn:
        print(f"{made.prog}: {message}{_nearest(made, message)}", file=sys.stderr)
        print(f"`{made.prog} --help` explains its arguments", file=sys.stderr)
        raise SystemExit(2)

    made.error = complain  # type: ignore[method-assign] # argparse asks for a subclass per parser
    if {"-h", "--help"} & set(words):
        lay_out(made)
    return made.parse_args(words)


def lay_out(made: argparse.ArgumentParser) -> None:
    """Have its help show every example and every exit code on a line of its own."""
    columns = shutil.get_terminal_size().columns - 2
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.description = textwrap.fill(made.description or "", columns)
    lines: list[str] = []
    for heading, items in sections(made.epilog or ""):
        lines.append(f"\n{heading}:" if lines else f"{heading}:")
        lines += [
            textwrap.indent(textwrap.fill(each, columns - 4, subsequent_indent="  "), "  ")
            for each in items
        ]
    made.epilog = "\n".join(lines)


def sections(epilog: str) -> list[tuple[str, list[str]]]:
    """What an epilog ("examples: …; …; exit code: 0 …, 1 …") says, by its headings."""
    found: list[tuple[str, list[str]]] = []
    for part in epilog.split("; ") if epilog else ():
        heading, colon, item = part.partition(": ")
        if not colon or heading.startswith("specd "):
            heading, item = "", part
        if heading:
            found.append((heading, []))
        found[-1][1].extend(re.split(r", (?=\d )", item))
    return found


def _nearest(made: argparse.ArgumentParser, message: str) -> str:
    unknown = re.match(r"unrecognized arguments: (-\S*)", message)
    if unknown:
        return _close(unknown[1].partition("=")[0], _flags(made))
    choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
    if choice:
        return _close(choice[1], re.findall(r"[\w-]+", choice[2]))
    return ""


def _flags(made: argparse.ArgumentParser) -> Iterable[str]:
    for action in made._actions:  # noqa: SLF001 - argparse offers no public way to list them
        yield from action.option_strings
        if isinstance(action.choices, dict):
            for inner in action.choices.values():
                yield from _flags(inner)


def _close(word: str, known: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415 - nothing is wrong, as a rule

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""

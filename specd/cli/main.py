"""``specd COMMAND``: one line per command, each loaded only when it is called.

``specd status`` has to answer within a few times an empty interpreter's start, so nothing heavy is
imported here, and every command imports what it needs itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import argparse


class Command(Protocol):
    """What a command module offers."""

    def parser(self) -> argparse.ArgumentParser:
        """The command's own argument parser, with help and examples."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit code."""


def _demo() -> Command:
    from specd.cli import demo

    return demo


def _run() -> Command:
    from specd.cli import run

    return run


COMMANDS: dict[str, Callable[[], Command]] = {
    "demo": _demo,
    "run": _run,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the ``specd`` script."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = COMMANDS[words[0]]()
    return command.run(command.parser().parse_args(words[1:]))

"""The commands, in the order in which help lists them; each is imported only when it is called."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import argparse


class Command(Protocol):
    """What a command offers: a module, or an object in one."""

    def parser(self) -> argparse.ArgumentParser:
        """The command's own argument parser, with help and examples."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit code."""


_WHERE = {
    "install": "specd.cli.install",
    "uninstall": "specd.cli.uninstall",
    "start": "specd.cli.service:START",
    "stop": "specd.cli.service:STOP",
    "restart": "specd.cli.service:RESTART",
    "run": "specd.cli.run",
    "status": "specd.cli.status",
    "explain": "specd.cli.explain",
    "doctor": "specd.cli.doctor",
    "logs": "specd.cli.logs",
    "report": "specd.cli.report",
    "metrics": "specd.cli.metrics",
    "config": "specd.cli.config",
    "diff": "specd.cli.diff",
    "apply": "specd.cli.apply",
    "restore": "specd.cli.restore",
    "pause": "specd.cli.pause",
    "resume": "specd.cli.resume",
    "pairs": "specd.cli.pairs",
    "check": "specd.cli.check",
    "bench": "specd.cli.bench",
    "history": "specd.cli.history",
    "observe": "specd.cli.observe",
    "cache": "specd.cli.cache",
    "demo": "specd.cli.demo",
    "completion": "specd.cli.completion",
    "man": "specd.cli.man",
}

HEADINGS = {
    "install": "have it run",
    "status": "see how things stand",
    "config": "say what you want, and undo it",
    "pairs": "find out about models",
    "demo": "more",
}
"""What the commands from there on are for."""


def _load(where: str) -> Command:
    module, _, name = where.partition(":")
    command: Command = import_module(module)
    return getattr(command, name) if name else command


COMMANDS: dict[str, Callable[[], Command]] = {
    name: partial(_load, where) for name, where in _WHERE.items()
}

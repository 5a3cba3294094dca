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
    "install": "specd.cli.setup.install",
    "uninstall": "specd.cli.setup.uninstall",
    "start": "specd.cli.setup.service:START",
    "stop": "specd.cli.setup.service:STOP",
    "restart": "specd.cli.setup.service:RESTART",
    "run": "specd.cli.setup.run",
    "status": "specd.cli.look.status",
    "explain": "specd.cli.look.explain",
    "doctor": "specd.cli.look.doctor",
    "logs": "specd.cli.look.logs",
    "report": "specd.cli.look.report",
    "metrics": "specd.cli.look.metrics",
    "config": "specd.cli.change.config",
    "diff": "specd.cli.change.diff",
    "apply": "specd.cli.change.apply",
    "restore": "specd.cli.change.restore",
    "pause": "specd.cli.change.pause",
    "resume": "specd.cli.change.resume",
    "pairs": "specd.cli.models.pairs",
    "check": "specd.cli.models.check",
    "bench": "specd.cli.models.bench",
    "history": "specd.cli.models.history",
    "observe": "specd.cli.models.observe",
    "cache": "specd.cli.models.cache",
    "demo": "specd.cli.more.demo",
    "completion": "specd.cli.more.completion",
    "man": "specd.cli.more.man",
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

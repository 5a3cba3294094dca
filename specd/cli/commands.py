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
    "status": "specd.cli.status",
    "diff": "specd.cli.diff",
    "apply": "specd.cli.apply",
    "check": "specd.cli.check",
    "pairs": "specd.cli.pairs",
    "cache": "specd.cli.cache",
    "bench": "specd.cli.bench",
    "history": "specd.cli.history",
    "observe": "specd.cli.observe",
    "restore": "specd.cli.restore",
    "pause": "specd.cli.pause",
    "resume": "specd.cli.resume",
    "logs": "specd.cli.logs",
    "explain": "specd.cli.explain",
    "doctor": "specd.cli.doctor",
    "report": "specd.cli.report",
    "config": "specd.cli.config",
    "install": "specd.cli.install",
    "uninstall": "specd.cli.uninstall",
    "start": "specd.cli.service:START",
    "stop": "specd.cli.service:STOP",
    "restart": "specd.cli.service:RESTART",
    "run": "specd.cli.run",
    "demo": "specd.cli.demo",
    "metrics": "specd.cli.metrics",
    "completion": "specd.cli.completion",
    "man": "specd.cli.man",
}


def _load(where: str) -> Command:
    module, _, name = where.partition(":")
    command: Command = import_module(module)
    return getattr(command, name) if name else command


COMMANDS: dict[str, Callable[[], Command]] = {
    name: partial(_load, where) for name, where in _WHERE.items()
}

"""The commands, in the order in which help lists them; each is imported when it is called."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import argparse

    from specd.cli.parser import Parser


class Module(Protocol):
    """The interface of a command's module."""

    @property
    def parser(self) -> Parser:
        """The command's own argument parser, with help and examples."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit code."""


class Command(NamedTuple):
    """``about`` is its line in ``specd --help``.

    A named tuple, because importing dataclasses takes as long as starting Python.
    """

    name: str
    about: str

    def load(self) -> Module:
        """Import it; garbage is not collected meanwhile, since imports leave none."""
        gc.disable()
        try:
            return _load(self.name)
        finally:
            gc.enable()


GROUPS: dict[str, tuple[Command, ...]] = {
    "have it run": (
        Command("install", "set specd up, or bring it up to date"),
        Command("uninstall", "stop the service and remove it"),
        Command("start", "start the service"),
        Command("stop", "stop specd until it is started again"),
        Command("restart", "stop and start the service"),
        Command("run", "run the daemon in this terminal"),
    ),
    "see how things stand": (
        Command("status", "the state of everything, at one glance"),
        Command("explain", "explain a condition, a model or a pair"),
        Command("doctor", "check everything, and say what to do"),
        Command("logs", "what specd did and why"),
        Command("report", "everything as one HTML page"),
        Command("metrics", "metrics for Prometheus"),
    ),
    "say what you want, and undo it": (
        Command("config", "show, check and change specd.toml"),
        Command("diff", "what `specd apply` would change"),
        Command("apply", "write what specd.toml asks for, now"),
        Command("restore", "undo what specd wrote"),
        Command("pause", "write nothing until `specd resume`"),
        Command("resume", "write again"),
    ),
    "find out about models": (
        Command("pairs", "which installed models may draft for which"),
        Command("check", "whether a draft fits a main model, and why"),
        Command("bench", "measure whether a draft is faster"),
        Command("history", "every benchmark that was run"),
        Command("trial", "whether the draft makes your own work faster"),
        Command("observe", "speed in your own chats"),
        Command("cache", "where LM Studio's cache of drafts is wrong"),
    ),
    "more": (
        Command("demo", "see specd at work in a sandbox"),
        Command("completion", "completion for your shell"),
        Command("man", "the manual page"),
    ),
}
"""The commands by what a person does."""

COMMANDS = {each.name: each for group in GROUPS.values() for each in group}

ALIASES = {
    "list": "pairs",
    "ls": "pairs",
    "models": "pairs",
    "why": "explain",
    "log": "logs",
    "undo": "restore",
    "reset": "restore",
    "off": "pause",
    "disable": "pause",
    "on": "resume",
    "enable": "resume",
    "setup": "install",
    "benchmark": "bench",
    "update": "install",
    "upgrade": "install",
}
"""Words that people try, and the command that they mean."""

LIKELY = {
    "remove": "uninstall",
    "init": "install",
    "repair": "doctor",
    "fix": "doctor",
    "test": "doctor",
    "settings": "config",
    "edit": "config edit",
}
"""Words that may mean a command: it is named, and not run."""


def _load(name: str) -> Module:  # noqa: C901, PLR0912, PLR0915 - a table that mypy can follow
    found: Module
    match name:
        case "install":
            from specd.cli.setup import install as found
        case "uninstall":
            from specd.cli.setup import uninstall as found
        case "start" | "stop" | "restart":
            from specd.cli.setup import service

            found = service.VERBS[name]
        case "run":
            from specd.cli.setup import run as found
        case "status":
            from specd.cli.look import status as found
        case "explain":
            from specd.cli.look import explain as found
        case "doctor":
            from specd.cli.look import doctor as found
        case "logs":
            from specd.cli.look import logs as found
        case "report":
            from specd.cli.look import report as found
        case "metrics":
            from specd.cli.look import metrics as found
        case "config":
            from specd.cli.change import config as found
        case "diff":
            from specd.cli.change import diff as found
        case "apply":
            from specd.cli.change import apply as found
        case "restore":
            from specd.cli.change import restore as found
        case "pause":
            from specd.cli.change.pause import pause as found
        case "resume":
            from specd.cli.change.pause import resume as found
        case "pairs":
            from specd.cli.models import pairs as found
        case "check":
            from specd.cli.models import check as found
        case "bench":
            from specd.cli.models import bench as found
        case "trial":
            from specd.cli.models import trial as found
        case "history":
            from specd.cli.models import history as found
        case "observe":
            from specd.cli.models import observe as found
        case "cache":
            from specd.cli.models import cache as found
        case "demo":
            from specd.cli.more import demo as found
        case "completion":
            from specd.cli.more import completion as found
        case "man":
            from specd.cli.more import man as found
        case _:
            raise KeyError(name)
    return found

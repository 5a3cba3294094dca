"""The commands, in the order in which help lists them; each is imported when it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import argparse

    from specd.cli.parser import Parser


class Module(Protocol):
    """What the module of a command offers."""

    @property
    def parser(self) -> Parser:
        """The command's own argument parser, with help and examples."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit code."""


class Command(NamedTuple):
    """``about`` is its line in ``specd --help``; ``load`` imports it.

    A named tuple, as importing dataclasses takes as long as an empty Python.
    """

    name: str
    about: str
    load: Callable[[], Module]


def _install() -> Module:
    from specd.cli.setup import install

    return install


def _uninstall() -> Module:
    from specd.cli.setup import uninstall

    return uninstall


def _start() -> Module:
    from specd.cli.setup import service

    return service.START


def _stop() -> Module:
    from specd.cli.setup import service

    return service.STOP


def _restart() -> Module:
    from specd.cli.setup import service

    return service.RESTART


def _run() -> Module:
    from specd.cli.setup import run

    return run


def _status() -> Module:
    from specd.cli.look import status

    return status


def _explain() -> Module:
    from specd.cli.look import explain

    return explain


def _doctor() -> Module:
    from specd.cli.look import doctor

    return doctor


def _logs() -> Module:
    from specd.cli.look import logs

    return logs


def _report() -> Module:
    from specd.cli.look import report

    return report


def _metrics() -> Module:
    from specd.cli.look import metrics

    return metrics


def _config() -> Module:
    from specd.cli.change import config

    return config


def _diff() -> Module:
    from specd.cli.change import diff

    return diff


def _apply() -> Module:
    from specd.cli.change import apply

    return apply


def _restore() -> Module:
    from specd.cli.change import restore

    return restore


def _pause() -> Module:
    from specd.cli.change import pause

    return pause.PAUSE


def _resume() -> Module:
    from specd.cli.change import pause

    return pause.RESUME


def _pairs() -> Module:
    from specd.cli.models import pairs

    return pairs


def _check() -> Module:
    from specd.cli.models import check

    return check


def _bench() -> Module:
    from specd.cli.models import bench

    return bench


def _trial() -> Module:
    from specd.cli.models import trial

    return trial


def _history() -> Module:
    from specd.cli.models import history

    return history


def _observe() -> Module:
    from specd.cli.models import observe

    return observe


def _cache() -> Module:
    from specd.cli.models import cache

    return cache


def _demo() -> Module:
    from specd.cli.more import demo

    return demo


def _completion() -> Module:
    from specd.cli.more import completion

    return completion


def _man() -> Module:
    from specd.cli.more import man

    return man


GROUPS: dict[str, tuple[Command, ...]] = {
    "have it run": (
        Command("install", "set specd up, or bring it up to date", _install),
        Command("uninstall", "stop the service and remove it", _uninstall),
        Command("start", "start the service", _start),
        Command("stop", "stop the service until it is started again", _stop),
        Command("restart", "stop and start the service", _restart),
        Command("run", "run the daemon in this terminal", _run),
    ),
    "see how things stand": (
        Command("status", "the state of everything, at one glance", _status),
        Command("explain", "explain a condition, a model or a pair", _explain),
        Command("doctor", "check everything, and say what to do", _doctor),
        Command("logs", "what specd did and why", _logs),
        Command("report", "everything as one HTML page", _report),
        Command("metrics", "metrics for Prometheus", _metrics),
    ),
    "say what you want, and undo it": (
        Command("config", "show, check and change specd.toml", _config),
        Command("diff", "what `specd apply` would change", _diff),
        Command("apply", "write what specd.toml asks for, now", _apply),
        Command("restore", "undo what specd wrote", _restore),
        Command("pause", "write nothing until `specd resume`", _pause),
        Command("resume", "write again", _resume),
    ),
    "find out about models": (
        Command("pairs", "which installed models may draft for which", _pairs),
        Command("check", "whether a draft fits a main model, and why", _check),
        Command("bench", "measure whether a draft is faster", _bench),
        Command("history", "every benchmark that was run", _history),
        Command("trial", "whether the draft makes your own work faster", _trial),
        Command("observe", "speed in your own chats", _observe),
        Command("cache", "where LM Studio's cache of drafts is wrong", _cache),
    ),
    "more": (
        Command("demo", "see specd at work in a sandbox", _demo),
        Command("completion", "completion for your shell", _completion),
        Command("man", "the manual page", _man),
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
    "benchmark": "bench",
    "update": "install",
    "upgrade": "install",
}
"""Words that people try, and the command that they mean."""

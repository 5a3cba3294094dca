"""``specd COMMAND``: one line per command, each loaded only when it is called.

``specd status`` has to answer within a few times an empty interpreter's start, so nothing heavy is
imported here, and every command imports what it needs itself.
"""

from __future__ import annotations

import errno
import os
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


def _status() -> Command:
    from specd.cli import status

    return status


def _apply() -> Command:
    from specd.cli import apply

    return apply


def _diff() -> Command:
    from specd.cli import diff

    return diff


def _restore() -> Command:
    from specd.cli import restore

    return restore


def _pause() -> Command:
    from specd.cli import pause

    return pause


def _resume() -> Command:
    from specd.cli import resume

    return resume


def _config() -> Command:
    from specd.cli import config

    return config


def _logs() -> Command:
    from specd.cli import logs

    return logs


def _doctor() -> Command:
    from specd.cli import doctor

    return doctor


def _explain() -> Command:
    from specd.cli import explain

    return explain


def _report() -> Command:
    from specd.cli import report

    return report


def _install() -> Command:
    from specd.cli import install

    return install


def _uninstall() -> Command:
    from specd.cli import uninstall

    return uninstall


def _completion() -> Command:
    from specd.cli import completion

    return completion


def _man() -> Command:
    from specd.cli import man

    return man


def _metrics() -> Command:
    from specd.cli import metrics

    return metrics


def _start() -> Command:
    from specd.cli import service

    return service.START


def _stop() -> Command:
    from specd.cli import service

    return service.STOP


def _restart() -> Command:
    from specd.cli import service

    return service.RESTART


def _check() -> Command:
    from specd.cli import check

    return check


def _pairs() -> Command:
    from specd.cli import pairs

    return pairs


def _cache() -> Command:
    from specd.cli import cache

    return cache


def _bench() -> Command:
    from specd.cli import bench

    return bench


def _observe() -> Command:
    from specd.cli import observe

    return observe


def _history() -> Command:
    from specd.cli import history

    return history


CANNOT_SHOW = 74
"""Exit code when standard output cannot be written (EX_IOERR of sysexits.h)."""

COMMANDS: dict[str, Callable[[], Command]] = {
    "status": _status,
    "diff": _diff,
    "apply": _apply,
    "check": _check,
    "pairs": _pairs,
    "cache": _cache,
    "bench": _bench,
    "history": _history,
    "observe": _observe,
    "restore": _restore,
    "pause": _pause,
    "resume": _resume,
    "logs": _logs,
    "explain": _explain,
    "doctor": _doctor,
    "report": _report,
    "config": _config,
    "install": _install,
    "uninstall": _uninstall,
    "start": _start,
    "stop": _stop,
    "restart": _restart,
    "run": _run,
    "demo": _demo,
    "metrics": _metrics,
    "completion": _completion,
    "man": _man,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the ``specd`` script; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        _open_streams(words)
        code = _main(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read us has left; say no more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO) or error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"specd: standard output cannot be written: {error.strerror}", file=sys.stderr)
        return CANNOT_SHOW
    except Exception as problem:
        from specd.bench.database import NewerHistory
        from specd.places import NoPlace
        from specd.reconcile.entry import NewerJournal

        if not isinstance(problem, (NoPlace, NewerHistory, NewerJournal)):
            raise
        print(f"specd: {problem}", file=sys.stderr)
        return 2
    return code


def _open_streams(words: list[str]) -> None:
    """Names may hold bytes that are no text; a service may have no standard streams at all."""
    for stream in ("stdout", "stderr"):
        there = getattr(sys, stream)
        if there is None:
            setattr(sys, stream, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - open to the end
            if stream == "stdout" and words[:1] != ["run"]:
                print("specd: standard output is closed, so nothing can be shown", file=sys.stderr)
        elif hasattr(there, "reconfigure"):
            there.reconfigure(errors="backslashreplace")


def _main(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    if words[0] in ("-V", "--version", "version"):
        from specd import __version__

        print(f"specd {__version__}")
        return 0
    load = COMMANDS.get(words[0])
    if load is None:
        print(f"specd: there is no command {words[0]!r}{_nearest(words[0])}", file=sys.stderr)
        return 2
    command = load()
    from specd.cli import arguments

    try:
        return command.run(arguments.parse(command.parser(), words[1:]))
    except SystemExit as ended:  # argparse's way to end --help and errors
        return ended.code if isinstance(ended.code, int) else 2


def usage() -> str:
    """What ``specd --help`` prints: every command with what its description begins with."""
    from specd.cli.paint import width, wrap

    lines = ["usage: specd COMMAND [ARGUMENTS]", "", "commands:"]
    for name, load in COMMANDS.items():
        about = (load().parser().description or "").split(". ")[0].split(": ")[0].rstrip(".")
        lines.append(f"  {name:<12} {wrap(about, width(), ' ' * 15)}")
    lines += ["", "`specd COMMAND --help` says more; `specd --version` prints the version."]
    return "\n".join(lines)


def _nearest(word: str) -> str:
    import difflib

    near = difflib.get_close_matches(word, COMMANDS, n=1, cutoff=0.5)
    return f"; did you mean `specd {near[0]}`?" if near else "; `specd --help` lists them"

"""``specd COMMAND``: call a command, and turn every error into a message and an exit code.

``specd status`` must start fast, so nothing heavy is imported here, and every command imports its
own needs.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Sequence

from specd.cli.commands import ALIASES, COMMANDS, GROUPS, LIKELY
from specd.cli.paint import complain, width, wrap

CANNOT_SHOW = 74
"""Exit code when standard output cannot be written (EX_IOERR of sysexits.h)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the ``specd`` script; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        _open_streams(words)
        _mend_time_zone()
        code = _main(words)
        sys.stdout.flush()
    except KeyboardInterrupt as stopped:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # the shell's prompt goes on a line of its own
        if stopped.args:
            complain(stopped)
        return 130
    except BrokenPipeError:
        # The reader has gone: print nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as problem:
        failed = _failed(problem)
        if failed is None:
            raise
        return failed
    return code


def _failed(problem: Exception) -> int | None:
    """Print the problem that ended a command; the exit code, None where specd is at fault."""
    from specd.cli.ask import CannotAsk

    if isinstance(problem, CannotAsk):
        complain(problem)
        return problem.exit_code
    if isinstance(problem, OSError) and problem.filename is None:
        if problem.errno not in (errno.ENOSPC, errno.EIO):
            return None
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        complain(f"standard output cannot be written: {problem.strerror}")
        return CANNOT_SHOW
    import sqlite3

    from specd.bench.database import NewerHistory
    from specd.cli.world import Unusable
    from specd.config import ConfigError
    from specd.files.swap import SwapError
    from specd.lmstudio.names import NameProblem
    from specd.places import NoPlace, state_dir
    from specd.reconcile.aside import CannotMove
    from specd.reconcile.entry import NewerJournal
    from specd.reconcile.restore import CannotRestore
    from specd.service.command import ServiceError
    from specd.worker.client import WorkerError

    bad_input = (Unusable, NameProblem, NoPlace, NewerHistory, NewerJournal)
    refused = (CannotMove, CannotRestore, ServiceError, SwapError, WorkerError)
    if isinstance(problem, sqlite3.OperationalError):
        where = f"a database in {state_dir()} cannot be used ({problem})"
        complain(f"{where}; `specd doctor` looks at its disk and permissions")
    elif isinstance(problem, OSError):
        complain(f"{problem.filename}: {problem.strerror}")
    elif isinstance(problem, ConfigError):
        complain("\n".join(problem.lines()))
    elif isinstance(problem, (*bad_input, *refused)):
        complain(problem)
    else:
        return None
    return 1 if isinstance(problem, ServiceError) else 2


def _open_streams(words: list[str]) -> None:
    """Let output escape bytes that are no text; a service may have no standard streams at all."""
    for stream in ("stderr", "stdout"):
        there = getattr(sys, stream)
        if there is None:
            setattr(sys, stream, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - open to the end
            if stream == "stdout" and words[:1] != ["run"]:
                complain("standard output is closed, so nothing can be shown")
        elif hasattr(there, "reconfigure"):
            there.reconfigure(errors="backslashreplace")


def _mend_time_zone() -> None:
    """Use UTC where $TZ is a day or more away from it: Python cannot calculate with that."""
    if abs(time.timezone) >= 86_400:
        os.environ["TZ"] = "UTC"
        time.tzset()


def _main(words: list[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:
        from specd.cli import complete

        complete.answer()
    if words[:1] == ["help"] and len(words) > 1:
        words = [words[1], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] in ("-V", "--version", "version"):
        from specd import __version__

        print(f"specd {__version__}")
        return 0
    command = COMMANDS.get(ALIASES.get(words[0], words[0]))
    if command is None:
        complain(f"there is no command {words[0]!r}{_nearest(words[0])}")
        return 2
    try:
        module = command.load()
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped before anything was done") from None
    try:
        return module.run(module.parser.parse(words[1:]))
    except SystemExit as ended:  # argparse's way to end --help and errors
        return ended.code if isinstance(ended.code, int) else 2


def usage() -> str:
    """The text of ``specd --help``: every command with one line about it."""
    lines = [
        "usage: specd COMMAND [ARGUMENTS]",
        "",
        wrap(
            "`specd install` sets everything up; `specd status` shows how it stands.", width(), ""
        ),
    ]
    for heading, group in GROUPS.items():
        lines += ["", f"{heading}:"]
        lines += [f"  {each.name:<12} {wrap(each.about, width(), ' ' * 15)}" for each in group]
    more = "`specd COMMAND --help` says more; `specd --version` prints the version."
    lines += ["", wrap(more, width(), "")]
    return "\n".join(lines)


def _nearest(word: str) -> str:
    import difflib

    if word in LIKELY:
        return f"; did you mean `specd {LIKELY[word]}`?"
    known = (*COMMANDS, "help", "--help", "--version")
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    return f"; did you mean `specd {near[0]}`?" if near else "; `specd --help` lists them"

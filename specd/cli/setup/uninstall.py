"""``specd uninstall``: stop the service and remove everything that was installed."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

from specd import places
from specd.cli import alive
from specd.cli.change import restore
from specd.cli.paint import complain, say
from specd.cli.parser import Parser
from specd.files import private
from specd.reconcile.journal import Journal
from specd.reconcile.trials import Trials
from specd.service.platforms import here

parser = Parser(
    prog="specd uninstall",
    description="Stop the login service and remove its file. LM Studio's settings stay as they "
    "are, and so do specd.toml, the journal and the measurements, unless you say otherwise.",
    examples=("specd uninstall", "specd uninstall --restore-settings --purge"),
    exit_codes={0: "done", 1: "something could not be removed or restored"},
)
parser.add_argument(
    "--restore-settings",
    action="store_true",
    help="also restore what stood in LM Studio's files before specd",
)
parser.add_argument(
    "--purge",
    action="store_true",
    help="also remove the journal, the log and the measurements; undo is gone then",
)


def run(args: argparse.Namespace) -> int:
    """Stop, restore, remove, in this order."""
    try:
        return _uninstall(args)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped half-way: the same command finishes it") from None


def _uninstall(args: argparse.Namespace) -> int:
    platform = here()
    other = alive.started_otherwise(platform)
    if other is not None and (args.restore_settings or args.purge):
        # It would write the settings again, and keep files in a directory that is gone.
        complain(alive.is_at_work(other))
        return 1
    done = platform.uninstall()
    for line in done or ["no service of specd's was installed"]:
        say(line)
    state = places.state_dir()
    journal = places.journal_dir(state)
    had_journal = os.path.lexists(journal)
    try:
        if args.restore_settings:
            private.reach(journal)
        if not args.restore_settings:
            Trials(state).end("stopped")
        elif had_journal and not _restore(state):
            return 1
        if args.purge:
            _purge(state)
    except OSError as error:
        complain(f"{error.filename or state} cannot be restored or removed: {error.strerror}")
        return 1
    kept = [each for each in (places.config_file(), state) if each.exists()]
    if kept:
        say(f"kept {' and '.join(map(str, kept))}")
    if had_journal and not args.restore_settings:
        undo = "nothing can undo them now" if args.purge else "`specd restore --all` puts them back"
        say(f"LM Studio's settings stay as they are; {undo}")
    return 0


def _restore(state: Path) -> bool:
    """Restore everything; returns False if something could not be restored."""
    journal = Journal(places.journal_dir(state))
    done = restore.show(restore.directly(state, journal, None), journal.unread, as_json=False)
    if done:
        journal.hand_over(released=True)  # who installs specd again asks anew
    return done


def _purge(state: Path) -> None:
    kept = places.kept(state)
    for path in kept:
        if not path.is_dir() or path.is_symlink():
            path.unlink()
            continue
        for own in places.kept_in(path):
            own.unlink()
        with contextlib.suppress(OSError):  # what else is in it is somebody else's
            path.rmdir()
    others = kept and any(state.iterdir())
    if kept and not others:
        state.rmdir()
    if not kept:
        say(f"there is nothing of specd's in {state}")
    else:
        say(f"removed {'what specd kept in ' if others else ''}{state}")

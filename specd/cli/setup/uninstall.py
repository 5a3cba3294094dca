"""``specd uninstall``: stop the service and take away what was installed."""

from __future__ import annotations

import argparse
import shutil

from specd import places
from specd.cli import alive
from specd.cli.paint import complain
from specd.cli.parser import Parser
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
    help="also put back what stood in LM Studio's files before specd",
)
parser.add_argument(
    "--purge",
    action="store_true",
    help="also remove the journal, the log and the measurements; undo is gone then",
)


def run(args: argparse.Namespace) -> int:
    """Stop, restore, remove, in this order."""
    platform = here()
    other = alive.started_otherwise(platform)
    if other is not None and (args.restore_settings or args.purge):
        # It would write the settings again, and keep files in a directory that is gone.
        complain(f"specd runs as process {other}; {alive.how_to_stop(other)}")
        return 1
    for line in platform.uninstall():
        print(line)
    if args.restore_settings:
        if not _restore():
            return 1
    else:
        _end_trial()
    if args.purge and not _purge():
        return 1
    if args.purge:
        print(f"kept {places.config_file()}")
    else:
        print(f"kept {places.config_file()} and {places.state_dir()}")
    if not args.restore_settings and not args.purge:
        print("LM Studio's settings stay as they are; `specd restore --all` puts them back")
    return 0


def _end_trial() -> None:
    from specd.reconcile.trials import Trials  # noqa: PLC0415 - slow to import

    try:
        Trials(places.state_dir()).end("stopped")
    except OSError as error:
        complain(f"the trial's end cannot be kept: {error}")


def _restore() -> bool:
    from specd.reconcile.journal import Journal  # noqa: PLC0415 - only when asked for
    from specd.reconcile.trials import Trials, restore  # noqa: PLC0415

    state = places.state_dir()
    if not places.journal_dir(state).is_dir():
        print("there was nothing to restore")
        return True
    try:
        journal = Journal(places.journal_dir(state))
        journal.recover()
        outcome = restore(Trials(state), journal, None)
    except OSError as error:
        complain(f"nothing could be restored: {error}")
        return False
    for each in outcome.restored:
        print(each)
    for problem in outcome.problems:
        complain(problem)
    if not outcome.restored and not outcome.problems:
        print("there was nothing to restore")
    return not outcome.problems


def _purge() -> bool:
    state = places.state_dir()
    try:
        kept = places.kept(state)
        for path in kept:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        others = kept and any(state.iterdir())
        if kept and not others:
            state.rmdir()
    except OSError as error:
        complain(f"{state} cannot be removed: {error}")
        return False
    if not kept:
        print(f"there is nothing of specd's in {state}")
    else:
        print(f"removed {'what specd kept in ' if others else ''}{state}")
    return True

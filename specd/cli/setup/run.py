"""``specd run``: the daemon in the foreground; launchd and systemd start exactly this."""

from __future__ import annotations

import argparse
import contextlib
import errno
import gc
import os
import shlex
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from specd import places
from specd.cli.paint import complain
from specd.cli.parser import Parser

if TYPE_CHECKING:
    from specd.agent.events import Events


ROOM_S = 5.0
"""If the disk is full at the start, specd tries again after this."""

WELCOME = """\
specd works until Ctrl-C. In another terminal, `specd status` shows how things stand.
"""


parser = Parser(
    prog="specd run",
    description="Watch LM Studio's files and keep the wanted settings applied, until stopped. "
    "TERM and INT stop it cleanly, HUP has it look at everything again.",
    examples=("specd run", "specd run --config ./specd.toml"),
    exit_codes={0: "stopped", 2: "another specd runs here or its directory cannot be used"},
)
parser.add_argument("--config", type=Path, metavar="FILE", help="use this specd.toml")


def run(args: argparse.Namespace) -> int:
    """Run the daemon until it is stopped; exit code 2 when another one is running."""
    gc.disable()  # imports free nothing: collecting garbage meanwhile takes 6 % of the start
    from specd.agent import lock, notify  # noqa: PLC0415 - `specd run --help` needs no daemon
    from specd.agent.daemon import ANEW, Daemon  # noqa: PLC0415

    gc.enable()
    config_path = args.config.expanduser().absolute() if args.config else places.config_file()
    state = places.state_dir()
    os.umask(0o077)
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        daemon = Daemon(config_path, state)
        if sys.stderr.isatty():
            _tell(daemon.events)
        code = daemon.run()
    except lock.AlreadyRunning as problem:
        complain(f"{problem}; `specd stop` stops it")
        return 2
    except OSError as error:
        why = f"cannot use {error.filename or state}: {error.strerror}"
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            # Perhaps root's, after one `sudo specd`.
            theirs = error.errno == errno.EACCES and os.access(state, os.F_OK)
            command = f'sudo chown -R "$USER" {shlex.quote(str(state))}'
            complain(f"{why}; `{command}` helps" if theirs else why)
            return 2
        complain(f"{why}; free some space: specd tries again in {ROOM_S:g} s")
        notify.service_manager(f"READY=1\nSTATUS={why}")  # else it would end a waiting specd
        time.sleep(ROOM_S)
        code = ANEW
    if code == ANEW:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this program
    os._exit(code)  # the interpreter would free thousands of models first, which takes seconds


def _tell(events: Events) -> None:
    """Print the log's lines, shortened, on the terminal of a daemon started by hand."""
    from specd.cli.look.logs import INKS, short_form  # noqa: PLC0415 - a service shows nothing

    more = threading.Event()

    def show() -> None:
        # On a separate thread: a terminal that is stopped with Ctrl-S must not stop specd.
        shown = 0
        with contextlib.suppress(OSError, ValueError), events.heard(more.set):
            while True:
                more.clear()
                for event in events.since(shown):
                    at, ink = datetime.fromisoformat(event.time), INKS.get(event.level)
                    text = short_form(at, event.as_json(), ink, sys.stderr)
                    print(text, file=sys.stderr, flush=True)
                    shown = event.number
                more.wait()

    print(WELCOME, file=sys.stderr)
    threading.Thread(target=show, name="specd-terminal", daemon=True).start()

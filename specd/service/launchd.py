"""The launchd agent: ``~/Library/LaunchAgents/local.specd.plist``.

Sources: launchd.plist(5) and launchctl(1). The agent is loaded into the user's graphical session
(``gui/UID``), or into ``user/UID`` where there is none, as over ssh.
"""

from __future__ import annotations

import os
import plistlib
import re
import time
from pathlib import Path

from specd.service.command import (
    OddPath,
    Order,
    Ran,
    ServiceError,
    call,
    must_be_there,
    put,
    take_away,
)
from specd.service.program import Program

LABEL = "local.specd"
TEMPLATE = "specd.plist"

GONE_S = 25.0
"""Longest wait for the agent to end; launchd kills it after its ExitTimeOut of 20 seconds."""

BUSY = (5, 37)
"""launchctl's exit codes while the last instance is still ending."""


def file() -> Path:
    """The path of the agent's property list, whether or not it exists."""
    return Path.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist"


def text(program: Program) -> bytes:
    """The property list for ``program``: the template with this machine's values."""
    agent = plistlib.loads(_template())
    agent["ProgramArguments"][0] = str(program.python)
    agent["StandardOutPath"] = str(program.logs / "service.out.log")
    agent["StandardErrorPath"] = str(program.logs / "service.err.log")
    if program.environment:
        agent["EnvironmentVariables"] = program.environment
    for path in (program.python, program.logs, *program.environment.values()):
        if not _holds(str(path)):
            raise OddPath(str(path))
    return plistlib.dumps(agent, sort_keys=False)


def ready() -> None:
    """Check that launchd knows the user's domain."""
    _launchctl("print", _domain()).or_fail(
        "log in on this Mac's own screen once; `specd run` works without it"
    )


def install(program: Program) -> list[str]:
    """Write the property list and (re)start the agent; returns a line for each step."""
    # launchd creates the log files, not their directory.
    program.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = put(file(), text(program))
    if written:
        _unload()
    _start()
    return [f"{'wrote' if written else 'kept'} {file()}", f"loaded {_target()}"]


def uninstall() -> list[str]:
    """Stop and unload the agent and remove its property list; returns a line for each step."""
    done = [f"unloaded {_target()}"] if _unload() else []
    if take_away(file()):
        done.append(f"removed {file()}")
    return done


def order(verb: Order) -> None:
    """Load and start the agent, unload it until the next start or login, or start it anew."""
    must_be_there(file())
    if verb == "stop":
        _unload()
    elif verb == "restart" or pid() is None:
        _start()


def pid() -> int | None:
    """The daemon's process id; None if launchd does not run it."""
    found = re.search(r"^\s*pid = (\d+)$", _launchctl("print", _target()).output, re.MULTILINE)
    return int(found[1]) if found else None


def detail() -> str:
    """The agent's state in one line."""
    ran = _launchctl("print", _target())
    if ran.code != 0:
        return f"not loaded in {_domain()}"
    state = re.search(r"^\s*state = (.+)$", ran.output, re.MULTILINE)
    code = re.search(r"^\s*last exit code = (.+)$", ran.output, re.MULTILINE)
    words = [f"{_target()} is {state[1] if state else 'loaded'}"]
    if code and code[1] not in ("0", "(never exited)"):
        words.append(f"it last ended with {code[1]}")
    return ", ".join(words)


def _holds(path: str) -> bool:
    """Whether a property list gives ``path`` back: XML has few control characters."""
    try:
        return bool(plistlib.loads(plistlib.dumps([path])) == [path])
    except ValueError:
        return False


def _launchctl(*words: str) -> Ran:
    return call(["launchctl", *words])


def _domain() -> str:
    graphical = f"gui/{os.getuid()}"
    return graphical if _launchctl("print", graphical).code == 0 else f"user/{os.getuid()}"


def _target() -> str:
    return f"{_domain()}/{LABEL}"


def _loaded() -> bool:
    return _launchctl("print", _target()).code == 0


def _start() -> None:
    again = ["-k"] if _loaded() else []  # to load the agent starts it: that one need not be killed
    if not again:
        # An agent that was once disabled cannot be bootstrapped before it is enabled.
        _launchctl("enable", _target()).or_fail("see `specd doctor`")
        end = time.monotonic() + GONE_S
        ran = _launchctl("bootstrap", _domain(), str(file()))
        while ran.code in BUSY and time.monotonic() < end:
            time.sleep(0.2)
            ran = _launchctl("bootstrap", _domain(), str(file()))
        ran.or_fail(f"check {file()} with `plutil -lint`, or log out and in again")
    _launchctl("kickstart", *again, _target()).or_fail("see `specd doctor`")


def _unload() -> bool:
    """Whether the agent was loaded; it has ended."""
    if not _loaded():
        return False
    ran = _launchctl("bootout", _target())
    end = time.monotonic() + GONE_S
    while _loaded():  # bootout returns before the agent has ended
        if time.monotonic() > end:
            output = ran.output or "launchctl printed nothing"
            raise ServiceError(f"{_target()} did not end within {GONE_S:g} s: {output}")
        time.sleep(0.1)
    return True


def _template() -> bytes:
    # The wheel carries the template inside the package, a checkout beside it.
    inside = Path(__file__).with_name("launchd_template") / TEMPLATE
    beside = Path(__file__).parents[2] / "launchd" / TEMPLATE
    return (inside if inside.is_file() else beside).read_bytes()

"""The systemd user unit: ``~/.config/systemd/user/specd.service``.

Sources: systemd.service(5), systemd.exec(5), systemd.resource-control(5), systemd.syntax(7).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from specd.service.command import OddPath, Order, Ran, call, must_be_there, put, take_away
from specd.service.program import Program

UNIT = "specd.service"

NO_NAMESPACE = "226"
"""systemd's exit status when the kernel does not allow a mount namespace for a user's service, as
in many containers and on hardened kernels."""

_REFUSED = re.compile(r"[\"'\\\x00-\x1f\x7f]")
"""systemd takes no program with these in its name."""

HEAD = """\
[Unit]
Description=specd keeps speculative decoding in LM Studio applied, proven and measured
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
ExecStart={start}
{environment}Restart=on-failure
RestartSec=5
# Another specd holds the state directory: trying again would not help.
RestartPreventExitStatus=2
TimeoutStartSec=60
TimeoutStopSec=20
UMask=0077
# The daemon needs 48 MB at most; the rest is for benchmarks, which run the user's models. When one
# of those needs too much, it alone is ended.
MemoryMax=75%
OOMPolicy=continue
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
"""

SANDBOX = """\
# Nothing on the disk can be written but what stands here.
ProtectSystem=strict
PrivateTmp=yes
ReadWritePaths={writes}
ReadOnlyPaths={leaves}
"""

TAIL = """
[Install]
WantedBy=default.target
"""


def file() -> Path:
    """The path of the unit, whether or not it exists."""
    named = os.environ.get("XDG_CONFIG_HOME", "")
    config = Path(named) if named.startswith("/") else Path.home() / ".config"
    return config / "systemd" / "user" / UNIT


def text(program: Program, *, sandboxed: bool = True) -> bytes:
    """The unit for ``program``; if ``sandboxed``, it may write only to ``program.writes``."""
    # systemd expands variables in arguments, but not in the program's own path, nor after a colon.
    start = f"{_quoted(str(program.python))} -P -m specd run"
    if _REFUSED.search(str(program.python)):
        start = f":/usr/bin/env {start}"
    for value in program.environment.values():
        if not _is_utf_8(value):  # systemd would ignore the assignment
            raise OddPath(value)
    settings = [f"{name}={value}" for name, value in program.environment.items()]
    unit = HEAD.format(
        start=start,
        environment="".join(f"Environment={_quoted(setting)}\n" for setting in settings),
    )
    if sandboxed:
        # With the minus sign, a missing directory does not prevent the start.
        unit += SANDBOX.format(
            writes=" ".join(_quoted(f"-{path}") for path in program.writes),
            leaves=" ".join(_quoted(f"-{path}") for path in program.leaves),
        )
    return (unit + TAIL).encode()


def ready() -> None:
    """Check that the user's systemd answers."""
    _show("MainPID").or_fail(_NO_BUS)


def install(program: Program) -> list[str]:
    """Write and enable the unit and (re)start it; returns a line for each step."""
    ready()  # so that no unit is left behind where there is no session
    # Writable directories must exist when the service starts.
    program.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    done = [_put(text(program))]
    _systemctl("daemon-reload").or_fail(_NO_BUS)
    _systemctl("enable", UNIT).or_fail(_NO_BUS)
    started = _systemctl("restart", UNIT)
    if started.code != 0 and _show("ExecMainStatus").output == NO_NAMESPACE:
        why = "without the sandbox: this kernel gives a user's service none"
        done = [f"{_put(text(program, sandboxed=False))} ({why})"]
        _systemctl("daemon-reload").or_fail(_NO_BUS)
        started = _systemctl("restart", UNIT)
    started.or_fail(f"see `journalctl --user -u {UNIT}` and `specd doctor`")
    return [*done, f"enabled and started {UNIT}"]


def uninstall() -> list[str]:
    """Stop, disable and remove the unit; returns a line for each step."""
    if not file().is_file():
        return []
    _systemctl("disable", "--now", UNIT).or_fail(_NO_BUS)
    take_away(file())
    _systemctl("daemon-reload").or_fail(_NO_BUS)
    _systemctl("reset-failed", UNIT)  # fails when there is nothing to reset
    return [f"stopped and disabled {UNIT}", f"removed {file()}"]


def order(verb: Order) -> None:
    """Start the unit, stop it, or do both."""
    must_be_there(file())
    _systemctl(verb, UNIT).or_fail(f"see `journalctl --user -u {UNIT}` and `specd doctor`")


def pid() -> int | None:
    """The daemon's process id; None if systemd does not run it."""
    found = _show("MainPID").output
    return int(found) if found.isdigit() and found != "0" else None


def detail() -> str:
    """The unit's state in one line."""
    ran = _systemctl("is-active", UNIT)
    enabled = _systemctl("is-enabled", UNIT)
    return f"{UNIT} is {ran.output or 'unknown'}, {enabled.output or 'not enabled'}"


_NO_BUS = (
    "is your systemd user session reachable? log in directly rather than with su, "
    "or run `loginctl enable-linger` once; `specd run` works without it"
)


def _is_utf_8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _systemctl(*words: str) -> Ran:
    return call(["systemctl", "--user", *words])


def _show(name: str) -> Ran:
    return _systemctl("show", "--property", name, "--value", UNIT)


def _put(content: bytes) -> str:
    return f"{'wrote' if put(file(), content) else 'kept'} {file()}"


def _quoted(word: str) -> str:
    """A word quoted for systemd: quotes, backslashes and specifiers escaped."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    # \x names one byte, and a character may be several.
    return f'"{"".join(c if c.isprintable() else _bytes_of(c) for c in escaped)}"'


def _bytes_of(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))

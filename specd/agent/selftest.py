"""``specd doctor --self-test``: test what specd relies on, on this machine, in under a minute.

It writes into a new folder in LM Studio's home (to test that volume and its permissions) and into
specd's state directory, and removes all of it afterwards. Each check uses the daemon's own code.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from specd import __version__, places
from specd.agent.address import peer
from specd.agent.watch import Watch
from specd.files import exchange, holders, swap, turns
from specd.lmstudio.home import Home, NoHome, WatchedDir
from specd.service.command import ServiceError
from specd.service.platforms import here
from specd.worker.client import Limits, WorkerError, run_task

AT_ONCE_S = 1.0
"""A change of an urgent file must be reported within this."""

CALM_S = 10.0
"""A new model must be reported within this."""

PROOF_S = 50.0

PASS_S = 0.1
"""The reporting thread waits this long for the daemon's pass; the self-test has no daemon."""

_QUIET_S = 1.0


class Failed(Exception):
    """A check failed: the system differs from what specd relies on; the message says how."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one check."""

    name: str
    passed: bool
    says: str
    seconds: float


def run(home: Home | NoHome) -> Iterator[Result]:
    """Run every check; none of them raises."""
    with _folder(home) as folder:
        checks: tuple[tuple[str, Callable[[], str]], ...] = (
            ("atomic exchange", lambda: _exchange(folder)),
            ("owner, mode, attributes", lambda: _attributes(folder)),
            ("open files", lambda: _holders(folder)),
            ("file events", lambda: _events(folder)),
            ("quiet otherwise", lambda: _quiet(folder)),
            ("socket", _socket),
            ("service manager", _service),
            ("MLX and a small proof", _proof),
        )
        for name, check in checks:
            began = time.perf_counter()
            passed = False
            try:
                says, passed = check(), True
            except (Failed, OSError, swap.SwapError, ServiceError, WorkerError) as error:
                says = str(error)
            except Exception as error:  # noqa: BLE001 - a developer reads the report
                says = f"a fault in specd: {type(error).__name__}: {error}"
            yield Result(name, passed, says, time.perf_counter() - began)


def machine() -> str:
    """One line on what the checks ran on."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("watchdog", "mlx", "mlx-lm"))
    system = f"macOS {platform.mac_ver()[0]}" if sys.platform == "darwin" else platform.platform()
    return (
        f"specd {__version__}, Python {platform.python_version()}, {system}, "
        f"{platform.machine()}, {libraries}"
    )


@contextlib.contextmanager
def _folder(home: Home | NoHome) -> Iterator[Path]:
    above = home.path if isinstance(home, Home) and os.access(home.path, os.W_OK) else None
    made = Path(os.path.realpath(tempfile.mkdtemp(prefix=".specd-self-test-", dir=above)))
    lock = turns.lock_path(made)
    new = [] if lock is None else [each for each in lock.parents if not each.exists()]
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        with contextlib.suppress(OSError):
            if lock is not None:
                lock.unlink(missing_ok=True)
            for each in new:
                each.rmdir()


def _exchange(folder: Path) -> str:
    one, other = folder / "one", folder / "other"
    one.write_text("1")
    other.write_text("2")
    try:
        exchange.exchange(one, other)
    except exchange.ExchangeUnsupported:
        return "not on this volume: files are renamed into place instead"
    if (one.read_text(), other.read_text()) != ("2", "1"):
        raise Failed("two files that changed places do not hold each other's content")
    theirs = [b"theirs"]

    def interrupted(*_: object) -> None:
        if theirs:
            one.write_bytes(theirs.pop())

    swap.update(one, lambda now: b"[" + (now or b"") + b"]", before_write=interrupted)
    if one.read_bytes() != b"[theirs]":
        raise Failed(f"another program's write in between was lost: {one.read_bytes()!r}")
    return "two names change places in one step; a write in between is kept"


def _attributes(folder: Path) -> str:
    path = folder / "attributes.json"
    path.write_text("1")
    path.chmod(0o640)
    before = path.stat()
    swap.update(path, lambda _: b"2", before_write=lambda *_: None)
    after = path.stat()
    seen = [(each.st_mode, each.st_uid, each.st_gid) for each in (before, after)]
    if seen[0] != seen[1]:
        raise Failed(f"mode, owner and group were {seen[0]} and became {seen[1]}")
    return "stay"


def _holders(folder: Path) -> str:
    path = folder / "held.json"
    path.write_text("1")
    script = "import sys; f = open(sys.argv[1], 'r+b'); print(flush=True); sys.stdin.read()"
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with subprocess.Popen(
            [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            if other.stdout is not None:
                other.stdout.readline()  # it has opened the file
            seen = holders.has_writer(path, descriptor)
            other.communicate()
        if not seen:
            raise Failed("a program that has a file open for writing was not seen")
        if holders.has_writer(path, descriptor):
            raise Failed("a program that has closed the file is still seen")
    finally:
        os.close(descriptor)
    return "a program that has a file open for writing is seen"


@contextlib.contextmanager
def _watching(folder: Path) -> Iterator[dict[Path, float]]:
    """The time of each path's last report, while the daemon's watch follows a small home."""
    seen: dict[Path, float] = {}
    watch = Watch(
        lambda path, _: seen.__setitem__(path, time.monotonic()),
        lambda: None,
        lambda _: None,
        lambda: None,
    )
    settings, models = folder / "settings.json", folder / "models"
    (models / "publisher").mkdir(parents=True, exist_ok=True)
    (folder / "conversations").mkdir(exist_ok=True)
    settings.write_text("{}")
    try:
        watch.follow(
            [
                WatchedDir(folder, names=frozenset({settings.name})),
                WatchedDir(models, recursive=True, pace="calm"),
            ],
            [settings],
        )
        if watch.polling:
            raise Failed(watch.polling)
        time.sleep(_QUIET_S)  # what happened before may be reported still
        seen.clear()
        yield seen
    finally:
        watch.close()


def _events(folder: Path) -> str:
    settings, models = folder / "settings.json", folder / "models"
    beside = folder / "beside"
    with _watching(folder) as seen:
        in_place = _until(seen, settings, AT_ONCE_S, lambda: settings.write_text('{"a": 1}'))
        beside.write_text("{}")
        renamed = _until(seen, settings, AT_ONCE_S, lambda: beside.replace(settings))
        model = _until(seen, models, CALM_S, (models / "publisher" / "new").mkdir)
    return (
        f"a write was reported after {in_place * 1000:.0f} ms, a rename after "
        f"{renamed * 1000:.0f} ms, a model after {model:.1f} s"
    )


def _until(
    seen: dict[Path, float], path: Path, seconds: float, change: Callable[[], object]
) -> float:
    time.sleep(2 * PASS_S)
    seen.pop(path, None)
    began = time.monotonic()
    change()
    while path not in seen:
        if time.monotonic() - began > seconds:
            raise Failed(f"a change of {path.name} was not reported within {seconds:g} s")
        time.sleep(0.001)
    return seen[path] - began


def _quiet(folder: Path) -> str:
    weights = folder / "models" / "publisher" / "weights"
    weights.touch()
    with _watching(folder) as seen, weights.open("ab", buffering=0) as file:
        for count in range(200):
            (folder / "conversations" / f"{count}.json").write_text("{}")
            file.write(b"x" * 4096)
        time.sleep(_QUIET_S)
        others = set(seen) - {folder / "models"}
    if others:
        names = ", ".join(sorted(path.name for path in others))
        raise Failed(f"conversations and weights being written were reported: {names}")
    return "conversations and weights being written wake nobody"


def _socket() -> str:
    run_folder = places.socket_path(places.state_dir()).parent
    run_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    address = run_folder / f"self-test-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as asking:
        try:
            listening.bind(str(address))
            listening.listen()
            asking.connect(str(address))
            answering, _ = listening.accept()
            with answering:
                user = peer(answering)
        finally:
            address.unlink(missing_ok=True)
    if user != os.geteuid():
        raise Failed(f"the system says that user {user} is at the other end")
    return "connects, and the system says who is at the other end"


def _service() -> str:
    manager = here()
    manager.ready()
    return manager.detail()


def _proof() -> str:
    found = run_task("self-test", {}, limits=Limits(PROOF_S))
    where = f"MLX {found['mlx']}, mlx-lm {found['mlx_lm']} on {found['device']}"
    if not found["same"]:
        raise Failed(f"{where}: a model gives another answer with a draft than without")
    if not found["drafted"]:
        raise Failed(f"{where}: no drafted token was accepted, although the draft is the main")
    return (
        f"{where}: {found['tokens']} tokens are the same with a draft as without "
        f"({found['drafted']} of them drafted)"
    )

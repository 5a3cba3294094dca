"""The contenders, and a contender at work: a process group of its own, measured through /proc."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from bench.homes import Home, Settings, save_in_place
from specd.cli import ask

_SCRIPTS = Path(__file__).parent / "contenders"
_READY_S = 120.0


@dataclass(frozen=True, slots=True)
class Contender:
    """``command(home)`` starts it; ``needs`` are programs or modules it cannot do without.

    ``settled(home)`` tells whether it is done with what it does after starting. ``forgive(home)``
    makes it forget how often it was undone, where it counts that.
    """

    name: str
    command: Callable[[Home], list[str]]
    needs: tuple[str, ...] = ()
    settled: Callable[[Home], bool] = lambda _: True
    forgive: Callable[[Home], object] = lambda _: None

    @property
    def missing(self) -> tuple[str, ...]:
        """What it needs and this machine lacks."""
        return tuple(
            name for name in self.needs if shutil.which(name) is None and find_spec(name) is None
        )


def _script(name: str, *more: str) -> Callable[[Home], list[str]]:
    shell = ["sh"] if name.endswith(".sh") else [sys.executable]
    return lambda home: [*shell, str(_SCRIPTS / name), str(home.home), *more]


def answers(home: Home) -> dict[str, Any] | None:
    """The status of the specd that looks after ``home``; None while it does not answer."""
    try:
        status: dict[str, Any] = ask.ask("GET", "/v1/status", state=home.state)
    except ask.CannotAsk:
        return None
    return status


def _no_comparison_under_way(home: Home) -> bool:
    status = answers(home)
    return status is not None and all(pair["state"] != "waiting" for pair in status["pairs"])


SPECD = Contender(
    "specd",
    lambda _: [sys.executable, "-m", "specd", "run"],
    settled=_no_comparison_under_way,
    forgive=lambda home: ask.ask("POST", "/v1/apply", state=home.state),
)
FLOOR = Contender("bare watchdog script (floor)", _script("bare_watchdog.py"))
WATCHMAN = Contender("watchman trigger + jq", _script("with_watchman.sh"), ("watchman", "jq"))
PEERS = (
    Contender("inotifywait + jq", _script("with_inotifywait.sh"), ("inotifywait", "jq")),
    WATCHMAN,
    Contender("entr + jq", _script("with_entr.sh"), ("entr", "jq")),
    Contender("watchfiles", _script("with_watchfiles.py"), ("watchfiles",)),
    Contender("watchfiles, step 1 ms", _script("with_watchfiles.py", "1"), ("watchfiles",)),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Totals over a contender's processes since they were started. Memory is bytes, CPU seconds."""

    rss: int
    pss: int
    cpu_s: float
    descriptors: int
    written: int
    processes: int


class Running:
    """A started contender in its home. Leaving the context ends its whole process group."""

    def __init__(self, contender: Contender, home: Home) -> None:
        self.contender = contender
        self.home = home
        self._output = (home.root / "output").open("ab")
        self.process = subprocess.Popen(
            contender.command(home),
            env=home.environment,
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """TERM, then KILL, to everything it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10 if number is signal.SIGTERM else None)
        self._output.close()

    def get_ready(self, settings: Settings) -> None:
        """Drift the settings until it restores them: only then does it watch. Then let it settle.

        Raises:
            RuntimeError: it ended, or restored nothing within two minutes.
        """
        until = time.monotonic() + _READY_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            save_in_place(self.home.settings, settings.drifted())
            restored = restored_within(settings, 1.0) is not None
            if restored and self.contender.settled(self.home):
                return
            time.sleep(0.1)
        said = (self.home.root / "output").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.contender.name} does not restore; it said: {said!r}")

    def usage(self) -> Usage:
        """What it uses now, its children that ended included in CPU and what was written."""
        seen = [each for process in self._tree() if (each := _used(process)) is not None]
        return Usage(*(sum(column) for column in zip(*map(astuple, seen), strict=True)))

    def switches(self) -> Counter[int]:
        """The context switches of each of its threads since it began, by the thread's number."""
        return Counter(
            {
                int(task.name): sum(
                    _proc_number(process.pid, f"task/{task.name}/status", f"{kind}_ctxt_switches:")
                    for kind in ("voluntary", "nonvoluntary")
                )
                for process in self._tree()
                for task in _tasks(process.pid)
            }
        )

    def _tree(self) -> Iterator[psutil.Process]:
        top = psutil.Process(self.process.pid)
        yield top
        yield from top.children(recursive=True)


def restored_within(settings: Settings, seconds: float, since: float | None = None) -> float | None:
    """Seconds until the file holds the wanted values again; None when it does not in time.

    Counted from ``since`` (by ``time.perf_counter``), from now by default.

    Looks about twenty thousand times a second at first, so that a millisecond can be told from two
    without keeping a core busy: on two cores that would take one from the contender.
    """
    started = time.perf_counter() if since is None else since
    while (passed := time.perf_counter() - started) < seconds:
        if settings.restored() is not None:
            return time.perf_counter() - started
        time.sleep(0.00002 if passed < 0.5 else 0.002)
    return None


def _used(process: psutil.Process) -> Usage | None:
    """What one process uses; None when it ended: then its parent accounts for its CPU time."""
    try:
        times = process.cpu_times()
        return Usage(
            rss=process.memory_info().rss,
            pss=_proc_number(process.pid, "smaps_rollup", "Pss:") * 1024,
            cpu_s=times.user + times.system + times.children_user + times.children_system,
            descriptors=process.num_fds(),
            written=_proc_number(process.pid, "io", "write_bytes:"),
            processes=1,
        )
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return None


def _tasks(pid: int) -> tuple[Path, ...]:
    try:
        return tuple(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return ()


def _proc_number(pid: int, file: str, key: str) -> int:
    """The number after ``key`` in one of a process's /proc files; 0 when it ended meanwhile."""
    try:
        text = Path(f"/proc/{pid}/{file}").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    return 0

"""Storm: an app gone wild, saving a thousand times a second for ten seconds.

What counts is that the last save survives with the wanted values in it, how soon after it, and at
what price: a restorer that answers every save doubles the storm.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.figures import Claim, Section
from bench.homes import Settings, lay_out, save_in_place
from bench.running import SPECD, Contender, Running

SAVES_PER_S = 1_000
SETTLED_S = 3.0
WAIT_S = 60.0

_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100


@dataclass(frozen=True, slots=True)
class _Stormed:
    saves: int
    saves_per_s: float
    cpu_s: float
    writes: int | None
    converged_s: float | None
    kept: bool


def measure(root: Path, *, seconds: float, contenders: tuple[Contender, ...]) -> Section:
    """One storm per contender, one after the other: a storm is loud enough alone."""
    stormed = {
        contender.name: _storm(root / f"{number}", contender, seconds)
        for number, contender in enumerate(contenders)
    }
    mine = stormed[SPECD.name]
    return Section(
        title="Storm",
        about=f"saves in place, {SAVES_PER_S} a second wanted, for {seconds:.0f} s, then silence",
        columns=(
            "saves/s reached",
            "CPU s",
            "writes made",
            "s from the last save to lasting convergence",
            "last save kept",
        ),
        rows={
            name: (
                each.saves_per_s,
                each.cpu_s,
                each.writes,
                each.converged_s,
                "yes" if each.kept else "no",
            )
            for name, each in stormed.items()
        },
        claims=(
            Claim(
                "storm: convergence after the last save", mine.converged_s or WAIT_S, "s", "≤", 2
            ),
            Claim("storm: last save lost", 0 if mine.kept else 1, "", "≤", 0),
            Claim("storm: CPU per second of storm", mine.cpu_s / seconds, "s", "≤", 1),
        ),
    )


def _storm(root: Path, contender: Contender, seconds: float) -> _Stormed:
    home = lay_out(root)
    settings = Settings(home)
    with Running(contender, home) as running:
        running.get_ready(settings)
        before = running.usage().cpu_s
        with _Renames(home.settings) as renames:
            saves, reached = _save_for(settings, home.settings, seconds, renames)
            converged = _converged_s(settings)
            renames.look()
        cpu_s = running.usage().cpu_s - before
        return _Stormed(
            saves=saves,
            saves_per_s=reached,
            cpu_s=cpu_s,
            writes=renames.seen,
            converged_s=converged,
            kept=settings.restored() == settings.counter and settings.others_kept(),
        )


def _save_for(
    settings: Settings, path: Path, seconds: float, renames: _Renames
) -> tuple[int, float]:
    started = time.perf_counter()
    saves = 0
    while (passed := time.perf_counter() - started) < seconds:
        save_in_place(path, settings.drifted())
        saves += 1
        if saves % 100 == 0:
            renames.look()
        time.sleep(max(0.0, saves / SAVES_PER_S - (time.perf_counter() - started)))
    return saves, saves / passed


def _converged_s(settings: Settings) -> float | None:
    """Seconds until the wanted values stand and go on standing; None when they never do."""
    started = time.perf_counter()
    since: float | None = None
    while (now := time.perf_counter() - started) < WAIT_S:
        if settings.restored() is None:
            since = None
        elif since is None:
            since = now
        elif now - since > SETTLED_S:
            return since
        time.sleep(0.001)
    return None


class _Renames:
    """Counts what is renamed to a path (inotify): the saves are in place, so these are restores.

    Creations are listened to as well, because the kernel melts equal events in a row into one.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name.encode()
        self._directory = path.parent
        self._descriptor = -1
        self.seen: int | None = None
        """How many there were at the last look; None where the platform cannot tell."""

    def __enter__(self) -> Self:
        libc = ctypes.CDLL(None, use_errno=True)
        if hasattr(libc, "inotify_init1"):
            self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            mask = ctypes.c_uint32(_IN_MOVED_TO | _IN_CREATE)
            libc.inotify_add_watch(self._descriptor, os.fsencode(self._directory), mask)
            self.seen = 0
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def look(self) -> None:
        """Take in what happened; often enough that the kernel's queue does not run over."""
        while self.seen is not None:
            try:
                events = os.read(self._descriptor, 1 << 20)
            except BlockingIOError:
                return
            while events:
                _, mask, _, length = struct.unpack_from("iIII", events)
                name = events[16 : 16 + length].rstrip(b"\0")
                self.seen += bool(mask & _IN_MOVED_TO) and name == self._name
                events = events[16 + length :]

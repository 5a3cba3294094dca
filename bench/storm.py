"""Storm: an app gone wild, saving a thousand times a second for ten seconds.

It matters that the last save survives with the desired values in it, how soon, and at which price.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Claim, Section
from bench.homes import Settings, lay_out, save_in_place
from bench.running import SPECD, Contender, Running

SAVES_PER_S = 1_000
SETTLED_S = 3.0
WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class _Stormed:
    saves_per_s: float
    cpu_s: float
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
            "s from the last save to lasting convergence",
            "last save kept",
        ),
        rows={
            name: (
                each.saves_per_s,
                each.cpu_s,
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
        reached = _save_for(settings, home.settings, seconds)
        converged = _converged_s(settings)
        cpu_s = running.usage().cpu_s - before
        kept = settings.restored() == settings.counter and settings.others_kept()
        return _Stormed(reached, cpu_s, converged, kept)


def _save_for(settings: Settings, path: Path, seconds: float) -> float:
    """Save again and again; returns the saves per second."""
    started = time.perf_counter()
    saves = 0
    while (passed := time.perf_counter() - started) < seconds:
        save_in_place(path, settings.drifted())
        saves += 1
        time.sleep(max(0.0, saves / SAVES_PER_S - (time.perf_counter() - started)))
    return saves / passed


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

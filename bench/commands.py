"""What a person waits for: ``specd status`` and ``specd check``, beside an empty Python."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from bench.figures import Section, at_most, p99, ratio
from bench.homes import Settings, lay_out
from bench.running import SPECD, Running
from bench.seed_home import DRAFT, MAIN

EMPTY = "`python -c pass`"
BOUNDS = {"`specd status`": 4.0, "`specd check MAIN DRAFT`, warm": 6.0}


def measure(root: Path, *, times: int) -> Section:
    """``times`` calls of each, by turns, against a running daemon."""
    home = lay_out(root)
    commands = {
        EMPTY: [sys.executable, "-c", "pass"],
        "`specd status`": [sys.executable, "-m", "specd", "status"],
        "`specd status --json`": [sys.executable, "-m", "specd", "status", "--json"],
        "`specd check MAIN DRAFT`, warm": [sys.executable, "-m", "specd", "check", MAIN, DRAFT],
    }
    with Running(SPECD, home) as running:
        running.get_ready(Settings(home))
        for command in commands.values():
            run_ms(command, home.environment)
        took: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(times):
            for name, command in commands.items():
                took[name].append(run_ms(command, home.environment))
    against = {name: ratio(each, took[EMPTY]) for name, each in took.items()}
    return Section(
        title="Commands",
        about=f"milliseconds; {times} calls each, by turns",
        columns=("p50", "p99", "p50 ÷ `python -c pass`"),
        rows={name: (median(took[name]), p99(took[name]), str(against[name])) for name in took},
        claims=tuple(
            at_most(f"{name} ÷ {EMPTY}", against[name], bound) for name, bound in BOUNDS.items()
        ),
        raw=took,
    )


def run_ms(command: list[str], environment: dict[str, str]) -> float:
    """How long a command takes, its output read by nobody.

    Raises:
        RuntimeError: it ended with a code that is neither "all is well" nor "a condition is false".
    """
    started = time.perf_counter()
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    took = (time.perf_counter() - started) * 1000
    if ended.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}: {ended.stderr}")
    return took

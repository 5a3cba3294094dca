"""Start: from the process being started to the settings restored, and to the socket answering."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.figures import Claim, Section, at_most, ratio
from bench.homes import Home, Settings, lay_out, save_in_place
from bench.running import FLOOR, SPECD, Contender, Running, answers, restored_within

BOUND_MS = 500.0
IMPORTS = 12

_IMPORT_TIME = re.compile(r"^import time:\s+(\d+) \|\s+(\d+) \| (\s*)(\S+)$", re.MULTILINE)


@dataclass
class _Starts:
    restored_ms: list[float] = field(default_factory=list)
    answering_ms: list[float] = field(default_factory=list)


def measure(root: Path, *, starts: int) -> Section:
    """``starts`` starts of specd, the floor and an empty Python, by turns, on drifted homes."""
    seen = {SPECD.name: _Starts(), FLOOR.name: _Starts()}
    empty: list[float] = []
    homes = {
        contender.name: lay_out(root / contender.name.partition(" ")[0])
        for contender in (SPECD, FLOOR)
    }
    settings = {name: Settings(home) for name, home in homes.items()}
    with Running(SPECD, homes[SPECD.name]) as running:
        running.get_ready(settings[SPECD.name])  # the tokenizers are compared once, not each time
    for _ in range(starts):
        empty.append(_run_ms([sys.executable, "-c", "pass"]))
        for contender in (SPECD, FLOOR):
            _start(contender, homes[contender.name], settings[contender.name], seen[contender.name])
    mine = seen[SPECD.name]
    return Section(
        title="Start",
        about=f"milliseconds from starting the process on a drifted home; median of {starts}",
        columns=("settings restored", "socket answers", "slowest"),
        rows={
            SPECD.name: (
                median(mine.restored_ms),
                median(mine.answering_ms),
                max(mine.answering_ms),
            ),
            FLOOR.name: (
                median(seen[FLOOR.name].restored_ms),
                None,
                max(seen[FLOOR.name].restored_ms),
            ),
            "`python -c pass`": (None, median(empty), max(empty)),
        },
        claims=(
            Claim("start → first reconcile done", median(mine.restored_ms), "ms", "≤", BOUND_MS),
            Claim("start → socket answering", median(mine.answering_ms), "ms", "≤", BOUND_MS),
            at_most(
                "start → first reconcile done ÷ `python -c pass`",
                ratio(mine.restored_ms, empty),
                25,
            ),
            at_most(
                "start → socket answering ÷ `python -c pass`", ratio(mine.answering_ms, empty), 40
            ),
        ),
        notes=(f"imported until then, milliseconds: {imports(homes[SPECD.name])}",),
        raw={"restored": mine.restored_ms, "answering": mine.answering_ms, "empty": empty},
    )


def imports(home: Home) -> str:
    """What ``specd run`` imports until it is ready: the costliest, each with what it pulls in."""
    with Running(
        Contender("imports", lambda _: [sys.executable, "-X", "importtime", "-m", "specd", "run"]),
        home,
    ) as running:
        until = time.monotonic() + 30
        while answers(home) is None and time.monotonic() < until:
            time.sleep(0.01)
        running.stop()
    said = (home.root / "output").read_text(errors="replace")
    costs: dict[str, float] = {}
    for _, total_us, indent, name in _IMPORT_TIME.findall(said):
        if len(indent) <= 4 and int(total_us) >= 2_000:
            costs[name] = int(total_us) / 1000
    dearest = sorted(costs.items(), key=lambda item: -item[1])[:IMPORTS]
    return ", ".join(f"{name} {cost:.0f}" for name, cost in dearest)


def _start(contender: Contender, home: Home, settings: Settings, seen: _Starts) -> None:
    save_in_place(home.settings, settings.drifted())
    started = time.perf_counter()
    with Running(contender, home):
        if restored_within(settings, 30) is None:
            return
        seen.restored_ms.append((time.perf_counter() - started) * 1000)
        while contender is SPECD and answers(home) is None:
            time.sleep(0.001)
        seen.answering_ms.append((time.perf_counter() - started) * 1000)


def _run_ms(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, env=os.environ)
    return (time.perf_counter() - started) * 1000

"""At rest: what a restorer costs while nothing happens, which is nearly always.

All of them rest at the same time, in homes of the same size, so one wait serves for all.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from bench.figures import Claim, Section, at_most, exactly
from bench.homes import Settings, fill, lay_out
from bench.running import FLOOR, SPECD, WATCHMAN, Running, Usage

MIB = 1 << 20


def measure(root: Path, *, seconds: float, settle: float) -> Section:
    """Memory at the end of ``seconds`` of rest, and CPU, wakeups and writes during them.

    ``settle`` is how long, in seconds, they are let alone before: specd proves the pair with MLX,
    suspects for a minute whoever last undid its writes, and keeps what it knows of model folders
    with the first periodic look that finds them unchanged.
    """
    resting: dict[str, Running] = {}
    with ExitStack() as stack:
        for contender in (SPECD, FLOOR, WATCHMAN):
            if contender.missing:
                continue
            home = lay_out(root / contender.name.partition(" ")[0])
            fill(home, conversations=20, files=2_000)
            resting[contender.name] = stack.enter_context(Running(contender, home))
            resting[contender.name].get_ready(Settings(home))
        time.sleep(settle)
        before = {name: (running.usage(), running.switches()) for name, running in resting.items()}
        time.sleep(seconds)
        rows = {
            name: _row(
                before[name][0], running.usage(), seconds, switched(before[name][1], running)
            )
            for name, running in resting.items()
        }
    rss, _, cpu, wakeups, _, written, _ = rows[SPECD.name]
    return Section(
        title="At rest",
        about=f"{seconds:.0f} s in which nothing happens, all at the same time",
        columns=(
            "RSS MiB",
            "PSS MiB",
            "CPU %",
            "wakeups/s",
            "descriptors",
            "bytes written",
            "processes",
        ),
        rows=dict(rows),
        claims=(
            Claim("at rest: RSS", rss, "MiB", "≤", 48),
            Claim("at rest: CPU", cpu, "%", "≤", 0.05),
            Claim("at rest: wakeups", wakeups, "/s", "≤", 0.5),
            Claim("at rest: written to disk", written, "bytes", "≤", 0),
            at_most("at rest: RSS ÷ bare watchdog script's", exactly(rss / rows[FLOOR.name][0]), 3),
        ),
    )


def switched(before: Counter[int], running: Running) -> int:
    """The context switches since ``before``; those of threads that ended are in neither count."""
    # A Counter's difference leaves out what is not above 0: a thread that ended since.
    return (running.switches() - before).total()


def _row(before: Usage, after: Usage, seconds: float, wakeups: int) -> tuple[float | int, ...]:
    """The table's cells: the last use of memory, and the use of the rest between both."""
    return (
        after.rss / MIB,
        after.pss / MIB,
        (after.cpu_s - before.cpu_s) / seconds * 100,
        wakeups / seconds,
        after.descriptors,
        after.written - before.written,
        after.processes,
    )

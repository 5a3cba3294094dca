"""Plots in the terminal (plotille): the results of a benchmark, and of many over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import plotille

from specd.bench.history import Run
from specd.bench.result import BenchResult
from specd.cli.paint import safe

HEIGHT = 10
AXIS_COLUMNS = 16
"""Columns that the library adds beside the plot: the axis, its numbers, its name."""

BAR_COLUMNS = 30


def lengths(result: BenchResult, columns: int) -> str:
    """Tokens per second against draft length, the best marked, beside what was measured."""
    shown = [(each.draft_tokens, each.predicted_tps) for each in result.lengths]
    if len(shown) < 2:
        return ""
    xs, ys = zip(*shown, strict=True)
    best = result.best
    name = "predicted" if result.engine == "mlx" else "tried"
    figure = _figure(columns, "draft tokens", "tokens/s")
    figure.set_x_limits(min_=0, max_=max(*xs, 1))
    measured = result.measured_tps
    highest = max(*ys, measured or 0.0) * 1.3
    figure.set_y_limits(min_=0, max_=highest)
    figure.x_ticks_fkt = lambda low, _high: f"{low:.0f}"
    figure.y_ticks_fkt = lambda low, _high: f"{low:.1f}"
    figure.plot(xs, ys, label=name)
    tried = best.compared
    at = dict(shown).get(best.draft_tokens)
    if at is not None:
        words = f"best: {best.draft_tokens}" if best.draft_tokens else "best: none"
        above = max(at, (measured or 0.0) if tried == best.draft_tokens else 0.0)
        # A text begins at its point: near the right edge it would be cut.
        room = max(*xs, 1) * (1 - len(words) / figure.width)
        figure.text([min(best.draft_tokens, room)], [above + highest / HEIGHT], [words])
    if measured is not None and tried:
        figure.scatter([tried], [measured], marker="●", label="measured")
    return _shown(figure)


def speedups(runs: Sequence[Run], columns: int) -> str:
    """Measured speed-up of one pair over time; ``runs`` in any order."""
    points = sorted(
        (datetime.fromisoformat(run.result.started_at).astimezone(), speedup)
        for run in runs
        if (speedup := run.result.used.measured_speedup) is not None
    )
    if len(points) < 2:
        return ""
    times = [at.replace(tzinfo=None) for at, _ in points]
    ys = [speedup for _, speedup in points]
    if times[-1] - times[0] < timedelta(minutes=1):
        return ""
    figure = _figure(columns, "date", "speed-up")
    figure.set_x_limits(min_=times[0], max_=times[-1])
    figure.set_y_limits(min_=min(*ys, 1.0) * 0.95, max_=max(*ys, 1.0) * 1.05)
    long = times[-1] - times[0] >= timedelta(days=2)
    figure.x_ticks_fkt = lambda low, _high: f"{low:%d %b}" if long else f"{low:%H:%M}"
    figure.y_ticks_fkt = lambda low, _high: f"{low:.2f}"
    figure.plot(times, ys, label="measured")
    figure.plot([times[0], times[-1]], [1.0, 1.0], label="as fast as without")
    return _shown(figure)


def classes(result: BenchResult) -> str:
    """Acceptance of each class of prompts, as bars."""
    shares = [
        (kind, known["acceptance"])
        for kind, known in result.by_class.items()
        if "acceptance" in known
    ]
    wide = max((len(kind) for kind, _ in shares), default=0)
    return "\n".join(
        f"  {safe(kind):<{wide}}  {'█' * round(share * BAR_COLUMNS):<{BAR_COLUMNS}} {share:.0%}"
        for kind, share in shares
    )


def _figure(columns: int, x: str, y: str) -> Any:
    figure = plotille.Figure()
    figure.width = max(20, min(columns, 100) - AXIS_COLUMNS - len(x))
    figure.height = HEIGHT
    figure.with_colors = False
    figure.origin = False
    figure.x_label, figure.y_label = x, y
    return figure


def _shown(figure: Any) -> str:
    """The plot, with its legend on one line."""
    drawn, _, legend = str(figure.show(legend=True)).partition("\n\nLegend:\n-------\n")
    keys = "   ".join(line.strip() for line in legend.splitlines())
    return "\n".join(line.rstrip() for line in [*drawn.splitlines(), f"  {keys}"])

"""The report's part on real use (pure): what the user's own chats show, beside the benchmark."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from specd.bench.outcome import outcome
from specd.bench.result import BenchResult
from specd.bench.use import InUse, Use, in_use
from specd.cli.look.plots import Axis, Point, Series, plot
from specd.cli.look.report_parts import DATES, cell, day, details, figure, section, table

HEADING = "Your own chats, beside the benchmark"


@dataclass(frozen=True, slots=True)
class RealUse:
    """One main in the user's chats, with one draft (None: only ever without).

    ``with_draft`` are its uses at any length, ``without`` those without a draft; ``benchmark`` is
    the latest of the pair. Models are named as LM Studio names them.
    """

    main: str
    draft: str | None
    with_draft: tuple[Use, ...]
    without: tuple[Use, ...]
    benchmark: BenchResult | None


def real_use(uses: Sequence[RealUse]) -> str:
    """Speeds and acceptance in use and in the benchmark, and how the speeds went by weeks."""
    if not uses:
        return section(
            HEADING,
            "<p>No answers have been read from your chats: LM Studio keeps figures with those made "
            "in the app, and <code>specd observe</code> reads them.</p>",
        )
    head = ["main", "draft", "without", "with the draft", "in use", "accepted", "benchmark"]
    rows = [_row(each) for each in uses]
    return section(HEADING, table("Real use", head, rows) + _cautions(uses) + _weeks(uses))


def _row(use: RealUse) -> list[str]:
    seen = in_use(use.with_draft, use.without)
    return [
        f"<th scope='row'>{escape(use.main)}</th>",
        cell(use.draft or "none"),
        cell(_speed(seen.baseline_tps, seen.baseline_answers)),
        cell(_speed(seen.tps, seen.answers)),
        cell("" if seen.speedup is None else f"{seen.speedup:.2f}×"),
        cell(_acceptance(use, seen)),
        cell("not measured" if use.benchmark is None else outcome(use.benchmark).words),
    ]


def _cautions(uses: Sequence[RealUse]) -> str:
    """Why the two speeds of a pair should not be compared."""
    told = [
        (f"{each.main} ← {each.draft}", caution)
        for each in uses
        if (caution := in_use(each.with_draft, each.without).caution) is not None
    ]
    return "".join(f"<p>Caution, {escape(pair)}: {escape(why)}.</p>" for pair, why in told)


def _speed(tps: float | None, answers: int) -> str:
    if not answers:
        return "no answers"
    counted = f"{answers:,} answer{'s'[: answers != 1]}"
    return f"no speed told, {counted}" if tps is None else f"{tps:.1f} tokens/s, {counted}"


def _acceptance(use: RealUse, seen: InUse) -> str:
    """In use, and what the benchmark had at the same draft length."""
    if seen.acceptance is None:
        return ""
    lengths = use.benchmark.lengths if use.benchmark is not None else ()
    same = next((each for each in lengths if each.draft_tokens == seen.draft_tokens), None)
    if same is None or same.acceptance is None:
        return f"{seen.acceptance:.0%}"
    return f"{seen.acceptance:.0%} (benchmark {same.acceptance:.0%})"


def _weeks(uses: Sequence[RealUse]) -> str:
    series = [each for each in _series(uses) if each.points]
    if not series:
        return ""
    drawn = plot(
        "Tokens per second in your chats",
        "Each point is a week of answers; the table holds the figures.",
        series,
        DATES,
        Axis("tokens/s", lambda value: f"{value:g}", zero=True),
    )
    rows = [
        [f"<th scope='row'>{escape(each.name)}</th>", cell(point.says)]
        for each in series
        for point in each.points
    ]
    listed = table("Weeks", ["models", "week"], rows)
    return figure(drawn, series) + details("All weeks", listed)


def _series(uses: Sequence[RealUse]) -> Iterable[Series]:
    for main in dict.fromkeys(each.main for each in uses):
        of_main = [each for each in uses if each.main == main]
        yield _one_series(f"{main} without a draft", of_main[0].without)
        for each in of_main:
            if each.draft is not None:
                yield _one_series(f"{main} ← {each.draft}", each.with_draft)


def _one_series(name: str, uses: Iterable[Use]) -> Series:
    """Weeks of several draft lengths together; answers count alike in a week."""
    found: dict[float, list[tuple[int, float]]] = defaultdict(list)
    for use in uses:
        for week in use.weeks:
            if week.tps is not None:
                found[week.start].append((week.answers, week.tps))
    points = []
    for start, told in sorted(found.items()):
        answers = sum(count for count, _ in told)
        tps = sum(count * speed for count, speed in told) / answers
        when = day(datetime.fromtimestamp(start).astimezone())
        points.append(Point(start, tps, f"week of {when}: {_speed(tps, answers)}"))
    return Series(name, tuple(points))

"""The report as one HTML page (pure): figures in, the document out.

The pictures are made here and drawn in ``plots.py``; the page and its tables are a template. The
page holds no script and makes no request; its content security policy says so to the browser.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from specd.bench.outcome import outcome, ratio, speedups
from specd.bench.prompts import CONTEXTS
from specd.bench.result import BenchResult, LengthResult
from specd.bench.use import Use, in_use
from specd.cli.look import status as screen
from specd.cli.look.plots import TEMPLATES, Axis, Point, Series, plot
from specd.cli.paint import plural
from specd.reconcile.apply import describe
from specd.reconcile.entry import Entry
from specd.reconcile.restores import PutBack
from specd.tokenizer.verdict import VerdictKind

NEWEST_WRITES = 200
DAYS, WEEKS, KEYS = 14, 26, 5
HOUR, DAY = 3600.0, 86400.0
WHOLE = (1, 2, 5, 10, 20)


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

    @property
    def name(self) -> str:
        """The pair as a person would write it."""
        return f"{self.main} ← {self.draft}" if self.draft else self.main


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the page shows. ``status`` is the daemon's answer, None when it is not running.

    ``matrix`` maps main → draft → the verdict's kind, None where they have not been compared yet.
    ``benchmarks``, ``writes`` and ``put_back`` are oldest first.
    """

    made_at: datetime
    version: str
    status: dict[str, Any] | None
    matrix: dict[str, dict[str, VerdictKind | None]]
    benchmarks: tuple[BenchResult, ...]
    writes: tuple[Entry, ...]
    put_back: tuple[PutBack, ...] = ()
    uses: tuple[RealUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of ``share`` (0 to 1) of the full width."""

    label: str
    text: str
    share: float


@dataclass(frozen=True, slots=True)
class Picture:
    """Bars, or an SVG with the names of its series; the template puts a table of figures below."""

    heading: str
    about: str = ""
    by: str = ""
    bars: tuple[Bar, ...] = ()
    drawn: str = ""
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def page(report: Report) -> str:
    """The whole document."""
    latest = [results[-1] for results in _by_pair(report.benchmarks).values()]
    measured = [each for each in report.benchmarks if each.used.measured_speedup is not None]
    weeks = [each for each in _weeks(report.uses) if each.points]
    return TEMPLATES.get_template("report.html.j2").render(
        report=report,
        status=report.status,
        verdict=screen.verdict(report.status) if report.status else "specd is not running.",
        all_is_well=report.status is not None and not screen.faults(report.status),
        latest=latest,
        kinds=_kinds(latest),
        acceptance=partial(_acceptance, latest),
        lengths=_lengths([each for each in latest if each.lengths]),
        measured=measured,
        speedups=_speedups(measured) if measured else None,
        restores=_restores(report),
        real_use=_real_use(report.uses, weeks),
        used=[_used(each) for each in report.uses],
        weeks=weeks,
        drafts=list(dict.fromkeys(draft for row in report.matrix.values() for draft in row)),
        newest=report.writes[: -NEWEST_WRITES - 1 : -1],
        changes=lambda entry: "; ".join(map(describe, entry.changes)),
        name=_name,
        accepted=_accepted,
        ratio=ratio,
        day=day,
        since=_since,
    )


# -- pictures -------------------------------------------------------------------------------------


def _kinds(latest: Sequence[BenchResult]) -> list[Picture]:
    """By kind of prompt and by context: one number would hide a kind without a gain."""
    return [
        Picture(
            f"Speed-up by {by}",
            "The latest benchmark of each pair.",
            by,
            bars=_bars(
                (f"{kind}, {each.draft}" if len(latest) > 1 else kind, speed, f"{speed:.2f}×")
                for each in latest
                for kind, speed in speedups(each, contexts=contexts)
            ),
        )
        for by, contexts in (("kind of prompt", False), ("context length", True))
        if any((kind in CONTEXTS) is contexts for each in latest for kind in each.by_class)
    ]


def _acceptance(latest: Sequence[BenchResult], by: str) -> list[tuple[str, str, float]]:
    """Pair, kind of prompt (or context), and the share of draft tokens accepted."""
    return [
        (_name(each), kind, figures["acceptance"])
        for each in latest
        for kind, figures in each.by_class.items()
        if (kind in CONTEXTS) is (by == "context length") and "acceptance" in figures
    ]


def _bars(rows: Iterable[tuple[str, float, str]]) -> tuple[Bar, ...]:
    """One bar for each name, figure and words; the largest figure fills the width."""
    listed = list(rows)
    most = max((figure for _, figure, _ in listed), default=1) or 1
    return tuple(Bar(name, words, figure / most) for name, figure, words in listed)


def _lengths(latest: Sequence[BenchResult]) -> Picture | None:
    if not latest:
        return None
    heading = "Tokens per second against draft length"
    series = [made for each in latest for made in (_foretold(each), _real(each)) if made]
    about = (
        "The latest benchmark of each pair: measured without a draft (0), predicted from exact "
        "replay for each draft length, the best marked, and what real runs measured."
    )
    across = Axis("draft tokens", lambda value: f"{value:.0f}", zero=True, steps=WHOLE)
    up = Axis("tokens/s", lambda value: f"{value:g}", zero=True)
    drawn = plot(heading, about, series, across, up)
    return Picture(heading, about, drawn=drawn, names=tuple(each.name for each in series))


def _foretold(result: BenchResult) -> Series:
    without = Point(0, result.baseline_tps, f"without a draft: {result.baseline_tps:.1f} tokens/s")
    drafted = [
        Point(
            each.draft_tokens,
            each.predicted_tps,
            f"{plural(each.draft_tokens, 'draft token')}: {each.predicted_tps:.1f} tokens/s, "
            f"{_accepted(each)}",
        )
        for each in result.lengths
        if each.draft_tokens
    ]
    points = [
        replace(each, mark="best") if each.x == result.best.draft_tokens else each
        for each in (without, *drafted)
    ]
    return Series(_name(result), tuple(points))


def _real(result: BenchResult) -> Series | None:
    speed, tried = result.measured_tps, result.best.compared
    if speed is None or not tried:
        return None
    says = f"measured with {plural(tried, 'draft token')}: {speed:.1f} tokens/s"
    ends = result.used.interval
    interval = (ends[0] * result.baseline_tps, ends[1] * result.baseline_tps) if ends else None
    point = Point(tried, speed, says, interval)
    return Series(f"{_name(result)}, measured", (point,), joined=False)


def _speedups(measured: Sequence[BenchResult]) -> Picture:
    heading = "Speed-up over time"
    series = [
        Series(name, tuple(_speedup_point(each) for each in results))
        for name, results in _by_pair(measured).items()
    ]
    about = f"{plural(len(measured), 'benchmark')} of {plural(len(series), 'pair')}."
    level = (1.0, "as fast as without a draft")
    up = Axis("speed-up", lambda value: f"{value:.2f}×")
    drawn = plot(heading, about, series, DATES, up, level=level)
    return Picture(heading, about, drawn=drawn, names=tuple(each.name for each in series))


def _speedup_point(result: BenchResult) -> Point:
    when = datetime.fromisoformat(result.started_at)
    speed = result.used.measured_speedup or 0.0
    says = f"{_name(result)}, {day(when)}: {ratio(speed, result.used.interval)}"
    return Point(when.timestamp(), speed, says, result.used.interval)


def _restores(report: Report) -> Iterator[Picture]:
    heading = "Values that specd put back"
    if not report.put_back:
        yield Picture(heading, "No other program has changed what specd wrote.")
        return
    today = report.made_at.date()
    ages = [(today - each.time.date()).days for each in report.put_back]
    keys = Counter(each.key.rpartition(".")[2] for each in report.put_back)
    notes = [f"{key}: {plural(times, 'time')}." for key, times in keys.most_common(KEYS)]
    program = ((report.status or {}).get("restores") or {}).get("last") or {}
    if program.get("program"):
        notes.append(f"A program changes it again and again: {program['program']}.")
    for span, name, steps in ((1, "by day", DAYS), (7, "by week", WEEKS)):
        counted = Counter(age // span for age in ages)
        steps_back = [(n, today - timedelta(days=n * span)) for n in range(steps) if counted[n]]
        about = "Weeks end on the day that is named." if span > 1 else ""
        yield Picture(
            f"{heading}, {name}",
            about or f"{plural(len(ages), 'write')} in all.",
            bars=_bars(
                (f"{last:%a} {last.day} {last:%b}", counted[n], plural(counted[n], "time"))
                for n, last in steps_back
            ),
            notes=tuple(notes) if span == 1 else (),
        )
        if max(ages) < DAYS:
            return


def _real_use(uses: Sequence[RealUse], series: Sequence[Series]) -> Picture:
    heading = "Your own chats, beside the benchmark"
    if not uses:
        return Picture(
            heading,
            "No answers have been read from your chats: LM Studio keeps figures with those made in "
            "the app, and `specd observe` reads them.",
        )
    about = "Tokens per second; each point is a week of answers." if series else ""
    axis = Axis("tokens/s", lambda value: f"{value:g}", zero=True)
    return Picture(
        heading,
        about,
        drawn=plot("Tokens per second in your chats", about, series, DATES, axis) if series else "",
        names=tuple(each.name for each in series),
        notes=tuple(
            f"Caution, {each.name}: {caution}."
            for each in uses
            if (caution := in_use(each.with_draft, each.without).caution) is not None
        ),
    )


def _used(use: RealUse) -> tuple[str, ...]:
    seen = in_use(use.with_draft, use.without)
    accepted = "" if seen.acceptance is None else f"{seen.acceptance:.0%}"
    lengths = use.benchmark.lengths if use.benchmark is not None else ()
    same = next((each for each in lengths if each.draft_tokens == seen.draft_tokens), None)
    if accepted and same is not None and same.acceptance is not None:
        accepted += f" (benchmark {same.acceptance:.0%})"
    return (
        use.main,
        use.draft or "none",
        _speed(seen.baseline_tps, seen.baseline_answers),
        _speed(seen.tps, seen.answers),
        "" if seen.speedup is None else f"{seen.speedup:.2f}×",
        accepted,
        "not measured" if use.benchmark is None else outcome(use.benchmark).words,
    )


def _speed(tps: float | None, answers: int) -> str:
    if not answers:
        return "no answers"
    counted = plural(answers, "answer")
    return f"no speed known, {counted}" if tps is None else f"{tps:.1f} tokens/s, {counted}"


def _weeks(uses: Sequence[RealUse]) -> Iterator[Series]:
    for main in dict.fromkeys(each.main for each in uses):
        of_main = [each for each in uses if each.main == main]
        yield _one_series(f"{main} without a draft", of_main[0].without)
        for each in of_main:
            if each.draft is not None:
                yield _one_series(each.name, each.with_draft)


def _one_series(name: str, uses: Iterable[Use]) -> Series:
    """Weeks of several draft lengths together; answers count alike in a week."""
    found: dict[float, list[tuple[int, float]]] = defaultdict(list)
    for use in uses:
        for week in use.weeks:
            if week.tps is not None:
                found[week.start].append((week.answers, week.tps))
    points = []
    for start, speeds in sorted(found.items()):
        answers = sum(count for count, _ in speeds)
        tps = sum(count * speed for count, speed in speeds) / answers
        when = day(datetime.fromtimestamp(start).astimezone())
        points.append(Point(start, tps, f"week of {when}: {_speed(tps, answers)}"))
    return Series(name, tuple(points))


# -- words ----------------------------------------------------------------------------------------


def _by_pair(results: Iterable[BenchResult]) -> dict[str, list[BenchResult]]:
    found: dict[str, list[BenchResult]] = defaultdict(list)
    for each in results:
        found[_name(each)].append(each)
    return dict(found)


def _name(result: BenchResult) -> str:
    return f"{result.main} ← {result.draft}"


def _accepted(length: LengthResult) -> str:
    if length.acceptance is None:
        return "acceptance not known"
    return f"{length.acceptance:.0%} accepted"


def day(moment: datetime) -> str:
    """The date alone."""
    return f"{moment.day} {moment:%b %Y}"


def _since(text: str) -> datetime | str:
    """The moment of an RFC 3339 time; any other text unchanged."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        return text


def _day_of(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds).astimezone()
    midnight = (moment.hour, moment.minute) == (0, 0)
    return f"{moment.day} {moment:%b}" if midnight else f"{moment.day} {moment:%b %H:%M}"


DATES = Axis(
    "date",
    _day_of,
    steps=(
        *(60, 300, 900, HOUR, 3 * HOUR, 6 * HOUR, DAY),
        *(n * DAY for n in (2, 7, 14, 28, 91, 365)),
    ),
)

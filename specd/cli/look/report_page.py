"""The report as one HTML page (pure): figures in, sections out, one template for all of them.

The words stand here, the page in ``templates/``, the drawing in ``plots.py``. The page holds no
script and makes no request; its content security policy says so to the browser.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from specd.bench.outcome import outcome, ratio, speedups
from specd.bench.prompts import CONTEXTS
from specd.bench.result import BenchResult, LengthResult
from specd.bench.use import Use, in_use
from specd.cli.look import status as screen
from specd.cli.look.plots import TEMPLATES, Axis, Point, Series, plot
from specd.cli.paint import plural
from specd.tokenizer.verdict import VerdictKind

NEWEST_WRITES = 200
DAYS, WEEKS = 14, 26
NOTHING_MEASURED = "Nothing has been measured yet: `specd bench` does it."
HOUR, DAY = 3600.0, 86400.0
WHOLE = (1, 2, 5, 10, 20)


@dataclass(frozen=True, slots=True)
class Write:
    """One write to LM Studio's files: when, where, what, and how long the pass took (ms)."""

    number: int
    time: datetime
    path: str
    changes: tuple[str, ...]
    state: str
    took_ms: float | None


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
    ``benchmarks``, ``writes`` and ``restored`` (when specd put something back) are oldest first.
    """

    made_at: datetime
    version: str
    status: dict[str, Any] | None
    matrix: dict[str, dict[str, VerdictKind | None]]
    benchmarks: tuple[BenchResult, ...]
    writes: tuple[Write, ...]
    restored: tuple[datetime, ...] = ()
    uses: tuple[RealUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table; ``share`` (0 to 1) is drawn beside it, ``iso`` is its time."""

    text: str
    css: str = ""
    share: float | None = None
    iso: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """``caption`` names it for screen readers."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of ``share`` (0 to 1) of the full width."""

    label: str
    text: str
    share: float


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page; each of its tables is hidden behind a summary, where it has one."""

    heading: str
    about: str = ""
    bars: tuple[Bar, ...] = ()
    drawn: str = ""
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[tuple[str, Table], ...] = ()


def page(report: Report) -> str:
    """The whole document."""
    status = report.status
    return TEMPLATES.get_template("report.html.j2").render(
        sentence=screen.verdict(status) if status else "specd is not running.",
        state=status["state"] if status else "stopped",
        detail=status["home"] or "no LM Studio home" if status else "what specd knew last follows",
        made_on=day(report.made_at),
        made_at=_moment(report.made_at).text,
        version=report.version,
        sections=[section for section in _sections(report) if section is not None],
    )


def _sections(report: Report) -> Iterator[Section | None]:
    yield from _kinds(report.benchmarks)
    yield _lengths(report.benchmarks)
    yield _speedups(report.benchmarks)
    yield from _restores(report)
    yield _real_use(report.uses)
    if report.status is not None:
        yield _pairs(report.status)
        yield _conditions(report.status)
    yield _matrix(report.matrix)
    yield _writes(report.writes)


def _table(caption: str, head: str, rows: Iterable[Sequence[str | Cell]]) -> Table:
    """``head``: the columns' names, separated by commas."""
    cells = (tuple(c if isinstance(c, Cell) else Cell(c) for c in row) for row in rows)
    return Table(caption, tuple(head.split(", ")), tuple(cells))


# -- pictures -------------------------------------------------------------------------------------


def _kinds(benchmarks: Sequence[BenchResult]) -> Iterator[Section]:
    """By kind of prompt and by context: one number would hide that a story drafts badly."""
    latest = [results[-1] for results in _by_pair(benchmarks).values()]
    if not latest:
        yield Section("Speed-up by kind of prompt", NOTHING_MEASURED)
    for by, contexts in (("kind of prompt", False), ("context length", True)):
        speeds = [
            (f"{kind}, {each.draft}" if len(latest) > 1 else kind, speed, f"{speed:.2f}×")
            for each in latest
            for kind, speed in speedups(each, contexts=contexts)
        ]
        rows = [
            (_name(each), kind, Cell(f"{figures['acceptance']:.0%}", share=figures["acceptance"]))
            for each in latest
            for kind, figures in each.by_class.items()
            if (kind in CONTEXTS) is contexts and "acceptance" in figures
        ]
        if speeds or rows:
            made = _table(f"Acceptance by {by}", "pair, prompts, draft tokens accepted", rows)
            yield Section(
                f"Speed-up by {by}",
                "The latest benchmark of each pair.",
                bars=_bars(speeds),
                tables=(("Draft tokens accepted" if speeds else "", made),) if rows else (),
            )


def _bars(rows: Iterable[tuple[str, float, str]]) -> tuple[Bar, ...]:
    """One bar for each name, figure and words; the largest figure fills the width."""
    listed = list(rows)
    most = max((figure for _, figure, _ in listed), default=1) or 1
    return tuple(Bar(name, words, figure / most) for name, figure, words in listed)


def _lengths(benchmarks: Sequence[BenchResult]) -> Section | None:
    heading = "Tokens per second against draft length"
    latest = [results[-1] for results in _by_pair(benchmarks).values() if results[-1].lengths]
    if not latest:
        return None
    series = [made for each in latest for made in (_foretold(each), _real(each)) if made]
    about = (
        "The latest benchmark of each pair: measured without a draft (0), predicted from exact "
        "replay for each draft length, the best marked, and what real runs measured."
    )
    rows = [
        (
            _name(each),
            str(length.draft_tokens),
            _accepted(length),
            f"{length.predicted_tps:.1f}",
            f"{length.predicted_speedup:.2f}×",
        )
        for each in latest
        for length in each.lengths
    ]
    return Section(
        heading,
        about,
        drawn=plot(
            heading,
            about,
            series,
            Axis("draft tokens", lambda value: f"{value:.0f}", zero=True, steps=WHOLE),
            Axis("tokens/s", lambda value: f"{value:g}", zero=True),
        ),
        names=tuple(each.name for each in series),
        tables=(
            (
                "All lengths",
                _table("Lengths", "pair, draft tokens, accepted, tokens/s, speed-up", rows),
            ),
        ),
    )


def _foretold(result: BenchResult) -> Series:
    without = Point(0, result.baseline_tps, f"without a draft: {result.baseline_tps:.1f} tokens/s")
    drafted = [
        Point(
            each.draft_tokens,
            each.predicted_tps,
            f"{each.draft_tokens} draft tokens: {each.predicted_tps:.1f} tokens/s, "
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
    says = f"measured with {tried} draft tokens: {speed:.1f} tokens/s"
    ends = result.best.interval
    interval = (ends[0] * result.baseline_tps, ends[1] * result.baseline_tps) if ends else None
    point = Point(tried, speed, says, interval)
    return Series(f"{_name(result)}, measured", (point,), joined=False)


def _speedups(benchmarks: Sequence[BenchResult]) -> Section | None:
    heading = "Speed-up over time"
    measured = [each for each in benchmarks if each.best.measured_speedup is not None]
    if not measured:
        return None
    series = [
        Series(name, tuple(_speedup_point(each) for each in results))
        for name, results in _by_pair(measured).items()
    ]
    about = f"{plural(len(measured), 'benchmark')} of {plural(len(series), 'pair')}."
    rows = [
        (
            _since(each.started_at),
            _name(each),
            str(each.best.draft_tokens),
            _measured(each),
            f"{each.baseline_tps:.1f}",
            each.engine,
            "yes" if each.text_equal else "no",
        )
        for each in reversed(measured)
    ]
    head = "when, pair, draft tokens, speed-up, tokens/s without, engine, same text"
    level = (1.0, "as fast as without a draft")
    up = Axis("speed-up", lambda value: f"{value:.2f}×")
    return Section(
        heading,
        about,
        drawn=plot(heading, about, series, DATES, up, level=level),
        names=tuple(each.name for each in series),
        tables=(("All benchmarks", _table("Benchmarks", head, rows)),),
    )


def _speedup_point(result: BenchResult) -> Point:
    when = datetime.fromisoformat(result.started_at)
    says = f"{_name(result)}, {day(when)}: {_measured(result)}"
    return Point(when.timestamp(), result.best.measured_speedup or 0.0, says, result.best.interval)


def _restores(report: Report) -> Iterator[Section]:
    heading = "Values that specd put back"
    if not report.restored:
        yield Section(heading, "No other program has changed what specd wrote.")
        return
    today = report.made_at.date()
    ages = [(today - each.date()).days for each in report.restored]
    for span, name, steps in ((1, "by day", DAYS), (7, "by week", WEEKS)):
        counted = Counter(age // span for age in ages)
        steps_back = [(n, today - timedelta(days=n * span)) for n in range(steps) if counted[n]]
        about = "Weeks end on the day that is named." if span > 1 else ""
        yield Section(
            f"{heading}, {name}",
            about or f"{plural(len(ages), 'write')} in all.",
            bars=_bars(
                (f"{last:%a} {last.day} {last:%b}", counted[n], plural(counted[n], "time"))
                for n, last in steps_back
            ),
        )
        if max(ages) < DAYS:
            return


def _real_use(uses: Sequence[RealUse]) -> Section:
    heading = "Your own chats, beside the benchmark"
    if not uses:
        return Section(
            heading,
            "No answers have been read from your chats: LM Studio keeps figures with those made in "
            "the app, and `specd observe` reads them.",
        )
    series = [each for each in _weeks(uses) if each.points]
    about = "Tokens per second; each point is a week of answers."
    axis = Axis("tokens/s", lambda value: f"{value:g}", zero=True)
    cautions = (
        (each.name, caution)
        for each in uses
        if (caution := in_use(each.with_draft, each.without).caution) is not None
    )
    used = _table(
        "Real use",
        "main, draft, without, with the draft, in use, accepted, benchmark",
        (_used(each) for each in uses),
    )
    weeks = ((each.name, point.says) for each in series for point in each.points)
    return Section(
        heading,
        about if series else "",
        drawn=plot("Tokens per second in your chats", about, series, DATES, axis) if series else "",
        names=tuple(each.name for each in series),
        notes=tuple(f"Caution, {name}: {caution}." for name, caution in cautions),
        tables=(("", used), ("All weeks", _table("Weeks", "models, week", weeks))),
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


# -- tables ---------------------------------------------------------------------------------------


def _pairs(status: dict[str, Any]) -> Section:
    if not status["pairs"]:
        return Section("Pairs", "No pair is configured: `specd install` proposes one.")
    rows = [
        (
            each["main"],
            each["draft"] or "none",
            each["verdict"] or "not compared yet",
            "LM Studio's own" if each["draft_tokens"] is None else str(each["draft_tokens"]),
            each.get("gain") or "not measured",
            each.get("why") or "",
        )
        for each in status["pairs"]
    ]
    head = "main, draft, verdict, draft tokens, gain, why"
    return Section("Pairs", tables=(("", _table("Pairs", head, rows)),))


def _conditions(status: dict[str, Any]) -> Section:
    rows = [
        (
            each["type"],
            Cell(
                "advice" if each["severity"] == "advice" else each["status"],
                "unknown" if each["severity"] == "advice" else each["status"],
            ),
            " → ".join(filter(None, (each["message"], each["remedy"]))),
            _since(each["since"]),
        )
        for each in status["conditions"]
    ]
    made = _table("Conditions", "condition, status, why, since", rows)
    folded = "" if screen.faults(status) else "All is well"
    return Section("Conditions", tables=((folded, made),))


def _matrix(matrix: dict[str, dict[str, VerdictKind | None]]) -> Section:
    heading = "Which drafts fit which main"
    if not matrix:
        return Section(heading, "No models are known.")
    drafts = list(dict.fromkeys(draft for row in matrix.values() for draft in row))
    rows = tuple(
        (Cell(main), *(_verdict(row[draft]) if draft in row else Cell("-") for draft in drafts))
        for main, row in matrix.items()
    )
    made = Table("Verdicts", ("main \\ draft", *drafts), rows)
    return Section(heading, tables=(("", made),))


def _verdict(kind: VerdictKind | None) -> Cell:
    if kind is None:
        return Cell("not compared")
    css = {"identical": "true", "compatible": "true", "incompatible": "false"}.get(kind, "unknown")
    return Cell(kind, css)


def _writes(writes: Sequence[Write]) -> Section:
    heading = "What specd wrote"
    if not writes:
        return Section(heading, "Nothing yet.")
    rows = [
        (
            str(each.number),
            _moment(each.time),
            each.path,
            "; ".join(each.changes),
            "" if each.took_ms is None else f"{each.took_ms:.1f} ms",
            each.state,
        )
        for each in reversed(writes[-NEWEST_WRITES:])
    ]
    left = len(writes) - NEWEST_WRITES
    return Section(
        heading,
        notes=(f"{left} older writes are in `specd restore --list`.",) if left > 0 else (),
        tables=(
            (
                f"All writes ({len(rows)})",
                _table("Writes", "no., when, file, what, took, state", rows),
            ),
        ),
    )


# -- words ----------------------------------------------------------------------------------------


def _by_pair(results: Iterable[BenchResult]) -> dict[str, list[BenchResult]]:
    found: dict[str, list[BenchResult]] = defaultdict(list)
    for each in results:
        found[_name(each)].append(each)
    return dict(found)


def _name(result: BenchResult) -> str:
    return f"{result.main} ← {result.draft}"


def _measured(result: BenchResult) -> str:
    return ratio(result.best.measured_speedup or 0.0, result.best.interval)


def _accepted(length: LengthResult) -> str:
    if length.acceptance is None:
        return "acceptance not known"
    return f"{length.acceptance:.0%} accepted"


def day(moment: datetime) -> str:
    """The date alone."""
    return f"{moment.day} {moment:%b %Y}"


def _moment(moment: datetime) -> Cell:
    return Cell(f"{day(moment)} {moment:%H:%M:%S}", iso=moment.isoformat())


def _since(text: str) -> Cell:
    """A moment from RFC 3339; what is no time is shown as it stands."""
    try:
        return _moment(datetime.fromisoformat(text).astimezone())
    except ValueError:
        return Cell(text)


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

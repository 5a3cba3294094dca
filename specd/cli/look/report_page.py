"""The report as one HTML page (pure): figures in, text out.

Everything that comes from files is escaped. The page holds no script and asks nobody for anything;
its own content security policy says so to the browser.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from html import escape
from typing import Any

from specd.bench.result import BenchResult, LengthResult
from specd.cli.look.plots import SERIES, Axis, Point, Series, plot
from specd.cli.look.report_parts import (
    DATES,
    cell,
    day,
    details,
    figure,
    section,
    since,
    table,
    time,
)
from specd.cli.look.report_use import RealUse, real_use
from specd.reconcile.conditions import Condition
from specd.tokenizer.verdict import VerdictKind

NEWEST_WRITES = 200

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
FOOTER = "It holds figures, names of models and paths, and no text of any conversation."


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
class Report:
    """Everything the page shows. ``status`` is the daemon's answer, None when it is not running.

    ``matrix`` maps main → draft → the verdict's kind, None where nobody has compared them yet.
    ``benchmarks`` and ``writes`` are oldest first.
    """

    made_at: datetime
    version: str
    status: dict[str, Any] | None
    conditions: tuple[Condition, ...]
    matrix: dict[str, dict[str, VerdictKind | None]]
    benchmarks: tuple[BenchResult, ...]
    writes: tuple[Write, ...]
    uses: tuple[RealUse, ...] = ()


def page(report: Report) -> str:
    """The whole document."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<link rel="icon" href="data:,">',
            f"<title>specd report, {day(report.made_at)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            _header(report),
            "<main>",
            _conditions(report.conditions),
            _pairs(report),
            _matrix(report.matrix),
            _speedups(report.benchmarks),
            real_use(report.uses),
            _lengths(report.benchmarks),
            _kinds(report.benchmarks),
            _drift(report.writes),
            "</main>",
            f"<footer><p>Made by specd {escape(report.version)}. {FOOTER}</p></footer>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _header(report: Report) -> str:
    status = report.status
    if status is None:
        state, detail = "stopped", "specd is not running; what follows is what it knew last"
    else:
        state = str(status["state"])
        detail = f"{status['home'] or 'no LM Studio home'} · process {status['pid']}"
    return (
        f'<header><h1>specd <span class="badge {escape(state)}">{escape(state)}</span></h1>'
        f"<p>{escape(detail)}</p><p>{time(report.made_at)}</p></header>"
    )


_MARKS = {"true": "✓ true", "false": "✗ false", "unknown": "· unknown"}


def _conditions(conditions: Sequence[Condition]) -> str:
    if not conditions:
        return section("Conditions", "<p>Nothing is known yet.</p>")
    rows = [
        [
            f"<th scope='row'>{escape(each.type)}</th>",
            f"<td class='{each.status}'>{_MARKS[each.status]}</td>",
            f"<td>{escape(each.message)}</td>",
            f"<td>{since(each.since)}</td>",
        ]
        for each in conditions
    ]
    return section("Conditions", table("Conditions", ["condition", "status", "why", "since"], rows))


def _pairs(report: Report) -> str:
    listed = report.status["pairs"] if report.status else []
    if not listed:
        return section("Pairs", "<p>No pair is configured, or specd is not running.</p>")
    rows = [
        [
            f"<th scope='row'>{escape(each['main'])}</th>",
            cell(each["draft"] or "none"),
            cell(each["verdict"] or "not compared yet"),
            cell("LM Studio's own" if each["draft_tokens"] is None else str(each["draft_tokens"])),
            cell(each.get("gain") or "not measured"),
            cell(each.get("why") or ""),
        ]
        for each in listed
    ]
    head = ["main", "draft", "verdict", "draft tokens", "gain", "why"]
    return section("Pairs", table("Pairs", head, rows))


def _matrix(matrix: dict[str, dict[str, VerdictKind | None]]) -> str:
    if not matrix:
        return section("Which drafts fit which main", "<p>No models are known.</p>")
    drafts = list(dict.fromkeys(draft for row in matrix.values() for draft in row))
    rows = [
        [
            f"<th scope='row'>{escape(main)}</th>",
            *(_verdict(row[draft]) if draft in row else "<td>-</td>" for draft in drafts),
        ]
        for main, row in matrix.items()
    ]
    return section(
        "Which drafts fit which main", table("Verdicts", ["main \\ draft", *drafts], rows)
    )


def _verdict(kind: VerdictKind | None) -> str:
    if kind is None:
        return "<td>not compared</td>"
    css = {"identical": "true", "compatible": "true", "incompatible": "false"}.get(kind, "unknown")
    return f"<td class='{css}'>{kind}</td>"


def _speedups(benchmarks: Sequence[BenchResult]) -> str:
    measured = [each for each in benchmarks if each.best.measured_speedup is not None]
    if not measured:
        return section("Speed-up over time", "<p>Nothing has been measured yet.</p>")
    series = [
        Series(name, tuple(_speedup_point(each) for each in results))
        for name, results in _by_pair(measured).items()
    ]
    drawn = plot(
        "Speed-up over time",
        f"{len(measured)} benchmarks of {len(series)} pairs; the table below holds the figures.",
        series,
        DATES,
        Axis("speed-up", lambda value: f"{value:.2f}×"),
        level=(1.0, "as fast as without a draft"),
    )
    rows = [
        [
            f"<th scope='row'>{since(each.started_at)}</th>",
            cell(f"{each.main} ← {each.draft}"),
            cell(str(each.best.draft_tokens)),
            cell(_measured(each)),
            cell(f"{each.baseline_tps:.1f}"),
            cell(each.engine),
            cell("yes" if each.text_equal else "no"),
        ]
        for each in reversed(measured)
    ]
    head = ["when", "pair", "draft tokens", "speed-up", "tokens/s without", "engine", "same text"]
    listed = details("All benchmarks", table("Benchmarks", head, rows))
    return section("Speed-up over time", figure(drawn, series) + listed)


def _speedup_point(result: BenchResult) -> Point:
    low, high = result.best.interval or (None, None)
    when = datetime.fromisoformat(result.started_at)
    return Point(
        when.timestamp(),
        result.best.measured_speedup or 0.0,
        f"{result.main} ← {result.draft}, {day(when)}: {_measured(result)}",
        low,
        high,
    )


def _measured(result: BenchResult) -> str:
    speed = f"{result.best.measured_speedup:.2f}×"
    if result.best.interval is None:
        return speed
    return f"{speed} [{result.best.interval[0]:.2f}, {result.best.interval[1]:.2f}]"


def _lengths(benchmarks: Sequence[BenchResult]) -> str:
    heading = "Tokens per second against draft length"
    latest = [results[-1] for results in _by_pair(benchmarks).values() if results[-1].lengths]
    if not latest:
        return section(heading, "<p>Nothing has been measured yet.</p>")
    series = [made for each in latest for made in (_foretold(each), _real(each)) if made]
    drawn = plot(
        heading,
        "The latest benchmark of each pair: measured without a draft (0), predicted from exact "
        "replay for each draft length, the best marked, and what real runs measured.",
        series,
        Axis("draft tokens", lambda value: f"{value:.0f}", zero=True, steps=WHOLE),
        Axis("tokens/s", lambda value: f"{value:g}", zero=True),
    )
    rows = [
        [
            f"<th scope='row'>{escape(f'{each.main} ← {each.draft}')}</th>",
            cell(str(length.draft_tokens)),
            cell(_accepted(length)),
            cell(f"{length.predicted_tps:.1f}"),
            cell(f"{length.predicted_speedup:.2f}×"),
        ]
        for each in latest
        for length in each.lengths
    ]
    head = ["pair", "draft tokens", "accepted", "tokens/s", "speed-up"]
    return section(
        heading, figure(drawn, series) + details("All lengths", table("Lengths", head, rows))
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
    return Series(f"{result.main} ← {result.draft}", tuple(points))


def _real(result: BenchResult) -> Series | None:
    speed, tried = result.measured_tps, result.best.compared
    if speed is None or not tried:
        return None
    says = f"measured with {tried} draft tokens: {speed:.1f} tokens/s"
    name = f"{result.main} ← {result.draft}, measured"
    return Series(name, (Point(tried, speed, says),), joined=False)


def _kinds(benchmarks: Sequence[BenchResult]) -> str:
    """Acceptance of each class of prompts: one number would hide that a story drafts badly."""
    latest = [results[-1] for results in _by_pair(benchmarks).values()]
    rows = [
        [
            f"<th scope='row'>{escape(f'{each.main} ← {each.draft}')}</th>",
            cell(kind),
            _share(told["acceptance"]),
        ]
        for each in latest
        for kind, told in each.by_class.items()
        if "acceptance" in told
    ]
    if not rows:
        return ""
    head = ["pair", "prompts", "draft tokens accepted"]
    return section("What is accepted of which prompts", table("Acceptance", head, rows))


def _share(of_one: float) -> str:
    bar = f"<meter min='0' max='1' value='{of_one:.3f}' aria-label='accepted'></meter>"
    return f"<td>{bar} {of_one:.0%}</td>"


def _accepted(length: LengthResult) -> str:
    if length.acceptance is None:
        return "acceptance not told"
    return f"{length.acceptance:.0%} accepted"


def _drift(writes: Sequence[Write]) -> str:
    heading = "What was changed back"
    if not writes:
        return section(heading, "<p>specd has written nothing yet.</p>")
    timed = [each for each in writes if each.took_ms is not None]
    shown = ""
    if timed:
        by_file: dict[str, list[Point]] = defaultdict(list)
        for each in timed:
            name = each.path.rsplit("/", 1)[-1]
            says = f"{day(each.time)} {each.time:%H:%M:%S}, {name}: {each.took_ms:.1f} ms"
            by_file[name].append(Point(each.time.timestamp(), each.took_ms or 0.0, says))
        series = [Series(name, tuple(points), joined=False) for name, points in by_file.items()]
        drawn = plot(
            heading,
            f"{len(timed)} writes to {len(series)} files and how long each took in milliseconds.",
            series,
            DATES,
            Axis("milliseconds", lambda value: f"{value:g}", zero=True),
        )
        shown = figure(drawn, series)
    rows = [
        [
            f"<th scope='row'>{each.number}</th>",
            f"<td>{time(each.time)}</td>",
            cell(each.path),
            "<td>" + "<br>".join(escape(change) for change in each.changes) + "</td>",
            cell("" if each.took_ms is None else f"{each.took_ms:.1f} ms"),
            cell(each.state),
        ]
        for each in reversed(writes[-NEWEST_WRITES:])
    ]
    listed = table("Writes", ["no.", "when", "file", "what", "took", "state"], rows)
    left = len(writes) - NEWEST_WRITES
    note = (
        f"<p>{left} older writes are in <code>specd restore --list</code>.</p>" if left > 0 else ""
    )
    return section(heading, shown + details(f"All {len(rows)} writes", listed + note))


def _by_pair(results: Iterable[BenchResult]) -> dict[str, list[BenchResult]]:
    found: dict[str, list[BenchResult]] = defaultdict(list)
    for each in results:
        found[f"{each.main} ← {each.draft}"].append(each)
    return dict(found)


WHOLE = (1, 2, 5, 10, 20)

STYLE = """
:root { --ink: #1b1f24; --dim: #57606a; --paper: #ffffff; --line: #d0d7de; --good: #116329;
  --bad: #a40e26; --soft: #f3f5f7; --c0: #0b5cad; --c1: #b3450e; --c2: #116329; --c3: #7d34b8;
  --c4: #8a6100; --c5: #a40e56; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --dim: #9da7b1; --paper: #0d1117;
  --line: #30363d; --good: #56d364; --bad: #ff8f87; --soft: #161b22; --c0: #6cb6ff; --c1: #ffa267;
  --c2: #56d364; --c3: #d2a8ff; --c4: #e3b341; --c5: #ff9bce; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
header p, footer p { color: var(--dim); margin: .2rem 0; overflow-wrap: anywhere; }
.badge { font-size: 1rem; padding: .15rem .6rem; border: 2px solid; border-radius: 1rem;
  vertical-align: middle; }
.healthy, .true { color: var(--good); } .degraded, .stopped, .false { color: var(--bad); }
.unknown { color: var(--dim); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0;
  border-bottom: 1px solid var(--line); }
tbody th { font-weight: 600; white-space: nowrap; }
td { min-width: 5rem; overflow-wrap: break-word; }
figure { margin: .5rem 0; } svg { display: block; width: 100%; min-width: 34rem; height: auto;
  background: var(--soft); }
svg text { fill: var(--dim); font: 12px system-ui, sans-serif; } svg .grid { stroke: var(--line); }
svg .level { stroke: var(--dim); stroke-dasharray: 6 4; }
polyline { fill: none; stroke-width: 2; } circle { stroke: var(--soft); stroke-width: 1; }
figcaption ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; }
.key { display: inline-block; width: 1rem; height: .7rem; margin-right: .4rem; }
summary { cursor: pointer; padding: .3rem 0; }
""" + "".join(
    f"line.s{n}, polyline.s{n} {{ stroke: var(--c{n}); }} circle.s{n} {{ fill: var(--c{n}); }} "
    f".key.s{n} {{ background: var(--c{n}); }}\n"
    for n in range(SERIES)
)

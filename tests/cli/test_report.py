"""``specd report``: the page holds what it should, and nothing that could hurt."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from specd.bench.result import BenchResult, Best, LengthResult
from specd.bench.use import Use, Week
from specd.cli.look import plots
from specd.cli.look import report as command
from specd.cli.look.report_page import RealUse, Report, page
from specd.reconcile.entry import Change, Entry
from specd.reconcile.restores import PutBack
from tests import npm

NASTY = "</script><img src=x onerror=alert(1)>\"'&"
START = datetime(2026, 11, 1, 4, 30, tzinfo=UTC)


def benchmark(day: int, draft: str = "qwen3-0.6b") -> BenchResult:
    speed = 1.2 + day / 50
    return BenchResult(
        main="qwen3-8b",
        draft=draft,
        engine="mlx",
        suite="standard",
        started_at=(START + timedelta(days=day)).isoformat(),
        baseline_tps=18.0,
        lengths=tuple(
            LengthResult(n, 0.9 - n / 20, 100 - n, 40, 18 + n * (6 - n) / 2, 1 + n * (6 - n) / 36)
            for n in range(1, 7)
        ),
        best=Best(3, speed, speed, (speed - 0.05, speed + 0.05)),
        text_equal=True,
        model_seconds=30.0,
        by_class={
            "code": {"acceptance": 0.82, "measured_speedup": 1.5},
            "creative": {"acceptance": 0.41, "measured_speedup": 0.9},
        },
    )


def put_back(days_ago: int) -> PutBack:
    time = START - timedelta(days=days_ago)
    return PutBack(1, time, Path("/x.json"), "model-defaults", "a.draftModel", "one")


def use(draft: str | None, tps: float | None, weeks: int, **more: Any) -> Use:
    made = Use(
        main="mlx-community/Qwen3-8B-4bit",
        draft=draft,
        draft_tokens=3 if draft else None,
        answers=12 * weeks,
        tps=tps,
        seconds=60.0,
        prompt_tokens=35.0,
        tokens=102.0,
        drafted=400 if draft else 0,
        accepted=250 if draft else 0,
        first=START.timestamp(),
        last=START.timestamp(),
        weeks=tuple(
            Week((START + timedelta(weeks=n)).timestamp(), 12, tps, 40, 25) for n in range(weeks)
        ),
    )
    return replace(made, **more)


@pytest.fixture
def report() -> Report:
    return Report(
        made_at=START,
        version="0.1.0",
        status={
            "state": "degraded",
            "home": f"/Users/you/{NASTY}",
            "pid": 123,
            "paused": False,
            "faults": [],
            "restores": {"today": 1, "week": 3, "last": None},
            "conditions": [
                condition("HomeFound", "true", "there", START.isoformat()),
                condition("Faster", "false", NASTY, START.isoformat()),
                condition("CacheAgrees", "unknown", "none", "not a time <b>"),
            ],
            "pairs": [
                {
                    "main": "qwen3-8b",
                    "draft": "qwen3-0.6b",
                    "verdict": "compatible",
                    "draft_tokens": 3,
                    "state": "wanted",
                    "observed": None,
                    "speedup": 1.31,
                    "interval": [1.26, 1.36],
                    "gain": "1.31× faster [1.26, 1.36] with 3 draft tokens",
                    "why": NASTY,
                },
                {
                    "main": "llama-70b",
                    "draft": None,
                    "verdict": None,
                    "draft_tokens": None,
                    "state": "missing",
                    "observed": None,
                    "speedup": None,
                    "why": "",
                },
            ],
        },
        matrix={
            "qwen3-8b": {"qwen3-0.6b": "compatible", "qwen2.5-0.5b": "incompatible"},
            NASTY: {"qwen3-0.6b": None},
        },
        benchmarks=(*(benchmark(day) for day in range(5)), benchmark(2, "qwen2.5-0.5b")),
        writes=tuple(
            Entry(
                n,
                (START + timedelta(hours=n)).isoformat(),
                Path(f"/you/.lmstudio/{'settings' if n % 2 else NASTY.replace('/', '')}.json"),
                "settings",
                (Change("chat.shown", ("chat", "shown"), "old", f"new {NASTY}", "wanted"),),
                "written",
                None,
                "",
                "specd",
            )
            for n in range(1, 8)
        ),
        put_back=tuple(put_back(n % 3) for n in range(5)),
        uses=(
            RealUse(
                "mlx-community/Qwen3-8B-4bit",
                "qwen3-0.6b",
                (use("qwen3-0.6b", 18.2, 3), use("qwen3-0.6b", 12.2, 2, draft_tokens=5)),
                (use(None, 9.1, 4, tokens=900.0),),
                benchmark(4),
            ),
            RealUse(NASTY, None, (), (use(None, None, 1, main=NASTY),), None),
        ),
    )


EMPTY = Report(START, "0.1.0", None, {}, (), ())


def condition(kind: str, status: str, message: str, since: str) -> dict[str, str]:
    told = {"type": kind, "status": status, "reason": "Reason", "message": message}
    return {**told, "since": since, "remedy": "do it", "severity": "state"}


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_nothing_in_the_page_runs_or_asks_anybody(report: Report) -> None:
    for tag, attributes in Elements(page(report)).found:
        assert tag not in ("script", "img", "iframe", "object", "embed", "form", "base")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "action", "xlink:href"):
            assert attributes.get(name, "data:,") == "data:,"
    assert "url(" not in page(report)
    assert "@import" not in page(report)


def test_what_comes_from_files_is_shown_as_text(report: Report) -> None:
    text = page(report)
    assert NASTY not in text
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in text


def test_every_plot_holds_its_figures(report: Report) -> None:
    text = page(report)
    circles = [a for tag, a in Elements(text).found if tag == "circle"]
    # 6 benchmarks, the latest of each of 2 pairs with 1 + 6 lengths and what was measured, and 4
    # weeks without a draft beside 3 with.
    assert len(circles) == 6 + 2 * (7 + 1) + 4 + 3
    assert "1.28× [1.23, 1.33]" in text
    assert "3 draft tokens: 22.5 tokens/s, 75% accepted" in text
    assert "1 Nov 2026 06:30:00, settings.json" not in text  # number 1 has no time taken


def test_the_best_length_is_marked_beside_what_was_measured(report: Report) -> None:
    text = page(replace(report, benchmarks=(benchmark(4),)))
    (mark,) = re.findall(r'<text x="([\d.]+)"[^>]*>best</text>', text)
    (best,) = re.findall(r'cx="([\d.]+)"[^>]*><title>3 draft tokens: 22.5 tokens/s', text)
    (measured,) = re.findall(r'cx="([\d.]+)"[^>]*><title>measured with 3 draft tokens: 23.0', text)
    assert mark == best == measured


def test_what_is_accepted_is_told_by_kind_of_prompt(report: Report) -> None:
    rows = rows_of(
        page(replace(report, benchmarks=(benchmark(4),))), "Acceptance by kind of prompt"
    )
    pair = "qwen3-8b ← qwen3-0.6b"
    assert rows == [[pair, "code", " 82%"], [pair, "creative", " 41%"]]


def rows_of(text: str, caption: str) -> list[list[str]]:
    """The words of a table's rows, cell by cell."""
    (shown,) = re.findall(rf'aria-label="{caption}, table">(.*?)</table>', text, re.DOTALL)
    return [
        [
            html.unescape(re.sub("<[^>]*>", "", each))
            for each in re.findall("<t[hd].*?</t[hd]>", row, re.DOTALL)
        ]
        for row in re.findall("<tr>(.*?)</tr>", shown.partition("<tbody>")[2], re.DOTALL)
    ]


def test_a_pairs_gain_is_told_in_the_words_of_status(report: Report) -> None:
    measured, unmeasured = rows_of(page(report), "Pairs")
    assert measured[4] == "1.31× faster [1.26, 1.36] with 3 draft tokens"
    assert unmeasured[4] == "not measured"


def test_real_use_stands_beside_the_benchmark(report: Report) -> None:
    pair, alone = rows_of(page(report), "Real use")
    assert pair == [
        "mlx-community/Qwen3-8B-4bit",
        "qwen3-0.6b",
        "9.1 tokens/s, 48 answers",
        "15.2 tokens/s, 60 answers",
        "1.67×",
        "62% (benchmark 75%)",
        "1.28× faster [1.23, 1.33] with 3 draft tokens",
    ]
    assert "Caution, mlx-community/Qwen3-8B-4bit ← qwen3-0.6b: answers differ" in page(report)
    assert alone[:4] == [NASTY, "none", "no speed known, 12 answers", "no answers"]
    assert alone[6] == "not measured"


def test_it_opens_with_the_verdict_of_status_and_pictures(report: Report) -> None:
    text = page(report)
    assert "<h1>LM Studio is set to draft for 1 of 2 models: 1.3× as fast, but" in text
    headings = re.findall("<h2>(.*?)</h2>", text)
    assert headings[:4] == [
        "Speed-up by kind of prompt",
        "Tokens per second against draft length",
        "Speed-up over time",
        "Values that specd put back, by day",
    ]
    assert "<span>code, qwen3-0.6b</span>" in text
    assert "<span>1.50×</span>" in text
    assert re.search(r"<span>Sun 1 Nov</span>.*?<span>2 times</span>", text, re.DOTALL)


def test_restores_are_drawn_by_week_where_they_reach_further_back(report: Report) -> None:
    assert "by week" not in page(report)
    longer = tuple(map(put_back, (0, 6, 7, 20, 21, 22, 300)))
    text = page(replace(report, put_back=longer))
    days, weeks = (text.partition(f"put back, by {name}<")[2] for name in ("day", "week"))
    assert re.findall(r"<span>(\d+) times?</span>", days.partition("</section>")[0]) == ["1"] * 3
    shown = re.findall(r"<span>(\w+ \d+ \w+)</span>.*?<span>(\d) times?</span>", weeks, re.DOTALL)
    assert shown[:3] == [("Sun 1 Nov", "2"), ("Sun 25 Oct", "1"), ("Sun 18 Oct", "1")]
    assert "7 writes in all." in text
    assert text.count("draftModel: 7 times.") == 1


def test_the_program_that_keeps_undoing_values_is_named(report: Report) -> None:
    assert report.status is not None
    last = {"time": START.isoformat(), "key": "x", "value": 1, "path": "/x", "program": "Syncer"}
    status = {**report.status, "restores": {"today": 5, "week": 5, "last": last}}
    assert "A program changes it again and again: Syncer." in page(replace(report, status=status))


def test_contexts_are_drawn_apart_from_kinds(report: Report) -> None:
    measured = replace(
        benchmark(4),
        by_class={
            "code": {"acceptance": 0.82, "measured_speedup": 1.5},
            "8k": {"acceptance": 0.7, "measured_speedup": 1.25},
        },
    )
    text = page(replace(report, benchmarks=(measured,)))
    kinds, contexts = (
        text.partition(f"<h2>Speed-up by {name}<")[2]
        for name in ("kind of prompt", "context length")
    )
    assert "1.25×" not in kinds.partition("</section>")[0].partition("<details>")[0]
    assert "<span>8k</span>" in contexts
    assert "<span>1.25×</span>" in contexts


def test_the_weeks_of_real_use_are_shown_with_how_many_answers_stand_behind_them(
    report: Report,
) -> None:
    weeks = rows_of(page(report), "Weeks")
    assert len(weeks) == 4 + 3
    assert weeks[0] == [
        "mlx-community/Qwen3-8B-4bit without a draft",
        "week of 1 Nov 2026: 9.1 tokens/s, 12 answers",
    ]
    assert weeks[4][1] == "week of 1 Nov 2026: 15.2 tokens/s, 24 answers"


def test_what_a_server_does_not_tell_is_said_to_be_so(report: Report) -> None:
    silent = replace(
        benchmark(9, "other"),
        engine="server",
        lengths=(LengthResult(2, None, None, None, 20, 1.1),),
    )
    text = page(replace(report, benchmarks=(silent,)))
    assert "2 draft tokens: 20.0 tokens/s, acceptance not known" in text


def test_points_stand_where_their_values_are() -> None:
    drawn = plots.plot(
        "x",
        "y",
        [plots.Series("s", (plots.Point(0, 0, "a"), plots.Point(10, 20, "b", (10, 30))))],
        plots.Axis("x", str),
        plots.Axis("y", str, zero=True),
    )
    (x0, y0), (x1, y1) = [
        (float(a["cx"] or 0), float(a["cy"] or 0))
        for tag, a in Elements(drawn).found
        if tag == "circle"
    ]
    assert x0 == plots.LEFT
    assert y0 == plots.BOTTOM
    assert x1 > x0
    assert y1 < y0


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [0.0, 0.0], [1e-9, 2e-9], [5, 5e12], []])
def test_any_values_can_be_drawn(values: list[float]) -> None:
    for zero in (True, False):
        points = tuple(plots.Point(i, v, "") for i, v in enumerate(values))
        axis = plots.Axis("y", str, zero=zero)
        drawn = plots.plot("n", "d", [plots.Series("s", points)], plots.Axis("x", str), axis)
        assert "nan" not in drawn
        assert "inf" not in drawn
        for tag, a in Elements(drawn).found:
            if tag == "circle":
                assert plots.TOP - 1 <= float(a["cy"] or -1) <= plots.BOTTOM + 1


def test_a_report_before_anything_happened_says_so() -> None:
    text = page(EMPTY)
    assert "specd is not running" in text
    assert "Nothing has been measured yet" in text
    assert "No answers have been read from your chats" in text
    assert "<svg" not in text


CHROMIUM = next(
    (found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None
)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: chromium)")


def rendered(document: str, tmp_path: Path, *flags: str) -> tuple[str, str]:
    """The page's DOM after rendering in headless Chromium, and what its console said."""
    (tmp_path / "page.html").write_text(document, encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM or "",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=10000",
            "--enable-logging=stderr",
            *flags,
            "--dump-dom",
            (tmp_path / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    console = [row for row in done.stderr.splitlines() if "CONSOLE" in row]
    return done.stdout, "\n".join(console)


def attribute(dom: str, name: str) -> str:
    found = re.search(rf'{name}="([^"]*)"', dom)
    assert found is not None, f"the page never set {name}"
    return html.unescape(found[1])


@needs_chromium
def test_chromium_renders_it_without_a_complaint(report: Report, tmp_path: Path) -> None:
    dom, console = rendered(page(report), tmp_path)
    assert console == ""
    assert dom.count("<circle") == page(report).count("<circle")


@needs_chromium
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_axe_finds_no_accessibility_problem(report: Report, tmp_path: Path, scheme: str) -> None:
    try:
        axe = npm.package(npm.AXE) / "axe.min.js"
    except npm.NotFetched as why:
        pytest.skip(str(why))
    check = (
        f"<script>{axe.read_text(encoding='utf-8')}</script><script>"
        "document.querySelectorAll('details').forEach(each => each.open = true);"
        "axe.run().then(found => document.body.setAttribute('data-axe', JSON.stringify("
        "found.violations.map(each => [each.id, each.nodes.map(node => node.html)]))));"
        "document.body.setAttribute('data-paper', getComputedStyle(document.body).backgroundColor);"
        "</script></body>"
    )
    number = {"dark": 0, "light": 1}[scheme]
    text = re.sub(r"<meta http-equiv[^>]*>", "", page(report)).replace("</body>", check)
    dom, _ = rendered(text, tmp_path, f"--blink-settings=preferredColorScheme={number}")
    assert json.loads(attribute(dom, "data-axe")) == []
    assert (
        attribute(dom, "data-paper")
        == {"dark": "rgb(13, 17, 23)", "light": "rgb(255, 255, 255)"}[scheme]
    )


@needs_chromium
def test_a_phone_needs_no_sideways_scrolling(report: Report, tmp_path: Path) -> None:
    inner = re.sub(r"<meta http-equiv[^>]*>", "", page(replace(report, version="0.1.0")))
    outer = (
        f'<body><iframe width="360" height="700" srcdoc="{html.escape(inner)}"></iframe><script>'
        "onload = () => document.body.setAttribute('data-width',"
        "document.querySelector('iframe').contentDocument.documentElement.scrollWidth);"
        "</script></body>"
    )
    dom, _ = rendered(outer, tmp_path)
    assert int(attribute(dom, "data-width")) <= 360


def test_a_place_that_may_not_be_written_is_named_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "x.html"
    made.touch(0o444)
    monkeypatch.setenv("SPECD_STATE_DIR", str(tmp_path / "state"))
    assert command.run(command.parser.parse(["-o", str(made)])) == 2
    said = capsys.readouterr().err
    remedy = "make it writable (chmod u+w)"
    assert said == f"specd: the report cannot be written: {made} is read-only; {remedy}\n"

from __future__ import annotations

import csv
import io
import json
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any

import pytest

from specd import places
from specd.bench.history import History, Run
from specd.bench.result import AtTemperature, BenchResult, Best, LengthResult
from specd.cli.main import main
from specd.cli.models import bench
from specd.cli.models.history import command
from tests.daemon import Sandbox

LENGTHS = tuple(
    LengthResult(n, 0.9 - n / 20, 100 - n, 40, 18 + n * (6 - n) / 4, 1 + n * (6 - n) / 72)
    for n in range(17)
)


def result(day: int, speedup: float, **more: Any) -> BenchResult:
    made = BenchResult(
        main="main",
        draft="draft",
        engine="mlx",
        suite="seed",
        started_at=f"2026-11-{day:02d}T04:30:00+00:00",
        baseline_tps=18.0,
        lengths=LENGTHS,
        best=Best(3, 1.13, speedup, (speedup - 0.05, speedup + 0.05)),
        text_equal=True,
        model_seconds=30.0,
        by_class={"code": {"acceptance": 0.8}, "creative": {"acceptance": 0.4}},
    )
    return replace(made, **more)


@pytest.fixture
def measured(sandbox: Sandbox) -> Sandbox:
    """Three nights: 1.20×, 1.22× after an update of mlx-lm, and 1.50× on other weights."""
    with closing(History(places.history_path(sandbox.state))) as history:
        history.add(result(1, 1.20), {"mlx-lm": "0.30", "main_files": "aa", "on_battery": False})
        history.add(result(2, 1.22), {"mlx-lm": "0.31", "main_files": "aa", "on_battery": False})
        history.add(result(3, 1.50), {"mlx-lm": "0.31", "main_files": "bb", "on_battery": False})
    return sandbox


def test_the_newest_run_comes_first_and_a_plot_shows_how_it_went(measured: Sandbox) -> None:
    shown = measured.specd("history").stdout
    assert shown.index("1.50× [1.45, 1.55]") < shown.index("1.20× [1.15, 1.25]")
    assert "speed-up" in shown
    assert "as fast as without" in shown
    assert "01 Nov" in shown


def test_nothing_measured_is_said(sandbox: Sandbox) -> None:
    assert "nothing has been measured yet" in sandbox.specd("history").stdout
    assert json.loads(sandbox.specd("history", "--json").stdout) == []


def test_json_holds_every_run_whole_with_its_circumstances(measured: Sandbox) -> None:
    runs = json.loads(measured.specd("history", "--json").stdout)
    assert [run["id"] for run in runs] == [3, 2, 1]
    assert runs[0]["best"]["measured_speedup"] == 1.5
    assert runs[0]["context"]["main_files"] == "bb"
    assert len(runs[0]["lengths"]) == 17
    assert len(json.loads(measured.specd("history", "--json", "--limit", "2").stdout)) == 2


def test_csv_has_one_line_per_run(measured: Sandbox) -> None:
    rows = list(csv.DictReader(io.StringIO(measured.specd("history", "--csv").stdout)))
    assert [row["id"] for row in rows] == ["3", "2", "1"]
    assert (rows[2]["measured_speedup"], rows[2]["low"], rows[2]["mlx-lm"]) == (
        "1.2",
        "1.15",
        "0.30",
    )


def test_one_run_is_shown_with_its_plots_and_what_it_was_measured_on(measured: Sandbox) -> None:
    shown = measured.specd("history", "1").stdout
    assert "best: 3" in shown
    assert "●⠤ measured" in shown
    assert "again: specd bench main draft --engine mlx --suite seed --temperature 0" in shown
    assert "code" in shown
    assert "80%" in shown
    assert "mlx-lm: 0.30" in shown


def test_a_spreadsheet_takes_no_name_for_a_formula_or_a_row(measured: Sandbox) -> None:
    hostile = ("=1+1", "+1", "-1", "@a", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20a", "a\n=1")
    with closing(History(places.history_path(measured.state))) as history:
        for name in hostile:
            history.add(result(4, 1.5, main=name), {})
    rows = list(csv.DictReader(io.StringIO(measured.specd("history", "--csv").stdout)))
    found = [row["main"] for row in rows]
    assert len(found) == len(hostile) + 3
    assert {name[1:] for name in found if name.startswith("'")} == set(hostile[:-1])
    assert r"a\x0a=1" in found


def test_on_a_terminal_a_run_is_wrapped_between_words(measured: Sandbox) -> None:
    with closing(History(places.history_path(measured.state))) as history:
        history.add(result(4, 1.5, main="a-main-with-a-long-name-4bit", draft="a-long-draft"), {})
    for columns in (40, 80):
        lines = measured.on_a_terminal("history", columns=columns).splitlines()
        runs = lines[: next(n for n, line in enumerate(lines) if not line)]
        assert max(map(len, runs)) <= columns
        assert any(line.endswith("mlx") for line in runs)


def test_a_run_that_is_not_there_is_bad_input(measured: Sandbox) -> None:
    for words in (("history", "9"), ("bench", "compare", "1", "9")):
        ran = measured.specd(*words)
        assert ran.returncode == 2
        assert "there is no run 9" in ran.stderr


def test_two_runs_within_the_noise_do_not_differ_and_their_circumstances_are_listed(
    measured: Sandbox,
) -> None:
    shown = measured.specd("bench", "compare", "1", "2").stdout
    assert "do not differ beyond the noise" in shown
    assert "mlx-lm: 0.30 → 0.31" in shown


def test_runs_whose_intervals_lie_apart_differ(measured: Sandbox) -> None:
    told = json.loads(measured.specd("bench", "compare", "1", "3", "--json").stdout)
    assert told["differ"] is True
    assert told["speedup_ratio"] == pytest.approx(1.25)
    assert told["changed"] == {"main_files": ["aa", "bb"], "mlx-lm": ["0.30", "0.31"]}


def test_a_newer_specd_s_history_is_refused_in_words(measured: Sandbox) -> None:
    import sqlite3

    with closing(sqlite3.connect(places.history_path(measured.state))) as raw:
        raw.execute("PRAGMA user_version = 99")
    ran = measured.specd("history")
    assert ran.returncode == 2
    assert "newer specd" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            {"engine": "llama.cpp", "draft": "ngram"},
            "main mtp --engine auto --suite seed --temperature 0",
        ),
        (
            {"engine": "llama.cpp", "draft": "mtp"},
            "main mtp --engine auto --suite seed --temperature 0",
        ),
        (
            {"at_temperature": AtTemperature(0.7, 4, None, None)},
            "main draft --engine mlx --suite seed --temperature 0.7",
        ),
    ],
)
def test_the_command_that_measures_again_is_one_that_bench_takes(
    found: dict[str, Any], words: str
) -> None:
    made = command(Run(1, replace(result(4, 1.5), **found), {}))
    assert made == f"specd bench {words}"
    bench.parser.parse_args(made.split()[2:])


def test_a_temperature_without_a_figure_is_called_not_measured() -> None:
    bare = replace(result(4, 1.5), at_temperature=AtTemperature(0.8, 4, None, None))
    assert "at temperature 0.8 not measured with 4 draft tokens" in bench.render(asdict(bare), 100)


def test_a_number_that_no_run_can_have_is_an_error_in_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["history", "9" * 40]) == 2
    assert "must be a number" in capsys.readouterr().err

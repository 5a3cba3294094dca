from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from specd.cli import ask
from specd.demo.models import SMALL, ensure
from specd.demo.serving import VERSIONS, standin
from tests.chats import answer, chat, keep
from tests.conftest import Figures
from tests.daemon import SHIFTED, Sandbox, customize, until
from tests.llamacpp import gguf_models
from tests.standins import load


def install(sandbox: Sandbox, more: str) -> None:
    """Two real models, their pair in specd.toml, and ``more`` of specd.toml."""
    for recipe in (SMALL.main, SMALL.good):
        link = sandbox.home / "models" / recipe.identifier
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ensure(recipe))
    sandbox.config.write_text(
        f'[[pair]]\nmain = "{SMALL.main.identifier}"\ndraft = "{SMALL.good.identifier}"\n{more}'
    )


def in_twelve_hours() -> str:
    """A nightly schedule that is not due while a test runs, whenever that is."""
    due = datetime.now().astimezone() + timedelta(hours=12)
    return f"{due.minute} {due.hour} * * *"


def when_it_is_due(sandbox: Sandbox, clock: Path) -> None:
    """Let the sandbox's clock jump past the next benchmark."""
    due = datetime.fromisoformat(sandbox.status()["next_benchmark"])
    clock.write_text(str((due - datetime.now().astimezone()).total_seconds() + 5))


@pytest.mark.mlx
@pytest.mark.parametrize("version", VERSIONS)
def test_in_the_night_a_main_that_is_loaded_is_measured_or_status_says_why_not(
    sandbox: Sandbox, tmp_path: Path, version: str
) -> None:
    clock = tmp_path / "ahead"
    customize(sandbox, SHIFTED, CLOCK_AHEAD=str(clock))
    install(
        sandbox,
        f'[benchmark]\nschedule = "{in_twelve_hours()}"\n[agent]\nresync_seconds = 1\n',
    )
    with standin(sandbox.home, tmp_path / "standin.log", version=version) as url:
        load(url, SMALL.main.identifier)
        sandbox.running()
        until(
            lambda: sandbox.condition("TokenizersCompatible")["status"] == "true",
            "the pair is compared",
        )
        assert sandbox.status()["benchmark"] is None
        when_it_is_due(sandbox, clock)
        note = until(lambda: sandbox.status()["benchmark"], "the night's benchmark")
    assert note.startswith(("running now", "postponed: ")), note
    assert sandbox.condition("SpecdWorks")["status"] == "true"


@pytest.mark.mlx
@pytest.mark.nightly
def test_a_benchmark_on_schedule_waits_for_whoever_uses_lm_studio_and_says_so(
    sandbox: Sandbox,
) -> None:
    install(sandbox, '[benchmark]\nschedule = "* * * * *"\nengine = "mlx"\n')
    sandbox.running()
    number = 0

    def postponed() -> bool:
        nonlocal number
        number += 1
        keep(sandbox.home / "conversations", "a", chat(answer(1764000000000 + number)))
        return (sandbox.status()["benchmark"] or "").startswith("postponed: ")

    # It is due at the next minute.
    until(postponed, "it is due and waits", 120)
    assert "(only_when_idle)" in sandbox.status()["benchmark"]
    assert "postponed: " in sandbox.specd("status").stdout


@pytest.mark.mlx
@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("loaded", [True, False], ids=["loaded", "not-loaded"])
@pytest.mark.parametrize("form", ["mlx", "gguf"])
def test_the_night_leaves_a_run_in_the_history_or_a_reason_in_status(
    sandbox: Sandbox, tmp_path: Path, figures: Figures, form: str, *, loaded: bool
) -> None:
    clock = tmp_path / "ahead"
    customize(sandbox, SHIFTED, CLOCK_AHEAD=str(clock))
    # Whether this machine is idle, and for how long a suite may run, is not what is asked here.
    more = (
        f'[benchmark]\nschedule = "{in_twelve_hours()}"\n'
        "only_when_idle = false\nonly_on_ac = false\nmax_minutes = 2\n"
        "[agent]\nresync_seconds = 1\n"
    )
    main = SMALL.main.identifier
    if form == "mlx":
        install(sandbox, more)
    else:
        main, draft = gguf_models.install(sandbox.home)
        sandbox.config.write_text(f'[[pair]]\nmain = "{main}"\ndraft = "{draft}"\n{more}')
    with standin(sandbox.home, tmp_path / "standin.log") as url:
        if loaded:
            load(url, main)
        sandbox.running()
        until(lambda: sandbox.condition("TokenizersCompatible")["status"] == "true", "the verdict")
        when_it_is_due(sandbox, clock)
        until(lambda: sandbox.status()["benchmark"], "the night's benchmark")
        until(
            lambda: not (sandbox.status()["benchmark"] or "").startswith("running"),
            "its end",
            400,
            pause_s=0.5,
        )
        reason = sandbox.status()["benchmark"]
        runs = ask.ask("GET", "/v1/history", state=sandbox.state)
    figures(runs=len(runs), reason=str(reason))
    assert runs or reason.startswith(("postponed: ", "not measured: ")), sandbox.said()
    engine = {"gguf": "llama.cpp", "mlx": "server" if loaded else "mlx"}[form]
    assert {each["engine"] for each in runs} <= {engine}
    assert {each["at_temperature"]["temperature"] for each in runs} <= {0.8}


@pytest.mark.mlx
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_in_the_night_a_gguf_main_is_measured_with_lm_studio_closed(
    sandbox: Sandbox, tmp_path: Path, *, whole: bool
) -> None:
    clock = tmp_path / "ahead"
    customize(sandbox, SHIFTED, CLOCK_AHEAD=str(clock))
    main, draft = gguf_models.install(sandbox.home)
    sandbox.config.write_text(
        f'[[pair]]\nmain = "{main}"\ndraft = "{draft}"\n'
        f'[benchmark]\nschedule = "{in_twelve_hours()}"\n'
        "only_when_idle = false\nonly_on_ac = false\nmax_minutes = 2\n"
        "[agent]\nresync_seconds = 1\n"
    )
    sandbox.running()
    until(lambda: sandbox.condition("TokenizersCompatible")["status"] == "true", "the verdict")
    when_it_is_due(sandbox, clock)
    note = until(lambda: sandbox.status()["benchmark"], "the night's benchmark")
    assert note.startswith("running now"), sandbox.said()
    if not whole:
        return
    until(
        lambda: not (sandbox.status()["benchmark"] or "").startswith("running"),
        "its end",
        200,
        pause_s=0.5,
    )
    runs = ask.ask("GET", "/v1/history", state=sandbox.state)
    assert {each["draft"] for each in runs} == {draft, "ngram"}, sandbox.said()
    assert {each["engine"] for each in runs} == {"llama.cpp"}
    assert all("8k" not in each["by_class"] for each in runs)  # these have 2,048 tokens

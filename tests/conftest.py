"""What every layer's tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.daemon import Sandbox

# How long an example takes says something of what else the machine is doing, and nothing of specd.
settings.register_profile(
    "specd", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("specd")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background, by nohup or a CI runner: what the tests start would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# llama.cpp's threads spin while they wait for one another: many times slower on a busy machine.
os.environ["OMP_WAIT_POLICY"] = "passive"

Figures = Callable[..., None]
"""``figures(points=1_000, peak_mb=41.2)``: numbers to be printed under the test's name."""


@pytest.fixture(autouse=True)
def a_state_directory_of_ones_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test keeps anything in the state directory of whoever runs it."""
    monkeypatch.setenv("SPECD_STATE_DIR", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Numbers worth comparing between runs; they are listed when the run ends."""

    def say(**values: object) -> None:
        told = ", ".join(
            f"{name.replace('_', ' ')} {_shown(value)}" for name, value in values.items()
        )
        request.node.user_properties.append(("figures", told))

    return say


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1_000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A home, a state directory and a specd.toml; whatever daemon is started there ends with it."""
    made = Sandbox(tmp_path)
    made.home.mkdir()
    made.config.write_text("")
    yield made
    made.kill()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that load models run one at a time, whatever ``-n`` says (``--dist loadgroup``).

    On a busy machine they take minutes, and the full forms of long tests an hour.
    """
    for item in items:
        if item.get_closest_marker("mlx"):
            item.add_marker(pytest.mark.xdist_group("mlx"))
        for kind, seconds in (("nightly", 3600), ("mlx", 900)):
            if item.get_closest_marker(kind) and item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(seconds))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List the figures that tests told, by test."""
    told = [
        (report.nodeid, value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == "figures"
    ]
    if told:
        terminalreporter.section("figures")
    for test, line in sorted(told):
        terminalreporter.line(f"{test.split('/', 1)[-1]}: {line}")

"""Homes shaped like the seed's machine, for commands that need models."""

from __future__ import annotations

import pytest

from bench.seed_home import seed_home
from specd import places
from specd.bench.history import History
from specd.bench.result import BenchResult, Best, LengthResult
from tests.daemon import Sandbox

MAIN = "josiefied-qwen3-8b-abliterated-v1"
DRAFT = "josiefied-qwen2.5-0.5b-abliterated"

PAIR = f"""\
[[pair]]
main = "{MAIN}"
draft = "{DRAFT}"
"""


@pytest.fixture
def seed(sandbox: Sandbox) -> Sandbox:
    """The seed's models, speculation off everywhere, and a specd.toml that asks for its pair."""
    sandbox.home.rmdir()
    seed_home(sandbox.home)
    sandbox.config.write_text(PAIR)
    return sandbox


def measured(sandbox: Sandbox, tokens: int, speedup: float, interval: tuple[float, float]) -> None:
    """Put a benchmark of the seed's pair into the history: ``tokens`` is the best length."""
    key, predicted = f"{MAIN}-4bit", max(speedup, 1.0)
    sandbox.state.mkdir(mode=0o700, exist_ok=True)
    history = History(places.history_path(sandbox.state))
    history.add(
        BenchResult(
            main=key,
            draft=DRAFT,
            engine="mlx",
            suite="seed",
            started_at="2026-11-24T04:30:00+00:00",
            baseline_tps=18.0,
            lengths=(
                LengthResult(0, 0.0, 0, 50, 18.0, 1.0),
                LengthResult(3, 0.6, 30, 20, 18.0 * speedup, speedup),
            ),
            best=Best(tokens, predicted, speedup, interval),
            text_equal=True,
            model_seconds=30.0,
        ),
        {},
    )
    history.close()

"""A trial that nobody looks at, and what is left of one."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from specd import places
from specd.bench import trial
from specd.bench.history import alone
from specd.bench.observed import ObservedStore
from specd.lmstudio.model import Model
from specd.lmstudio.model_defaults import config_path
from specd.reconcile.trials import Trials, look

from .pairs import MAIN, SMALL


@pytest.fixture
def kept(tmp_path: Path) -> Trials:
    return Trials(tmp_path)


def begin(kept: Trials, *, days_ago: float) -> None:
    started = time.time() - days_ago * trial.DAY_S
    begun = trial.begin("main", "draft", now=started, days=7, seed=1)
    kept.change(lambda _: begun)


def test_its_days_over_it_has_ended_also_while_no_specd_ran(kept: Trials) -> None:
    begin(kept, days_ago=6)
    running = kept.read()
    assert running is not None
    assert running.with_draft is not None
    begin(kept, days_ago=8)
    over = kept.read()
    assert over is not None
    assert (over.ending, over.ended, over.with_draft) == ("time", over.until, None)


def test_one_that_ended_keeps_why(kept: Trials) -> None:
    kept.end("stopped")
    assert kept.read() is None
    begin(kept, days_ago=1)
    kept.end("restored")
    kept.end("stopped")
    ended = kept.read()
    assert ended is not None
    assert ended.ending == "restored"


@pytest.mark.parametrize(("stuck", "ending"), [(MAIN, None), (SMALL, "gone")])
def test_it_waits_while_its_mains_file_cannot_be_written(
    kept: Trials, tmp_path: Path, stuck: Model, ending: str | None
) -> None:
    begun = trial.begin(MAIN.key, SMALL.key, now=time.time(), days=7, seed=1)
    kept.change(lambda _: begun)
    (observed := ObservedStore(tmp_path / "history.sqlite")).close()
    look(kept, (), (MAIN, SMALL), None, observed, tmp_path, {config_path(tmp_path, stuck)})
    after = kept.read()
    assert (after and after.ending) == ending


def test_a_file_without_a_single_arm_is_no_trial(kept: Trials, tmp_path: Path) -> None:
    begin(kept, days_ago=1)
    file = tmp_path / "trial.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "arms": []}))
    assert kept.read() is None


def test_all_it_leaves_is_specds_own_to_purge(kept: Trials, tmp_path: Path) -> None:
    begin(kept, days_ago=1)
    with alone(places.history_path(tmp_path)):
        assert set(places.kept(tmp_path)) == set(tmp_path.iterdir())

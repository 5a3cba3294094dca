from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from specd.agent import benchmarks
from specd.agent.benchmarks import Benchmarks, NoPair, Order
from specd.agent.faults import Faults
from specd.agent.inbox import Inbox
from specd.agent.jobs import Jobs
from specd.agent.sight import Given, Sight
from specd.agent.timers import Name, Timers
from specd.config import Benchmark, Pair, SpecdConfig
from specd.demo.models import SMALL, ensure
from specd.demo.serving import standin
from specd.lmstudio import model_defaults
from specd.lmstudio.conversations import AnswerStats
from specd.lmstudio.home import find_home
from specd.lmstudio.models import index
from specd.reconcile import measuring, survey
from specd.reconcile.measuring import Task
from specd.reconcile.stores import Stores
from specd.worker.client import Limits, run_task
from tests.chats import answer, chat, keep
from tests.cli.test_history import result
from tests.daemon import DEADLINE_S, until
from tests.standins import one_at_a_time

pytestmark = pytest.mark.mlx

MAIN, DRAFT = "smollm2-small-deep-fp16", "smollm2-small-4bit"
ANYTIME = Benchmark(engine="mlx", only_when_idle=False, only_on_ac=False)


class Noting(Timers):
    """Timers that keep for how long they were set."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: list[float] = []

    def after(self, name: Name, seconds: float) -> None:
        if name == benchmarks.BENCHMARK_AGAIN:
            self.delays.append(seconds)
        super().after(name, seconds)


@dataclass
class Daemon:
    """What a daemon's loop is to its benchmarks, with real stores, workers and models."""

    stores: Stores
    sight: Sight
    inbox: Inbox = field(default_factory=Inbox)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.timers = Noting()
        self.faults = Faults(self.say, lambda: None)
        self.jobs = Jobs(self.inbox, self.faults)
        given = Given(
            self.jobs,
            self.stores,
            self.timers,
            lambda: self.sight,
            self.say,
            lambda: None,
            lambda: None,
        )
        self.bench = Benchmarks(given)

    def say(self, _level: object, message: str, **_: object) -> None:
        self.said.append(message)

    def wants(self, wanted: Benchmark) -> None:
        config = replace(self.sight.config, benchmark=wanted)
        self.sight = replace(self.sight, config=config)

    def until(self, true: Callable[[], Any], what: str, seconds: float = DEADLINE_S) -> None:
        def turn() -> bool:
            for task in self.inbox.take(0.01):
                task()
            if benchmarks.GIVE_WAY in self.timers.take():
                self.bench.look_in_the_way()
            assert not self.heard("failed")() or "failed" in what, self.said
            return bool(true())

        until(turn, what, seconds)

    def heard(self, words: str) -> Callable[[], bool]:
        return lambda: any(words in line for line in self.said)


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    home = tmp_path / "lmstudio"
    for recipe in (SMALL.main, SMALL.good):
        link = home / "models" / recipe.identifier
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ensure(recipe))
    (home / "settings.json").write_text("{}")
    monkeypatch.setenv("LMSTUDIO_HOME", str(home))
    models = index(home / "models").models
    config = SpecdConfig(pair=(Pair(main=MAIN, draft=DRAFT),), benchmark=ANYTIME)
    stores = Stores.open(tmp_path / "state")
    (main,), (draft,) = ([m for m in models if m.key == key] for key in (MAIN, DRAFT))
    run_task("verdicts", stores.verdict_request([(main, draft)]), limits=Limits(120))
    sight = Sight(
        config,
        find_home("auto"),  # type: ignore[arg-type] # it is there
        models,
        stores.resolve(config, models, ()),
        None,
        "0.3.30",
        16 << 30,
    )
    made = Daemon(stores, sight)
    yield made
    made.jobs.close()
    stores.close()


def workers() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [each for each in found if "specd.worker" in each.cmdline()]


@pytest.mark.parametrize("where", ["server", pytest.param("mlx", marks=pytest.mark.nightly)])
def test_a_benchmark_that_was_asked_for_runs_and_stands_in_the_history(
    daemon: Daemon, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It plans with little, and is given more, for machines that do other things meanwhile.
    monkeypatch.setattr(measuring, "SHARE", 0.05)
    daemon.wants(replace(ANYTIME, max_minutes={"server": 5, "mlx": 20}[where]))
    home = daemon.sight.home
    assert home is not None
    one_at_a_time(home.path, SMALL.main.identifier)
    with standin(home.path, tmp_path / "standin.log"):
        server = survey.ask_server(home, daemon.sight.config.lmstudio)
        daemon.sight = replace(daemon.sight, server=server)
        asked = {"main": MAIN, "drafts": (DRAFT,), "suite": "brief", "quick": True}
        assert daemon.bench.start(Order(**asked, engine=where)) == "started"
        assert (daemon.bench.note or "").startswith("running now")
        assert daemon.bench.start(Order()) == "a benchmark is already running"
        daemon.until(daemon.heard(f"measured {MAIN} ← {DRAFT}"), "it is measured", 800)
    assert daemon.bench.note is None
    run = daemon.stores.history.latest_run(MAIN, DRAFT)
    assert run is not None
    assert run.result.engine == where
    daemon.bench.look_for_changes()
    daemon.until(lambda: not daemon.jobs.running("stale"), "it is compared")
    assert daemon.bench.stale == {}


def test_while_lm_studio_is_in_use_it_is_postponed_with_the_reason(daemon: Daemon) -> None:
    keep(daemon.sight.home.path / "conversations", "a", chat(answer()))  # type: ignore[union-attr]
    daemon.wants(Benchmark(engine="mlx", only_on_ac=False))
    daemon.bench.due()
    daemon.until(lambda: daemon.bench.note, "it is decided")
    assert "postponed: " in (daemon.bench.note or "")
    assert "(only_when_idle)" in (daemon.bench.note or "")
    assert daemon.timers.delays == [benchmarks.AGAIN_S]
    assert workers() == []


def test_the_times_that_it_was_postponed_count_from_the_last_result(daemon: Daemon) -> None:
    def times() -> str:
        daemon.bench._postpone("why")
        return (daemon.bench.note or "").partition(" times since ")[0]

    assert times() == "postponed: why"
    assert times() == "postponed: why; 2"
    assert times() == "postponed: why; 3"
    daemon.stores.history.add(result(1, 1.5), {})  # by `specd bench` in a terminal
    assert times() == "postponed: why"
    assert times() == "postponed: why; 2"
    daemon.bench._failed("it ended")
    assert times() == "postponed: why"


def test_the_look_during_a_benchmark_of_the_server_leaves_lm_studio_and_its_clients_alone(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        pytest.fail("it was looked at")

    for module, name in (
        ("sensors", "busiest"),
        ("activity", "generating"),
        ("activity", "clients"),
    ):
        monkeypatch.setattr(getattr(benchmarks.preconditions, module), name, never)
    monkeypatch.setattr(benchmarks.preconditions, "BUSY_LOAD", -1.0)
    keep(daemon.sight.home.path / "conversations", "a", chat(answer()))  # type: ignore[union-attr]
    daemon.wants(Benchmark(only_on_ac=False))
    daemon.bench._scheduled = True
    daemon.bench._running = Task("bench-server", {}, 1.0)
    daemon.bench.look_in_the_way()
    daemon.until(lambda: not daemon.jobs.running("way"), "it has looked")
    assert daemon.bench._gave_way is None


def test_without_a_proven_pair_there_is_nothing_to_measure(daemon: Daemon) -> None:
    daemon.sight = replace(daemon.sight, pairs=())
    daemon.bench.due()
    assert daemon.bench.note == "no pair to measure yet"
    with pytest.raises(NoPair, match="there is no pair to measure"):
        daemon.bench.start(Order())


def test_what_is_measured_by_itself_is_the_users_own_mix_at_their_own_temperature(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(daemon.jobs, "worker", lambda _, request, **__: asked.append(request))
    chats = [
        AnswerStats(
            f"{number:024x}", 1e9, MAIN,
            tokens=100, prompt_tokens=(200, 9_000)[number % 2], tokens_per_second=20.0,
        )
        for number in range(60)
    ]  # fmt: skip
    daemon.stores.observed.add(chats)
    home = daemon.sight.home
    assert home is not None
    (main,) = (each for each in daemon.sight.models if each.key == MAIN)
    own = model_defaults.config_path(home.path, main)
    own.parent.mkdir(parents=True, exist_ok=True)
    fields = [{"key": "llm.prediction.temperature", "value": 0.35}]
    own.write_text(json.dumps({"operation": {"fields": fields}}))
    daemon.bench.due()
    daemon.until(lambda: asked, "it begins")
    assert asked[0]["weights"]["8k"] > 0
    assert [each["settings"]["temperature"] for each in asked[0]["mains"]] == [0.35]
    told = {"results": [], "troubles": ["one is silent", "one is away"]}
    daemon.bench._learn(told)
    assert daemon.bench.note == "not measured: one is silent; one is away"


def test_its_minutes_over_the_worker_is_killed_and_the_reason_stays(daemon: Daemon) -> None:
    daemon.wants(replace(ANYTIME, max_minutes=0.02))
    assert daemon.bench.start(Order()) == "started"
    daemon.until(daemon.heard("not measured: "), "it has failed")
    why = "stopped after its time limit of 1.2 s; `specd bench --minutes N` gives it more"
    assert why in (daemon.bench.note or "")
    assert daemon.faults.known() == ()
    assert workers() == []
    assert daemon.stores.history.recover() is None


def test_it_gives_way_when_somebody_begins_to_use_lm_studio(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks, "LOOK_S", 0.0)
    monkeypatch.setattr(benchmarks.preconditions, "BUSY_LOAD", 1000.0)
    daemon.wants(Benchmark(engine="mlx", only_on_ac=False))
    daemon.bench.due()
    daemon.until(daemon.heard("benchmark started"), "it begins")
    (worker,) = workers() or [None]
    keep(daemon.sight.home.path / "conversations", "a", chat(answer()))  # type: ignore[union-attr]
    daemon.until(daemon.heard("benchmark postponed: LM Studio was used"), "it gives way")
    assert (daemon.bench.note or "").startswith("postponed: LM Studio was used")
    assert daemon.timers.delays == [benchmarks.AGAIN_S]
    assert worker is None or not worker.is_running()
    assert daemon.stores.history.recent(1) == ()


def test_other_model_files_make_a_result_stale_and_have_it_measured_again(
    daemon: Daemon,
) -> None:
    measured = replace(result(1, 1.2), main=MAIN, draft=DRAFT)
    daemon.stores.history.add(measured, {"main_files": "other", "engine": "0.3.1"})
    for _ in range(2):
        daemon.bench.look_for_changes()
        daemon.until(lambda: not daemon.jobs.running("stale"), "it is compared")
    assert daemon.bench.stale == {(MAIN, DRAFT): ("the main's files changed",)}
    assert daemon.timers.delays == [benchmarks.STALE_AFTER_S]


def test_never_means_never_also_for_stale_results(daemon: Daemon) -> None:
    daemon.wants(replace(ANYTIME, schedule=""))
    measured = replace(result(1, 1.2), main=MAIN, draft=DRAFT)
    daemon.stores.history.add(measured, {"main_files": "other"})
    daemon.bench.look_for_changes()
    daemon.until(lambda: daemon.bench.stale, "it is compared")
    assert daemon.timers.delays == []

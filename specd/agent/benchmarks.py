"""The daemon's benchmarks: when one may run, with which engine, and its result.

Everything here runs on the daemon's loop and never waits: slow work is a background job or a
worker, whose result comes back to the loop. A scheduled benchmark yields to the user and to other
work, before it begins and while it runs; one that the user started does not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from specd import places
from specd.agent.events import Level
from specd.agent.sight import Given, Sight
from specd.bench import preconditions
from specd.bench.history import Run
from specd.bench.preconditions import Readings
from specd.llamacpp import engine as llama_cpp
from specd.lmstudio import backends
from specd.reconcile import engine, measuring, survey
from specd.reconcile.desired import PairName
from specd.reconcile.engine import BenchmarkPlan, Candidate
from specd.reconcile.facts import ServerSeen
from specd.reconcile.measuring import Task
from specd.worker.client import Limits

AGAIN_S = 1800.0
"""A postponed benchmark is tried again after this."""

STALE_AFTER_S = 600.0
"""A stale result is measured again after this: updates come in groups."""

LOOK_S = 20.0
"""How often a scheduled benchmark checks whether the user needs the machine."""

GIVE_WAY, BENCHMARK_AGAIN = "give way", "benchmark again"
"""Timers: that check; the next benchmark beside the scheduled ones."""


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to measure: the keys of a main and its drafts; without them, every pair."""

    main: str = ""
    drafts: tuple[str, ...] = ()
    suite: str = "standard"
    engine: Literal["auto", "mlx", "server"] = "auto"
    quick: bool = False


class NoPair(Exception):
    """No pair of specd.toml matches the order."""


class Benchmarks:
    """See the module's docstring. ``note`` is the state as a sentence, None if there is none."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self.note: str | None = None
        self.stale: dict[PairName, tuple[str, ...]] = {}
        self._waiting: list[Task] = []
        self._not_measured: list[str] = []
        self._running: Task | None = None
        self._scheduled = False
        self._gave_way: str | None = None
        # Since which time, and how many times; the history's newest row then.
        self._late: tuple[str, int, int] | None = None

    # -- beginning ----------------------------------------------------------------------------

    def due(self) -> None:
        """It is time for a benchmark: begin one unless something is in the way."""
        sight = self._given.look()
        pairs = self._given.stores.worth_measuring(sight.pairs, sight.models)
        if self._running is not None:
            return
        if not pairs:
            self.note = "no pair to measure yet"
            self._given.learnt()
            return
        self._given.jobs.scout(
            "weigh",
            lambda: _weigh(sight, pairs),
            lambda weighed: self._begin_or_postpone(*weighed),
            lambda why: self._postpone(why, "warning", "could not begin"),
        )

    def _begin_or_postpone(
        self, plan: BenchmarkPlan, server: ServerSeen | None, readings: Readings
    ) -> None:
        if self._running is not None:
            return
        why = preconditions.postponed(readings, self._given.look().config.benchmark)
        if why is None:
            self._begin(plan, server, Order(), scheduled=True)
        else:
            self._postpone(why)

    def _postpone(self, why: str, level: Level = "info", verb: str = "postponed") -> None:
        self._given.say(level, f"benchmark {verb}: {why}")
        newest = next((run.id for run in self._given.stores.history.runs(1)), 0)
        since, count, before = self._late or ("", 0, None)
        if before != newest:  # something was measured meanwhile
            since, count = f"{datetime.now().astimezone():%Y-%m-%d %H:%M}", 0
        count += 1
        self._late = since, count, newest
        more = f"; {count} times since {since}: `specd bench` measures at once"
        self.note = f"{verb}: {why}{more if count > 1 else ''}"
        self._given.timers.after(BENCHMARK_AGAIN, AGAIN_S)
        self._given.learnt()

    def start(self, order: Order) -> str:
        """Measure now (``POST /v1/bench``); returns a sentence for the user.

        Raises:
            NoPair: there is nothing to measure.
        """
        sight = self._given.look()
        pairs = [
            each
            for each in self._given.stores.worth_measuring(sight.pairs, sight.models)
            if order.main in ("", each.main.key)
            and (not order.drafts or each.drafts_with in order.drafts)
        ]
        if not pairs:
            raise NoPair("there is no pair to measure; `specd status` shows specd.toml's pairs")
        if self._running is not None:
            return "a benchmark is already running"
        plan = _plan(sight, pairs, sight.server, order.engine)
        if not plan.pairs:
            return "; ".join(plan.problems)
        self._begin(plan, sight.server, order, scheduled=False)
        return "started"

    def _begin(
        self, plan: BenchmarkPlan, server: ServerSeen | None, order: Order, *, scheduled: bool
    ) -> None:
        self._not_measured = []
        for problem in plan.problems:
            self._cannot_measure(problem)
        self._scheduled = scheduled
        self._gave_way = None
        sight = self._given.look()
        wanted = sight.config.benchmark
        observed = self._given.stores.observed
        weights, sampling = measuring.of_chats(wanted, observed, sight.models)
        request = measuring.Benchmark(
            places.history_path(self._given.stores.state),
            wanted.max_minutes,
            suite=order.suite,
            quick=order.quick,
            weights=weights,
            sampling=sampling,
            home=None if sight.home is None else sight.home.path,
            token_env=sight.config.lmstudio.token_env,
            engine_version=sight.engine_version,
            llama_servers=_llama_servers(sight),
        )
        self._waiting = list(measuring.tasks(plan, server, request))
        if not self._waiting:
            self._end()
            return
        self._given.say(
            "info", "benchmark started", pairs=len(plan.mlx) + len(plan.gguf) + len(plan.server)
        )
        self._next()
        self._given.learnt()

    # -- running ------------------------------------------------------------------------------

    def _next(self) -> None:
        task = self._running = self._waiting.pop(0)
        self.note = "running now"
        self._given.timers.after(GIVE_WAY, LOOK_S)
        self._given.jobs.worker(
            task.name,
            task.request,
            limits=Limits(task.seconds, more_time=measuring.MORE_MINUTES),
            then=self._learn,
            failed=self._failed,
            on_progress=self._step,
        )

    def _step(self, progress: dict[str, Any]) -> None:
        if self._running is not None:
            self.note = f"running now: {progress['step']}, {progress['done']:.0%}"

    def look_in_the_way(self) -> None:
        """Check whether the user needs the machine that a scheduled benchmark runs on."""
        if self._running is not None and self._scheduled:
            self._given.timers.after(GIVE_WAY, LOOK_S)
            sight, task = self._given.look(), self._running
            if task.name == "bench-server":
                sight = replace(sight, home=None)  # this benchmark itself keeps LM Studio busy
            self._given.jobs.scout("way", lambda: _readings(sight), partial(self._give_way, task))

    def _give_way(self, task: Task, readings: Readings) -> None:
        if self._running is not task:
            return
        why = preconditions.in_the_way(readings, self._given.look().config.benchmark)
        if why is not None:
            self._gave_way = why
            self._waiting.clear()
            self._given.jobs.cancel(task.name)

    def _learn(self, result: dict[str, Any]) -> None:
        if busy := result.get("busy"):
            self._waiting.clear()
            self._end()
            self._postpone(busy)
            return
        for each in result["results"]:
            best = each["best"]
            used = each.get("at_temperature") or best
            self._given.say(
                "info",
                f"measured {each['main']} ← {each['draft']}",
                speedup=used["measured_speedup"],
                draft_tokens=best["draft_tokens"],
                baseline_tps=each["baseline_tps"],
                engine=each["engine"],
            )
        for trouble in result["troubles"]:
            self._cannot_measure(trouble)
        self._end()

    def _failed(self, why: str) -> None:
        if self._gave_way is not None:
            self._end()
            self._postpone(self._gave_way)
            return
        self._late = None
        self._cannot_measure(why)
        self._end()

    def _cannot_measure(self, why: str) -> None:
        self._given.say("warning", f"not measured: {why}")
        self._not_measured.append(why)

    def _end(self) -> None:
        missing = "; ".join(self._not_measured)
        self.note = f"not measured: {missing}" if missing else None
        self._running = None
        if self._waiting:
            self._next()
        # Also after a failure: the history has the results before it.
        self._given.learnt()

    # -- stale results ------------------------------------------------------------------------

    def look_for_changes(self) -> None:
        """Find results whose models, engine or system have changed since."""
        sight = self._given.look()
        measured = [
            (pair.name, pair.main.path, pair.draft.path, run)
            for pair in sight.pairs
            if pair.main is not None
            and pair.draft is not None
            and (run := self._given.stores.history.latest_run(pair.main.key, pair.draft.key))
            is not None
        ]
        self._given.jobs.scout("stale", lambda: _stale(measured, sight), self._learn_stale)

    def _learn_stale(self, found: dict[PairName, tuple[str, ...]]) -> None:
        fresh = {name: why for name, why in found.items() if self.stale.get(name) != why}
        if found != self.stale:
            self.stale = found
            self._given.learnt()
        for name, why in fresh.items():
            self._given.say("info", f"the benchmark of {name} is stale: {'; '.join(why)}")
        if fresh and self._given.look().config.benchmark.schedule:
            self._given.timers.after(BENCHMARK_AGAIN, STALE_AFTER_S)


def _weigh(
    sight: Sight, pairs: tuple[Candidate, ...]
) -> tuple[BenchmarkPlan, ServerSeen | None, Readings]:
    """The plan, the server and the readings that decide whether a benchmark may begin."""
    asked_at: float | None = None
    server: ServerSeen | None = None
    if sight.config.benchmark.engine != "mlx" and sight.home is not None:
        asked_at = time.time()
        server = survey.ask_server(sight.home, sight.config.lmstudio)
    plan = _plan(sight, pairs, server, "auto")
    together = [
        *plan.mlx,
        # The server mostly has the main in memory, so only the draft needs room.
        *((pair.draft,) for pair in plan.server),
        *((pair.main, pair.main, *filter(None, [pair.draft])) for pair in plan.gguf),
    ]
    needed = max((preconditions.needed(*models) for models in together), default=0)
    return plan, server, _readings(sight, needed, asked_at, busiest=True)


def _readings(
    sight: Sight, needed: int = 0, asked_at: float | None = None, *, busiest: bool = False
) -> Readings:
    home = None if sight.home is None else sight.home.path
    url = urlsplit((sight.server and sight.server.url) or "")
    return preconditions.read(home, needed, asked_at=asked_at, port=url.port, busiest=busiest)


def _plan(
    sight: Sight,
    pairs: Iterable[Candidate],
    server: ServerSeen | None,
    asked: engine.EngineChoice,
) -> BenchmarkPlan:
    wanted = sight.config.benchmark.engine if asked == "auto" else asked
    local = bool(_llama_servers(sight)) or llama_cpp.packaged()
    return engine.plan(wanted, pairs, sight.models, server, sight.memory_bytes, llama_cpp=local)


def _llama_servers(sight: Sight) -> tuple[Path, ...]:
    return backends.llama_servers(sight.home.path) if sight.home is not None else ()


def _stale(
    measured: Sequence[tuple[PairName, Path, Path, Run]], sight: Sight
) -> dict[PairName, tuple[str, ...]]:
    if not measured:
        return {}
    # Reads packages' metadata, which a daemon's start need not wait for.
    from specd.bench import circumstances  # noqa: PLC0415

    local = any(run.result.engine == "llama.cpp" for *_, run in measured)
    llama = llama_cpp.find(_llama_servers(sight)) if local else None
    found: dict[PairName, tuple[str, ...]] = {}
    for name, main, draft, run in measured:
        version = sight.engine_version
        if run.result.engine == "llama.cpp":
            version = None if llama is None else llama.name
        now = circumstances.dependencies(main, draft, engine_version=version)
        why = circumstances.stale(run.result.engine, run.context, now)
        if why:
            found[name] = why
    return found

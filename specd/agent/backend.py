"""The daemon as the socket API sees it: questions from snapshots, orders on the daemon's loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from specd import places
from specd.agent import metrics, report
from specd.agent.api import Api, BadRequest, NotFound
from specd.agent.benchmarks import NoPair, Order
from specd.agent.events import Event, Listener
from specd.bench.history import History
from specd.bench.prompts import SUITES
from specd.lmstudio import names

if TYPE_CHECKING:
    from specd.agent.daemon import Daemon


Result = TypeVar("Result")


def serve(daemon: Daemon) -> Api:
    """Let ``daemon`` be asked on its socket from now on."""
    return Api(places.socket_path(daemon.directory), DaemonBackend(daemon))


class DaemonBackend:
    """Implements ``api.Backend`` over a running daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def status(self) -> dict[str, Any]:
        """The answer of ``GET /v1/status``."""
        snapshot = self._daemon.snapshot
        if snapshot is None:
            raise BadRequest("specd is still starting")
        return report.status(snapshot.facts, snapshot.conditions, self._daemon.state())

    def plan(self) -> Future[dict[str, Any]]:
        """What would be written now; a look at every file, so it happens on the loop."""
        return self._daemon.on_loop(self._daemon.plan_now)

    def verdict(self, main: str, draft: str) -> Future[dict[str, Any]]:
        """The kept verdict on two models; it looks at their files, so it happens on the loop."""
        return self._daemon.on_loop(lambda: self._daemon.verdict_now(main, draft))

    def journal(self, limit: int) -> list[dict[str, Any]]:
        """The newest writes first."""
        return [report.entry(each) for each in reversed(self._daemon.writes[-limit:])]

    def history(self, limit: int) -> Future[list[dict[str, Any]]]:
        """The newest benchmarks first; read on a thread of its own, with a store of its own."""
        return _beside(lambda: _history(places.history_path(self._daemon.directory), limit))

    def look(self) -> Future[None]:
        """Done when it is known whether LM Studio runs now."""
        return self._daemon.look_for_app()

    def metrics(self) -> str:
        """Prometheus text exposition."""
        return metrics.render(self.status())

    def recent_events(self) -> list[Event]:
        """What was said lately, so that a listener knows where things stand."""
        return list(self._daemon.events.recent)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Hear every event from now on; returns what ends it."""
        return self._daemon.events.listen(listener)

    def apply(self) -> Future[dict[str, Any]]:
        """Write what differs, now."""
        return self._daemon.on_loop(self._daemon.apply_now)

    def bench(self, body: dict[str, Any]) -> Future[dict[str, Any]]:
        """Start a benchmark."""
        try:
            order = msgspec.convert(body, Order)
        except msgspec.ValidationError as problem:
            raise BadRequest(str(problem)) from None
        if order.suite not in SUITES:
            raise BadRequest(f"there is no suite {order.suite!r}; there are {', '.join(SUITES)}")
        return self._daemon.on_loop(lambda: _started(self._daemon, order))

    def pause(self) -> Future[dict[str, Any]]:
        """Stop writing."""
        return self._daemon.on_loop(self._daemon.pause)

    def resume(self) -> Future[dict[str, Any]]:
        """Write again."""
        return self._daemon.on_loop(self._daemon.resume)

    def restore(self, body: dict[str, Any]) -> Future[dict[str, Any]]:
        """Undo ``{"id": N}`` or ``{"all": true}``."""
        if body.keys() == {"all"} and body["all"] is True:
            return self._daemon.on_loop(lambda: self._daemon.restore(None))
        if body.keys() == {"id"} and type(body["id"]) is int:
            return self._daemon.on_loop(lambda: self._daemon.restore(body["id"]))
        raise BadRequest('say which: {"id": N}, or {"all": true}')


def _started(daemon: Daemon, order: Order) -> dict[str, Any]:
    """Run on the daemon's loop: the models' names are looked up there."""
    try:
        return {"benchmark": daemon.start_bench(order)}
    except (names.NoSuchModel, NoPair) as problem:
        raise NotFound(str(problem)) from problem
    except names.NameProblem as problem:
        raise BadRequest(str(problem)) from problem


def _history(path: Path, limit: int) -> list[dict[str, Any]]:
    history = History(path)
    try:
        return [asdict(each) for each in history.recent(limit)]
    finally:
        history.close()


def _beside(work: Callable[[], Result]) -> Future[Result]:
    """Call ``work`` on a thread that nobody waits for."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            future.set_exception(error)

    threading.Thread(target=run, name="specd-question", daemon=True).start()
    return future

"""The daemon as the socket API sees it: questions from snapshots, orders on the daemon's loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from specd import places
from specd.agent import metrics, report
from specd.agent.api import Api, BadRequest
from specd.agent.events import Event, Listener
from specd.bench.prompts import SUITES

if TYPE_CHECKING:
    from specd.agent.daemon import Daemon


def serve(daemon: Daemon) -> Api:
    """Let ``daemon`` be asked on its socket from now on."""
    return Api(places.socket_path(daemon.directory), DaemonBackend(daemon))


class BenchOrder(msgspec.Struct, forbid_unknown_fields=True):
    """What ``POST /v1/bench`` may say; without ``main``, every pair of specd.toml."""

    main: str = ""
    drafts: tuple[str, ...] = ()
    suite: str = "standard"
    engine: Literal["auto", "mlx", "server"] = "auto"
    quick: bool = False


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
        entries = list(self._daemon.stores.journal.entries())
        return [report.entry(each) for each in reversed(entries[-limit:])]

    def history(self, limit: int) -> list[dict[str, Any]]:
        """The newest benchmarks first."""
        return [asdict(each) for each in self._daemon.stores.recent_benchmarks(limit)]

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
            order = msgspec.convert(body, BenchOrder)
        except msgspec.ValidationError as problem:
            raise BadRequest(str(problem)) from None
        if order.suite not in SUITES:
            raise BadRequest(f"there is no suite {order.suite!r}; there are {', '.join(SUITES)}")
        return self._daemon.on_loop(lambda: {"benchmark": self._daemon.start_bench(body)})

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

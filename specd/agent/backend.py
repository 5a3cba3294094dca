"""The daemon as the socket API sees it: questions from snapshots, orders on the daemon's loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from specd.agent import metrics, report
from specd.agent.api import BadRequest
from specd.agent.events import Event, Listener

if TYPE_CHECKING:
    from specd.agent.daemon import Daemon


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
        unknown = set(body) - {"main", "drafts", "suite", "engine", "quick"}
        if unknown:
            raise BadRequest(f"unknown field: {', '.join(sorted(unknown))}")
        return self._daemon.on_loop(lambda: {"benchmark": self._daemon.start_bench(body)})

    def pause(self) -> Future[dict[str, Any]]:
        """Stop writing."""
        return self._daemon.on_loop(self._daemon.pause)

    def resume(self) -> Future[dict[str, Any]]:
        """Write again."""
        return self._daemon.on_loop(self._daemon.resume)

    def restore(self, body: dict[str, Any]) -> Future[dict[str, Any]]:
        """Undo ``{"id": N}`` or ``{"all": true}``."""
        wanted = body.get("id")
        if body.get("all") is True and wanted is None:
            return self._daemon.on_loop(lambda: self._daemon.restore(None))
        if isinstance(wanted, int) and not isinstance(wanted, bool):
            return self._daemon.on_loop(lambda: self._daemon.restore(wanted))
        raise BadRequest('say which: {"id": N}, or {"all": true}')

"""The daemon as the socket API sees it.

Questions are answered from what was published last, on the API's own thread. Orders, and questions
that need a look at files, run on the daemon's loop (``on_loop``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from specd import places
from specd.agent import metrics, report
from specd.agent.api import Answer, Api, BadRequest, Request
from specd.agent.benchmarks import Order
from specd.agent.events import Event, Listener
from specd.agent.publication import Snapshot
from specd.bench.history import History
from specd.bench.prompts import SUITES
from specd.lmstudio import names
from specd.reconcile.plan import unified_diff
from specd.reconcile.trials import restore
from specd.tokenizer.report import to_json
from specd.tokenizer.verdict import with_cache

if TYPE_CHECKING:
    from specd.agent.daemon import Daemon

Result = TypeVar("Result")

LOOKED_S = 0.2
"""Within this time the last look at the app's process is used again, and the last answer."""


def serve(daemon: Daemon) -> Api:
    """Open the socket of ``daemon``."""
    return Api(places.socket_path(daemon.directory), Backend(daemon))


class Backend:
    """See the module's docstring."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._looked_at = -LOOKED_S
        self._answers: dict[tuple[object, ...], tuple[float, Snapshot, Answer]] = {}

    def on_loop(self, work: Callable[[], Result]) -> Future[Result]:
        """Do ``work`` on the daemon's loop."""
        return self._daemon.inbox.ask(work)

    def look(self) -> Future[None]:
        """Look whether LM Studio runs, unless that was just done; the future ends with the look.

        The server is also queried for what it has loaded; that result is used the next time.
        """
        done: Future[None] = Future()
        now = time.monotonic()
        if now - self._looked_at < LOOKED_S:
            done.set_result(None)
        else:
            self._looked_at = now
            self._daemon.inbox.do(lambda: self._look(done))
        return done

    def _look(self, done: Future[None]) -> None:
        self._daemon.around.look_for_app(done)
        self._daemon.look_at_server()

    # -- questions ------------------------------------------------------------------------------

    def shared(self, request: Request, answer: Callable[[], Answer]) -> Answer:
        """The answer; clients that ask the same at the same time share one, for it may be large."""
        key, now = (request.path, *request.query.items()), time.monotonic()
        self._answers = {k: a for k, a in self._answers.items() if now - a[0] < LOOKED_S}
        known = self._answers.get(key)
        if known is None or known[1] is not self._daemon.snapshot:
            known = self._answers[key] = (now, self._snapshot(), answer())
        return known[2]

    def status(self) -> dict[str, Any]:
        """The answer of ``GET /v1/status``."""
        return report.status(self._snapshot(), self._daemon.state())

    def journal(self, limit: int) -> list[dict[str, Any]]:
        """The newest writes first."""
        return [report.entry(each) for each in reversed(self._snapshot().writes[-limit:])]

    def metrics(self) -> str:
        """Prometheus text exposition."""
        return metrics.render(self.status())

    def history(self, limit: int) -> Future[list[dict[str, Any]]]:
        """The newest benchmarks first; read on a thread of its own, with a store of its own."""
        return _beside(lambda: _history(places.history_path(self._daemon.directory), limit))

    def recent_events(self) -> list[Event]:
        """The latest events, for a listener that has just connected."""
        return list(self._daemon.events.recent)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Hear every event from now on; returns what ends it."""
        return self._daemon.events.listen(listener)

    def _snapshot(self) -> Snapshot:
        if self._daemon.snapshot is None:
            raise BadRequest("specd is still starting")
        return self._daemon.snapshot

    # -- on the loop ----------------------------------------------------------------------------

    def plan(self) -> dict[str, Any]:
        """What would be written, as unified diffs; writes nothing."""
        made = self._daemon.writer.files.plan()
        return {
            "edits": [
                {
                    "path": str(edit.path),
                    "changes": [report.change(change) for change in edit.changes],
                    "diff": unified_diff(edit),
                }
                for edit in made.edits
            ],
            "blocked": [{"path": str(each.path), "why": each.why} for each in made.blocked],
            "held": [change.key for _, change in made.held],
        }

    def verdict(self, main: str, draft: str) -> dict[str, Any]:
        """The known verdict on two models, by any of their names; compares nothing itself."""
        around = self._daemon.around
        pair = [names.resolve(each, around.world.models) for each in (main, draft)]
        verdict = self._daemon.stores.verdicts.lookup(*pair)
        if verdict is not None:
            verdict = with_cache(verdict, pair[0], pair[1], around.world.opinion)
        return {
            "config": str(self._daemon.config_path),
            "home": None if around.home is None else str(around.home.path),
            "verdict": None if verdict is None else to_json(verdict),
        }

    def apply(self) -> dict[str, Any]:
        """Write what differs, without any back-off, also values that the user restored.

        "written" holds the numbers of the writes in the journal.
        """
        journal = self._daemon.stores.journal
        newest = journal.newest()
        journal.hand_over(released=True)
        self._daemon.reload()
        self._daemon.survey_all()
        done = self._daemon.write(None, force=True)
        written = [each.id for each in journal.entries() if each.id > newest]
        self._daemon.events.say("info", "applied on request", files=len(written))
        return {
            "written": written,
            "problems": [each.problem for each in done.applied if each.problem is not None],
        }

    def bench(self, body: dict[str, Any]) -> dict[str, Any]:
        """Start a benchmark of the models that ``body`` names as people do."""
        order = msgspec.convert(body, Order)
        if order.suite not in SUITES:
            raise BadRequest(f"there is no suite {order.suite!r}; there are {', '.join(SUITES)}")
        installed = self._daemon.around.world.models
        main = order.main and names.key_of(order.main, installed)
        drafts = tuple(names.key_of(each, installed) for each in order.drafts)
        named = msgspec.structs.replace(order, main=main, drafts=drafts)
        return {"benchmark": self._daemon.bench.start(named)}

    def pause(self, *, paused: bool) -> dict[str, Any]:
        """Write nothing from now on; or again, starting with a full look."""
        self._daemon.pause(paused=paused)
        return {"paused": paused}

    def restore(self, body: dict[str, Any]) -> dict[str, Any]:
        """Undo ``{"id": N}`` or ``{"all": true}``, and leave those values alone from now on."""
        if body.keys() == {"all"} and body["all"] is True:
            number = None
        elif body.keys() == {"id"} and type(body["id"]) is int:
            number = body["id"]
        else:
            raise BadRequest('say which: {"id": N}, or {"all": true}')
        say = self._daemon.events.say
        try:
            stores = self._daemon.stores
            outcome = restore(stores.trials, stores.journal, number)
            for each in outcome.restored:
                say("info", f"restored on request: {each}", journal=each.id)
            for problem in outcome.problems:
                say("error", problem)
        finally:
            self._daemon.write(None)
        return outcome.as_json()


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

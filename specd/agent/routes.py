"""The socket's paths, each with the function that answers it.

A returned string is sent as text, anything else as JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from specd import places
from specd.agent import metrics, report
from specd.agent.benchmarks import NoPair, Order
from specd.agent.publication import Snapshot
from specd.bench.history import History
from specd.bench.prompts import SUITES
from specd.files.swap import SwapError
from specd.lmstudio import names
from specd.reconcile.restore import CannotRestore
from specd.reconcile.trials import restore
from specd.tokenizer.verdict import to_json, with_cache

if TYPE_CHECKING:
    from specd.agent.daemon import Daemon


class BadRequest(Exception):
    """The request is not valid; the message goes to the client."""


STATUS: dict[type[Exception], int] = {
    names.NoSuchModel: 404,
    names.NameProblem: 400,
    msgspec.ValidationError: 400,
    BadRequest: 400,
    NoPair: 404,
    CannotRestore: 404,
    SwapError: 409,
    TimeoutError: 504,
}
"""The HTTP status of each error; the first class that fits counts, 500 is for all others."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def limit(self) -> int:
        """How many items the client wants at most."""
        text = self.query.get("limit", "50")
        if not (
            text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 10_000
        ):
            raise BadRequest(f"limit must be a number from 1 to 10000, not {text!r}")
        return int(text)


@dataclass(frozen=True, slots=True)
class Route:
    """How a path is answered.

    ``where``: from the last snapshot on the API's thread, on a thread of its own, or on the
    daemon's loop, which changes the daemon's state and reads the files.
    """

    answer: Callable[[Daemon, Request], Any]
    where: Literal["snapshot", "thread", "loop"] = "loop"
    method: str = "GET"


def _snapshot(daemon: Daemon) -> Snapshot:
    if daemon.snapshot is None:
        raise BadRequest("specd is still starting")
    return daemon.snapshot


def _status(daemon: Daemon, _: Request) -> dict[str, Any]:
    return report.status(_snapshot(daemon), daemon.state())


def _journal(daemon: Daemon, request: Request) -> list[dict[str, Any]]:
    return [report.entry(each) for each in reversed(_snapshot(daemon).writes[-request.limit :])]


def _history(daemon: Daemon, request: Request) -> list[dict[str, Any]]:
    """The newest benchmarks first. It opens its own store, so it may run on any thread."""
    kept = History(places.history_path(daemon.directory))
    try:
        return [asdict(each) for each in kept.recent(request.limit)]
    finally:
        kept.close()


# -- on the daemon's loop -------------------------------------------------------------------------


def _plan(daemon: Daemon, _: Request) -> dict[str, Any]:
    return report.plan(daemon.writer.files.plan())


def _verdict(daemon: Daemon, request: Request) -> dict[str, Any]:
    """The known verdict on two models, by any of their names; compares nothing itself."""
    if not {"main", "draft"} <= request.query.keys():
        raise BadRequest("main and draft must be given: the names of two models")
    around = daemon.around
    main, draft = (names.resolve(request.query[e], around.world.models) for e in ("main", "draft"))
    verdict = daemon.stores.verdicts.lookup(main, draft)
    if verdict is not None:
        verdict = with_cache(verdict, main, draft, around.world.opinion)
    return {
        "config": str(daemon.config_path),
        "home": None if around.home is None else str(around.home.path),
        "verdict": None if verdict is None else to_json(verdict),
    }


def _apply(daemon: Daemon, _: Request) -> dict[str, Any]:
    """Write what differs, without any back-off, also values that the user restored.

    "written" holds the numbers of the writes in the journal.
    """
    journal = daemon.stores.journal
    newest = journal.newest()
    failed = journal.hand_over(released=True)
    daemon.reload()
    done = daemon.survey_all(force=True)
    written = [each.id for each in journal.entries() if each.id > newest]
    daemon.events.say("info", "applied on request", files=len(written))
    problems = [each.problem for each in done.applied if each.problem is not None]
    if failed is not None:
        problems.append(f"what you restored stays as it is: {failed.filename}: {failed.strerror}")
    return {"written": written, "problems": problems}


def _bench(daemon: Daemon, request: Request) -> dict[str, Any]:
    """Start a benchmark; the body may use any names of the models."""
    order = msgspec.convert(request.body, Order)
    if order.suite not in SUITES:
        raise BadRequest(f"there is no suite {order.suite!r}; there are {', '.join(SUITES)}")
    installed = daemon.around.world.models
    main = order.main and names.key_of(order.main, installed)
    drafts = tuple(names.key_of(each, installed) for each in order.drafts)
    named = msgspec.structs.replace(order, main=main, drafts=drafts)
    return {"benchmark": daemon.bench.start(named)}


def _pause(daemon: Daemon, request: Request) -> dict[str, Any]:
    paused = request.path == "/v1/pause"
    daemon.pause(paused=paused)
    return {"paused": paused}


def _restore(daemon: Daemon, request: Request) -> dict[str, Any]:
    """Undo ``{"id": N}`` or ``{"all": true}``, and leave those values alone from now on."""
    match request.body:
        case {"all": True, **rest} if not rest:
            number = None
        case {"id": int(number), **rest} if not rest and not isinstance(number, bool):
            pass
        case _:
            raise BadRequest('say which: {"id": N}, or {"all": true}')
    say = daemon.events.say
    try:
        outcome = restore(daemon.stores.trials, daemon.stores.journal, number)
        for each in outcome.restored:
            say("info", f"restored on request: {each}", journal=each.id)
        for problem in outcome.problems:
            say("error", problem)
    finally:
        daemon.write(None)
    return outcome.as_json()


ROUTES: dict[str, Route] = {
    "/v1/status": Route(_status, "snapshot"),
    "/v1/conditions": Route(lambda *args: _status(*args)["conditions"], "snapshot"),
    "/v1/pairs": Route(lambda *args: _status(*args)["pairs"], "snapshot"),
    "/v1/journal": Route(_journal, "snapshot"),
    "/metrics": Route(lambda *args: metrics.render(_status(*args)), "snapshot"),
    "/v1/history": Route(_history, "thread"),
    "/v1/plan": Route(_plan),
    "/v1/verdict": Route(_verdict),
    "/v1/apply": Route(_apply, method="POST"),
    "/v1/bench": Route(_bench, method="POST"),
    "/v1/pause": Route(_pause, method="POST"),
    "/v1/resume": Route(_pause, method="POST"),
    "/v1/restore": Route(_restore, method="POST"),
}

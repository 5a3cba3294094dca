"""The socket's turns: who sends many requests ahead keeps nobody waiting."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from specd.agent import api as api_
from specd.agent.api import Answer, Api
from specd.agent.routes import Request, Route

GET = b"GET /v1/status HTTP/1.1\r\nHost: specd\r\n\r\n"
LATE = b"GET /v1/pairs HTTP/1.1\r\nHost: specd\r\n\r\n"


@pytest.fixture
def api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Api]:
    """The real socket over a daemon that only looks at once; its parameter: how many clients."""
    daemon = SimpleNamespace(
        directory=tmp_path,
        events=None,
        snapshot=None,
        inbox=SimpleNamespace(do=lambda task: task()),
        look_again=lambda done: done.set_result(None),
    )
    for path in ("/v1/status", "/v1/pairs"):
        monkeypatch.setitem(api_.ROUTES, path, Route(lambda *_: "an answer", "snapshot"))
    monkeypatch.setattr(api_, "CONNECTIONS", getattr(request, "param", api_.CONNECTIONS))
    opened = Api(cast("Any", daemon))
    yield opened
    opened.close()


@pytest.mark.parametrize("api", [600, 40], indirect=True)
def test_a_new_client_waits_for_few_of_the_requests_that_others_sent_ahead(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    clients, ahead = 100, 50
    busy = 3 * clients
    answered: list[str] = []
    connects, stands, goes_on = threading.Event(), threading.Event(), threading.Event()
    whole = Api.answer

    async def noted(self: Api, request: Request) -> Answer:
        answered.append(request.path)
        if len(answered) == busy:
            stands.set()
            goes_on.wait(60)  # the loop stands still while the new client arrives
        return await whole(self, request)

    monkeypatch.setattr(Api, "answer", noted)
    api._loop.call_soon_threadsafe(connects.wait, 60)
    with contextlib.ExitStack() as open_:
        for _ in range(clients):
            open_.enter_context(connected(api)).sendall(GET * ahead)
        connects.set()
        assert stands.wait(60), "they are being answered"
        late = open_.enter_context(connected(api))
        late.sendall(LATE)
        goes_on.set()
        assert late.recv(100), "the new client is answered"
        between = answered.index("/v1/pairs") - busy
    assert between < clients / 2, "not behind a request of each of them"


def connected(api: Api) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(str(api._path))
    return client

"""A server that never finishes an answer holds nobody up: neither the daemon's work nor its end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.daemon import Sandbox, quickest, until
from tests.lmstudio.test_server import DRIPS

ENDED_S = 2.0


@pytest.fixture(params=["a head without an end", "trailers", "nothing but interim answers"])
def dripping(request: pytest.FixtureRequest) -> Iterator[tuple[int, list[float]]]:
    """The port of a server that drips until the test is over, and when it was asked."""
    begin, drop = DRIPS[request.param]
    asked: list[float] = []
    over = threading.Event()

    def drip(peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            peer.recv(1000)
            peer.sendall(begin)
            while not over.wait(0.05):
                peer.sendall(drop)

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listening.accept()
                asked.append(time.monotonic())
                threading.Thread(target=drip, args=(peer,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1], asked
        over.set()


def test_the_daemon_goes_on_and_ends_while_its_server_drips(
    sandbox: Sandbox, dripping: tuple[int, list[float]]
) -> None:
    port, asked = dripping
    sandbox.config.write_text(
        f'[lmstudio]\nserver = "http://127.0.0.1:{port}"\n[agent]\nresync_seconds = 1\n'
    )
    sandbox.save()
    sandbox.start()
    until(lambda: asked, "the server is asked")
    reached = until(
        lambda: (c := sandbox.condition("ServerReachable"))["reason"] != "NotAsked" and c,
        "it is given up",
    )
    assert reached["status"] != "true"

    def ending() -> float:
        seen = len(asked)
        until(lambda: len(asked) > seen, "it is asked again")
        began = time.monotonic()
        assert sandbox.stop() == 0
        took = time.monotonic() - began
        sandbox.start()
        return took

    assert quickest(ending, ENDED_S) < ENDED_S

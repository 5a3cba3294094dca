"""The socket serves its owner alone, and no client keeps the daemon from its work."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from specd.agent.address import short
from specd.agent.api import BODY_BYTES, REQUEST_S, ROUTES
from specd.cli import ask
from tests.conftest import Figures
from tests.daemon import DEADLINE_S, Sandbox, quickest, until

GET = b"GET /v1/status HTTP/1.1\r\nHost: specd\r\n\r\n"


@pytest.fixture(autouse=True)
def _room_for_clients() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_096, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def running(sandbox: Sandbox) -> Sandbox:
    return sandbox.running()


def connect(sandbox: Sandbox, timeout: float = DEADLINE_S) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(timeout)
    with short(sandbox.state / "run" / "specd.sock") as address:
        client.connect(address)
    return client


def answer(client: socket.socket) -> tuple[int, bytes]:
    """The status and the body of one answer; 0 when the other side just hung up."""
    raw = b""
    with contextlib.suppress(ConnectionResetError):
        while b"\r\n\r\n" not in raw:
            # One byte beyond the head would belong to the body, or to the next answer.
            chunk = client.recv(1)
            if not chunk:
                return 0, raw
            raw += chunk
        lines = raw.lower().split(b"\r\n")
        length = int(next(x for x in lines if x.startswith(b"content-length")).split(b":")[1])
        body = b""
        while len(body) < length:
            body += client.recv(length - len(body))
        return int(raw.split(b" ")[1]), body
    return 0, raw


def exchange(sandbox: Sandbox, request: bytes, *, shut: bool = False) -> tuple[int, bytes]:
    with connect(sandbox) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(request)
            if shut:
                client.shutdown(socket.SHUT_WR)
        return answer(client)


def times(sandbox: Sandbox, seconds: float) -> list[float]:
    """How long ``GET /v1/status`` took, again and again on new connections, sorted; seconds."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        assert exchange(sandbox, GET)[0] == 200
        took.append(time.perf_counter() - began)
    return sorted(took)


def p99(took: list[float]) -> float:
    return took[int(len(took) * 0.99)]


def restoring(sandbox: Sandbox) -> float:
    """Seconds until a drift is restored."""
    sandbox.forgive()
    began = time.perf_counter()
    sandbox.save()
    until(sandbox.applied, "a drift is restored")
    return time.perf_counter() - began


# -- who may speak ------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_socket_and_state_are_the_owners_alone(running: Sandbox):
    assert mode(running.state) == 0o700
    assert mode(running.state / "run") == 0o700
    assert mode(running.state / "run" / "specd.sock") == 0o600
    for path in running.state.rglob("*"):
        if path.is_file():
            assert mode(path) & 0o077 == 0, path


def test_modes_that_were_opened_are_closed_again_and_that_is_said(running: Sandbox):
    running.stop()
    running.state.chmod(0o755)
    (running.state / "run").chmod(0o777)
    (running.state / "logs").chmod(0o755)
    running.start()
    assert mode(running.state) == 0o700
    assert mode(running.state / "run") == 0o700
    assert mode(running.state / "logs") == 0o700
    assert f"{running.state} was open to other users" in running.said()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_refused_even_where_the_files_would_let_them(running: Sandbox):
    for path in (running.root, running.state, running.state / "run"):
        path.chmod(0o777)
    address = running.state / "run" / "specd.sock"
    address.chmod(0o777)
    for parent in running.root.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    program = (
        "import contextlib,socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        # The answer may be there, and the connection closed, before the request is sent.
        "with contextlib.suppress(BrokenPipeError):\n"
        "  s.sendall(b'POST /v1/pause HTTP/1.1\\r\\nHost: s\\r\\nContent-Length: 0\\r\\n\\r\\n')\n"
        "print(s.recv(4096))"
    )
    said = subprocess.run(
        ["/usr/bin/env", "python3", "-c", program, str(address)],
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert " 403 " in said.stdout, said.stderr
    assert not running.status()["paused"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_state_directory_of_somebody_else_is_not_used(sandbox: Sandbox):
    sandbox.state.mkdir()
    os.chown(sandbox.state, 65534, 65534)
    started = sandbox.specd("run")
    assert started.returncode == 2
    assert "belongs to user 65534" in started.stderr


@pytest.mark.parametrize("origin", ["http://localhost:1234", "null", "https://evil.example"])
def test_a_page_in_a_browser_is_refused(running: Sandbox, origin: str):
    request = f"POST /v1/pause HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n"
    assert exchange(running, request.encode())[0] == 400
    assert not running.status()["paused"]


def test_a_path_longer_than_a_socket_address_works(sandbox: Sandbox):
    sandbox.env["SPECD_STATE_DIR"] = str(sandbox.root / ("long" * 40) / "state")
    sandbox.save()
    sandbox.start(wait=False)
    long = Path(sandbox.env["SPECD_STATE_DIR"])

    def answers() -> bool:
        with contextlib.suppress(ask.CannotAsk):
            return bool(ask.ask("GET", "/v1/status", state=long))
        return False

    until(answers, "it answers")
    assert sandbox.specd("status").returncode in (0, 1)


def test_a_socket_left_by_a_crash_and_a_directory_in_its_place(running: Sandbox):
    running.stop(signal.SIGKILL)
    assert (running.state / "run" / "specd.sock").exists()
    running.start()
    assert running.status()["state"]


def test_what_changes_anything_is_in_the_journal_or_the_log(running: Sandbox):
    number = running.status()["last_write"]["id"]
    assert exchange(running, post("/v1/restore", {"id": number}))[0] == 200
    listed = ask.ask("GET", "/v1/journal", state=running.state)
    assert next(each for each in listed if each["id"] == number)["state"] == "restored"
    for order in ("pause", "resume"):
        assert exchange(running, post(f"/v1/{order}", {}))[0] == 200
    assert "paused on request" in running.said()
    assert "resumed on request" in running.said()


def post(path: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: s\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


# -- clients of every kind ------------------------------------------------------------------------


def test_five_hundred_clients_at_once_and_the_daemon_goes_on(running: Sandbox, figures: Figures):
    alone = p99(times(running, 1.0))
    idle = [connect(running) for _ in range(450)]
    listening = [connect(running) for _ in range(50)]
    for client in listening:
        client.sendall(b"GET /v1/events HTTP/1.1\r\nHost: s\r\n\r\n")
    asked = threading.Event()

    def press() -> None:
        while not asked.is_set():
            for client in idle[:100]:
                client.sendall(GET)
            for client in idle[:100]:
                assert answer(client)[0] == 200

    presser = threading.Thread(target=press)
    presser.start()
    try:
        slowest = quickest(lambda: p99(times(running, 2.0)), 1.0, tries=3)
        restored = quickest(lambda: restoring(running), 1.0)
    finally:
        asked.set()
        presser.join()
        for client in (*idle, *listening):
            client.close()
    figures(
        p99_alone_ms=alone * 1000,
        p99_under_load_ms=slowest * 1000,
        restored_under_load_ms=restored * 1000,
    )
    assert slowest < 1.0
    assert restored < 1.0
    until(lambda: running.descriptors() < 60, "their descriptors are closed")


def test_more_clients_than_descriptors_keep_it_from_neither_its_files_nor_answers(
    sandbox: Sandbox,
):
    sandbox.save()

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

    sandbox.start(preexec_fn=few)
    until(sandbox.applied, "the first reconcile")
    clients = [connect(sandbox) for _ in range(300)]
    try:
        sandbox.save(rename=True)
        until(sandbox.applied, "a drift is restored all the same")
        assert exchange(sandbox, GET)[0] == 200
        assert answer(clients[0]) == (0, b""), "the one that was silent longest has made room"
    finally:
        for client in clients:
            client.close()
    assert "Traceback" not in sandbox.said()


def test_clients_that_never_read_are_cut_off(running: Sandbox):
    def open_sockets() -> int:
        assert running.process is not None
        return len(psutil.Process(running.process.pid).net_connections("unix"))

    before = open_sockets()
    clients = [connect(running) for _ in range(20)]
    try:
        for client in clients:
            client.sendall(GET * 600)
        until(lambda: open_sockets() >= before + 20, "they are let in")
        until(lambda: open_sockets() <= before, "they are let go")
    finally:
        for client in clients:
            client.close()


def test_slow_clients_are_dropped_and_disturb_nobody(running: Sandbox, figures: Figures):
    slow: list[socket.socket] = []

    def disturbed() -> float:
        """How long others wait meanwhile: the 99th percentile, in seconds."""
        clients = [connect(running) for _ in range(100)]
        slow.extend(clients)
        began = time.perf_counter()
        took: list[float] = []
        for position in range(len(GET) - 1):
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(GET[position : position + 1])
            took += times(running, 0.02)
            if time.perf_counter() - began > 1.5:
                break
        return p99(sorted(took))

    try:
        waited = quickest(disturbed, 1.0, tries=3)
        assert waited < 1.0
        ready, _, _ = select.select([slow[0]], [], [], REQUEST_S + DEADLINE_S)
        assert ready, "the first slow client is let go"
        assert slow[0].recv(1) == b""
    finally:
        for client in slow:
            client.close()
    figures(p99_ms=waited * 1000)


def test_a_client_that_never_reads_is_let_go(running: Sandbox):
    with connect(running) as deaf:
        deaf.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(20_000):
                deaf.send(GET)
        assert exchange(running, GET)[0] == 200
    before = running.resident()
    assert before < 200 * 2**20


def test_what_many_clients_do_not_read_costs_little(sandbox: Sandbox, figures: Figures):
    sandbox.config.write_text("".join(f'[[pair]]\nmain = "missing-{n}"\n' for n in range(400)))
    sandbox.running()
    size = len(exchange(sandbox, GET)[1])
    before = sandbox.resident()
    with contextlib.ExitStack() as clients:
        for _ in range(200):
            clients.enter_context(connect(sandbox)).sendall(GET)
        held = 0
        for _ in range(20):
            time.sleep(0.1)
            held = max(held, sandbox.resident() - before)
    figures(answer_kb=size / 1024, held_mb=held / 2**20)
    assert size * 200 > 20 << 20, "the answers are large"
    assert held < 15 << 20


def test_half_closed_connections_get_their_answer(running: Sandbox):
    status, body = exchange(running, GET, shut=True)
    assert status == 200
    assert json.loads(body)["version"]
    assert exchange(running, b"", shut=True) == (0, b"")
    assert exchange(running, GET[:20], shut=True)[0] in (0, 400)


def test_pipelined_requests_are_answered_in_turn(running: Sandbox):
    with connect(running) as client:
        client.sendall(GET * 5)
        assert [answer(client)[0] for _ in range(5)] == [200] * 5


def test_head_answers_without_a_body(running: Sandbox):
    with connect(running) as client:
        client.sendall(b"HEAD /v1/status HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n")
        raw = b""
        while chunk := client.recv(1 << 16):
            raw += chunk
    assert raw.startswith(b"HTTP/1.1 200")
    assert raw.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v1/status HTTP/1.1\r\nHost: s\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
        b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: s\r\n\r\n",
        b"POST /v1/bench HTTP/1.1\r\nHost: s\r\nContent-Length: 104857600\r\n\r\n"
        + b"a" * (2 * BODY_BYTES),
        b"POST /v1/bench HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"8000\r\n"
        + b"a" * 0x8000
        + b"\r\n8000\r\n"
        + b"a" * 0x8000
        + b"\r\n8000\r\n"
        + b"a" * 0x8000
        + b"\r\n",
    ],
    ids=["header", "target", "body", "chunks"],
)
def test_oversized_requests_are_refused(running: Sandbox, request_: bytes):
    before = running.resident()
    assert exchange(running, request_)[0] in (0, 400, 413, 431)
    assert exchange(running, GET)[0] == 200
    assert running.resident() - before < 20 * 2**20


MALFORMED = [
    b"\x00" * 64,
    b"\xff\xfe\xfd\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /v1/status\r\n\r\n",
    b"GET /v1/status HTTP/9.9\r\nHost: s\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\n\r\n",
    b"GET /v1/status HTTP/1.1\nHost: s\n\n",
    b"GET  /v1/status  HTTP/1.1\r\nHost: s\r\n\r\n",
    b"get /v1/status HTTP/1.1\r\nHost: s\r\n\r\n",
    b"GET //[ HTTP/1.1\r\nHost: s\r\n\r\n",
    b"GET http://[::1/v1/status HTTP/1.1\r\nHost: s\r\n\r\n",
    b"GET /v1/journal?limit=\xc2\xb2 HTTP/1.1\r\nHost: s\r\n\r\n",
    b"GET /v1/journal?limit=" + b"9" * 5_000 + b" HTTP/1.1\r\nHost: s\r\n\r\n",
    b"GET /v1/journal?limit=-1 HTTP/1.1\r\nHost: s\r\n\r\n",
    b"GET /v1/journal?limit=%00 HTTP/1.1\r\nHost: s\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: s\r\n\r\n",
    b"GET /v1/status%00 HTTP/1.1\r\nHost: s\r\n\r\n",
    b"DELETE /v1/status HTTP/1.1\r\nHost: s\r\n\r\n",
    b"CONNECT /v1/status HTTP/1.1\r\nHost: s\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\nHost: s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\nHost: s\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"GET /v1/status HTTP/1.1\r\nHost: s\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/pause HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\n\r\n{",
    b"POST /v1/restore HTTP/1.1\r\nHost: s\r\nContent-Length: 2\r\n\r\n[]",
    b"POST /v1/restore HTTP/1.1\r\nHost: s\r\nContent-Length: 2\r\n\r\nnu",
    b'POST /v1/restore HTTP/1.1\r\nHost: s\r\nContent-Length: 12\r\n\r\n{"id": true}',
    post("/v1/restore", {"id": -1}),
    post("/v1/restore", {"id": 10**30}),
    post("/v1/restore", {"id": 99_999, "all": True}),
    post("/v1/restore", {"all": "yes"}),
    post("/v1/bench", {"main": "../../etc/passwd", "rm": "-rf"}),
    b"POST /v1/restore HTTP/1.1\r\nHost: s\r\nContent-Length: 20000\r\n\r\n" + b"[" * 20_000,
    b"POST /v1/restore HTTP/1.1\r\nHost: s\r\nContent-Length: 20000\r\n\r\n" + b'{"a":' * 4_000,
    b"POST /v1/pause HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/pause HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
    (
        b"POST /v1/pause HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Length: 4\r\n\r\n0\r\n\r\nGET /v1/status HTTP/1.1\r\n"
    ),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


def refused_or_answered(status: int) -> bool:
    """501 is the answer to a transfer coding that is not known (RFC 9112, 6.1); 500 is a fault."""
    return status < 500 or status == 501


def test_malformed_requests_are_refused_and_nothing_else_happens(
    running: Sandbox, figures: Figures
):
    for request in MALFORMED:
        status, _ = exchange(running, request, shut=True)
        assert refused_or_answered(status), request[:80]
    figures(malformed=len(MALFORMED), mutated=mutate(running, 500))
    well(running)


@pytest.mark.nightly
def test_many_malformed_requests_are_refused(running: Sandbox, figures: Figures):
    figures(mutated=mutate(running, 20_000))
    well(running)


def mutate(sandbox: Sandbox, rounds: int) -> int:
    """Send requests with random bytes changed, dropped, doubled and swapped."""
    chance = random.Random(8)  # noqa: S311 - a repeatable corpus
    known = [*MALFORMED, GET, post("/v1/resume", {}), b"GET /metrics HTTP/1.0\r\n\r\n"]
    known += [
        f"{r.method} {path} HTTP/1.1\r\nHost: s\r\n\r\n".encode() for path, r in ROUTES.items()
    ]
    for _ in range(rounds):
        request = bytearray(chance.choice(known)[:2_000])
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(request) or 1)
            match chance.randrange(4):
                case 0:
                    request[at : at + 1] = bytes([chance.randrange(256)])
                case 1:
                    del request[at : at + chance.randint(1, 20)]
                case 2:
                    request[at:at] = request[at : at + chance.randint(1, 40)]
                case _:
                    request[at:at] = chance.choice([b"\r\n", b"\x00", b":", b" ", b"\xff", b"%"])
        status, body = exchange(sandbox, bytes(request), shut=True)
        assert refused_or_answered(status), (bytes(request), body)
    return rounds


def well(sandbox: Sandbox) -> None:
    """The daemon lives, works, and has nothing to complain about."""
    exchange(sandbox, post("/v1/resume", {}))
    sandbox.save()
    until(sandbox.applied, "a drift is restored")
    assert sandbox.process is not None
    assert sandbox.process.poll() is None
    assert "Traceback" not in sandbox.said()
    assert "a fault in specd" not in sandbox.said()


def test_a_listener_that_goes_away_or_stalls_costs_nothing(running: Sandbox):
    before = running.descriptors()
    for _ in range(50):
        with connect(running) as client:
            client.sendall(b"GET /v1/events HTTP/1.1\r\nHost: s\r\n\r\n")
            client.recv(64)
    stalled = connect(running)
    stalled.sendall(b"GET /v1/events HTTP/1.1\r\nHost: s\r\n\r\n")
    for count in range(30):
        running.save(counter=count)
        until(running.applied, "restored")
        running.forgive()
    stalled.close()
    until(lambda: running.descriptors() <= before + 2, "their descriptors are closed")


def test_a_path_that_is_not_unicode_can_be_told(sandbox: Sandbox):
    if sys.platform != "linux":
        pytest.skip("names are Unicode here")
    strange = os.fsencode(sandbox.root) + b"/h\xff\xfeme"
    os.mkdir(strange)  # noqa: PTH102 - a bytes path
    sandbox.env["LMSTUDIO_HOME"] = os.fsdecode(strange)
    sandbox.start()
    assert sandbox.condition("HomeFound")["status"] == "true"
    with connect(sandbox) as client:
        client.sendall(b"GET /v1/events HTTP/1.1\r\nHost: s\r\n\r\n")
        assert client.recv(1 << 16)
    assert sandbox.specd("status").returncode in (0, 1)
    assert sandbox.specd("status", "--json").returncode in (0, 1)
    assert "Traceback" not in sandbox.said()

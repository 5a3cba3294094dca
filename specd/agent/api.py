"""The socket API: HTTP/1.1 and JSON on a Unix socket, for the same user alone.

One thread runs an asyncio loop with all connections; h11 frames the protocol, strictly. Questions
are answered from snapshots, so a busy daemon still answers; orders are handed to the daemon's own
loop and awaited. Slow, silent, oversized and malformed clients cost one connection each, for a
bounded time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import h11
from msgspec import ValidationError

from specd import __version__
from specd.agent import descriptors, peer
from specd.agent.address import short
from specd.agent.benchmarks import NoPair
from specd.agent.events import Event
from specd.files import private
from specd.files.swap import SwapError
from specd.lmstudio.names import NameProblem, NoSuchModel
from specd.reconcile.restore import CannotRestore

if TYPE_CHECKING:
    from specd.agent.backend import Backend

REQUEST_S = 10.0
"""How long a client may take to send a whole request, or to send its next one."""

CLOSE_S = 1.0
"""How long a client may take to read the rest of its last answer."""

LOOK_S = 0.1
"""How long an answer waits for a look whether LM Studio runs."""

QUESTION_S = 0.4
"""The longest time to read stored data for an answer; after it the request is refused."""

ORDER_S = 120.0
"""The longest wait for a command; after it the answer refers the client to the status."""

BODY_BYTES = 64 * 1024
PIECE_BYTES = 16 * 1024
CONNECTIONS = 600
BACKLOG = 512

ACCEPT_AGAIN_S = 0.1
"""The pause after accept() failed for want of descriptors or memory."""

HEARTBEAT_S = 30.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; ``content`` is sent as it is."""

    status: int
    content: bytes
    kind: str = "application/json"


class BadRequest(Exception):
    """The request makes no sense; the message goes to the client."""


Question: TypeAlias = Callable[["Backend", Request], Answer]
Order: TypeAlias = Callable[["Backend", Request], dict[str, Any]]


def _json(value: object, status: int = 200) -> Answer:
    # ASCII: a name on disk need not be Unicode, and lone surrogates have no other spelling.
    return Answer(status, json.dumps(value).encode("ascii") + b"\n")


def _limit(request: Request) -> int:
    text = request.query.get("limit", "50")
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 10_000):
        raise BadRequest(f"limit must be a number from 1 to 10000, not {text!r}")
    return int(text)


def _needed(request: Request, name: str) -> str:
    if name not in request.query:
        raise BadRequest(f"{name} is missing: a model's name")
    return request.query[name]


QUESTIONS: dict[str, Question] = {
    "/v1/status": lambda backend, _: _json(backend.status()),
    "/v1/conditions": lambda backend, _: _json(backend.status()["conditions"]),
    "/v1/pairs": lambda backend, _: _json(backend.status()["pairs"]),
    "/v1/journal": lambda backend, request: _json(backend.journal(_limit(request))),
    "/metrics": lambda backend, _: Answer(
        200, backend.metrics().encode(), "text/plain; version=0.0.4; charset=utf-8"
    ),
}

# What the daemon's own loop must do or look up, by method and path.
ORDERS: dict[tuple[str, str], Order] = {
    ("GET", "/v1/plan"): lambda backend, _: backend.plan(),
    ("GET", "/v1/verdict"): lambda backend, request: backend.verdict(
        _needed(request, "main"), _needed(request, "draft")
    ),
    ("POST", "/v1/apply"): lambda backend, _: backend.apply(),
    ("POST", "/v1/bench"): lambda backend, request: backend.bench(request.body),
    ("POST", "/v1/pause"): lambda backend, _: backend.pause(paused=True),
    ("POST", "/v1/resume"): lambda backend, _: backend.pause(paused=False),
    ("POST", "/v1/restore"): lambda backend, request: backend.restore(request.body),
}

EVENTS = "/v1/events"
HISTORY = "/v1/history"


class Api:
    """The listening socket and its thread; ``close`` ends both."""

    def __init__(self, path: Path, backend: Backend) -> None:
        self._path = path
        self._backend = backend
        self._socket = _listen(path)
        self._inode = _inode(path)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._ready = threading.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._most = descriptors.for_clients(CONNECTIONS)
        self._thread = threading.Thread(target=self._run, name="specd-api", daemon=True)
        self._thread.start()
        self._ready.wait(5)

    def stands(self) -> bool:
        """Whether the socket is where clients look for it."""
        return _inode(self._path) == self._inode

    def close(self) -> None:
        """Stop listening, end every connection, remove the socket."""
        if self._loop is not None and self._ended is not None:
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(5)
        with contextlib.suppress(OSError), short(self._path) as address:
            os.unlink(address)  # noqa: PTH108 - the address may be a descriptor's

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        accepting = asyncio.create_task(self._accept())
        self._ready.set()
        await self._ended.wait()
        for task in (accepting, *self._connections):
            task.cancel()
        await asyncio.gather(accepting, *self._connections, return_exceptions=True)

    async def _accept(self) -> None:
        """Let clients in one by one, never more than there are descriptors for.

        asyncio's own server takes in its whole backlog before it looks at the first of them.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(self._socket)
            except OSError:
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            if len(self._connections) >= self._most:
                _turn_away(client)
                await asyncio.sleep(0)
                continue
            connection = asyncio.create_task(self._connection(client))
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)

    async def _connection(self, client: socket.socket) -> None:
        reader, writer = await _streams(client)
        try:
            if not _same_user(writer):
                await _refuse(writer, 403, "this socket serves its owner alone")
            else:
                await _Conversation(self._backend, reader, writer).hold()
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), CLOSE_S)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            # What a client does not read would keep the descriptor for as long as it lives.
            writer.transport.abort()


class _Conversation:
    """One connection: requests in turn until either side is done."""

    def __init__(
        self, backend: Backend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._backend = backend
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=16 * 1024)

    async def hold(self) -> None:
        while True:
            try:
                request = await asyncio.wait_for(self._read(), REQUEST_S)
            except TimeoutError:
                return
            except h11.RemoteProtocolError as error:
                await _refuse(self._writer, error.error_status_hint, str(error))
                return
            except BadRequest as problem:
                await _refuse(self._writer, 400, str(problem))
                return
            if request is None:
                return
            if request.method == "GET" and request.path == EVENTS:
                await self._stream_events()
                return
            await self._send(await _answer(self._backend, request), bare=request.method == "HEAD")
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _read(self) -> Request | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(1 << 16))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > BODY_BYTES:
                    raise BadRequest(f"a body may hold {BODY_BYTES} bytes")
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return _request(head, bytes(body))
            else:
                return None

    async def _send(self, answer: Answer, *, bare: bool) -> None:
        head = h11.Response(
            status_code=answer.status,
            headers=[
                ("Content-Type", answer.kind),
                ("Content-Length", str(len(answer.content))),
                ("Server", f"specd/{__version__}"),
            ],
        )
        self._write(head)
        content = memoryview(b"" if bare else answer.content)
        async with asyncio.timeout(REQUEST_S):
            # Piece by piece: what a client does not read must not lie about once for each.
            for start in range(0, len(content), PIECE_BYTES):
                self._write(h11.Data(bytes(content[start : start + PIECE_BYTES])))
                await self._writer.drain()
            self._write(h11.EndOfMessage())
            await self._writer.drain()

    def _write(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")

    async def _stream_events(self) -> None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[Event] = asyncio.Queue(maxsize=1_000)

        def put(event: Event) -> None:
            # A client too slow for a thousand events loses some rather than the daemon its memory.
            with contextlib.suppress(asyncio.QueueFull):
                waiting.put_nowait(event)

        def heard(event: Event) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(put, event)

        stop = self._backend.listen(heard)
        try:
            head = h11.Response(
                status_code=200,
                headers=[("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")],
            )
            self._write(head)
            # What is said while the recent events are gathered is among them and in the queue.
            written = 0
            for event in self._backend.recent_events():
                self._write_event(event)
                written = event.number
            while not self._reader.at_eof():
                await asyncio.wait_for(self._writer.drain(), REQUEST_S)
                try:
                    event = await asyncio.wait_for(waiting.get(), HEARTBEAT_S)
                except TimeoutError:
                    self._write(h11.Data(b": still here\n\n"))
                    continue
                if event.number > written:
                    self._write_event(event)
        finally:
            stop()

    def _write_event(self, event: Event) -> None:
        data = json.dumps(event.as_json())
        text = f"id: {event.number}\nevent: {event.level}\ndata: {data}\n\n"
        self._write(h11.Data(text.encode()))


async def _answer(backend: Backend, request: Request) -> Answer:
    try:
        return await _routed(backend, request)
    except Exception as error:  # noqa: BLE001 - one failed request must not end the daemon
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
        if isinstance(error, TimeoutError):
            why = "still at work; see `specd status`"
        elif status != 500:
            why = str(error)
        elif isinstance(error, OSError):
            why = f"{type(error).__name__}: {error}"
        else:
            # No words: the text of an error within specd might quote what was being read.
            why = f"a fault in specd: {type(error).__name__}"
        return _json({"error": why}, status)


_STATUS: dict[type[Exception], int] = {
    NoSuchModel: 404,
    NameProblem: 400,
    ValidationError: 400,
    BadRequest: 400,
    NoPair: 404,
    CannotRestore: 404,
    SwapError: 409,
    TimeoutError: 504,
}


async def _routed(backend: Backend, request: Request) -> Answer:
    question = QUESTIONS.get(request.path)
    order = ORDERS.get((request.method, request.path))
    asks = request.method in ("GET", "HEAD")
    if question is not None and asks:
        await asyncio.wait([asyncio.wrap_future(backend.look())], timeout=LOOK_S)
        return backend.shared(request, lambda: question(backend, request))
    if request.path == HISTORY and asks:
        reading = asyncio.wrap_future(backend.history(_limit(request)))
        return _json(await asyncio.wait_for(asyncio.shield(reading), QUESTION_S))
    if order is not None:
        future = asyncio.wrap_future(backend.on_loop(lambda: order(backend, request)))
        return _json(await asyncio.wait_for(asyncio.shield(future), ORDER_S))
    orders = {path: method for method, path in ORDERS}
    if question is not None or request.path in (HISTORY, *orders):
        return _json({"error": f"{request.path} takes {orders.get(request.path, 'GET')}"}, 405)
    known = ", ".join([*QUESTIONS, HISTORY, EVENTS, *orders])
    return _json({"error": f"there is no {request.path}; there are {known}"}, 404)


def _request(head: h11.Request, body: bytes) -> Request:
    headers = {bytes(name): bytes(value) for name, value in head.headers}
    if b"origin" in headers:
        # No page has business here, even through a proxy that bridges the socket to TCP.
        raise BadRequest("requests from web pages are refused")
    try:
        target = urlsplit(head.target.decode("ascii", "replace"))
    except ValueError:
        raise BadRequest("the request target is not one") from None
    return Request(
        method=head.method.decode("ascii", "replace"),
        path=target.path,
        query=dict(parse_qsl(target.query)),
        body=_object(body),
    )


def _object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return value


async def _streams(
    client: socket.socket,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=BODY_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, client)
    transport.set_write_buffer_limits(PIECE_BYTES)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _refusal(status: int, why: str) -> bytes:
    content = json.dumps({"error": why}).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + content


def _turn_away(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        client.send(_refusal(503, "too many connections"))
    client.close()


async def _refuse(writer: asyncio.StreamWriter, status: int, why: str) -> None:
    writer.write(_refusal(status, why))
    with contextlib.suppress(TimeoutError, OSError):
        await asyncio.wait_for(writer.drain(), 1)


def _same_user(writer: asyncio.StreamWriter) -> bool:
    try:
        return peer.uid(writer.get_extra_info("socket")) == os.getuid()
    except OSError:
        return False


def _inode(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError), short(path) as address:
        facts = os.stat(address)  # noqa: PTH116 - the address may be a descriptor's
        return facts.st_dev, facts.st_ino
    return None


def _listen(path: Path) -> socket.socket:
    # The lock says that no other daemon is alive here, so a socket that lies about is stale.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    if path.is_dir() and not path.is_symlink():
        private.set_aside(path)  # Docker, told to mount a file that is not there, makes a folder
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short(path) as address:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)  # noqa: PTH108 - the address may be a descriptor's
        before = os.umask(0o177)
        try:
            listening.bind(address)
        finally:
            os.umask(before)
    listening.settimeout(0)
    listening.listen(BACKLOG)
    return listening

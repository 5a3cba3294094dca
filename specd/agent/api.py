"""The socket API: HTTP/1.1 and JSON on a Unix socket, for the same user alone.

One thread runs an asyncio loop with all connections; h11 parses the protocol strictly. Questions
are answered from the daemon's last snapshot, so a busy daemon still answers; orders run on the
daemon's own loop. A slow, silent or malformed client costs one connection, for a bounded time, and
keeps no other client out: if there are too many, the daemon ends the one that was silent longest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import h11

from specd import __version__, places
from specd.agent import process
from specd.agent.address import peer, short
from specd.agent.events import Event
from specd.agent.inbox import fulfil
from specd.agent.publication import Snapshot
from specd.agent.routes import ROUTES, STATUS, BadRequest, Request, Route
from specd.files import private
from specd.files.attributes import inode

if TYPE_CHECKING:
    from specd.agent.daemon import Daemon

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

LOOKED_S = 0.2
"""For this long the last look at the app's process, and the last answer, are used again."""

EVENTS = "/v1/events"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; ``content`` is sent as it is."""

    status: int
    content: bytes
    kind: str = "application/json"


class Api:
    """The listening socket and its thread, until ``close``. ``events`` is the daemon's log.

    Raises:
        OSError: the socket cannot be opened.
    """

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.events = daemon.events
        self._path = places.socket_path(daemon.directory)
        self._socket = _listen(self._path)
        self._inode = _inode(self._path)
        self._connections: dict[asyncio.Task[None], None] = {}
        self._most = min(CONNECTIONS, process.open_files() // 2)
        self._turn = asyncio.Lock()
        self._looked_at = -LOOKED_S
        self._answers: dict[tuple[object, ...], tuple[float, Snapshot | None, Answer | None]] = {}
        self._loop = asyncio.new_event_loop()
        self._serving = self._loop.create_task(self._serve())
        self._thread = threading.Thread(target=self._run, name="specd-api", daemon=True)
        self._thread.start()

    def stands(self) -> bool:
        """Whether the socket is where clients look for it."""
        return _inode(self._path) == self._inode

    def close(self) -> None:
        """Stop listening, end every connection, remove the socket."""
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join(5)
        with contextlib.suppress(OSError), short(self._path) as address:
            os.unlink(address)  # noqa: PTH108 - the address may be a descriptor's

    def _run(self) -> None:
        with contextlib.closing(self._loop), contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serving)

    async def _serve(self) -> None:
        try:
            await self._accept()
        finally:
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self) -> None:
        """Accept clients one by one, never more than there are descriptors for.

        A new client takes the place of the one whose last request is the longest ago.
        asyncio's own server accepts its whole backlog before it serves the first. No connection
        uses ``asyncio.wait_for``: up to Python 3.11 it may swallow the cancellation.
        """
        while True:
            await asyncio.sleep(0)  # sock_accept does not wait while there is a backlog
            try:
                client, _ = await self._loop.sock_accept(self._socket)
            except OSError:
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            if len(self._connections) >= self._most:
                silent = next(iter(self._connections))
                silent.cancel()
                await asyncio.wait([silent], timeout=CLOSE_S)
            connection = asyncio.create_task(self._connection(client))
            self._connections[connection] = None
            connection.add_done_callback(self._connections.pop)

    async def _connection(self, client: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=client, limit=BODY_BYTES)
        writer.transport.set_write_buffer_limits(PIECE_BYTES)
        try:
            if _same_user(client):
                await _Conversation(self, reader, writer).hold()
            else:
                await _refuse(writer, 403, "this socket serves its owner alone")
            writer.close()
            async with asyncio.timeout(CLOSE_S):
                await writer.wait_closed()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            # An answer that the client never reads would keep the descriptor open.
            writer.transport.abort()

    async def turn(self) -> None:
        """Wait until this connection may send its next request.

        One may at each turn of the loop, so that a new client does not wait behind thousands of
        requests that others have sent ahead.
        """
        async with self._turn:
            await asyncio.sleep(0)

    def heard(self) -> None:
        """The current task's connection has sent a whole request."""
        if connection := asyncio.current_task():
            self._connections[connection] = self._connections.pop(connection)

    # -- answers ------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Answer:
        """The answer to any request but for the stream of events."""
        try:
            return await self._routed(request)
        except Exception as error:  # noqa: BLE001 - one failed request must not end the daemon
            status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
            if isinstance(error, TimeoutError):
                why = "still at work; see `specd status`"
            elif status != 500:
                why = str(error)
            elif isinstance(error, OSError):
                why = f"{type(error).__name__}: {error}"
            else:
                # Only the type: an error's text might quote a file that specd was reading.
                why = f"a fault in specd: {type(error).__name__}"
            return _json({"error": why}, status)

    async def _routed(self, request: Request) -> Answer:
        daemon, path = self._daemon, request.path
        route = ROUTES.get(path)
        if route is None:
            return _json({"error": f"there is no {path}", "paths": [*ROUTES, EVENTS]}, 404)
        if route.method != ("GET" if request.method == "HEAD" else request.method):
            return _json({"error": f"{path} takes {route.method}"}, 405)
        if route.where == "snapshot":
            await asyncio.wait([asyncio.wrap_future(self._look())], timeout=LOOK_S)
            return self._shared(request, route)
        work = partial(route.answer, daemon, request)
        if route.where == "thread":
            read: Future[Any] = Future()
            threading.Thread(target=fulfil, args=(read, work), daemon=True).start()
            return await _within(QUESTION_S, read)
        return await _within(ORDER_S, daemon.inbox.ask(lambda: daemon.obey(work)))

    def _look(self) -> Future[None]:
        """Look whether LM Studio runs, unless that was just done; the future ends with the look.

        The server's list of loaded models is requested too, for the next answer.
        """
        done: Future[None] = Future()
        now = time.monotonic()
        if now - self._looked_at < LOOKED_S:
            done.set_result(None)
        else:
            self._looked_at = now
            self._daemon.inbox.do(lambda: self._daemon.look_again(done))
        return done

    def _shared(self, request: Request, route: Route) -> Answer:
        """The answer; clients with the same request at the same time share a large one."""
        key, now = (request.path, *request.query.items()), time.monotonic()
        self._answers = {k: a for k, a in self._answers.items() if now - a[0] < LOOKED_S}
        at, snapshot, answer = self._answers.get(key, (now, None, None))
        if answer is None or snapshot is not self._daemon.snapshot:
            at, snapshot = now, self._daemon.snapshot
            answer = _json(route.answer(self._daemon, request))
        if len(answer.content) > PIECE_BYTES:
            self._answers[key] = at, snapshot, answer
        return answer


class _Conversation:
    """One connection: requests in turn until either side is done."""

    def __init__(
        self, api: Api, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._api = api
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=16 * 1024)

    async def hold(self) -> None:
        while True:
            try:
                async with asyncio.timeout(REQUEST_S):
                    request = await self._read()
            except TimeoutError:
                return
            except (h11.RemoteProtocolError, BadRequest) as problem:
                status = getattr(problem, "error_status_hint", 400)
                await _refuse(self._writer, status, str(problem))
                return
            if request is None:
                return
            self._api.heard()
            if request.method == "GET" and request.path == EVENTS:
                await self._stream_events()
                return
            await self._send(await self._api.answer(request), bare=request.method == "HEAD")
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()
            await self._api.turn()

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
            # Piece by piece: many slow clients must not each keep a whole answer in memory.
            for start in range(0, len(content), PIECE_BYTES):
                self._write(h11.Data(bytes(content[start : start + PIECE_BYTES])))
                await self._writer.drain()
            self._write(h11.EndOfMessage())
            await self._writer.drain()

    def _write(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")

    async def _stream_events(self) -> None:
        loop, events = asyncio.get_running_loop(), self._api.events
        more = asyncio.Event()

        def heard() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(more.set)

        head = h11.Response(
            status_code=200,
            headers=[("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")],
        )
        self._write(head)
        written = 0
        with events.heard(heard):
            while not self._reader.at_eof():
                more.clear()
                for event in events.since(written):
                    self._write_event(event)
                    written = event.number
                async with asyncio.timeout(REQUEST_S):
                    await self._writer.drain()
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await more.wait()
                except TimeoutError:
                    self._write(h11.Data(b": still here\n\n"))

    def _write_event(self, event: Event) -> None:
        data = json.dumps(event.as_json())
        text = f"id: {event.number}\nevent: {event.level}\ndata: {data}\n\n"
        self._write(h11.Data(text.encode()))


async def _within(seconds: float, future: Future[Any]) -> Answer:
    async with asyncio.timeout(seconds):
        return _json(await asyncio.shield(asyncio.wrap_future(future)))


def _json(value: object, status: int = 200) -> Answer:
    if isinstance(value, str):
        return Answer(status, value.encode(), "text/plain; version=0.0.4; charset=utf-8")
    # ASCII: a name on disk need not be Unicode, and lone surrogates have no other spelling.
    return Answer(status, json.dumps(value).encode("ascii") + b"\n")


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


async def _refuse(writer: asyncio.StreamWriter, status: int, why: str) -> None:
    content = json.dumps({"error": why}).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + content)
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(CLOSE_S):
            await writer.drain()


def _same_user(client: socket.socket) -> bool:
    try:
        return peer(client) == os.getuid()
    except OSError:
        return False


def _inode(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError), short(path) as address:
        return inode(Path(address))
    return None


def _listen(path: Path) -> socket.socket:
    # The lock proves that no other daemon is alive here, so an existing socket is stale.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    if path.is_dir() and not path.is_symlink():
        private.set_aside(path)  # Docker makes a folder where the file to mount is not there
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

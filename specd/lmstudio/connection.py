"""One HTTP exchange with one deadline, one bounded answer, and errors with a remedy.

With a time limit for each read, a server that sends a byte now and then could hold its caller for
ever. Here one deadline bounds the whole exchange: head, chunks, trailers and interim answers.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, Final, Self

import h11

from specd.lmstudio.values import members, text

_MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
_MAX_LINE_BYTES: Final = 1024 * 1024
_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_INTERIM: Final = 16  # answers of status 1xx
_CHUNK_BYTES: Final = 64 * 1024


class ServerError(Exception):
    """A failed call; the message says what happened and what helps."""


class NotReachable(ServerError):
    """No program listens there, or it did not answer in time."""


class Refused(ServerError):
    """The server requires a token, or another token; ``remedy`` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.why, self.remedy = message, remedy


class BadAnswer(ServerError):
    """The server answered with an error, or with something unusable.

    ``status`` is the HTTP status, None when the answer was not HTTP.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class DraftRefused(BadAnswer):
    """The server would have answered, but not with this draft.

    The MLX engine refuses whole requests when the main is loaded for several at once (LM Studio's
    default) or sees images; others fail when the draft cannot be loaded. Since 0.4.23 llama.cpp's
    draft is part of the main's load configuration, and of no request.
    """

    @property
    def at_load_only(self) -> bool:
        """Whether the draft has to be configured before the main is loaded."""
        return "configured at load time" in str(self).lower()


_resolving: dict[str, Future[list[str]]] = {}


def _addresses(host: str, seconds: float) -> list[str]:
    """The host's addresses, looked up in a thread: a resolver may take minutes.

    Raises:
        TimeoutError: it takes longer than ``seconds``; the next call waits for the same look-up.
        OSError: there are none.
    """
    found = _resolving.get(host)
    if found is None:
        found = _resolving[host] = Future()
        threading.Thread(target=_resolve, args=(host, found), daemon=True).start()
    return found.result(seconds)


def _resolve(host: str, found: Future[list[str]]) -> None:
    try:
        listed = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found.set_result([str(address[0]) for *_, address in listed])
    except OSError as error:
        found.set_exception(error)
    except UnicodeError:
        found.set_exception(OSError("that is no host name"))
    finally:
        _resolving.pop(host, None)


class Connection:
    """One HTTP connection for one exchange. ``deadline`` is a time of ``time.monotonic``."""

    def __init__(self, base_url: str, deadline: float) -> None:
        self._url = base_url
        self._deadline = deadline
        parts = urllib.parse.urlsplit(base_url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._secure else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._socket: socket.socket | None = None
        self._silent = True  # no byte has arrived from the server yet

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def send(
        self, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]
    ) -> tuple[int, str]:
        """Send a request, its body as JSON; returns the answer's status and media type.

        Raises:
            NotReachable: no answer, or not in time.
            BadAnswer: the answer is not HTTP.
        """
        content = b"" if body is None else json.dumps(body).encode()
        request = h11.Request(
            method=method,
            target=self._prefix + path,
            headers=[
                ("Host", self._authority),
                ("Connection", "close"),
                *headers.items(),
                *([("Content-Type", "application/json")] if content else []),
                *([("Content-Length", str(len(content)))] if body is not None else []),
            ],
        )
        try:
            self._socket = self._connected()
            events = (request, h11.Data(content), h11.EndOfMessage())
            whole = b"".join(self._http.send(event) or b"" for event in events)
            self._left()
            # A server may answer and close before it has read all of a request.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._socket.sendall(whole)
            return self._head()
        except TimeoutError as error:
            raise NotReachable(f"{self._url} did not answer in time") from error
        except OSError as error:
            raise NotReachable(
                f"nobody answers at {self._url} ({error.strerror or error})"
            ) from error
        except h11.RemoteProtocolError as error:
            raise BadAnswer(f"{self._url} does not speak HTTP ({error})") from error

    def _connected(self) -> socket.socket:
        made = self._reached()
        if not self._secure:
            return made
        import ssl  # noqa: PLC0415 - few servers need it, and it is slow to import

        self._socket = made
        self._left()
        return ssl.create_default_context().wrap_socket(made, server_hostname=self._host)

    def _reached(self) -> socket.socket:
        """A socket to the first of the host's addresses that answers; they share the deadline."""
        failure = OSError("it has no address")
        for address in _addresses(self._host, self._left()):
            try:
                return socket.create_connection((address, self._port), self._left())
            except OSError as error:
                failure = error
        raise failure

    def _left(self) -> float:
        """The seconds left, which also bound what the socket does next.

        Raises:
            TimeoutError: there are none.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if self._socket is not None:
            self._socket.settimeout(left)
        return left

    def _event(self) -> Any:
        """The next event of the answer."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._left()
            received = self._socket.recv(_CHUNK_BYTES) if self._socket else b""
            self._silent = self._silent and not received
            if not received and self._silent:
                raise ConnectionResetError("it closed the connection")
            self._http.receive_data(received)
        return event

    def _head(self) -> tuple[int, str]:
        for _ in range(_MAX_INTERIM + 1):
            event = self._event()
            if isinstance(event, h11.Response):
                kinds = [value for name, value in event.headers if name == b"content-type"]
                kind = kinds[0].decode("latin-1").partition(";")[0] if kinds else ""
                return event.status_code, kind.strip().lower()
        raise BadAnswer(f"{self._url} sent more than {_MAX_INTERIM} interim answers")

    def read_all(self, at_most: int = _MAX_ANSWER_BYTES) -> bytes:
        """The answer's body.

        Raises:
            NotReachable: it did not end in time.
            BadAnswer: it broke off, or is too long.
        """
        return b"".join(self._chunks(at_most))

    def _chunks(self, at_most: int = _MAX_ANSWER_BYTES) -> Iterator[bytes]:
        """The body as it comes."""
        size = 0
        try:
            while isinstance(event := self._event(), h11.Data):
                size += len(event.data)
                if size > at_most:
                    raise BadAnswer(f"{self._url} sent more than {at_most:,} bytes")
                yield bytes(event.data)
        except TimeoutError as error:
            raise NotReachable(f"{self._url} did not finish its answer in time") from error
        except (OSError, h11.RemoteProtocolError) as error:
            raise BadAnswer(f"{self._url} broke off its answer") from error

    def lines(self) -> Iterator[bytes]:
        """The lines of the answer as they come, without their ends."""
        rest = b""
        for chunk in self._chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _MAX_LINE_BYTES:
                raise BadAnswer(f"{self._url} sent more than fits into an answer")
            yield from (line.rstrip(b"\r") for line in lines)
        if rest:
            yield rest

    def events(self) -> Iterator[dict[str, Any]]:
        """The JSON objects of a server-sent event stream, until ``[DONE]``."""
        for line in self.lines():
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            event = decoded(data, self._url)
            if "error" in event:
                raise BadAnswer(f"{self._url} broke off{error_in(data)}")
            yield event


def decoded(content: bytes, url: str) -> dict[str, Any]:
    """The JSON object in an answer.

    Raises:
        BadAnswer: there is none, or it is an error.
    """
    body = _object(content)
    if body is None:
        raise BadAnswer(f"{url} sent an answer that is not a JSON object")
    # LM Studio answers an unknown path with status 200 and a complaint.
    if isinstance(body.get("error"), str) and "ndpoint" in body["error"]:
        raise BadAnswer(f"{url} does not know this path", 404)
    if "error" in body and len(body) == 1:
        raise BadAnswer(f"{url} answered with an error{error_in(content)}")
    return body


def wants_a_token(content: bytes) -> bool:
    """Whether ``content`` is LM Studio's own answer to a request without a valid token."""
    error = members((_object(content) or {}).get("error"))
    return error.get("code") == "invalid_api_key" and (
        "LM Studio API token" in text(error.get("message"), 1000)
    )


def error_in(content: bytes) -> str:
    """A colon and the server's error message, shortened, on one line; "" without one."""
    body = _object(content) or {}
    message = body.get("error", body.get("message"))
    if isinstance(message, dict):
        message = message.get("message")
    if not isinstance(message, str):
        return ""
    words = "".join(c if c.isprintable() else " " for c in message)
    return f": {' '.join(words.split())[:300]}"


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None

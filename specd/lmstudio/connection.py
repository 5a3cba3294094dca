"""One HTTP exchange with one deadline, one bounded answer, and errors that say what to do.

The standard library's client has a time limit per read; a server that sends a byte now and then
would hold a caller for ever. Here the limit is for the whole exchange.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any, Final, Self

_MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
_MAX_LINE_BYTES: Final = 1024 * 1024


class ServerError(Exception):
    """A call that brought nothing; the message says what happened and what helps."""


class NotReachable(ServerError):
    """Nobody listens there, or nobody answered in time."""


class Refused(ServerError):
    """The server wants a token, or another one."""


class BadAnswer(ServerError):
    """The server answered with an error, or with something that is no answer.

    ``status`` is the HTTP status, None when it was not even HTTP.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class DraftRefused(BadAnswer):
    """The server would have answered, but not with this draft.

    The MLX engine refuses whole requests when the main is loaded for several at once (LM Studio's
    default) or sees images; others fail when the draft cannot be loaded. ``at_load_only``: since
    0.4.23 llama.cpp's draft is part of the main's load configuration, and of no request.
    """

    def __init__(self, message: str, status: int | None, *, at_load_only: bool) -> None:
        super().__init__(message, status)
        self.at_load_only = at_load_only


class Connection:
    """One HTTP connection with one deadline for everything on it."""

    def __init__(self, base_url: str, timeout: float) -> None:
        self._url = base_url
        self._deadline = time.monotonic() + timeout
        parts = urllib.parse.urlsplit(base_url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._prefix = parts.path
        self._http = kind(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def send(
        self, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        """Send a request, its body as JSON; the answer's head.

        Raises:
            NotReachable: nobody there, or not in time.
            BadAnswer: what came back is not HTTP.
        """
        encoded = None if body is None else json.dumps(body).encode()
        if encoded is not None:
            headers = {**headers, "Content-Type": "application/json"}
        try:
            self._http.request(method, self._prefix + path, body=encoded, headers=headers)
            return self._http.getresponse()
        except http.client.HTTPException as error:
            raise BadAnswer(f"{self._url} does not speak HTTP ({type(error).__name__})") from error
        except TimeoutError as error:
            raise NotReachable(f"{self._url} did not answer in time") from error
        except OSError as error:
            raise NotReachable(
                f"nobody answers at {self._url} ({error.strerror or error})"
            ) from error

    def read_all(self, response: http.client.HTTPResponse) -> bytes:
        """The answer's body.

        Raises:
            NotReachable: it did not end in time.
            BadAnswer: it broke off, or is too long.
        """
        chunks: list[bytes] = []
        size = 0
        while chunk := self._read(response, 1 << 16):
            size += len(chunk)
            if size > _MAX_ANSWER_BYTES:
                raise BadAnswer(f"{self._url} sent more than {_MAX_ANSWER_BYTES:,} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    def _read(self, response: http.client.HTTPResponse, size: int) -> bytes:
        """Whatever has come, at least a byte, b"" at the end; the deadline holds across calls."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise NotReachable(f"{self._url} did not finish its answer in time")
        if self._http.sock is not None:
            self._http.sock.settimeout(left)
        try:
            return response.read1(size)
        except TimeoutError as error:
            raise NotReachable(f"{self._url} did not finish its answer in time") from error
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise BadAnswer(f"{self._url} broke off its answer") from error

    def lines(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """The lines of the answer as they come, without their ends."""
        rest = b""
        size = 0
        while chunk := self._read(response, 1 << 16):
            size += len(chunk)
            if size > _MAX_ANSWER_BYTES or len(rest) > _MAX_LINE_BYTES:
                raise BadAnswer(f"{self._url} sent more than fits into an answer")
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.rstrip(b"\r") for line in lines)
        if rest:
            yield rest

    def events(self, response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
        """The JSON objects of a server-sent event stream, until ``[DONE]``."""
        for line in self.lines(response):
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            event = decoded(data, self._url)
            if "error" in event:
                raise BadAnswer(f"{self._url} broke off{error_said(data)}")
            yield event


def decoded(content: bytes, url: str) -> dict[str, Any]:
    """The JSON object in an answer.

    Raises:
        BadAnswer: there is none, or it is an error.
    """
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"{url} answered with something that is not JSON") from error
    if not isinstance(told, dict):
        raise BadAnswer(f"{url} answered with something that is not a JSON object")
    # LM Studio answers an unknown path with status 200 and a complaint.
    if isinstance(told.get("error"), str) and "ndpoint" in told["error"]:
        raise BadAnswer(f"{url} does not know this path", 404)
    if "error" in told and len(told) == 1:
        raise BadAnswer(f"{url} answered with an error{error_said(content)}")
    return told


def error_said(content: bytes) -> str:
    """A colon and the server's own words, when it has any; shortened, on one line."""
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    said = told.get("error", told.get("message")) if isinstance(told, dict) else None
    if isinstance(said, dict):
        said = said.get("message")
    if not isinstance(said, str):
        return ""
    words = "".join(c if c.isprintable() else " " for c in said)
    return f": {' '.join(words.split())[:300]}"

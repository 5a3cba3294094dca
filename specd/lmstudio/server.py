"""A client of LM Studio's HTTP server, and of others that speak its OpenAI-compatible part.

The list of models is requested at ``/api/v1``, ``/api/v0`` and ``/v1`` in that order, until the
server knows a path: older ones have less detail. Completions are requested at
``/api/v0/chat/completions``, whose ``stats`` have the draft's figures, else at
``/v1/chat/completions``, where a server such as ``mlx_lm.server`` takes ``draft_model`` and
``num_draft_tokens`` too.

Every call has one deadline and reads a bounded answer. The token is in no message, no ``repr`` and
no log, and is sent only to a server that has just required one (``Server``).
"""

from __future__ import annotations

import ipaddress
import os
import re
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from specd.lmstudio.answers import (
    LISTINGS,
    Completion,
    ServedModel,
    is_named,
    read_answer,
    text_in,
)
from specd.lmstudio.connection import (
    BadAnswer,
    Connection,
    DraftRefused,
    Refused,
    decoded,
    error_in,
    wants_a_token,
)
from specd.lmstudio.home import server_files
from specd.lmstudio.values import count, members, object_in, text

DEFAULT_PORT: Final = 1234

_INFO_VARIABLE: Final = "LMS_API_SERVER_INFO_PATH"
_LIST_MAX_BYTES: Final = 4 << 20  # thousands of models; as objects a list takes ten times its bytes
_JUST_S: Final = 60.0  # for so long after a server required the token, requests carry it
_UNKNOWN_PATH: Final = (404, 405, 501)
# The server gives the reason only as a sentence.
_DRAFT_TROUBLE: Final = re.compile(r"draft[ _-]?model|speculative ?decoding", re.IGNORECASE)

Message: TypeAlias = Mapping[str, str]
"""``{"role": …, "content": …}``."""


def server_urls(home: Path, configured: str = "auto") -> tuple[str, ...]:
    """The base URLs where the server may be, the likeliest first, without a slash at the end.

    ``configured`` is "auto" or a URL, which may end in ``/v1`` or ``/api/v0``, as other programs
    want it. "auto" takes the port from the file in which LM Studio writes where it listens
    (``$LMS_API_SERVER_INFO_PATH`` names another file, as for ``lms``), which may be left over from
    an earlier run, and then from the app's configuration.

    Raises:
        ValueError: ``configured`` is no http or https URL.
    """
    if configured != "auto":
        return (_base(configured),)
    info, *others = server_files(home)
    found = [object_in(path) for path in (Path(os.environ.get(_INFO_VARIABLE) or info), *others)]
    ports = [count(each.get("port"), 65536) for each in found]
    urls = [_url(found[at | 1], port) for at, port in enumerate(ports) if port]  # | 1: its config
    return tuple(dict.fromkeys(urls)) or (_url(found[1], DEFAULT_PORT),)


def _url(app: dict[str, Any], port: int) -> str:
    host = text(app.get("networkInterface"))
    address = _address(host)
    if address is None or address.is_unspecified or host == "::1":
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _base(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no http or https URL")
    path = parts.path.rstrip("/")
    for suffix in ("/api/v0", "/api/v1", "/v1"):
        path = path.removesuffix(suffix)
    return f"{parts.scheme}://{parts.netloc}{path}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class Server:
    """One server. ``token_env`` is the variable that messages name.

    The first request goes without the token. Only a server that requires one in LM Studio's own
    words gets it, and only on the loopback interface or at an address that the user ``configured``:
    any program may listen on the port.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        token_env: str = "LM_API_TOKEN",  # noqa: S107 - a variable's name
        configured: bool = False,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._token = token
        self._token_env = token_env
        host = urllib.parse.urlsplit(self.base_url).hostname or ""
        address = _address(host)
        loopback = address.is_loopback if address is not None else host == "localhost"
        self._may_have_token = configured or loopback
        self._wanted_token_at = -_JUST_S  # when it last required a token, by ``time.monotonic``

    def __repr__(self) -> str:
        return f"Server({self.base_url!r})"

    def models(self, timeout: float = 5.0) -> tuple[ServedModel, ...]:
        """Every model the server offers, loaded or not; ``timeout`` bounds the whole call.

        Raises:
            ServerError: NotReachable, Refused or BadAnswer.
        """
        deadline = time.monotonic() + timeout
        for path, list_name, read in LISTINGS:
            try:
                with self._exchange("GET", path, None, deadline) as (connection, _):
                    body = decoded(connection.read_all(_LIST_MAX_BYTES), self.base_url)
            except BadAnswer as error:
                if error.status in _UNKNOWN_PATH:
                    continue
                raise
            listed = body.get(list_name)
            if isinstance(listed, list):
                return tuple(read(each) for each in listed if is_named(each))
        raise BadAnswer(f"{self.base_url} lists no models: is it LM Studio's server?")

    def chat(
        self,
        model: str,
        messages: Sequence[Message],
        *,
        draft_model: str | None = None,
        num_draft_tokens: int | None = None,
        max_tokens: int = 256,
        temperature: float = 0.0,
        narrowed: Mapping[str, float] = MappingProxyType({}),
        ttl: int | None = None,
        stream: bool = False,
        timeout: float = 600.0,
    ) -> Completion:
        """Request a completion; with ``stream`` the time to the first token is measured here.

        ``timeout`` bounds the whole call. A model loaded for this request is unloaded after ``ttl``
        seconds without another. ``narrowed``: further sampling settings, by their names in a body.

        Raises:
            DraftRefused: the server refuses the draft.
            ServerError: as ``models``.
        """
        body: dict[str, Any] = {
            "model": model,
            "messages": [dict(message) for message in messages],
            "max_tokens": max_tokens,
            "temperature": temperature,
            "stream": stream,
            **narrowed,
        }
        if stream:
            body["stream_options"] = {"include_usage": True}
        optional = {"draft_model": draft_model, "num_draft_tokens": num_draft_tokens, "ttl": ttl}
        body |= {name: value for name, value in optional.items() if value is not None}
        try:
            return self._ask(body, time.monotonic() + timeout)
        except BadAnswer as error:
            if draft_model is not None and _DRAFT_TROUBLE.search(str(error)):
                raise DraftRefused(str(error), error.status) from error
            raise

    def _ask(self, body: dict[str, Any], deadline: float) -> Completion:
        """Try the path whose answers have the most figures, then the one that every server has."""
        try:
            return self._answer("/api/v0/chat/completions", body, deadline)
        except BadAnswer as error:
            if error.status not in _UNKNOWN_PATH:
                raise
        try:
            return self._answer("/v1/chat/completions", body, deadline)
        except BadAnswer as error:
            if error.status == 404:
                message = f"{self.base_url} does not have {body['model']}: {error}"
                raise BadAnswer(message, 404) from error
            raise

    def _answer(self, path: str, body: dict[str, Any], deadline: float) -> Completion:
        """The answer, whole or streamed as the server sends it; an error may come either way."""
        started = time.perf_counter()
        first: float | None = None
        pieces: list[str] = []
        figures: dict[str, Any] = {}
        begun = False
        with self._exchange("POST", path, body, deadline) as (connection, kind):
            if kind != "text/event-stream":
                whole = decoded(connection.read_all(), self.base_url)
                return read_answer(whole, text_in(whole), time.perf_counter() - started, None)
            for event in connection.events():
                begun = True
                if piece := text_in(event, "delta"):
                    first = first or time.perf_counter() - started
                    pieces.append(piece)
                figures |= {k: event[k] for k in ("usage", "stats") if members(event.get(k))}
        seconds = time.perf_counter() - started
        if not begun:
            raise BadAnswer(f"{self.base_url} ended its answer before it began")
        answer = read_answer(figures, "".join(pieces), seconds, first)
        # A server that sends no usage sends one token per event.
        return answer if answer.tokens else replace(answer, tokens=len(pieces))

    @contextmanager
    def _exchange(
        self, method: str, path: str, body: dict[str, Any] | None, deadline: float
    ) -> Iterator[tuple[Connection, str]]:
        """The connection whose answer's body comes next, and the body's media type."""
        recently = time.monotonic() - self._wanted_token_at < _JUST_S
        token = self._token if recently else None
        headers = {"Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        with Connection(self.base_url, deadline) as connection:
            status, kind = connection.send(method, path, body, headers)
            if status not in (401, 403):
                if status >= 400:
                    words = error_in(connection.read_all())
                    raise BadAnswer(f"{self.base_url}{path} answered {status}{words}", status)
                yield connection, kind
                return
            asks = wants_a_token(connection.read_all())
        if token is not None or not (self._token and asks and self._may_have_token):
            raise self._refusal(sent=token is not None, asks=asks)
        self._wanted_token_at = time.monotonic()
        with self._exchange(method, path, body, deadline) as answered:
            yield answered

    def _refusal(self, *, sent: bool, asks: bool) -> Refused:
        wants, variable = f"{self.base_url} wants an API token", f"${self._token_env}"
        if sent:
            return Refused(wants, f"put the right one into {variable} where specd runs")
        if not self._token:
            where = "LM Studio: Developer, Server Settings"
            return Refused(wants, f"put one into {variable} where specd runs ({where})")
        if not asks:
            why = f"{wants} and does not answer as LM Studio does, so it gets none"
            return Refused(why, "free the port, or name LM Studio's own server under [lmstudio]")
        return Refused(
            f"{wants}, which goes only to this machine or to a server that specd.toml names",
            f'set server = "{self.base_url}" under [lmstudio]',
        )

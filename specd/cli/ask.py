"""Ask the running daemon over its Unix socket.

A few lines of HTTP in place of a client library, because ``specd status`` must start fast and the
only server is specd's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

from specd import __version__
from specd.agent.address import short

TIMEOUT_S = 5.0

OTHER_VERSION, ANOTHER_USERS = 5, 6
"""Exit codes."""


class CannotAsk(Exception):
    """The daemon gave no usable answer; ``remedy`` says what to do."""

    exit_code = 3

    def __init__(self, why: str, remedy: str = "", exit_code: int | None = None) -> None:
        super().__init__(why, remedy)
        self.why, self.remedy = why, remedy
        self.exit_code = exit_code or self.exit_code

    def __str__(self) -> str:
        return f"{self.why}; {self.remedy}" if self.remedy else self.why


class NotRunning(CannotAsk):
    """No daemon listens."""


class Hung(CannotAsk):
    """The daemon accepted the request and did not answer in time."""

    exit_code = 4


class Refused(CannotAsk):
    """The daemon answered with an error status; the message is its own."""

    exit_code = 1


def ask(
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    state: Path | None = None,
    timeout: float = TIMEOUT_S,
) -> Any:
    """The decoded JSON answer of ``method path``.

    Raises:
        CannotAsk: the message is for the user.
    """
    status, content = _exchange(method, path, body, state, timeout)
    try:
        answer = json.loads(content)
    except ValueError:
        raise _other("an answer that is not JSON") from None
    if status >= 400:
        fields = answer if isinstance(answer, dict) else {}
        message = str(fields.get("error") or "")
        # 404 is also the answer for a valid thing that does not exist, such as a write's number.
        if status == 404 and ("paths" in fields or not message):
            raise _other(f"no {path}")
        raise Refused(message or f"the daemon answered {status}")
    return answer


def text(path: str, *, state: Path | None = None, timeout: float = TIMEOUT_S) -> str:
    """The answer of ``GET path`` as text, where it is not JSON.

    Raises:
        CannotAsk: as ``ask``.
    """
    status, content = _exchange("GET", path, None, state, timeout)
    if status != 200:
        raise _other(f"no {path}")
    return content.decode("utf-8", "replace")


def _exchange(
    method: str, path: str, body: dict[str, Any] | None, state: Path | None, timeout: float
) -> tuple[int, bytes]:
    with _connect(state, timeout) as connection:
        _send(connection, method, path, body)
        raw = bytearray()
        try:
            while chunk := connection.recv(1 << 16):
                raw += chunk
        except TimeoutError:
            raise _hung(timeout) from None
        except OSError as error:
            # The daemon sends a refused client its answer, and then closes the connection.
            if not raw:
                raise NotRunning(f"the specd daemon went away while answering: {error}") from error
    if not raw:
        raise NotRunning("the specd daemon went away without an answer")
    return _parse(bytes(raw))


def _connect(state: Path | None, timeout: float) -> socket.socket:
    if state is None:
        from specd.places import state_dir  # noqa: PLC0415 - keeps `import ask` light

        state = state_dir()
    path = state / "run" / "specd.sock"
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # With Python's own time limit, connect would fail at once where the queue of clients is full.
    kernel_timeout = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, kernel_timeout)
    problem: CannotAsk
    try:
        with short(path) as address:
            owner = os.stat(address).st_uid  # noqa: PTH116 - the address may be a descriptor's
            if owner == os.getuid():
                connection.connect(address)
                connection.settimeout(timeout)
                return connection
            whose = f"{path} belongs to user {owner}, not to you"
            problem = CannotAsk(whose, "give specd a state directory of your own", ANOTHER_USERS)
    except FileNotFoundError:
        problem = NotRunning("specd is not running", _how_to_start())
    except ConnectionRefusedError:
        problem = NotRunning(f"specd is not running (it left {path} behind)", _how_to_start())
    except BlockingIOError:
        problem = _hung(timeout)
    except OSError as error:
        problem = NotRunning(f"{path} cannot be reached: {error.strerror or error}")
    connection.close()
    raise problem


def _how_to_start() -> str:
    from specd.service.command import ServiceError  # noqa: PLC0415 - as a rule it runs
    from specd.service.platforms import here  # noqa: PLC0415

    with contextlib.suppress(ServiceError, OSError, RuntimeError):
        if here().file().is_file():
            return "`specd start` starts it"
    return "`specd install` sets it up, `specd run` starts it in this terminal"


def _send(connection: socket.socket, method: str, path: str, body: dict[str, Any] | None) -> None:
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: specd\r\nUser-Agent: specd/{__version__}\r\n"
        f"Connection: close\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    try:
        connection.sendall(head.encode() + content)
    except BrokenPipeError:
        return  # the daemon closed the connection; its answer can still be read
    except OSError as error:
        raise NotRunning(f"the specd daemon went away: {error.strerror or error}") from error


def _parse(raw: bytes) -> tuple[int, bytes]:
    head, separator, content = raw.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if not separator or len(words) < 2 or not words[1].isdigit():
        raise _other("an answer that is not HTTP")
    return int(words[1]), content


def _hung(timeout: float) -> Hung:
    return Hung(
        f"the specd daemon gave no answer within {timeout:g} s",
        "`specd restart` starts it afresh, `specd logs` shows what it did last",
    )


def _other(what: str) -> CannotAsk:
    return CannotAsk(
        f"the running daemon gave {what}: it is of another version than this command "
        f"({__version__})",
        "`specd restart` brings both together",
        OTHER_VERSION,
    )

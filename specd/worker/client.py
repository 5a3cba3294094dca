"""Run one worker task to its end, from the daemon or the command line.

The worker has its own process group, which ``run_task`` always kills before it returns. Its output
is read with limits, since a library may print anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from specd.worker import Progress

LINE_BYTES = 64 << 20  # more than a result with every difference of two vocabularies
ERROR_BYTES = 4_000  # of the end of standard error, for the error message
LOOK_S = 0.25  # between checks of limits while the worker prints nothing


class WorkerError(Exception):
    """The worker ended without a result; the message says why."""


class TimeUp(WorkerError):
    """The time that the user can raise (``Limits.more_time``) is up; nothing is broken."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``seconds`` of wall time; ``memory_bytes`` of resident memory, None for no limit.

    ``more_time`` tells the user how to allow more seconds, as a clause; "" if that is not possible.
    """

    seconds: float
    memory_bytes: int | None = None
    more_time: str = ""


def run_task(
    task: str,
    request: dict[str, Any],
    *,
    limits: Limits,
    on_progress: Progress = lambda _: None,
    cancelled: threading.Event | None = None,
) -> dict[str, Any]:
    """Start ``python -m specd.worker TASK``, feed it ``request``, and return its result.

    Raises:
        WorkerError: it failed, exceeded a limit, was cancelled, printed garbage, or ended without
            a result. Its whole process group is dead when this returns or raises.
    """
    process = _start(task)
    errors = bytearray()
    # In a thread: a long request fills the pipe if the worker hangs before it reads.
    threading.Thread(target=_feed, args=(process, request), daemon=True).start()
    try:
        for line in _lines(process, limits, cancelled, errors):
            message = _message(line)
            if "progress" in message:
                on_progress(message["progress"])
            elif "error" in message:
                raise WorkerError(str(message["error"]))
            elif isinstance(message.get("result"), dict):
                return message["result"]  # type: ignore[no-any-return]
        raise WorkerError(_ended_without_result(process, errors))
    finally:
        _kill(process)


def environment() -> dict[str, str]:
    """The worker's environment variables: no network, no thread pools, a usable C++ compiler."""
    made = dict(os.environ)
    made |= {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    if sys.platform == "linux" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        # MLX's CPU backend compiles fused kernels with the system's C++ compiler.
        made["MLX_DISABLE_COMPILE"] = "1"
    return made


def _start(task: str) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "specd.worker", task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise WorkerError(f"the worker could not be started: {error.strerror or error}") from error


def _feed(process: subprocess.Popen[bytes], request: dict[str, Any]) -> None:
    # Standard input stays open: its end tells the worker that the parent process has ended.
    if process.stdin is None:
        return
    with contextlib.suppress(OSError, ValueError):
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()


def _lines(
    process: subprocess.Popen[bytes],
    limits: Limits,
    cancelled: threading.Event | None,
    errors: bytearray,
) -> Iterator[bytes]:
    """The lines of standard output; ``errors`` gets the end of standard error."""
    deadline = time.monotonic() + limits.seconds
    look_at = 0.0
    unfinished: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        for stream in filter(None, (process.stdout, process.stderr)):
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ended = process.poll() is not None
            if time.monotonic() >= look_at:
                _check(process, limits, deadline, cancelled)
                look_at = time.monotonic() + LOOK_S
            ready = [key for key, _ in selector.select(LOOK_S)]
            for key in ready:
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    errors[:] = (errors + chunk)[-ERROR_BYTES:]
                else:
                    first, *more = chunk.split(b"\n")
                    unfinished.append(first)
                    for start in more:
                        yield b"".join(unfinished)
                        unfinished = [start]
            if ended and process.stdout not in [key.fileobj for key in ready]:
                # A process that the worker started and left behind may hold a pipe open.
                return
            if sum(map(len, unfinished)) > LINE_BYTES:
                raise WorkerError(f"the worker printed a line of over {LINE_BYTES >> 20} MB")


def _check(
    process: subprocess.Popen[bytes],
    limits: Limits,
    deadline: float,
    cancelled: threading.Event | None,
) -> None:
    if cancelled is not None and cancelled.is_set():
        raise WorkerError("cancelled")
    if time.monotonic() > deadline:
        more = f"; {limits.more_time}" if limits.more_time else ""
        kind = TimeUp if limits.more_time else WorkerError
        raise kind(f"stopped after its time limit of {limits.seconds:g} s{more}")
    if limits.memory_bytes is not None:
        used = resident_bytes(process.pid)
        if used > limits.memory_bytes:
            raise WorkerError(
                f"stopped: it used {used / 2**30:.1f} GiB of memory, over its limit of "
                f"{limits.memory_bytes / 2**30:.1f} GiB"
            )


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its children in bytes; 0 if it has ended."""
    import psutil  # noqa: PLC0415 - takes 20 ms, and only a running worker needs it

    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for each in family:
        with contextlib.suppress(psutil.Error):
            total += each.memory_info().rss
    return total


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        shown = line[:200].decode("utf-8", "backslashreplace")
        raise WorkerError(f"the worker printed what is no message: {shown!r}")
    return message


def _ended_without_result(process: subprocess.Popen[bytes], errors: bytearray) -> str:
    try:
        code = process.wait(5)
    except subprocess.TimeoutExpired:
        return "the worker closed its output without a result"
    printed = errors.decode("utf-8", "backslashreplace").strip()
    tail = f": {printed.splitlines()[-1]}" if printed else ""
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"the worker was killed by {name}{hint}{tail}"
    return f"the worker ended with exit code {code} and no result{tail}"


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()

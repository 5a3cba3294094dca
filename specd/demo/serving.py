"""Starts the stand-in server in a separate process, and ends it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PATIENCE_S = 10.0

VERSIONS: Final = ("0.3", "0.4.24")
"""The versions of LM Studio that the stand-in can behave like, the newest last."""


class StandInError(Exception):
    """The stand-in did not start; the message holds its output."""


@contextmanager
def standin(home: Path, log: Path, version: str = VERSIONS[-1]) -> Iterator[str]:
    """Serve ``home`` as LM Studio of ``version`` while the context lasts; gives the base URL.

    Its port stands in the home's ``.internal`` by then. Its standard error goes to ``log``.

    Raises:
        StandInError: it ended before it was ready.
    """
    command = [sys.executable, "-m", "specd.demo.standin", "--home", str(home)]
    command += ["--version", version]
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None  # noqa: S101 - PIPE above
            ready = process.stdout.readline()
            if not ready:
                raise StandInError(f"the stand-in server ended with code {process.wait()}: {log}")
            yield ready.decode().strip()
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> int:
    """End a process with SIGTERM, if need be with SIGKILL; returns its exit code."""
    process.terminate()
    try:
        return process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()

"""Starts the stand-in server in a separate process, and ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PATIENCE_S = 10.0


VERSIONS: Final = ("0.3", "0.4.24")
"""The versions of LM Studio that the stand-in can behave like, the newest last."""


class StandInError(Exception):
    """The stand-in did not start; the message holds its output."""


@contextmanager
def standin(
    home: Path, log: Path, token: str | None = None, version: str = VERSIONS[-1]
) -> Iterator[str]:
    """Serve ``home`` as LM Studio of ``version`` while the context lasts; gives the base URL.

    Its port stands in the home's ``.internal`` by then. What it says goes to ``log``. With
    ``token``, requests must carry it.

    Raises:
        StandInError: it ended before it was ready.
    """
    variable = "STANDIN_TOKEN"
    environment: Mapping[str, str] = {**os.environ, **({variable: token} if token else {})}
    command = [sys.executable, "-m", "specd.demo.standin", "--home", str(home), "--with-parent"]
    command += ["--version", version]
    if token:
        command += ["--token-env", variable]
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None  # noqa: S101 - PIPE above
            ready = process.stdout.readline()
            if not ready:
                raise StandInError(f"the stand-in server ended with code {process.wait()}: {log}")
            yield str(json.loads(ready)["url"])
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()

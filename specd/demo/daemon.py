"""The real daemon and the real command line, pointed at a sandbox."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from specd import places
from specd.demo.sandbox import Sandbox
from specd.demo.serving import stop

Value = TypeVar("Value")


class NotHeldError(Exception):
    """A promise of the demo did not hold; the message says which."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running ``specd run`` and commands beside it."""

    sandbox: Sandbox
    process: subprocess.Popen[bytes]

    def status(self) -> dict[str, Any] | None:
        """``specd status --json``; None while it does not answer yet.

        Raises:
            NotHeldError: the daemon has ended.
        """
        if self.process.poll() is not None:
            raise NotHeldError(f"specd run ended with {self.process.returncode}")
        code, text = specd(self.sandbox, "status", "--json")
        return json.loads(text) if code in (0, 1) else None

    def holding(self, *kinds: str) -> dict[str, Any] | None:
        """``status`` while the conditions of these ``kinds`` are true, else None."""
        status = self.status() or {"conditions": []}
        values = {each["type"]: each["status"] for each in status["conditions"]}
        return status if all(values.get(kind) == "true" for kind in kinds) else None

    def pairs(self) -> list[dict[str, Any]]:
        """The pairs in ``status``; none while it does not answer yet."""
        return (self.status() or {"pairs": []})["pairs"]  # type: ignore[no-any-return]

    def stop(self) -> int:
        """End it; returns its exit code."""
        return stop(self.process)


@contextmanager
def running(sandbox: Sandbox) -> Iterator[Daemon]:
    """``specd run`` while the context lasts. What it prints goes to ``daemon.out`` beside it."""
    with (
        (sandbox.root / "daemon.out").open("ab") as output,
        subprocess.Popen(
            [sys.executable, "-m", "specd", "run", "--config", str(sandbox.config)],
            env=sandbox.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        daemon = Daemon(sandbox, process)
        try:
            yield daemon
        finally:
            daemon.stop()


def specd(sandbox: Sandbox, *words: str) -> tuple[int, str]:
    """Run a command line; returns its exit code and its output."""
    ended = subprocess.run(
        [sys.executable, "-m", "specd", *words],
        env=sandbox.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout or ended.stderr


def until(look: Callable[[], Value], what: str, *, seconds: float, pause_s: float) -> Value:
    """Look again and again until something is seen, and return it.

    Raises:
        NotHeldError: nothing was seen in ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise NotHeldError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause_s)
    return seen


def log_tail(sandbox: Sandbox) -> str:
    """The last lines of the daemon's log, for when something went wrong."""
    parts = [sandbox.root / "daemon.out", places.log_path(sandbox.state)]
    text = "".join(part.read_text(errors="replace") for part in parts if part.exists())
    return "\n".join(text.splitlines()[-15:])

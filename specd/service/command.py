"""Calling launchctl and systemctl: the one place where the real thing is touched."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

TIMEOUT_S = 90.0
"""systemd waits this long for a unit to say that it is ready; no call takes longer than that."""


class ServiceError(Exception):
    """The service manager did not do what it was asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended; ``said`` is its output and complaints together, trimmed."""

    words: tuple[str, ...]
    code: int
    said: str

    def or_fail(self, remedy: str) -> Ran:
        """Itself, when it went well.

        Raises:
            ServiceError: it did not; the message holds what it said and ``remedy``.
        """
        if self.code == 0:
            return self
        said = f": {self.said}" if self.said else ""
        raise ServiceError(f"`{' '.join(self.words)}` ended with {self.code}{said} — {remedy}")


def call(words: Sequence[str]) -> Ran:
    """Run a command to its end.

    Raises:
        ServiceError: there is no such command here, or it hangs.
    """
    try:
        done = subprocess.run(
            list(words),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
        )
    except FileNotFoundError:
        raise ServiceError(
            f"there is no {words[0]} on this machine; `specd run` works without a service manager"
        ) from None
    except subprocess.TimeoutExpired:
        raise ServiceError(f"`{' '.join(words)}` did not end within {TIMEOUT_S:g} s") from None
    except OSError as error:
        raise ServiceError(f"{words[0]} cannot be run: {error.strerror or error}") from error
    return Ran(tuple(words), done.returncode, done.stdout.decode("utf-8", "replace").strip())

"""Call launchctl and systemctl, and write and remove the service's file; no other module does."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from specd.files import private

Order: TypeAlias = Literal["start", "stop", "restart"]

TIMEOUT_S = 90.0
"""systemd waits this long for a unit to become ready, so no call takes longer."""


class ServiceError(Exception):
    """The service manager refused or failed; the message says what to do."""


class OddPath(ServiceError):
    """The service manager's file cannot hold a path."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"the service manager's file cannot hold the path {path!a}: move what is there to one "
            "of plain characters (SPECD_STATE_DIR, SPECD_CONFIG, LMSTUDIO_HOME or the interpreter)"
        )


@dataclass(frozen=True, slots=True)
class Ran:
    """The result of a command; ``output``: standard output and error together, stripped."""

    words: tuple[str, ...]
    code: int
    output: str

    def or_fail(self, remedy: str) -> Ran:
        """Return the result if the command succeeded.

        Raises:
            ServiceError: it failed; the message contains its output and ``remedy``.
        """
        if self.code == 0:
            return self
        output = f": {self.output}" if self.output else ""
        raise ServiceError(f"`{' '.join(self.words)}` ended with {self.code}{output} — {remedy}")


def call(words: Sequence[str]) -> Ran:
    """Run a command to its end.

    Raises:
        ServiceError: there is no such command, or it hangs.
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


def put(path: Path, content: bytes) -> bool:
    """Write ``content`` to ``path`` (mode 0644) unless it is there; returns whether it wrote.

    Raises:
        ServiceError: it cannot be written.
    """
    try:
        if path.is_file() and path.read_bytes() == content:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        private.write(path, content, mode=0o644)
    except OSError as error:
        raise ServiceError(f"{path} cannot be written: {error.strerror or error}") from error
    return True


def take_away(path: Path) -> bool:
    """Remove ``path``; returns whether it was there.

    Raises:
        ServiceError: it cannot be removed.
    """
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ServiceError(f"{path} cannot be removed: {error.strerror or error}") from error
    return True


def must_be_there(path: Path) -> None:
    """Check that the service's file is there.

    Raises:
        ServiceError: it is not.
    """
    if not path.is_file():
        raise ServiceError("specd is not installed as a service; `specd install` does that")

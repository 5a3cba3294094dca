"""The interface of a platform's file watcher, and its targets.

Two implementations: ``specd.agent.inotify`` on Linux, ``specd.agent.vnodes`` on macOS. Both report
to a ``Watch``, from a thread of their own.
"""

from __future__ import annotations

import errno
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from specd.lmstudio.home import Pace

LIMITS = (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of ``Source.add`` that mean that no more can be watched."""


@dataclass(frozen=True, slots=True)
class Target:
    """One real directory to watch.

    ``names`` are the direct children that matter, None: all. ``contents``: writes into the files
    count too, not only that names appear and disappear. ``inode`` is the directory's identity.
    """

    real: Path
    recursive: bool = False
    names: frozenset[str] | None = None
    contents: bool = True
    pace: Pace = "now"
    inode: tuple[int, int] = (0, 0)

    def joined(self, other: Target) -> Target:
        """One target that covers both; they name the same directory."""
        names = None
        if self.names is not None and other.names is not None:
            names = self.names | other.names
        return replace(
            self,
            recursive=self.recursive or other.recursive,
            names=names,
            contents=self.contents or other.contents,
            pace="now" if "now" in (self.pace, other.pace) else self.pace,
        )


class Source(Protocol):
    """Watches targets until it is closed, on a thread that the constructor starts."""

    def close(self) -> None:
        """Stop it, and close every descriptor."""

    def add(self, target: Target) -> None:
        """Watch a target.

        Raises:
            OSError: a limit is reached, or the directory is gone or may not be read.
        """

    def drop(self, target: Target) -> None:
        """Watch a target no longer; one that ended by itself may be dropped too."""

    def hurry(self, urgent: frozenset[Path]) -> None:
        """From now on these are the urgent files, by their real paths."""

    def held_back(self) -> AbstractContextManager[None]:
        """Hold reports back until the body has ended, where the platform allows it."""

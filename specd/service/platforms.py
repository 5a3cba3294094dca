"""The two service managers, and which of them is here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from specd.service import launchd, systemd
from specd.service.command import ServiceError
from specd.service.program import Program

PlatformName: TypeAlias = Literal["macos", "linux"]


class Platform(Protocol):
    """What each of the two modules offers; every verb may raise ServiceError."""

    def file(self) -> Path:
        """Where the service's file lies, whether or not it is there."""

    def text(self, program: Program) -> bytes:
        """The service's file, for ``program``."""

    def ready(self) -> None:
        """See that the manager can be reached, before anything is written."""

    def install(self, program: Program) -> list[str]:
        """Write the file and (re)start the service; returns what was done, in words."""

    def uninstall(self) -> list[str]:
        """Stop the service and remove its file; returns what was done, in words."""

    def start(self) -> None:
        """Start it; nothing when it runs."""

    def stop(self) -> None:
        """Stop it until it is started or the user logs in again; nothing when it does not run."""

    def restart(self) -> None:
        """Stop and start it."""

    def pid(self) -> int | None:
        """The daemon's process as the service manager knows it, None when it does not run."""

    def detail(self) -> str:
        """How the service stands, in one line."""


PLATFORMS: dict[PlatformName, Platform] = {"macos": launchd, "linux": systemd}


def here() -> Platform:
    """The service manager of this machine.

    Raises:
        ServiceError: specd knows none for it.
    """
    if sys.platform == "darwin":
        return PLATFORMS["macos"]
    if sys.platform.startswith("linux"):
        return PLATFORMS["linux"]
    raise ServiceError(
        f"specd knows no service manager for {sys.platform}; start `specd run` at login by hand"
    )

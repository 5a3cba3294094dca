"""The two service managers, and the choice between them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from specd.service import launchd, systemd
from specd.service.command import Order, ServiceError
from specd.service.program import Program

PlatformName: TypeAlias = Literal["macos", "linux"]


class Platform(Protocol):
    """The interface of the two modules; every function may raise ServiceError."""

    def file(self) -> Path:
        """The path of the service's file, whether or not it exists."""

    def text(self, program: Program) -> bytes:
        """The content of the service's file for ``program``."""

    def ready(self) -> None:
        """Check that the manager can be reached, before anything is written."""

    def install(self, program: Program) -> list[str]:
        """Write the file and (re)start the service; returns a line for each step."""

    def uninstall(self) -> list[str]:
        """Stop the service and remove its file; returns a line for each step."""

    def order(self, verb: Order) -> None:
        """Start the installed service, stop it until the next start or login, or do both."""

    def pid(self) -> int | None:
        """The daemon's process id; None if the manager does not run it."""

    def detail(self) -> str:
        """The service's state in one line."""


PLATFORMS: dict[PlatformName, Platform] = {"macos": launchd, "linux": systemd}


def here() -> Platform:
    """The service manager of this machine.

    Raises:
        ServiceError: specd supports none of this platform.
    """
    if sys.platform == "darwin":
        return PLATFORMS["macos"]
    if sys.platform.startswith("linux"):
        return PLATFORMS["linux"]
    raise ServiceError(
        f"specd knows no service manager for {sys.platform}; start `specd run` at login by hand"
    )

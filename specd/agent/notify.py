"""Notify the service manager and the user's desktop, where there is one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys


def service_manager(state: str) -> None:
    """Send ``state`` ("READY=1", "STOPPING=1") to systemd, if it started this process.

    Format: sd_notify(3).
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
        try:
            notifying.sendto(state.encode(), address)
        except OSError:
            return


def desktop_command(title: str, text: str) -> list[str] | None:
    """The command that shows a notification on this machine, None where there is none.

    On macOS title and text are arguments of the script, not part of its source.
    """
    if sys.platform == "darwin":
        lines = (
            "on run argv",
            "display notification (item 2 of argv) with title (item 1 of argv)",
            "end run",
        )
        return ["osascript", *(word for line in lines for word in ("-e", line)), title, text]
    if shutil.which("notify-send"):
        return ["notify-send", "--app-name=specd", "--", title, text]
    return None


def plain(text: str) -> str:
    """``text`` without markup and control characters."""
    import html  # noqa: PLC0415 - 4 ms that a daemon's start need not wait for

    text = "".join(c if c.isprintable() else " " for c in text)
    return text if sys.platform == "darwin" else html.escape(text, quote=False)


def desktop(title: str, text: str) -> None:
    """Show a notification; a desktop that shows none is not an error."""
    command = desktop_command(title, plain(text))
    if command is None:
        return
    try:
        subprocess.run(command, check=False, capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return

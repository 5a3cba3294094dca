"""A user of their own, with stand-ins for launchctl and systemctl, for whole commands."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

STANDINS = Path(__file__).parent / "standins"


@dataclass
class User:
    """A home directory under ``root``, whose name holds a space and letters beyond ASCII."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir()
        self.environment |= {
            "HOME": str(self.home),
            "PATH": f"{STANDINS}{os.pathsep}{os.environ['PATH']}",
            "SPECD_STATE_DIR": str(self.home / "state"),
            "SPECD_MANAGED_CONFIG": str(self.root / "no policy"),
            "STANDIN_STATE": str(self.root / "standin.json"),
            "STANDIN_LAUNCH": "1",
            "NO_COLOR": "1",
        }

    @property
    def home(self) -> Path:
        return self.root / "Ada Größe"

    def specd(
        self, *words: str, timeout: float = 600, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of specd's in the home directory, without a terminal."""
        return subprocess.run(
            [sys.executable, "-m", "specd", *words],
            env={**self.environment, **more},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def service_pid(self) -> int | None:
        """The process that the stand-in has started, None when it runs none."""
        known = self.root / "standin.json"
        pid: int | None = json.loads(known.read_text())["pid"] if known.exists() else None
        return pid

    def end(self) -> None:
        """End the daemon that the stand-in started, if it still runs."""
        pid = self.service_pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

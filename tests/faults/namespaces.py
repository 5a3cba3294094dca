"""A daemon with mounts of its own, and what is done inside and from outside of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import SETTINGS, Sandbox, switch, until


def namespaces() -> bool:
    """Whether an unprivileged namespace with its own mounts and limits can be made here."""
    if shutil.which("unshare") is None:
        return False
    made = subprocess.run(["unshare", "-Urm", "true"], check=False, capture_output=True)
    return made.returncode == 0


own_namespace = pytest.mark.skipif(
    sys.platform != "linux" or not namespaces(), reason="needs user and mount namespaces"
)

MEMORY = """
keep=$(mktemp -d) && cp -a "$1/." "$keep" 2>/dev/null
mount -t tmpfs -o size="$2" none "$1" && cp -a "$keep/." "$1"
rm -r "$keep"
shift 2
exec "$@"
"""


class Inside:
    """A daemon of the sandbox's for which one directory is a file system of its own.

    ``as_root`` is for those that only the real root may mount.
    """

    def __init__(self, sandbox: Sandbox, *, as_root: bool = False) -> None:
        self.sandbox = sandbox
        self.mounted = sandbox.home
        self._namespaces = ["-m"] if as_root else ["-U", "-m"]
        self._kept = [] if as_root else ["--preserve-credentials"]

    def start(self, mounted: Path, given: str, script: str = MEMORY) -> None:
        """Run the daemon by ``script``, which mounts, ``given`` a size, say, and then executes."""
        mounted.mkdir(exist_ok=True)
        self.mounted = mounted
        as_root = ["-r"] if "-U" in self._namespaces else []
        within = ["unshare", *self._namespaces, *as_root, "sh", "-c", script, "sh"]
        within += [str(mounted), given]
        self.sandbox.start(wait=False, within=within)
        until(lambda: self.seen(mounted / "..").exists(), "it is there")
        # The socket lies where only the daemon's own namespace sees it, if that is what is mounted.
        until(self.answers, "the daemon answers")

    def end(self) -> None:
        self.go_on()
        self.sandbox.kill()

    @property
    def pid(self) -> int:
        assert self.sandbox.process is not None
        return self.sandbox.process.pid

    def seen(self, path: Path) -> Path:
        """A path as the daemon sees it."""
        return Path(f"/proc/{self.pid}/root{path}")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in the daemon's namespaces."""
        within = ["nsenter", "-t", str(self.pid), *self._namespaces, *self._kept]
        return subprocess.run([*within, *command], check=True, capture_output=True, text=True)

    def status(self) -> dict[str, Any]:
        program = [sys.executable, "-m", "specd", "status", "--json"]
        within = ["nsenter", "-t", str(self.pid), *self._namespaces, *self._kept]
        done = subprocess.run(
            [*within, *program],
            env=self.sandbox.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 1):
            raise OSError(done.stderr)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def condition(self, kind: str) -> dict[str, Any]:
        return next(each for each in self.status()["conditions"] if each["type"] == kind)

    def answers(self) -> bool:
        with contextlib.suppress(ValueError, OSError):
            return bool(self.status())
        return False

    @property
    def settings(self) -> Path:
        return self.seen(self.sandbox.settings)

    def read(self) -> Any:
        return self.sandbox.read(self.settings)

    def holds_wanted(self) -> bool:
        return bool(switch(self.read()))

    def names(self) -> list[str]:
        return sorted(each.name for each in self.seen(self.mounted).iterdir())

    def drift(self, **more: Any) -> None:
        self.settings.write_text(json.dumps({**SETTINGS, **more}, indent=2, ensure_ascii=False))

    def fill(self) -> None:
        """Use up what room there is."""
        with (self.seen(self.mounted) / "filler").open("wb", buffering=0) as filler:
            for size in (4096, 1):
                with contextlib.suppress(OSError):
                    while filler.write(b"x" * size):
                        pass

    def empty(self) -> None:
        (self.seen(self.mounted) / "filler").unlink()

    def halt(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        until(
            lambda: Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T",
            "it stands still",
        )

    def go_on(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

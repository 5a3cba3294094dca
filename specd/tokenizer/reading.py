"""Read a file of a model folder, if it is regular, inside the folder and not too large.

Model folders are not trusted. A link may lead to the ``blobs`` directory beside the folder, as in
the cache of ``huggingface_hub`` (``snapshots/<revision>/config.json → ../../blobs/…``). Links to
other places must belong to the user, such as links that share a file with Ollama. specd reads link
targets and never writes them.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from specd.lmstudio.folder import CONFIG_MAX_BYTES

REMEDY = "download the model again"


class Unreadable(Exception):
    """A model's files cannot be used; the message names the file and says why."""


class Absent(Unreadable):
    """There is no such file."""


def content(path: Path, limit: int, *, head: int | None = None) -> bytes:
    """A regular file's content, at most ``limit`` bytes; with ``head``, only its first bytes.

    Raises:
        Absent: there is no such file.
        Unreadable: it is not a regular file, a link out of its folder, empty or too large.
    """
    try:
        real = _inside(path)
        # Without O_NONBLOCK, open() of a FIFO would block until a program writes into it.
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise Unreadable(f"{path.name} is not a regular file")
            if facts.st_size == 0:
                raise Unreadable(f"{path.name} is empty; {REMEDY}")
            if head is None and facts.st_size > limit:
                raise Unreadable(
                    f"{path.name} is {facts.st_size >> 20:,} MB; nothing over {limit >> 20} MB is "
                    "read"
                )
            return file.read(facts.st_size if head is None else head)
    except FileNotFoundError as error:
        raise Absent(f"{path.name} is missing; {REMEDY}") from error
    except OSError as error:
        raise Unreadable(f"{path.name} cannot be read: {error.strerror or error}") from error


def _inside(path: Path) -> str:
    real = os.path.realpath(path, strict=True)
    if not path.is_symlink():
        return real
    folder = Path(os.path.realpath(path.parent))
    allowed = [folder]
    if folder.parent.name == "snapshots":
        allowed.append(folder.parent.parent / "blobs")
    own = path.lstat().st_uid == os.geteuid()
    if not own and not any(Path(real).is_relative_to(each) for each in allowed):
        raise Unreadable(
            f"{path.name} is another user's link out of the model's folder; put the file itself "
            "there"
        )
    return real


def json_object(path: Path, *, required: bool = False) -> dict[str, Any]:
    """The JSON object in ``path``; {} if the file is missing and not ``required``.

    Raises:
        Unreadable: it cannot be read, is not a JSON object, or is missing and required.
    """
    try:
        raw = content(path, CONFIG_MAX_BYTES)
    except Absent:
        if required:
            raise
        return {}
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise damaged(path.name, raw, error, "JSON that can be read") from error
    if not isinstance(value, dict):
        raise Unreadable(f"{path.name} holds no JSON object; {REMEDY}")
    return value


def whole(value: object) -> int | None:
    """``value`` if it is an integer that can be a token id or a count, else None."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31:
        return value
    return None


def damaged(
    name: str, raw: bytes, error: Exception, expected: str, *, part: bytes | None = None
) -> Unreadable:
    """The exception for a file whose content ``raw`` is not what was ``expected``.

    It names the line and byte if ``error`` (of json, msgspec or a codec) has a position. ``part``:
    the decoded part, if it was not all of ``raw``.
    """
    why = str(error).partition(";")[0][:200] or type(error).__name__
    at: int | None = None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as broken:
        at, why = broken.start, "it is not UTF-8"
    else:
        found = _AT.search(why)
        if found is not None:
            at = int(found[2]) + (0 if part is None else max(0, raw.find(part)))
            if found[1] == "char":
                at = len(text[:at].encode())
            why = why[: found.start()].removesuffix(": ").rstrip()
        elif "truncated" in why:
            at, why = len(raw), "it is cut off"
    line = raw[:at].count(b"\n") + 1
    place = "" if at is None else f", line {line:,} (byte {at:,}),"
    return Unreadable(f"{name}{place} is not {expected}: {why}; {REMEDY}")


_AT = re.compile(r"(?:: line \d+ column \d+)? ?\((char|byte) (\d+)\)$")
"""The position at the end of a message of json or msgspec."""

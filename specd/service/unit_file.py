"""Write and remove a service's file, atomically."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from specd.service.command import ServiceError


def put(path: Path, content: bytes) -> bool:
    """Write ``content`` to ``path`` (mode 0644) unless it is there; returns whether it wrote.

    Raises:
        ServiceError: it cannot be written.
    """
    try:
        if path.is_file() and path.read_bytes() == content:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), 0o644)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)  # noqa: PTH105 - the temporary's path is a str
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108 - the temporary's path is a str
            raise
    except OSError as error:
        raise ServiceError(f"{path} cannot be written: {error.strerror or error}") from error
    return True


def take_away(path: Path) -> bool:
    """Remove ``path``; returns whether it was there.

    Raises:
        ServiceError: it cannot be removed.
    """
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ServiceError(f"{path} cannot be removed: {error.strerror or error}") from error
    return True

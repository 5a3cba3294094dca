"""Which directories of LM Studio's home specd writes to, and which of them it never touches.

For service managers that can forbid the rest. A file is replaced by a temporary one beside it, so
what has to be writable is its directory; a file that is a symlink is written where it points.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from specd.lmstudio import keys
from specd.lmstudio.home import Home, NoHome


@dataclass(frozen=True, slots=True)
class Footprint:
    """``writes`` with everything below, except ``leaves``."""

    writes: tuple[Path, ...]
    leaves: tuple[Path, ...]


def of(home: Home | NoHome) -> Footprint:
    """The footprint in ``home``; where there is none yet, in every place it may come to be."""
    if isinstance(home, Home):
        settings = Path(os.path.realpath(home.path / keys.SETTINGS))
        elsewhere = () if settings.parent == home.path else (settings.parent,)
        return Footprint((home.path, *elsewhere), _private(home.path))
    homes = tuple(path for path in home.looked if not path.name.endswith("-pointer"))
    return Footprint(homes, tuple(path for each in homes for path in _private(each)))


def _private(home: Path) -> tuple[Path, ...]:
    names = (keys.MODELS, keys.CONVERSATIONS, keys.SERVER_LOGS, keys.HUB_MODELS[0])
    return tuple(home / name for name in names)

"""Whether LM Studio is running, since when, and which version.

The app and its headless sibling ``llmster`` note where they are installed in ``.internal``
(``app-install-location.json``, ``llmster-install-location.json``: ``{path, argv, cwd}``). A process
is LM Studio's when its executable is that one, or has the name that LM Studio has on the platform.
Helpers (renderers, GPU processes, engine workers) start later, so the oldest process counts.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from specd.lmstudio import keys
from specd.lmstudio.values import object_in

if TYPE_CHECKING:
    import psutil

Kind: TypeAlias = Literal["app", "llmster", "bionic"]

_NAMES: Final[dict[str, Kind]] = {
    "lm studio": "app",
    "lm-studio": "app",
    "lmstudio": "app",
    "lm studio.exe": "app",
    "llmster": "llmster",
    "bionic": "bionic",
    "lm studio bionic": "bionic",
}
_LOCATIONS: Final[tuple[tuple[str, Kind], ...]] = (
    (keys.APP_LOCATION, "app"),
    (keys.LLMSTER_LOCATION, "llmster"),
)
_VERSION: Final = re.compile(r"(\d+\.\d+\.\d+(?:[-+.]\d+)?)")


@dataclass(frozen=True, slots=True)
class Running:
    """One running LM Studio. ``started``: when its oldest process began."""

    kind: Kind
    pid: int
    started: datetime
    version: str | None


@dataclass(frozen=True, slots=True)
class Look:
    """What runs; the ids of all processes, and of those that were ``new`` at this look."""

    found: tuple[Running, ...] = ()
    pids: frozenset[int] = frozenset()
    new: frozenset[int] = frozenset()


def look(home: Path, last: Look) -> Look:
    """As ``running``, but only processes that are new since ``last`` are examined.

    Each new one is examined twice: at the first look it may not have its name yet. A process that
    got the id of an ended one is missed, so start again from ``Look()`` now and then.
    """
    import psutil  # noqa: PLC0415 - 25 ms that a daemon's start need not wait for

    pids = frozenset(psutil.pids())
    known = frozenset(each.pid for each in last.found)
    if not known <= pids:
        return Look(running(home, pids), pids)
    new = pids - last.pids
    young = new | last.new
    return Look(running(home, young | known) if young else last.found, pids, new)


def running(home: Path | None = None, among: Iterable[int] | None = None) -> tuple[Running, ...]:
    """Every LM Studio that runs on this machine, app first; the oldest process of each kind.

    With ``home``, processes are also recognised by the executables that it names. ``among`` limits
    the search to these process ids.
    """
    import psutil  # noqa: PLC0415 - as above

    installed = {} if home is None else dict(_installed(home))
    oldest: dict[Kind, tuple[float, psutil.Process]] = {}
    # psutil.process_iter() caches names by id, and the system reuses ids.
    for pid in psutil.pids() if among is None else among:
        try:
            process = psutil.Process(pid)
            found = _recognise(process, installed)
        except (psutil.Error, OSError):
            continue
        if found is None:
            continue
        kind, started = found
        if kind not in oldest or started < oldest[kind][0]:
            oldest[kind] = (started, process)
    return tuple(
        Running(kind, process.pid, datetime.fromtimestamp(started, UTC), _version(process))
        for kind, (started, process) in sorted(oldest.items())
    )


def _recognise(process: psutil.Process, installed: dict[str, Kind]) -> tuple[Kind, float] | None:
    name = process.name()
    kind = _NAMES.get(name.casefold())
    # Reading the executable of every process is slow, so only likely ones are read. Linux cuts the
    # name of a process off after 15 bytes.
    if kind is None and any(Path(each).name[:15] == name[:15] for each in installed):
        kind = installed.get(process.exe())
    return None if kind is None else (kind, process.create_time() + _boot_fraction())


def _boot_fraction() -> float:
    """Seconds to add to psutil's start times: Linux reports its boot time in whole seconds.

    Without it, an app restarted within a second after a write seems older than the write.
    """
    import psutil  # noqa: PLC0415 - as above

    if sys.platform != "linux":
        return 0.0
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    fraction = booted - psutil.boot_time()
    return fraction if 0.0 <= fraction < 1.0 else 0.0


def _installed(home: Path) -> Iterator[tuple[str, Kind]]:
    """(executable, kind) of what is installed."""
    for name, kind in _LOCATIONS:
        path = object_in(home / keys.INTERNAL / name).get("path")
        if isinstance(path, str) and path:
            yield path, kind


def _version(process: psutil.Process) -> str | None:
    """The version from a bundle's Info.plist or the executable's path; None if it is in neither."""
    import psutil  # noqa: PLC0415 - as above

    try:
        executable = Path(process.exe())
    except (psutil.Error, OSError):
        return None
    for bundle in executable.parents:
        if bundle.suffix == ".app":
            return _bundle_version(bundle / "Contents" / "Info.plist")
    found = _VERSION.search(str(executable))
    return found[1] if found else None


def _bundle_version(path: Path) -> str | None:
    import plistlib  # noqa: PLC0415 - macOS alone has bundles

    try:
        version = plistlib.loads(path.read_bytes()).get("CFBundleShortVersionString")
    except (OSError, ValueError, plistlib.InvalidFileException, AttributeError):
        return None
    return version if isinstance(version, str) and version.isprintable() else None

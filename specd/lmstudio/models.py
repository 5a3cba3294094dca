"""The index of installed models: every folder below the models directory, read once.

A folder is read again when its own time stamp changes, or the size or time stamp of a model file in
it; otherwise nothing in it is opened. A pass over a thousand known models therefore costs a few
thousand ``stat`` calls and no ``open``.

The directory belongs to the user and may hold anything: a hundred thousand stray files, symlinks in
circles, names with control characters. Depth, folders and entries are bounded, each directory is
entered once, and everything left out is reported.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from specd import __version__
from specd.files import private
from specd.files.pointer import Absent, Json
from specd.lmstudio import keys
from specd.lmstudio.folder import Folder, is_model_file, models_in, plain_name
from specd.lmstudio.model import Model
from specd.lmstudio.values import text

_MAX_DEPTH: Final = 4  # publisher / repo / a folder of shards / one more
_MAX_FOLDERS: Final = 20_000
_MAX_MODELS: Final = 5_000  # each costs the daemon some kilobytes
_MAX_ENTRIES: Final = 200_000  # of one folder
_MAX_FILES: Final = 2_000  # of one folder
_MAX_PROBLEMS: Final = 100
_RACY_NS: Final = 2_000_000_000  # the coarsest time stamps in use, FAT's

_Stamp: TypeAlias = "tuple[str, int, int]"  # name, size, modified (ns)


class _Listing(msgspec.Struct, array_like=True):
    """One folder as it was read. ``racy``: a later change may have left its time stamps alike."""

    inode: int
    modified_ns: int
    racy: bool
    files: list[_Stamp]
    subfolders: list[str]
    models: list[Model]
    problems: list[str]


Listings: TypeAlias = Mapping[str, _Listing]
"""Every folder below the models directory by its path, for the next pass or the next start."""


class _Stored(msgspec.Struct):
    version: str
    folders: dict[str, _Listing]


@dataclass(frozen=True, slots=True)
class ModelIndex:
    """The installed models, sorted by identifier, and sentences about folders left out."""

    models: tuple[Model, ...]
    problems: tuple[str, ...] = ()
    listings: Listings = field(default_factory=dict)


def stored(path: Path) -> Listings:
    """The listings stored in ``path``; none when the file is missing or unusable."""
    try:
        found = msgspec.json.decode(private.read(path), type=_Stored, dec_hook=_decoded)
    except (OSError, ValueError, RecursionError):
        return {}
    return found.folders if found.version == __version__ else {}


def store(path: Path, listings: Listings) -> None:
    """Store ``listings``; a failure only slows the next start."""
    with contextlib.suppress(OSError, UnicodeEncodeError):  # a path that is not UTF-8
        content = msgspec.json.encode(_Stored(__version__, dict(listings)), enc_hook=os.fspath)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        private.write(path, content, durable=False)


def models_dir(home: Path, *settings: Json | Absent) -> Path:
    """The downloads folder that the first of ``settings`` names, else the home's own."""
    for each in settings:
        named = text(each.get(keys.DOWNLOADS_FOLDER), 4096) if isinstance(each, dict) else ""
        folder = Path(os.path.expanduser(named))  # noqa: PTH111 - Path's raises for "~nobody"
        if folder.is_absolute():
            return folder
    return home / keys.MODELS


def index(models_dir: Path, known: Listings = MappingProxyType({})) -> ModelIndex:
    """Every model below ``models_dir``; nothing on disk makes it raise.

    ``known`` are the listings of an earlier pass.
    """
    found: list[Model] = []
    problems: list[str] = []
    fresh: dict[str, _Listing] = {}
    for path, listing in _walk(str(models_dir), known, problems):
        if len(found) + len(listing.models) > _MAX_MODELS:
            problems.insert(
                0,
                f"{models_dir} has more than {_MAX_MODELS:,} models; those from {path} on, by name,"
                " are left out",
            )
            break
        fresh[path] = listing
        found.extend(listing.models)
        problems.extend(f"{path}: {problem}" for problem in listing.problems)
    found.sort(key=lambda model: model.identifier)
    if len(problems) > _MAX_PROBLEMS:
        problems[_MAX_PROBLEMS:] = [f"and {len(problems) - _MAX_PROBLEMS} more like these"]
    return ModelIndex(tuple(found), tuple(problems), fresh)


def _walk(root: str, known: Listings, problems: list[str]) -> Iterator[tuple[str, _Listing]]:
    entered: set[tuple[int, int]] = set()
    waiting: list[tuple[str, tuple[str, ...]]] = [(root, ())]
    while waiting:
        path, parts = waiting.pop()
        if len(entered) >= _MAX_FOLDERS:
            more = f"{root} has more than {_MAX_FOLDERS:,} folders; the rest is left out"
            problems.insert(0, more)  # the first few are shown, and this explains what is missing
            return
        try:
            facts = os.stat(path)  # noqa: PTH116 - thousands of these
            if (facts.st_dev, facts.st_ino) in entered:
                continue
            entered.add((facts.st_dev, facts.st_ino))
            listing = known.get(path)
            if listing is None or not _holds(path, facts, listing):
                listing = _read(path, parts, facts)
        except FileNotFoundError:
            if not parts:
                problems.append(f"{path} does not exist; LM Studio makes it with the first model")
            continue
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror or error}")
            continue
        yield path, listing
        if len(parts) < _MAX_DEPTH:
            below = [(f"{path}/{name}", (*parts, name)) for name in listing.subfolders]
            waiting += reversed(below)


def _holds(path: str, facts: os.stat_result, listing: _Listing) -> bool:
    """Whether ``listing`` is still true of the folder."""
    if listing.racy or facts.st_mtime_ns != listing.modified_ns or facts.st_ino != listing.inode:
        return False
    for name, size, modified_ns in listing.files:
        try:
            now = os.stat(f"{path}/{name}")  # noqa: PTH116 - thousands of these
        except OSError:
            return False
        if now.st_size != size or now.st_mtime_ns != modified_ns:
            return False
    return True


def _read(path: str, parts: tuple[str, ...], facts: os.stat_result) -> _Listing:
    files: list[_Stamp] = []
    subfolders: list[str] = []
    problems: list[str] = []
    with os.scandir(path) as entries:
        for count, entry in enumerate(entries):
            if count >= _MAX_ENTRIES:
                problems.append(f"more than {_MAX_ENTRIES:,} entries; the rest is left out")
                break
            _sort_in(entry, files, subfolders, problems)
    if len(files) > _MAX_FILES:
        problems.append(f"{len(files):,} model files in one folder; {_MAX_FILES:,} are looked at")
        del files[_MAX_FILES:]
    newest = max([facts.st_mtime_ns, *(modified_ns for _, _, modified_ns in files)])
    racy = time.time_ns() - newest < _RACY_NS
    folder = Folder(Path(path), parts, {name: size for name, size, _ in files}, tuple(subfolders))
    return _Listing(
        facts.st_ino,
        facts.st_mtime_ns,
        racy,
        sorted(files),
        sorted(subfolders),
        list(models_in(folder)),
        problems,
    )


def _sort_in(
    entry: os.DirEntry[str], files: list[_Stamp], subfolders: list[str], problems: list[str]
) -> None:
    name = entry.name
    if name.startswith("."):
        return
    try:
        if not entry.is_dir():
            if is_model_file(name) and plain_name(name) and entry.is_file():
                facts = entry.stat()
                files.append((name, facts.st_size, facts.st_mtime_ns))
        elif plain_name(name):
            subfolders.append(name)
        else:
            problems.append(f"the folder {name!a} is left out: its name has unprintable characters")
    except OSError:
        return


def _decoded(kind: type, value: object) -> Path:
    """The path that was kept as a string; all other types of a model are JSON's own."""
    if kind is not Path or not isinstance(value, str):
        raise NotImplementedError
    return Path(value)

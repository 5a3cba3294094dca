"""LM Studio's home directory, and the directories in it to watch.

LM Studio itself looks for ``~/.lmstudio-home-pointer``, then ``~/.cache/lm-studio``, then
``~/.lmstudio`` (``findLMStudioHome`` in its published SDK), and writes the pointer file once it has
decided. specd follows the same order and writes nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

from specd.files import private
from specd.lmstudio import backends, keys

_LONGEST_PATH: Final = 4096

Pace: TypeAlias = Literal["now", "calm", "seldom"]
"""How soon a change in a watched directory must be known.

``now``: at once. ``calm``: within seconds, and bytes being written do not count (model weights).
``seldom``: within seconds, and watching must cost nothing while other programs use the directory
(the user's home directory).
"""


@dataclass(frozen=True, slots=True)
class Home:
    """LM Studio's directory, and how it was found (for messages)."""

    path: Path
    how: str


@dataclass(frozen=True, slots=True)
class NoHome:
    """No home was found: the reason, and every path that was tried, in order."""

    reason: str
    looked: tuple[Path, ...]

    def __str__(self) -> str:
        looked = ", ".join(str(path) for path in self.looked)
        return (
            f"no LM Studio home: {self.reason}; start LM Studio once, or set home under [lmstudio] "
            f"in specd.toml (looked at {looked})"
        )


@dataclass(frozen=True, slots=True)
class WatchedDir:
    """A directory to watch, whether or not it exists yet.

    Only direct children called ``names`` matter; None means all of them. ``recursive`` includes
    everything below.
    """

    path: Path
    recursive: bool = False
    names: frozenset[str] | None = None
    pace: Pace = "now"


@dataclass(frozen=True, slots=True)
class App:
    """One of the apps that share a home, and where its files are.

    ``internal`` holds its models' defaults; ``settings`` is its settings file. ``by_request`` says
    that its llama.cpp takes a draft with the request, as before LM Studio 0.4.14.
    """

    name: str
    internal: Path
    settings: Path
    by_request: bool = False


def lm_studio(home: Path) -> App:
    """LM Studio itself."""
    older = backends.llama_drafts_by_request(home)
    return App("LM Studio", home / keys.INTERNAL, home / keys.SETTINGS, older)


def bionic(home: Path) -> App:
    """LM Studio Bionic, whether or not it is there."""
    internal = home / keys.APPS / keys.BIONIC / keys.INTERNAL
    return App("Bionic", internal, internal / keys.SETTINGS)


def apps(home: Path, which: str = "all") -> tuple[App, ...]:
    """The apps whose files specd keeps: "all" that are there, or only "lmstudio" or "bionic".

    If neither is there, returns LM Studio.
    """
    own, second = lm_studio(home), bionic(home)
    if not second.internal.is_dir():
        return () if which == "bionic" else (own,)
    wanted = {"lmstudio": (own,), "bionic": (second,)}
    return wanted.get(which) or ((own, second) if _is_there(own) else (second,))


def _is_there(app: App) -> bool:
    """Whether an app has run here: it has files that specd does not write."""
    if app.settings.exists():
        return True
    try:
        found = os.scandir(app.internal)
        return any(each.is_file() and not each.name.startswith(".") for each in found)
    except OSError:
        return False


def server_files(home: Path) -> tuple[Path, ...]:
    """The files with the server's port, each app's two in order: as it listens, as configured."""
    names = (keys.SERVER_INFO, keys.SERVER_CONFIG)
    return tuple(app.internal / name for app in (lm_studio(home), bionic(home)) for name in names)


def lms(home: Path) -> Path:
    """LM Studio's own command line program, whether or not it is there."""
    return home.joinpath(*keys.LMS)


def own_models(home: Path) -> Path:
    """The models folder inside the home; settings.json may name another one."""
    return home / keys.MODELS


def app_of(path: Path) -> str:
    """The name of the app whose file ``path`` is."""
    inside = bionic(Path("/")).internal.as_posix() in path.as_posix()
    return "Bionic" if inside else "LM Studio"


def find_home(configured: str = "auto") -> Home | NoHome:
    """Find LM Studio's home: ``$LMSTUDIO_HOME``, then ``configured``, then where LM Studio looks.

    ``configured`` is "auto" or a path. Where a path is named and does not exist, no other is tried.
    """
    if named := os.environ.get("LMSTUDIO_HOME"):
        return _named(Path(named), "$LMSTUDIO_HOME")
    if configured != "auto":
        return _named(Path(configured), "home in specd.toml")
    user = _user_home()
    if user is None:
        return NoHome("the user's home directory is unknown ($HOME is not set)", ())
    return _where_lmstudio_looks(user)


def _where_lmstudio_looks(user: Path) -> Home | NoHome:
    pointer = user / keys.HOME_POINTER
    try:
        pointed = private.read(pointer).decode("utf-8").strip()
    except (FileNotFoundError, private.LeadsNowhere):
        candidates = [user / name for name in keys.HOMES]
        for candidate in candidates:
            if candidate.is_dir():
                return _named(candidate, "LM Studio's usual place")
        return NoHome("LM Studio has not been started here", (pointer, *candidates))
    except OSError as error:
        return NoHome(f"{pointer} cannot be read: {error.strerror or error}", (pointer,))
    except UnicodeDecodeError:
        pointed = ""
    if not 0 < len(pointed) <= _LONGEST_PATH or not pointed.isprintable():
        return NoHome(f"{pointer} does not hold the path of a directory", (pointer,))
    found = _named(Path(pointed), str(pointer))
    return found if isinstance(found, Home) else replace(found, looked=(pointer, *found.looked))


def _named(path: Path, how: str) -> Home | NoHome:
    path = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - symlinks are kept as named
    if not path.is_dir():
        state = "is not a directory" if path.exists() else "does not exist"
        return NoHome(f"{path}, named by {how}, {state}", (path,))
    if not os.access(path, os.R_OK | os.X_OK):
        return NoHome(f"{path}, named by {how}, may not be read by this user", (path,))
    return Home(path, how)


def _user_home() -> Path | None:
    try:
        return Path(os.path.realpath(Path.home()))
    except RuntimeError:
        return None


def watch_directories(home: Home | NoHome, models_dir: Path | None) -> tuple[WatchedDir, ...]:
    """The directories in which a change may call for a write.

    Never the conversations or the server logs, which change with every answer. The models directory
    is watched recursively: one watch whatever the number of models, on macOS without any cost per
    directory, on Linux with one inotify watch per directory (never per file).
    """
    watched: list[WatchedDir] = []
    user = _user_home()
    if user is not None:
        places = {keys.HOME_POINTER, *(name for name in keys.HOMES if "/" not in name)}
        watched.append(WatchedDir(user, names=frozenset(places), pace="seldom"))
    if not isinstance(home, Home):
        watched.extend(WatchedDir(path, names=frozenset(), pace="seldom") for path in home.looked)
        return tuple(watched)
    second = bionic(home.path).internal.parent
    watched += [
        WatchedDir(home.path, names=frozenset({keys.SETTINGS, keys.INTERNAL})),
        *_watch_internal(home.path / keys.INTERNAL),
        WatchedDir(second.parent, names=frozenset({second.name}), pace="seldom"),
        WatchedDir(second, names=frozenset({keys.INTERNAL}), pace="seldom"),
        *_watch_internal(second / keys.INTERNAL),
        WatchedDir(home.path.joinpath(*keys.HUB_MODELS), recursive=True, pace="calm"),
        WatchedDir(models_dir or home.path / keys.MODELS, recursive=True, pace="calm"),
    ]
    return tuple(watched)


_READ_INTERNAL: Final = frozenset(
    {
        keys.SETTINGS,
        keys.SERVER_INFO,
        keys.SERVER_CONFIG,
        keys.DRAFT_CACHE,
        keys.MODEL_DEFAULTS,
        keys.MODEL_INDEX,
    }
)


def _watch_internal(internal: Path) -> tuple[WatchedDir, ...]:
    return (
        WatchedDir(internal, names=_READ_INTERNAL),
        WatchedDir(internal / keys.MODEL_DEFAULTS, recursive=True),
    )


def footprint(home: Home | NoHome) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The directories that specd writes in, and those inside them that it never touches.

    For service managers that can forbid the rest. A temporary file beside a file replaces it, so
    its directory has to be writable; a symlink's target counts. Where there is no home yet, LM
    Studio may make it in each place that was tried.
    """
    homes = tuple(
        path
        for path in ((home.path,) if isinstance(home, Home) else home.looked)
        if not path.name.endswith("-pointer")
    )
    linked = [Path(os.path.realpath(each / keys.SETTINGS)).parent for each in homes]
    writes = homes + tuple(each for each in linked if isinstance(home, Home) and each not in homes)
    never = (keys.MODELS, keys.CONVERSATIONS, keys.SERVER_LOGS, keys.HUB_MODELS[0])
    return writes, tuple(each / name for each in homes for name in never)

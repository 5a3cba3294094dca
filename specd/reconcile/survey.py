"""Read configuration, home, models, LM Studio's compatibility cache, its server and its process.

No decisions here. A failure is part of the returned value and not raised: the daemon must go on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from specd import __version__, config
from specd.config import ConfigError, SpecdConfig
from specd.files import private
from specd.lmstudio import app, backends, catalogue, draft_cache, model_defaults, models, presets
from specd.lmstudio import home as homes
from specd.lmstudio.draft_cache import CacheOpinion
from specd.lmstudio.home import Home, NoHome, WatchedDir, watch_directories
from specd.lmstudio.model import Model
from specd.lmstudio.presets import Preset
from specd.reconcile.facts import AppSeen, ServerSeen
from specd.reconcile.observe import read_file

SERVER_TIMEOUT_S = 2.0

VALIDATED = "validated.json"
"""The file with the values of the last good configuration, and the digest of its texts."""

Meaning: TypeAlias = Literal["defaults", "apps", "models", "cache", "server", "other"]


@dataclass(frozen=True, slots=True)
class World:
    """The content of the home, besides the files that specd edits.

    ``mlx_types`` are the model types that LM Studio's own mlx-lm loads; None: it is not there.
    ``llama_servers`` are the llama.cpp servers that it has installed, the newest first.
    """

    models_dir: Path | None = None
    models: tuple[Model, ...] = ()
    problems: tuple[str, ...] = ()
    opinion: CacheOpinion | None = None
    mlx_types: frozenset[str] | None = None
    llama_servers: tuple[Path, ...] = ()
    presets: tuple[Preset, ...] = ()


def configuration(
    path: Path, state: Path, last: SpecdConfig | None = None
) -> tuple[SpecdConfig, str | None]:
    """The configuration in force, and the error in specd.toml, None if there is none.

    With a broken specd.toml ``last`` stays in force; at start, the kept copy of the last good one;
    without that, the defaults.
    """
    try:
        texts = config.texts(path)
        read = _validated(path, texts, state)
    except ConfigError as error:
        return last or last_good(state) or SpecdConfig(), str(error)
    _keep(texts, read, state)
    return read, None


def last_good(state: Path) -> SpecdConfig | None:
    """The last good configuration of an earlier run; None when there was none."""
    path = _kept(state)
    try:
        return _validated(path, config.texts(path), state) if path.exists() else None
    except ConfigError:
        return None


def is_there(path: Path) -> bool:
    """Whether specd.toml exists; True if that cannot be known, since reading it reports why."""
    try:
        return path.exists()
    except OSError:
        return True


def is_blank(path: Path) -> bool:
    """Whether a file is missing or empty; False if that cannot be known."""
    try:
        return not path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def written_within(path: Path, seconds: float) -> bool:
    """Whether a file was written in the last ``seconds``, by its time of modification."""
    try:
        return 0 <= time.time() - path.stat().st_mtime < seconds
    except OSError:
        return False


def _kept(state: Path) -> Path:
    return state / "last-good.toml"


def _validated(path: Path, texts: config.Texts, state: Path) -> SpecdConfig:
    """The configuration of ``texts``; those of the last good one are not validated again."""
    with contextlib.suppress(OSError, private.Broken, AttributeError, KeyError, TypeError):
        known: Any = private.read_json(state / VALIDATED)
        if known["of"] == _digest(texts):
            return config.built(known["config"])
    return config.understood(path, texts).config


def _keep(texts: config.Texts, read: SpecdConfig, state: Path) -> None:
    """Keep a good configuration: its text for a start with a broken specd.toml, and its values."""
    values = json.dumps({"of": _digest(texts), "config": asdict(read)})
    for path, text in ((_kept(state), texts[1] or ""), (state / VALIDATED, values)):
        with contextlib.suppress(OSError):
            if private.read(path) == text.encode():
                continue
        # Without them, a start with a broken specd.toml has the defaults: no great harm.
        with contextlib.suppress(OSError):
            private.write(path, text.encode())


def _digest(texts: config.Texts) -> str:
    """A digest of everything that decides the values: other code may have other defaults."""
    decides = [__version__, repr(SpecdConfig()), *(text or "" for text in texts)]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


def look(home: Home | NoHome, state: Path) -> World:
    """Index the models, and read LM Studio's compatibility cache and presets."""
    if not isinstance(home, Home):
        return World()
    folder = models_folder(home)
    known = models.stored(state / "models.json")
    index = models.index(folder, known)
    if index.listings != known:
        models.store(state / "models.json", index.listings)
    installed = catalogue.named(home.path, index.models)
    types = backends.mlx_model_types(home.path)
    servers = backends.llama_servers(home.path)
    return World(
        folder,
        installed,
        index.problems,
        opinion(home, installed),
        mlx_types=types,
        presets=presets.read(home.path),
        llama_servers=servers,
    )


def models_folder(home: Home) -> Path:
    """The models folder: an app's settings may name another one than the home's own."""
    found = (read_file(app.settings).document for app in homes.apps(home.path))
    return models.models_dir(home.path, *found)


def opinion(home: Home, installed: tuple[Model, ...]) -> CacheOpinion | None:
    """The content of LM Studio's compatibility cache; None when there is none."""
    seen = read_file(draft_cache.path(home.path))
    if seen.content is None and seen.problem is None:
        return None
    if seen.content is None:
        return CacheOpinion({}, seen.problem)
    return draft_cache.read(seen.content, installed)


def directories(home: Home | NoHome, world: World, config_path: Path) -> tuple[WatchedDir, ...]:
    """Everything the daemon must watch: LM Studio's directories, specd.toml's and the policy's."""
    configured = (
        WatchedDir(path.parent, names=frozenset({path.name}))
        for path in (config_path, config.managed_file())
    )
    return (*watch_directories(home, world.models_dir), *configured)


def meaning(home: Home, world: World, path: Path) -> Meaning:
    """Which part of LM Studio's files ``path`` belongs to."""
    if any(path.is_relative_to(each) for each in model_defaults.folders(home.path)):
        return "defaults"
    own, second = homes.lm_studio(home.path), homes.bionic(home.path)
    kept = (own.settings, own.internal, second.settings, second.internal)
    if path in (*kept, second.internal.parent, second.internal.parent.parent):
        return "apps"
    if path == draft_cache.path(home.path):
        return "cache"
    if path in homes.server_files(home.path):
        return "server"
    named = (*catalogue.index_paths(home.path), catalogue.hub_path(home.path))
    if any(map(path.is_relative_to, named)):
        return "models"
    if world.models_dir is not None and path.is_relative_to(world.models_dir):
        return "models"
    return "other"


def ask_server(home: Home, wanted: config.LmStudio) -> ServerSeen:
    """Get the list of models from LM Studio's server, within a few seconds."""
    from specd.lmstudio import server  # noqa: PLC0415 - 20 ms that a start need not wait for

    try:
        first, *others = server.server_urls(home.path, wanted.server)
    except ValueError as error:
        return ServerSeen(None, f"server under [lmstudio] in specd.toml: {error}")
    seen = ask_url(first, wanted)
    for url in others if seen.problem and not seen.remedy else ():
        other = ask_url(url, wanted)
        if not other.problem:
            return other
    return seen


def ask_url(url: str, wanted: config.LmStudio) -> ServerSeen:
    """As ``ask_server``, where the server's address is known."""
    from specd.lmstudio import connection, server  # noqa: PLC0415 - as above

    asking = server.Server(
        url,
        os.environ.get(wanted.token_env),
        token_env=wanted.token_env,
        configured=wanted.server != "auto",
    )
    seen = ServerSeen(url, None, configured=wanted.server != "auto")
    try:
        return replace(seen, models=asking.models(SERVER_TIMEOUT_S))
    except connection.Refused as error:
        return replace(seen, problem=error.why, remedy=error.remedy)
    except connection.ServerError as error:
        return replace(seen, problem=str(error))


def look_for_app(home: Home) -> AppSeen:
    """Look for LM Studio's process."""
    return app_seen(app.running(home.path))


def app_seen(found: Sequence[app.Running]) -> AppSeen:
    """The processes ``found`` as one value: LM Studio's start and version, and Bionic's start."""
    if not found:
        return AppSeen(running=False)
    own = [each for each in found if each.kind != "bionic"]
    started = [each.started for each in own]
    version = next((each.version for each in own if each.version is not None), None)
    second = next((each.started for each in found if each.kind == "bionic"), None)
    return AppSeen(bool(own), min(started, default=None), version, bionic_started=second)

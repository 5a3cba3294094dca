"""Read specd.toml and merge it with a machine-wide policy, if there is one.

A missing file is not an error: every key has a default. An exception lists all errors at once, each
with its line and key. An administrator (MDM, Ansible, nix) may provide a second specd.toml for the
whole machine, and lock some of its keys::

    [benchmark]
    only_on_ac = true

    [policy]
    locked = ["benchmark.only_on_ac", "agent"]

The user's values win, except for locked keys and sections.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from specd.config.error import ConfigError, Problem
from specd.config.schema import SpecdConfig, keys
from specd.files import private

MAX_BYTES = 1 << 20
"""Bytes: a larger file, such as a log named by mistake, is refused."""

Origin: TypeAlias = Literal["default", "managed", "locked", "user"]
Document: TypeAlias = dict[str, Any]
Texts: TypeAlias = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The configuration in force and the origin of its values.

    ``origins`` maps each dotted key ("pair" as a whole) to the file that decided it. ``overruled``:
    the user's keys that a locked policy replaced. ``exists``: the user has a file.
    """

    config: SpecdConfig
    path: Path
    exists: bool
    managed: Path | None
    origins: Mapping[str, Origin]
    overruled: tuple[str, ...]


def managed_file() -> Path:
    """The path of the machine-wide policy, whether or not it exists."""
    named = os.environ.get("SPECD_MANAGED_CONFIG")
    if named:
        return Path(named).expanduser().absolute()
    if sys.platform == "darwin":
        return Path("/Library/Application Support/specd/specd.toml")
    return Path("/etc/specd/specd.toml")


def read(path: Path) -> Loaded:
    """The configuration in force: ``path``, then the machine-wide policy, then the defaults.

    Raises:
        ConfigError: one of the two files cannot be read, parsed or validated.
    """
    return understood(path, texts(path))


def texts(path: Path) -> Texts:
    """The texts of the machine-wide policy and of ``path``, which decide everything.

    Raises:
        ConfigError: one of the two cannot be read.
    """
    return content(managed_file()), content(path)


def understood(path: Path, both: Texts) -> Loaded:
    """As ``read``, for the ``texts`` of the files.

    Raises:
        ConfigError: one of the two cannot be parsed or validated.
    """
    managed, text = both
    below, locked = _policy(managed)
    own = {} if text is None else parse(path, text)
    config = _validated(path, own, text or "")
    origins = {key: _origin(key, own, below, locked) for key in keys()}
    if managed is not None:
        config = _validated(path, _merged(origins, own, below), "")  # valid, as both are
    return Loaded(
        config=config,
        path=path,
        exists=text is not None,
        managed=None if managed is None else managed_file(),
        origins=origins,
        overruled=tuple(key for key in keys() if origins[key] == "locked" and _has(own, key)),
    )


def content(path: Path) -> str | None:
    """The text of ``path``; None if there is no file.

    Raises:
        ConfigError: it cannot be read, is too large, or is not a regular UTF-8 file.
    """
    try:
        raw = private.read(path, MAX_BYTES)
        return raw.decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
        raise ConfigError(path, (Problem(None, "", why),)) from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, (Problem(line, "", "this line is not UTF-8 text"),)) from error


def parse(path: Path, text: str) -> Document:
    """The TOML document of ``text``; ``path`` is named in errors.

    Raises:
        ConfigError: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        from specd.config import problems  # noqa: PLC0415 - nothing is wrong, as a rule

        raise ConfigError(path, (problems.of_syntax(error, text),)) from None


def _validated(path: Path, document: Document, text: str) -> SpecdConfig:
    from specd.config import allowed  # noqa: PLC0415 - costs 60 ms, and most starts need it not

    return allowed.validated(path, document, text)


def _policy(text: str | None) -> tuple[Document, frozenset[str]]:
    """The machine-wide policy's values, and the keys and sections that it locks."""
    if text is None:
        return {}, frozenset()
    path = managed_file()
    document = parse(path, text)
    policy = document.pop("policy", {})
    _validated(path, document, text)
    from specd.config import problems  # noqa: PLC0415 - few machines have a policy

    return document, problems.locked_keys(path, policy, text)


def _origin(key: str, own: Document, below: Document, locked: frozenset[str]) -> Origin:
    if key in locked or key.partition(".")[0] in locked:
        return "locked"
    if _has(own, key):
        return "user"
    return "managed" if _has(below, key) else "default"


def _merged(origins: Mapping[str, Origin], own: Document, below: Document) -> Document:
    merged: Document = {}
    for key, origin in origins.items():
        source = own if origin == "user" else below
        section, _, name = key.partition(".")
        if name and _has(source, key):
            merged.setdefault(section, {})[name] = source[section][name]
        elif _has(source, key):
            merged[section] = source[section]
    return merged


def _has(document: Document, key: str) -> bool:
    section, _, name = key.partition(".")
    return section in document and (not name or name in document[section])

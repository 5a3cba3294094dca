"""Descriptions of the allowed values of specd.toml's keys, generated from the models."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from msgspec import Meta

from specd.config.schema import SECTIONS


@cache
def _types(section: str) -> dict[str, Any]:
    return get_type_hints(SECTIONS[section], include_extras=True)


def names(section: str) -> tuple[str, ...]:
    """The keys of a section, in order."""
    return SECTIONS[section].__struct_fields__


def about(section: str, key: str) -> str:
    """The key's description, which is also its comment in a new specd.toml."""
    return str(_bounds(_types(section)[key]).description)


def values(section: str, key: str) -> tuple[str, ...]:
    """The allowed words of a key with a fixed choice; () for any other key."""
    return tuple(_choices(_types(section)[key]))


def words(section: str, key: str) -> str:
    """The allowed values, such as ``"auto" or a whole number from 1 to 64``."""
    return _words(_types(section)[key], Meta())


def _bounds(kind: Any) -> Meta:
    return next(each for each in kind.__metadata__ if isinstance(each, Meta))


def _choices(kind: Any) -> list[str]:
    if get_origin(kind) is Annotated:
        return _choices(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if kind is bool:
        return ["true", "false"]
    return [word for each in get_args(kind) for word in _choices(each)]


def _words(kind: Any, bounds: Meta) -> str:
    if get_origin(kind) is Annotated:
        return _words(get_args(kind)[0], _bounds(kind))
    if get_origin(kind) is Literal:
        *most, last = (f'"{word}"' for word in get_args(kind))
        return f"{', '.join(most)} or {last}" if most else last
    if members := get_args(kind):
        return " or ".join(_words(each, bounds) for each in members)
    if kind is bool:
        return "true or false"
    if kind is str:
        return "text in quotes" + (" that is not empty" if bounds.min_length else "")
    return f"a {'whole ' if kind is int else ''}number from {bounds.ge:g} to {bounds.le:g}"

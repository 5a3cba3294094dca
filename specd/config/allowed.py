"""Descriptions of the allowed values of specd.toml's keys, generated from the models."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

from specd.config import validation
from specd.config.schema import SpecdConfig


@cache
def _schema() -> dict[str, Any]:
    return validation.model().model_json_schema()


def sections() -> tuple[str, ...]:
    """The tables of specd.toml, in order."""
    return tuple(each.name for each in fields(SpecdConfig))


def names(section: str) -> tuple[str, ...]:
    """The keys of a section, in order."""
    return tuple(_properties(section))


def about(section: str, key: str) -> str:
    """The key's description, which is also its comment in a new specd.toml."""
    return str(_properties(section)[key]["description"])


def values(section: str, key: str) -> tuple[str, ...]:
    """The allowed words of a key with a fixed choice; () for any other key."""
    return tuple(_choices(_properties(section)[key]))


def takes_text(section: str, key: str) -> bool:
    """Whether every allowed value of the key is text."""
    return bool(_properties(section)[key].get("type") == "string")


def words(section: str, key: str) -> str:
    """The allowed values, such as ``"auto" or a whole number from 1 to 64``."""
    return _words(_properties(section)[key])


def _properties(section: str) -> dict[str, Any]:
    named = _schema()["properties"][section]
    reference = named.get("$ref") or named["items"]["$ref"]
    found: dict[str, Any] = _schema()["$defs"][reference.rpartition("/")[2]]["properties"]
    return found


def _choices(schema: dict[str, Any]) -> list[str]:
    if schema.get("type") == "boolean":
        return ["true", "false"]
    constant = [schema["const"]] if "const" in schema else []
    alternatives = [word for each in schema.get("anyOf", ()) for word in _choices(each)]
    return [*constant, *schema.get("enum", ()), *alternatives]


def _words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_words(each) for each in schema["anyOf"])
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "enum" in schema:
        *most, last = (f'"{word}"' for word in schema["enum"])
        return f"{', '.join(most)} or {last}"
    if schema["type"] == "boolean":
        return "true or false"
    if schema["type"] == "string":
        return "text in quotes" + (" that is not empty" if schema.get("minLength") else "")
    kind = "a whole number" if schema["type"] == "integer" else "a number"
    return f"{kind} from {schema['minimum']:g} to {schema['maximum']:g}"

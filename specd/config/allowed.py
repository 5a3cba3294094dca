"""The allowed content of specd.toml: pydantic's models, made from the classes in ``schema``.

Imported only where a text must be validated or a key described: the import takes 60 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from specd.config import schema
from specd.config.error import ConfigError
from specd.config.schema import SpecdConfig


def validated(path: Path, document: Mapping[str, Any], text: str) -> SpecdConfig:
    """The configuration of ``document``, which was parsed from ``text``, the content of ``path``.

    Raises:
        ConfigError: it lists every wrong key.
    """
    pairs = document.get("pair")
    if isinstance(pairs, list):
        document = {**document, "pair": tuple(pairs)}  # strict models accept only tuples for tuples
    try:
        found = _whole().model_validate(document)
    except ValidationError as error:
        from specd.config import problems  # noqa: PLC0415 - it needs the models itself

        raise ConfigError(path, problems.of_values(error, text)) from None
    return schema.built(found.model_dump(exclude_unset=True))


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


@cache
def _whole() -> type[BaseModel]:
    sections = (schema.LmStudio, schema.Speculation, schema.Pair, schema.Benchmark, schema.Agent)
    return _model(SpecdConfig, {each.__name__: _model(each, {}) for each in sections})


def _model(section: type, sections: Mapping[str, type[BaseModel]]) -> type[BaseModel]:
    names = {**vars(schema), "AfterValidator": AfterValidator, "Field": Field, **sections}
    hints = get_type_hints(section, names, include_extras=True)
    keys: dict[str, Any] = {
        each.name: (
            hints[each.name],
            Field(... if each.default is MISSING else each.default, **each.metadata),
        )
        for each in fields(section)
    }
    config = ConfigDict(extra="forbid", strict=True)
    return create_model(section.__name__, __config__=config, **keys)


@cache
def _schema() -> dict[str, Any]:
    return _whole().model_json_schema()


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

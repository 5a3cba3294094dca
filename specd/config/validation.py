"""The validation of specd.toml: pydantic's models, made from the classes in ``schema``.

Imported only where a text must be validated: the import and the models take 60 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)

from specd.config import schema
from specd.config.error import ConfigError
from specd.config.schema import SpecdConfig


@cache
def model() -> type[BaseModel]:
    """The model of the whole file."""
    sections = (schema.LmStudio, schema.Speculation, schema.Pair, schema.Benchmark, schema.Agent)
    return _model(SpecdConfig, {each.__name__: _model(each, {}) for each in sections})


def validated(path: Path, document: Mapping[str, Any], text: str) -> SpecdConfig:
    """The configuration of ``document``, which was parsed from ``text``, the content of ``path``.

    Raises:
        ConfigError: it lists every wrong key.
    """
    pairs = document.get("pair")
    if isinstance(pairs, list):
        document = {**document, "pair": tuple(pairs)}  # strict models accept only tuples for tuples
    try:
        found = model().model_validate(document)
    except ValidationError as error:
        from specd.config import problems  # noqa: PLC0415 - it needs the models itself

        raise ConfigError(path, problems.of_values(error, text)) from None
    return schema.built(found.model_dump(exclude_unset=True))


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

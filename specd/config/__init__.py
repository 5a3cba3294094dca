"""specd.toml: what the user wants.

``schema`` holds the keys, ``reading`` reads the user's file and merges it with a machine-wide
policy, ``allowed`` validates both with pydantic, ``problems`` describes errors with file, line and
key, ``edit`` writes and keeps the user's comments. Only ``schema`` and ``reading`` are imported at
start: a text that was valid at the last one is not validated again.
"""

from specd.config.error import ConfigError, Problem
from specd.config.reading import Loaded, Texts, managed_file, read, texts, understood
from specd.config.schema import (
    LONGEST_DRAFT,
    Agent,
    Benchmark,
    LmStudio,
    Pair,
    SpecdConfig,
    Speculation,
    built,
)

__all__ = [
    "LONGEST_DRAFT",
    "Agent",
    "Benchmark",
    "ConfigError",
    "LmStudio",
    "Loaded",
    "Pair",
    "Problem",
    "SpecdConfig",
    "Speculation",
    "Texts",
    "built",
    "managed_file",
    "read",
    "texts",
    "understood",
]

"""specd.toml: what the user wants.

``schema`` holds the validated models, ``reading`` reads the user's file and merges it with a
machine-wide policy, ``problems`` describes errors with file, line and key, ``edit`` writes and
keeps the user's comments. Only ``schema`` and ``reading`` are imported at start: the daemon reads
its configuration before anything else, and errors and edits are rare.
"""

from specd.config.error import ConfigError, Problem
from specd.config.reading import Loaded, load, managed_file, read
from specd.config.schema import (
    Agent,
    Benchmark,
    LmStudio,
    Pair,
    SpecdConfig,
    Speculation,
)

__all__ = [
    "Agent",
    "Benchmark",
    "ConfigError",
    "LmStudio",
    "Loaded",
    "Pair",
    "Problem",
    "SpecdConfig",
    "Speculation",
    "load",
    "managed_file",
    "read",
]

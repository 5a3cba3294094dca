"""The memory that running a model takes, computed from its files before loading it.

It is the sum of the weights, the key-value cache of a benchmark's longest context, and a constant
for MLX and the interpreter.
"""

from __future__ import annotations

import json
from typing import Any, Final

from specd.lmstudio.model import Model

CONTEXT: Final = 4096
"""Tokens: the longest context that a benchmark measures at."""

BESIDES: Final = 512 << 20
"""Bytes for an empty worker, activations and stored answers."""

CACHE_SHARE: Final = 0.15
"""Size of the cache as a share of the weights, if config.json does not determine it."""

_CONFIG_MAX_BYTES: Final = 1 << 20
_CACHE_BYTES: Final = 2  # of a key or value, 16-bit


def needed(*models: Model) -> int:
    """Bytes for all ``models`` in memory together, in one process."""
    return BESIDES + sum(model.size_bytes + cache(model) for model in models)


def cache(model: Model) -> int:
    """Bytes of a model's keys and values at ``CONTEXT`` tokens.

    2 (key and value) × layers × key-value heads × head size × bytes × tokens.
    """
    told = _config(model)
    text = told.get("text_config")
    told = text if isinstance(text, dict) else told
    layers = _whole(told.get("num_hidden_layers"))
    heads = _whole(told.get("num_attention_heads"))
    kv_heads = _whole(told.get("num_key_value_heads")) or heads
    size = _whole(told.get("head_dim"))
    if not size and heads:
        size = _whole(told.get("hidden_size")) // heads
    found = 2 * layers * kv_heads * size * _CACHE_BYTES * CONTEXT
    return found or int(model.size_bytes * CACHE_SHARE)


def _config(model: Model) -> dict[str, Any]:
    if model.format != "mlx":
        return {}
    try:
        with (model.path / "config.json").open("rb") as file:
            told = json.loads(file.read(_CONFIG_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _whole(value: object) -> int:
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 24
    return int(value) if usable and isinstance(value, int) else 0

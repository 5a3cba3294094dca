"""Ask mlx-lm whether a model's KV cache can be trimmed. Runs in the worker only.

Speculation writes drafted tokens into the main's cache and takes the refused ones out again. State
of the recurrent kind cannot be taken back, and a rotating cache only until it is full.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache
from mlx_lm.utils import load_config

from specd.tokenizer.engine import Trimmable


def trimmable(folder: Path) -> Trimmable:
    """Ask mlx-lm's cache classes for the architecture that config.json describes.

    The model is built without its weights, which decide nothing here; MLX makes none of its own
    before somebody looks at them.
    """
    try:
        # Private, and the only way to mlx-lm's classes that does not lead through the weights.
        from mlx_lm.utils import _get_classes  # noqa: PLC0415

        config = load_config(folder)
        model_class, args_class = _get_classes(config)
        caches = _flat(make_prompt_cache(model_class(args_class.from_dict(config))))
    except Exception as error:  # noqa: BLE001 - any architecture's own code, on anybody's config
        return Trimmable(None, problem=str(error)[:200] or type(error).__name__)
    yes = bool(can_trim_prompt_cache(caches))
    asked = [each for each in caches if yes or not each.is_trimmable()]
    windows = [size for each in caches if isinstance(size := getattr(each, "max_size", 0), int)]
    window = min((size for size in windows if size > 0), default=None)
    return Trimmable(yes, tuple(sorted({type(each).__name__ for each in asked})), window)


def _flat(caches: Sequence[Any]) -> list[Any]:
    flat: list[Any] = []
    for each in caches:
        nested = getattr(each, "caches", None)
        flat += _flat(nested) if isinstance(nested, list | tuple) else [each]
    return flat

"""Let mlx-lm build a model and its caches. Runs in the worker only.

Speculation writes drafted tokens into the main's caches and removes the rejected ones. Recurrent
state cannot be removed, and tokens in a rotating cache only until the cache is full.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.generate import maybe_quantize_kv_cache
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache
from mlx_lm.utils import load_config, load_model

from specd.tokenizer import weights
from specd.tokenizer.engines.mlx import Built
from specd.tokenizer.reading import Unreadable

_KEYS: Final = frozenset(
    {"k_proj", "qkv_proj", "c_attn", "query_key_value", "wqkv", "Wqkv", "c_k", "attn_key"}
)
"""What mlx-lm's models name the projection that makes the keys."""


def built(folder: Path) -> Built:
    """The model that mlx-lm builds from a folder.

    MLX is lazy: of the weights only their names and shapes are read.
    """
    try:
        # Private, but the only way to mlx-lm's classes without loading the weights.
        from mlx_lm.utils import _get_classes  # noqa: PLC0415

        config = load_config(folder)
        model_class, args_class = _get_classes(config)
        args = args_class.from_dict(config)
        model = model_class(args)
        made = make_prompt_cache(model)
        layers = len(model.layers)
        stretches = _stretches(model)
    except SystemExit:  # as "olmo" does at its import
        return Built(loads=False, problem="its module in mlx-lm needs a package that is missing")
    except Exception as error:  # noqa: BLE001 - any architecture's own code, on anybody's config
        return Built(loads=False, problem=line(error))
    try:
        load_model(folder, lazy=True)
    except Exception as error:  # noqa: BLE001 - the same
        few = _few_weights(folder, model)
        unfit = "" if few else f"its weights and config.json do not fit: {line(error)}"
    else:
        unfit = ""
    caches = flat(made)
    return Built(
        loads=True,
        kinds=tuple(sorted({type(each).__name__ for each in (*made, *caches)})),
        caches=len(made),
        layers=layers,
        trimmable=bool(can_trim_prompt_cache(made)),
        window=smallest_window(caches),
        stretches=stretches,
        heads=_heads(model, args) if any(hasattr(each, "to_quantized") for each in made) else (),
        unfit=unfit,
        unquantized=_unquantized(model),
    )


def _few_weights(folder: Path, model: Any) -> bool:
    """Whether a folder holds only a few of the model's weights: the others are elsewhere."""
    try:
        there = weights.tensors(folder)
    except Unreadable:
        return False
    return 2 * there < len(tree_flatten(model.parameters()))


def line(error: Exception) -> str:
    """An error's message in one line, or its type."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _heads(model: Any, args: Any) -> tuple[int, ...]:
    """Numbers in a head of the KV caches, by size; none if unknown (MLA compresses them)."""
    if getattr(args, "kv_lora_rank", None):
        return ()
    attends = [each for each in model.modules() if _KEYS & each.keys()]
    found = {each.head_dim for each in attends if hasattr(each, "head_dim")}
    width, heads = (getattr(args, name, 0) for name in ("hidden_size", "num_attention_heads"))
    if attends and not found and width and heads:
        found = {getattr(args, "head_dim", None) or width // heads}
    return tuple(sorted(map(int, found)))


def _unquantized(model: Any) -> str:
    """Why the model cannot read its KV cache when it is quantized; "" if it can.

    MLX only notes what it would compute, so this costs no weights.
    """
    caches = make_prompt_cache(model)
    if not any(hasattr(each, "to_quantized") for each in caches):
        return ""
    two = mx.zeros((1, 2), dtype=mx.int32)
    try:
        model(two, cache=caches)
        maybe_quantize_kv_cache(caches, quantized_kv_start=0, kv_group_size=32, kv_bits=8)  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001 - the heads or the class of a cache tell that
        return ""
    try:
        model(two, cache=caches)
    except Exception as error:  # noqa: BLE001 - any architecture's own code
        return line(error)
    return ""


def smallest_window(caches: Sequence[Any]) -> int | None:
    """Tokens that the smallest rotating cache keeps; None if there is no rotating cache."""
    return min((size for each in caches if (size := getattr(each, "max_size", 0))), default=None)


def flat(caches: Sequence[Any]) -> list[Any]:
    """The caches, with those that a ``CacheList`` holds in its place."""
    found: list[Any] = []
    for each in caches:
        nested = getattr(each, "caches", None)
        found += flat(nested) if isinstance(nested, list | tuple) else [each]
    return found


def _stretches(model: Any) -> int | None:
    """Tokens after which a token's rotation depends on the length of its pass; None for never.

    Dynamic NTK scaling computes its base from that length. A draft token checked together with
    others then gets another key than the same token alone.
    """
    found = [
        int(each.max_position_embeddings)
        for each in model.modules()
        if type(each).__name__ == "DynamicNTKScalingRoPE" and _differs(each)
    ]
    return min(found, default=None)


def _differs(rope: Any) -> bool:
    pair, far = mx.ones((1, 1, 2, rope.dims)), int(rope.max_position_embeddings)
    together = rope(pair, offset=far)
    alone = [rope(pair[:, :, :1], offset=far + number) for number in (0, 1)]
    return not bool(mx.allclose(together, mx.concatenate(alone, axis=2), rtol=0, atol=1e-6))

"""Which models can form a pair, and which sizes are worth it (pure).

The engines' own rules are in ``engines``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from specd.lmstudio.model import Model
from specd.tokenizer.engines.mlx import Built

_BILLIONS: Final = re.compile(
    r"(?<![a-z0-9.])(\d{1,3}(?:\.\d{1,3})?)\s?b(?![a-z0-9])", re.IGNORECASE
)
_MILLIONS: Final = re.compile(r"(?<![a-z0-9.])(\d{2,4})\s?m(?![a-z0-9])", re.IGNORECASE)
_BITS: Final = {"fp16": 16, "bf16": 16, "f16": 16, "fp32": 32, "f32": 32}

_WORTH_DRAFTING: Final = ((5.0, 0.0), (10.0, 1.0), (24.0, 3.0), (float("inf"), 7.0))
"""LM Studio's docs: 3B → nothing, 7B → up to 1B, 14B → up to 3B, 32B → up to 7B (billions)."""


NEVER: Final[Mapping[str, str]] = {
    "embedding": "makes embeddings and writes no text",
    "mmproj": "is a projector (mmproj) for another model and writes no text",
    "drafter": "is a drafter: it drafts for the one main that it was made for",
    "adapter": "is an adapter without its base model",
}
"""Kinds of models that neither draft nor are drafted for."""


def hopeless(main: Model, draft: Model) -> str | None:
    """Why no engine speculates with this pair, whatever its files contain; None if one may."""
    if main.identifier == draft.identifier and main.path == draft.path:
        return "a model cannot draft for itself"
    for role, model in (("main", main), ("draft", draft)):
        if model.kind in NEVER:
            return f"the {role} {NEVER[model.kind]}"
    if main.format != draft.format:
        return (
            f"the main is {_format(main)} and the draft is {_format(draft)}: they run in different "
            "engines"
        )
    return None


def unusable(model: Model) -> str | None:
    """Why specd cannot judge a model; None if it can."""
    if model.kind == "incomplete":
        return model.problem or "it is incomplete"
    if model.format == "other":
        return "its weights are neither safetensors nor GGUF; specd opens no pickles"
    return None


def advice(main: Model, draft: Model, drafting: Built | None) -> tuple[str, ...]:
    """Warnings that do not forbid a pair; ``drafting`` is what mlx-lm builds of the draft."""
    found: list[str] = []
    if draft.size_bytes >= main.size_bytes > 0:
        found.append("the draft is not smaller than the main, so it cannot make it faster")
    else:
        found += _sizes(main, draft)
    if drafting is not None and drafting.window is not None:
        found.append(
            f"part of the draft's KV cache keeps only the last {drafting.window:,} tokens; once it "
            "is full, fewer of its tokens are accepted"
        )
    elif drafting is not None and drafting.trimmable is False:
        found.append(
            "tokens cannot be taken back from the draft's KV cache "
            f"({', '.join(drafting.kinds)} in mlx-lm), so fewer of its tokens are accepted"
        )
    return tuple(found)


def worth_drafting(main: Model) -> float | None:
    """The most billions of parameters that a draft for this main should have; None: unknown."""
    size = billions(main)
    return None if size is None else next(limit for below, limit in _WORTH_DRAFTING if size < below)


def _sizes(main: Model, draft: Model) -> list[str]:
    size, drafting, most = billions(main), billions(draft), worth_drafting(main)
    if size is None or drafting is None or most is None:
        return []
    if not most and size >= 1.5:
        return [f"LM Studio's docs see no gain in a draft for a main of {size:g}B"]
    if most and drafting > most * 1.2:
        return [f"LM Studio's docs advise a draft of up to {most:g}B for a main of {size:g}B"]
    return []


def billions(model: Model) -> float | None:
    """A model's parameters in billions, from its name or else its size; None if unknown."""
    name = model.repo.rpartition("/")[2] or model.key
    found = _BILLIONS.search(name)
    if found is not None:
        return float(found[1])
    small = _MILLIONS.search(name)
    if small is not None:
        return float(small[1]) / 1000
    bits = _bits(model.quantization or "")
    return None if bits is None else round(model.size_bytes * 8 / bits / 1e9, 1)


def _bits(quantization: str) -> float | None:
    lowered = quantization.lower()
    if lowered in _BITS:
        return _BITS[lowered]
    found = re.match(r"(\d{1,2})bit", lowered) or re.match(r"(?:ud-)?i?q(\d)", lowered)
    # Scales and biases, and the layers that stay wider, take about half a bit per weight.
    return None if found is None else int(found[1]) + 0.5


def _format(model: Model) -> str:
    return {"mlx": "an MLX model", "gguf": "a GGUF model"}.get(model.format, "another format")

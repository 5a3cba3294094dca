"""The settings of new chats with a model: sampling and the KV cache.

They stand in the model's defaults. If these name a preset, its values win.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from specd.lmstudio import keys, model_defaults, presets, values
from specd.lmstudio.model import Model


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """LM Studio's own defaults, where the user set nothing else.

    ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 keep every token. ``kv_bits``: bits of a number in
    MLX's quantized KV cache, None for full precision; ``kv_group``: numbers that share a scale;
    ``kv_start``: tokens after which it is quantized. ``k_type`` and ``v_type``: llama.cpp's names
    of the types of numbers in its KV cache.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    kv_bits: int | None = None
    kv_group: int = 64
    kv_start: int = 0
    k_type: str = "f16"
    v_type: str = "f16"

    @property
    def kv_types(self) -> tuple[str, str]:
        """Of keys and values in llama.cpp."""
        return self.k_type, self.v_type

    @property
    def narrowed(self) -> dict[str, float]:
        """What narrows the choice of tokens, by the names of mlx-lm and llama.cpp."""
        return {"top_k": self.top_k, "top_p": self.top_p, "min_p": self.min_p}

    @property
    def sampling(self) -> str:
        """The temperature and what narrows the choice of tokens, for people."""
        return (
            f"{self.temperature:g} (top-k {self.top_k}, top-p {self.top_p:g}, min-p {self.min_p:g})"
        )


def kv_quantized(home: Path | None, main: Model) -> tuple[int, int] | None:
    """Numbers that share a scale in an MLX main's KV cache, and tokens after which it is quantized.

    None if it is not.
    """
    if home is None:
        return None
    document = values.object_in(model_defaults.config_path(home, main))
    held = model_defaults.kv_quantization(document)
    return (held["kv_group"], held["kv_start"]) if "kv_group" in held else None


def read(home: Path | None, main: Model) -> ChatSettings:
    """The settings of new chats with ``main``; the defaults where there is no ``home``."""
    if home is None:
        return ChatSettings()
    document = values.object_in(model_defaults.config_path(home, main))
    held = {**model_defaults.sampling(document), **model_defaults.kv_quantization(document)}
    named = values.text(document.get(keys.PRESET[0]))
    if named and (preset := presets.chosen(named, presets.read(home))) is not None:
        held |= preset.sampling
    return ChatSettings(**held)

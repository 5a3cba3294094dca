"""The home specd was first wanted for: a Qwen3 main model and a Qwen2.5 draft, among others.

Its models have the right names, sizes and relations and no weights: sparse files with honest
safetensors headers. Their tokenizers are small ones of Qwen's construction, unless real ones are
handed in: Qwen3 adds four tokens to what Qwen2.5 has, and the logits of all are 151,936 wide.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from specd.demo.vocabulary import Vocabulary, tokenizer_config, tokenizer_json

MAIN = "mlx-community/Josiefied-Qwen3-8B-abliterated-v1-4bit"
DRAFT = "mlx-community/Josiefied-Qwen2.5-0.5B-abliterated"

_WIDTH = 151_936
_QWEN2_5 = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
]
_QWEN3 = ["<tool_response>", "</tool_response>", "<think>", "</think>"]
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What tells a model from the others; all have tiny weights in files of a real one's size."""

    model_type: str
    size: int
    bits: int


_MODELS = {
    MAIN: _Shape("qwen3", 4_620_000_000, 4),
    DRAFT: _Shape("qwen2", 293_990_000, 4),
    "mlx-community/Josiefied-Qwen2.5-3B-abliterated": _Shape("qwen2", 1_740_000_000, 4),
    "mlx-community/Qwen3-4B-4bit": _Shape("qwen3", 2_260_000_000, 4),
    "mlx-community/Josiefied-Qwen3-1.7B-abliterated-v1-4bit": _Shape("qwen3", 968_000_000, 4),
}


def byte_alphabet() -> tuple[str, ...]:
    """GPT-2's printable stand-ins for the 256 bytes, in the order of the bytes.

    Bytes that print stand for themselves; the others, a space among them, take the code points from
    256 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return tuple(chr(byte) if byte in printable else chr(next(others)) for byte in range(256))


def seed_home(home: Path, tokenizers: Mapping[str, Path] | None = None) -> None:
    """Lay it out in ``home``, which must not hold one yet.

    ``tokenizers`` maps a model type ("qwen2", "qwen3") to a folder whose tokenizer.json and
    tokenizer_config.json are used instead of small ones.
    """
    for identifier, shape in _MODELS.items():
        _model(home / "models" / identifier, shape, (tokenizers or {}).get(shape.model_type))
    settings = (files("specd.demo") / "home" / "settings.json").read_text(encoding="utf-8")
    _put(home / "settings.json", settings.replace("<home>", json.dumps(str(home))[1:-1]))
    internal = home / ".internal"
    server = (files("specd.demo") / "home" / "http-server-config.json").read_text(encoding="utf-8")
    _put(internal / "http-server-config.json", server)
    context = {"key": "llm.load.contextLength", "value": 40960}
    defaults = {"preset": "", "operation": {"fields": []}, "load": {"fields": [context]}}
    _put_json(internal / "user-concrete-model-default-config" / f"{MAIN}.json", defaults)
    drafts = [identifier for identifier in _MODELS if identifier != MAIN]
    _put_json(internal / "draft-model-compatibility-cache.json", {MAIN: drafts})


def _model(folder: Path, shape: _Shape, tokenizer: Path | None) -> None:
    vocabulary = _vocabulary(shape.model_type)
    if tokenizer is None:
        _put_json(folder / "tokenizer.json", tokenizer_json(vocabulary))
        _put_json(folder / "tokenizer_config.json", tokenizer_config(vocabulary))
        eos = vocabulary.eos
    else:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            _put(folder / name, (tokenizer / name).read_text(encoding="utf-8"))
        eos = 151_645  # <|im_end|>
    config: dict[str, Any] = {
        "architectures": [f"{shape.model_type.capitalize()}ForCausalLM"],
        "model_type": shape.model_type,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "max_position_embeddings": 40960,
        "tie_word_embeddings": True,
        "vocab_size": _WIDTH,
        "eos_token_id": eos,
        "quantization": {"group_size": 64, "bits": shape.bits},
    }
    _put_json(folder / "config.json", config)
    write_weights(folder / "model.safetensors", tensors(config, _WIDTH), shape.size)


def _vocabulary(model_type: str) -> Vocabulary:
    words = ("in", "th", "the", "Ġthe")
    ordinary = (*byte_alphabet(), *words)
    special = (*_QWEN2_5, *(_QWEN3 if model_type == "qwen3" else ()))
    first = len(ordinary)
    end = first + special.index("<|im_end|>")
    return Vocabulary(
        tokens=ordinary,
        merges=("i n", "t h", "th e", "Ġ the"),
        special=frozenset(),
        chat_template=_CHAT_TEMPLATE,
        bos=first,
        eos=end,
        pad=first,
        unk=first,
    ).adding(special)


def tensors(config: Mapping[str, Any], rows: int) -> dict[str, list[int]]:
    """The shapes of a plain model's tensors, as mlx-lm's llama, qwen2 and qwen3 want them."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = config["head_dim"]
    query, key = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    found = {"model.embed_tokens.weight": [rows, hidden], "model.norm.weight": [hidden]}
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        for name, size in (("q_proj", query), ("k_proj", key), ("v_proj", key)):
            found[f"{layer}.self_attn.{name}.weight"] = [size, hidden]
            if config["model_type"] == "qwen2":
                found[f"{layer}.self_attn.{name}.bias"] = [size]
        if config["model_type"] == "qwen3":
            found |= {f"{layer}.self_attn.{name}_norm.weight": [head] for name in "qk"}
        found[f"{layer}.self_attn.o_proj.weight"] = [hidden, query]
        found |= {f"{layer}.mlp.{name}_proj.weight": [inner, hidden] for name in ("gate", "up")}
        found[f"{layer}.mlp.down_proj.weight"] = [hidden, inner]
        for name in ("input_layernorm", "post_attention_layernorm"):
            found[f"{layer}.{name}.weight"] = [hidden]
    return found


def write_weights(path: Path, shapes: Mapping[str, list[int]], size: int = 0) -> None:
    """A safetensors file of zeros, at least ``size`` bytes long, which take no room on disk."""
    listed: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        listed[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(listed).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(max(size, 8 + len(header) + end))


def _put_json(path: Path, document: object) -> None:
    _put(path, json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")

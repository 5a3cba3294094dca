"""Model folders to fingerprint: a tokenizer, the configs beside it, weights that are all header."""

from __future__ import annotations

import json
import shutil
import struct
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from bench.seed_home import byte_alphabet, tensors, write_weights
from specd.demo.vocabulary import Vocabulary, tokenizer_config, tokenizer_json
from tests import real_tokenizers

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
WORDS = ("th", "the", "Ġthe", "in", "ing", "ā", "Ċ", "ĠĠ", "ðŁ", "¦Ļ", "ðŁ¦Ļ")
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
}
"""A config.json from which mlx-lm builds a model."""

QWEN3_ADDS = ("<tool_response>", "</tool_response>", "<think>", "</think>")


def small(*more: str) -> dict[str, Any]:
    """A byte-level tokenizer of a few hundred tokens, as ``tokenizers`` writes one."""
    ordinary = tuple(dict.fromkeys((*byte_alphabet(), *WORDS)))
    first = len(ordinary)
    vocabulary = Vocabulary(
        tokens=ordinary,
        merges=("t h", "th e", "Ġ the", "i n", "in g", "Ġ Ġ", "ð Ł", "¦ Ļ", "ðŁ ¦Ļ"),
        special=frozenset(),
        chat_template="{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}",
        bos=first,
        eos=first + 2,
        pad=first,
        unk=first,
    ).adding((*SPECIAL, *more))
    return {**tokenizer_json(vocabulary), "_config": tokenizer_config(vocabulary)}


def lay_out(
    folder: Path,
    document: dict[str, Any],
    *,
    rows: int | None = 512,
    logits: int | None = None,
    config: dict[str, Any] | None = None,
    generation: dict[str, Any] | None = None,
    **tokenizer_config: Any,
) -> Path:
    """A model's folder; ``rows`` are its embedding's, None for weights that do not tell."""
    folder.mkdir(parents=True, exist_ok=True)
    told = deepcopy(document)
    beside = {**told.pop("_config", {}), **tokenizer_config}
    put(folder / "tokenizer.json", told)
    put(folder / "tokenizer_config.json", beside)
    put(folder / "config.json", {**LLAMA, "vocab_size": rows or 512, **(config or {})})
    if generation is not None:
        put(folder / "generation_config.json", generation)
    told = json.loads((folder / "config.json").read_bytes())
    shapes = tensors(told, rows or 0) if rows is not None else {"model.norm.weight": [64]}
    if logits is not None:
        shapes["lm_head.weight"] = [logits, 64]
    write_weights(folder / "model.safetensors", shapes)
    return folder


def weights(path: Path, tensors: dict[str, list[int]]) -> None:
    """A safetensors file of these shapes and next to nothing in it."""
    header = json.dumps(
        {"__metadata__": {"format": "mlx"}}
        | {
            name: {"dtype": "U32", "shape": shape, "data_offsets": [0, 0]}
            for name, shape in tensors.items()
        }
    ).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def put(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def real(name: str) -> Path:
    """The folder of a well-known model's tokenizer; the test is skipped where it cannot be had."""
    try:
        return real_tokenizers.folder(name)
    except real_tokenizers.NotFetched as why:
        pytest.skip(str(why))


def real_model(name: str, folder: Path, *, rows: int, **config: Any) -> Path:
    """A model's folder with a real tokenizer in it."""
    shutil.copytree(real(name), folder)
    put(folder / "config.json", {**LLAMA, "vocab_size": rows, **config})
    weights(folder / "model.safetensors", {"model.embed_tokens.weight": [rows, 8]})
    return folder


def qwen3(folder: Path, *, rows: int = 151_936) -> Path:
    return real_model("qwen3", folder, rows=rows, eos_token_id=[151_645, 151_643])


def qwen2_5(folder: Path, *, rows: int = 151_936) -> Path:
    """Qwen3's tokenizer without the four tokens that Qwen2.5's lacks."""
    qwen3(folder, rows=rows)
    document = json.loads((folder / "tokenizer.json").read_bytes())
    document["added_tokens"] = [
        each for each in document["added_tokens"] if each["content"] not in QWEN3_ADDS
    ]
    put(folder / "tokenizer.json", document)
    beside = json.loads((folder / "tokenizer_config.json").read_bytes())
    beside["added_tokens_decoder"] = {
        number: each
        for number, each in beside["added_tokens_decoder"].items()
        if each["content"] not in QWEN3_ADDS
    }
    put(folder / "tokenizer_config.json", beside)
    return folder

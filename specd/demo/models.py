"""Real MLX models for the demo and the tests, made from SmolLM2-135M's weights.

Each is an ordinary model folder that ``mlx_lm.load`` opens: config.json, model.safetensors,
tokenizer.json, tokenizer_config.json, generation_config.json. A ``Recipe`` describes each model:

- **the main** is SmolLM2 with additional layers whose output projections are zero. They add nothing
  to the residual stream: the text stays the same, only the time per token grows, as in a bigger
  model. It also has four tokens that its drafts lack, like Qwen3 beside Qwen2.5.
- **the good draft** is plain SmolLM2.
- **the poor draft** is SmolLM2 with noise on its weights: same tokens, worse guesses.
- **the incompatible draft** writes the same text as the good one with other ids: vocabulary and
  embedding are rotated alike. Its vocabulary is as large as the main's, so comparing sizes does not
  find the difference.

The cost of a model depends on MLX's backend. On the CPU the time of a matrix product grows with the
rows: checking k drafted tokens would cost k single steps, and no draft would be faster. With 16-bit
weights it is different: unpacking them takes most of the time and happens once for all rows, like
reading from memory on a GPU. 16-bit scales and activations are slow on a CPU, hence 32-bit ones.
The main therefore has 16 bits and a few more layers on the CPU, 4 bits and many more on a GPU.

Models are cached under a key made from the recipe and the content of the weights, and moved into
the cache only when complete: several processes may build the same model at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
from platformdirs import user_cache_path

from specd.demo.vocabulary import Vocabulary, tokenizer_config, tokenizer_json
from specd.demo.weights import find_gguf

_FORMAT = 4  # part of the cache key: raise it when the same recipe gives other files
_WIDTH = 49216  # logits and embedding rows: the 49,152 tokens padded to a multiple of 64
_GROUP = 32  # weights per scale, in the GGUF's Q4_1 and Q8_0 as in the folders written here
_ON_CPU = mx.default_device() == mx.cpu
_FLOAT = mx.float32 if _ON_CPU else mx.float16

# ChatML like SmolLM2's own template, without its system message, which would be most of a short
# prompt: prompts are slow on a CPU.
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_PARTS = {  # GGUF's name of a layer's part → mlx-lm's
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_OUTPUTS = ("attn_output", "ffn_down")  # these write into the residual stream


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one model is made. ``identifier`` is ``publisher/repo``.

    ``layers``: the first of SmolLM2's 30. ``idle_layers``: layers after them that change nothing.
    ``dense``: unpack the 4-bit weights to 16 bits. ``noise``: relative error of every scale.
    ``rotated``: distance by which ordinary ids are moved. ``extra_tokens``: special tokens that
    SmolLM2 lacks.
    """

    identifier: str
    layers: int = 30
    idle_layers: int = 0
    dense: bool = False
    noise: float = 0.0
    rotated: int = 0
    extra_tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """A main model and three drafts for it."""

    main: Recipe
    good: Recipe
    poor: Recipe
    incompatible: Recipe

    def __iter__(self) -> Iterator[Recipe]:
        return iter((self.main, self.good, self.poor, self.incompatible))


_EXTRA = ("<think>", "</think>", "<tool_response>", "</tool_response>")
_MAIN = (
    Recipe("specd-demo/SmolLM2-Deep-Instruct-fp16", idle_layers=6, dense=True)
    if _ON_CPU
    else Recipe("specd-demo/SmolLM2-Deep-Instruct-4bit", idle_layers=90)
)

DEMO = Family(
    main=replace(_MAIN, extra_tokens=_EXTRA),
    good=Recipe("specd-demo/SmolLM2-135M-Instruct-4bit"),
    poor=Recipe("specd-demo/SmolLM2-135M-Instruct-Noisy-4bit", noise=0.1),
    incompatible=Recipe("specd-demo/SmolLM2-135M-Instruct-Shuffled-4bit", rotated=1000),
)
"""The models of ``specd demo``: answers make sense, and the good draft is faster."""

SMALL = Family(
    main=Recipe(
        "specd-demo/SmolLM2-Small-Deep-fp16", 3, idle_layers=2, dense=True, extra_tokens=_EXTRA
    ),
    good=Recipe("specd-demo/SmolLM2-Small-4bit", layers=3),
    poor=Recipe("specd-demo/SmolLM2-Small-Noisy-4bit", layers=3, noise=0.5),
    incompatible=Recipe("specd-demo/SmolLM2-Small-Shuffled-4bit", layers=3, rotated=1000),
)
"""The same relations in a tenth of the time, for tests: answers make no sense."""


def ensure(recipe: Recipe, cache: Path | None = None) -> Path:
    """The folder of ``recipe``'s model, which is built if it is not in the cache.

    ``cache`` (``$SPECD_DEMO_CACHE``, else the user's cache) is safe to delete. The folder's last
    two parts are ``publisher/repo``. Takes about two seconds to build.

    Raises:
        WeightsMissing: the data package is not installed.
    """
    gguf = find_gguf()
    made_from = json.dumps([_FORMAT, _digest(gguf), str(_FLOAT), asdict(recipe)], sort_keys=True)
    key = hashlib.sha256(made_from.encode()).hexdigest()[:16]
    named = os.environ.get("SPECD_DEMO_CACHE")
    usual = Path(named) if named else user_cache_path("specd", appauthor=False) / "demo"
    folder = (cache or usual) / key / recipe.identifier
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".building-", dir=folder.parent, ignore_cleanup_errors=True
        ) as building:
            _write(recipe, gguf, Path(building))
            Path(building).chmod(0o755)
            try:
                Path(building).rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was first, with the same bytes
                    raise
    return folder


@cache
def _digest(gguf: Path) -> str:
    with gguf.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(recipe: Recipe, gguf: Path, folder: Path) -> None:
    loaded: Any = mx.load(str(gguf), return_metadata=True)  # its type says "or a bare array"
    arrays, facts = loaded
    vocabulary = _vocabulary(facts).adding(recipe.extra_tokens)
    rows = None
    if recipe.rotated:
        rows = vocabulary.rotation(recipe.rotated)
        vocabulary = vocabulary.reordered(rows)
    tensors = _tensors(recipe, arrays, rows)
    mx.save_safetensors(str(folder / "model.safetensors"), tensors, metadata={"format": "mlx"})
    generation = {"bos_token_id": vocabulary.bos, "eos_token_id": vocabulary.eos}
    for name, document in (
        ("config.json", _config(recipe, facts)),
        ("generation_config.json", generation),
        ("tokenizer.json", tokenizer_json(vocabulary)),
        ("tokenizer_config.json", tokenizer_config(vocabulary)),
    ):
        text = json.dumps(document, ensure_ascii=False, indent=2)
        (folder / name).write_text(text + "\n", encoding="utf-8")


def _vocabulary(facts: dict[str, Any]) -> Vocabulary:
    control = 3  # llama.cpp's token type of special tokens
    kinds = facts["tokenizer.ggml.token_type"].tolist()
    return Vocabulary(
        tokens=tuple(facts["tokenizer.ggml.tokens"]),
        merges=tuple(facts["tokenizer.ggml.merges"]),
        special=frozenset(i for i, kind in enumerate(kinds) if kind == control),
        chat_template=_CHAT_TEMPLATE,
        bos=facts["tokenizer.ggml.bos_token_id"].item(),
        eos=facts["tokenizer.ggml.eos_token_id"].item(),
        pad=facts["tokenizer.ggml.padding_token_id"].item(),
        unk=facts["tokenizer.ggml.unknown_token_id"].item(),
    )


def _config(recipe: Recipe, facts: dict[str, Any]) -> dict[str, Any]:
    """config.json as mlx-lm's converter writes it, 8-bit embedding included."""
    packed = {
        "group_size": _GROUP,
        "bits": 4,
        "model.embed_tokens": {"group_size": _GROUP, "bits": 8},
    }
    quantization = {} if recipe.dense else {"quantization": packed, "quantization_config": packed}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": facts["llama.embedding_length"].item(),
        "intermediate_size": facts["llama.feed_forward_length"].item(),
        "num_hidden_layers": recipe.layers + recipe.idle_layers,
        "num_attention_heads": facts["llama.attention.head_count"].item(),
        "num_key_value_heads": facts["llama.attention.head_count_kv"].item(),
        "max_position_embeddings": facts["llama.context_length"].item(),
        "rms_norm_eps": facts["llama.attention.layer_norm_rms_epsilon"].item(),
        "rope_theta": facts["llama.rope.freq_base"].item(),
        "rope_traditional": True,  # GGUF keeps llama's rotary pairs interleaved
        "tie_word_embeddings": True,
        "vocab_size": _WIDTH,
        "bos_token_id": facts["tokenizer.ggml.bos_token_id"].item(),
        "eos_token_id": facts["tokenizer.ggml.eos_token_id"].item(),
        "torch_dtype": "float16" if recipe.dense else str(_FLOAT).removeprefix("mlx.core."),
        **quantization,
    }


def _tensors(
    recipe: Recipe, arrays: dict[str, mx.array], rows: tuple[int, ...] | None
) -> dict[str, mx.array]:
    """mlx-lm's parameters by name. ``rows[new]`` is the embedding row of token id ``new``."""
    tensors: dict[str, mx.array] = {}
    for name, array in _matrix(recipe, arrays, "token_embd", bits=8).items():
        reordered = array if rows is None else array[mx.array(rows[: array.shape[0]])]
        # Padding rows repeat the first special token's, which SmolLM2 never generates.
        padding = mx.repeat(array[:1], _WIDTH - array.shape[0], axis=0)
        tensors[f"model.embed_tokens.{name}"] = mx.concatenate([reordered, padding])
    tensors["model.norm.weight"] = _norm(recipe, arrays["output_norm.weight"])
    for layer in range(recipe.layers + recipe.idle_layers):
        idle = layer >= recipe.layers
        source = layer % recipe.layers
        for part, target in _PARTS.items():
            name = f"blk.{source}.{part}"
            if part.endswith("norm"):
                parameters = {"weight": _norm(recipe, arrays[f"{name}.weight"])}
            else:
                parameters = _matrix(recipe, arrays, name, bits=4)
            if idle and part in _OUTPUTS:
                parameters = {kind: mx.zeros_like(array) for kind, array in parameters.items()}
            for kind, array in parameters.items():
                tensors[f"model.layers.{layer}.{target}.{kind}"] = array
    return tensors


def _norm(recipe: Recipe, weight: mx.array) -> mx.array:
    return weight.astype(mx.float16 if recipe.dense else _FLOAT)


def _matrix(
    recipe: Recipe, arrays: dict[str, mx.array], name: str, bits: int
) -> dict[str, mx.array]:
    """One weight matrix's arrays: packed with scales and biases, or dense."""
    weight, scales, biases = (arrays[f"{name}.{kind}"] for kind in ("weight", "scales", "biases"))
    if recipe.noise and bits == 4:
        seed = mx.random.key(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
        scales = scales * (1 + recipe.noise * mx.random.normal(scales.shape, key=seed))
    if recipe.dense:
        full = mx.dequantize(weight, scales, biases, group_size=_GROUP, bits=bits)
        return {"weight": full.astype(mx.float16)}
    return {"weight": weight, "scales": scales.astype(_FLOAT), "biases": biases.astype(_FLOAT)}

"""Real MLX models for the demo and the tests, made from SmolLM2-135M's weights.

Each is an ordinary model folder that ``mlx_lm.load`` opens: config.json, model.safetensors,
tokenizer.json, tokenizer_config.json, generation_config.json. What differs is told by a ``Recipe``:

- **the main** is SmolLM2 with more layers, whose output projections are zero. Such a layer adds
  nothing to the residual stream, so the text stays the same and only the price rises: a bigger
  model, as far as speed is concerned. It also names four tokens that its drafts lack, as Qwen3 does
  beside Qwen2.5.
- **the good draft** is plain SmolLM2, **the poor draft** the same with noise on its weights: its
  tokens mean the same, it merely guesses badly.
- **the incompatible draft** speaks as well as the good one, under other ids: vocabulary and
  embedding are rotated alike. Its vocabulary is as large as the main's, so a check that compares
  sizes lets it pass.

What a model costs depends on MLX's backend. On the CPU a matrix product takes time in proportion
to the rows, so checking k drafted tokens would cost k single steps and no draft could ever pay,
unless the weights are 16-bit: unpacking those dominates and is paid once for all rows, just as
reading them from memory is on a GPU. 16-bit scales and activations are slow there too, where the
processor's own half precision is not used, hence 32-bit ones. So the main is 16-bit and a little
deeper on the CPU, and 4-bit and much deeper on a GPU.

Models are kept in a cache, under a key made of the recipe and the weights' content, and moved there
only when complete: any number of processes may ask for the same one at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
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

_FORMAT = 4  # part of the cache key: raised when the same recipe is to give other files
_WIDTH = 49216  # logits and embedding rows: the 49,152 tokens padded to a multiple of 64
_GROUP = 32  # weights per scale, in the GGUF's Q4_1 and Q8_0 as in the folders written here
_ON_CPU = mx.default_device() == mx.cpu
_FLOAT = mx.float32 if _ON_CPU else mx.float16

# ChatML as SmolLM2's own template writes it, without the system message that one adds: it would be
# most of every short prompt, and prompts are slow on a CPU.
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
_OUTPUTS = ("attn_output", "ffn_down")  # what writes into the residual stream


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one model is made. ``identifier`` is ``publisher/repo``.

    ``layers`` of SmolLM2's 30, from the first, then ``idle_layers`` that change nothing. ``dense``
    unpacks the 4-bit weights to 16 bits. ``noise`` is the relative error put on every scale,
    ``rotated`` by how much ordinary ids are moved, ``extra_tokens`` the special tokens named beyond
    SmolLM2's own.
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
"""What ``specd demo`` shows: answers make sense, and the good draft pays."""

SMALL = Family(
    main=Recipe(
        "specd-demo/SmolLM2-Small-Deep-fp16", 3, idle_layers=2, dense=True, extra_tokens=_EXTRA
    ),
    good=Recipe("specd-demo/SmolLM2-Small-4bit", layers=3),
    poor=Recipe("specd-demo/SmolLM2-Small-Noisy-4bit", layers=3, noise=0.5),
    incompatible=Recipe("specd-demo/SmolLM2-Small-Shuffled-4bit", layers=3, rotated=1000),
)
"""The same relations at a tenth of the time, for tests: answers are gibberish."""


def cache_dir() -> Path:
    """Where built models are kept; safe to delete. ``$SPECD_DEMO_CACHE`` names another place."""
    named = os.environ.get("SPECD_DEMO_CACHE")
    return Path(named) if named else user_cache_path("specd", appauthor=False) / "demo"


def ensure(recipe: Recipe, cache: Path | None = None) -> Path:
    """The folder of the model ``recipe`` describes, built if the cache does not hold it yet.

    The folder's last two parts are ``publisher/repo``. Takes about two seconds to build.

    Raises:
        WeightsMissing: the data package is not installed.
    """
    gguf = find_gguf()
    told = json.dumps([_FORMAT, _digest(gguf), str(_FLOAT), asdict(recipe)], sort_keys=True)
    key = hashlib.sha256(told.encode()).hexdigest()[:16]
    folder = (cache or cache_dir()) / key / recipe.identifier
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
        try:
            _write(recipe, gguf, building)
            _move(building, folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return folder


def _move(building: Path, folder: Path) -> None:
    building.chmod(0o755)
    try:
        building.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, with the same bytes
            raise


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
        # Padding rows repeat the first special token's, which SmolLM2 never says.
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

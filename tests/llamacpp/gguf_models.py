"""GGUF files of tiny random models, as ``gguf`` writes them, with any vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from bench.seed_home import byte_alphabet

TOKENS = (*dict.fromkeys(byte_alphabet()), "th", "the", "Ġthe", "in", "ing", "<|end|>", "<|bos|>")
END, BEGIN = len(TOKENS) - 2, len(TOKENS) - 1
WIDTH = 32
MERGES = ("t h", "th e", "Ġ the", "i n", "in g")


def write(
    path: Path,
    tokens: Sequence[str] | Sequence[bytes] = TOKENS,
    *,
    seed: int = 1,
    layers: int = 1,
    heads: int = 2,
    context: int = 2048,
    quiet: bool = True,
    scores: Sequence[float] = (),
    architecture: str = "llama",
    pre: str = "gpt-2",
    kinds: Mapping[int, gguf.TokenType] | None = None,
    chat_template: str = "",
    without: Collection[str] = (),
    change: Callable[[gguf.GGUFWriter], None] = lambda _: None,
    **facts: Any,
) -> Path:
    """A model with these tokens; ``facts`` are set under ``tokenizer.ggml.``, None leaves one out.

    ``architecture``: "lfm2" keeps a state in all layers but the last. ``without``: tensors that are
    left out. ``change``: called at last.
    """
    made = gguf.GGUFWriter(path, architecture)
    lfm2 = architecture == "lfm2"
    _shape(made, architecture, layers, heads, context)
    made.add_vocab_size(len(tokens))
    made.add_tokenizer_model("gpt2")
    made.add_tokenizer_pre(pre)
    made.add_token_list(list(tokens))
    control = {END: gguf.TokenType.CONTROL, BEGIN: gguf.TokenType.CONTROL, **(kinds or {})}
    made.add_token_types([control.get(n, gguf.TokenType.NORMAL) for n in range(len(tokens))])
    made.add_token_merges(list(MERGES))
    made.add_token_scores(list(scores) or [0.0] * len(tokens))
    told = {"eos_token_id": END, "bos_token_id": BEGIN, "add_bos_token": True, **facts}
    _describe(made, told, chat_template)
    random, width = np.random.default_rng(seed), WIDTH

    def matrix(*shape: int) -> Any:
        return (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    def add(name: str, tensor: Any) -> None:
        if name not in without:
            made.add_tensor(f"{name}.weight", tensor)

    def ones(name: str, size: int = width) -> None:
        add(name, np.ones(size, dtype=np.float32))

    add("token_embd", matrix(len(tokens), width))
    ones("token_embd_norm" if lfm2 else "output_norm")
    output = matrix(len(tokens), width) * 4
    if quiet:  # as a trained model, which never answers with what it has not met
        output[len(TOKENS) :] = 0
    if not architecture.startswith("gemma"):
        add("output", output)
    for number in range(layers):
        keeps = lfm2 and number + 1 < layers
        norms = {name: width // heads for name in _QK_NORMS.get(architecture, ()) if not keeps}
        for name in (*norms, "attn_norm", "ffn_norm", *_POST_NORMS.get(architecture, ())):
            ones(f"blk.{number}.{name}", norms.get(name, width))
        for name, shape in _matrices(width, keeps=keeps).items():
            add(f"blk.{number}.{name}", matrix(*shape))
    change(made)
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()
    return path


_QK_NORMS = dict.fromkeys(("lfm2", "qwen3", "gemma3"), ("attn_q_norm", "attn_k_norm"))
_POST_NORMS = dict.fromkeys(("gemma2", "gemma3"), ("post_attention_norm", "post_ffw_norm"))


def _shape(made: gguf.GGUFWriter, architecture: str, layers: int, heads: int, context: int) -> None:
    made.add_context_length(context)
    made.add_embedding_length(WIDTH)
    made.add_block_count(layers)
    made.add_feed_forward_length(64)
    made.add_head_count(heads)
    made.add_head_count_kv([*[0] * (layers - 1), heads] if architecture == "lfm2" else heads)
    if architecture == "lfm2":
        made.add_shortconv_l_cache(3)
    if architecture in _POST_NORMS:
        made.add_sliding_window(64)
    made.add_layer_norm_rms_eps(1e-5)
    made.add_rope_dimension_count(WIDTH // heads)


def _matrices(width: int, *, keeps: bool) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's weights; one that ``keeps`` a state has no attention."""
    state = {"in_proj": (3 * width, width), "conv": (width, 3), "out_proj": (width, width)}
    attention = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (width, width))
    mixes = {f"shortconv.{name}": shape for name, shape in state.items()} if keeps else attention
    return {**mixes, **dict.fromkeys(("ffn_gate", "ffn_up"), (64, width)), "ffn_down": (width, 64)}


def _describe(made: gguf.GGUFWriter, facts: Mapping[str, Any], chat_template: str) -> None:
    if chat_template:
        made.add_chat_template(chat_template)
    for key, value in facts.items():
        if isinstance(value, bool):
            made.add_bool(f"tokenizer.ggml.{key}", value)
        elif value is not None:
            made.add_uint32(f"tokenizer.ggml.{key}", value)


def install(home: Path) -> tuple[str, str]:
    """The names of a main and a draft of one vocabulary, in a home's models."""
    names = []
    for name, layers in (("tiny-main", 3), ("tiny-draft", 1)):
        folder = home / "models" / "specd-tests" / name
        folder.mkdir(parents=True)
        write(folder / f"{name}.gguf", layers=layers)
        names.append(name)
    return names[0], names[1]

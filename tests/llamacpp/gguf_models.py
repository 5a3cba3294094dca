"""GGUF files of tiny random models, as ``gguf`` writes them, with any vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from bench.seed_home import byte_alphabet

TOKENS = (*dict.fromkeys(byte_alphabet()), "th", "the", "Ġthe", "in", "ing", "<|end|>", "<|bos|>")
END, BEGIN = len(TOKENS) - 2, len(TOKENS) - 1
MERGES = ("t h", "th e", "Ġ the", "i n", "in g")


def write(
    path: Path,
    tokens: Sequence[str] = TOKENS,
    *,
    seed: int = 1,
    layers: int = 1,
    heads: int = 2,
    context: int = 2048,
    quiet: bool = True,
    scores: Sequence[float] = (),
    architecture: str = "llama",
    kinds: Mapping[int, gguf.TokenType] | None = None,
    chat_template: str = "",
    **facts: Any,
) -> Path:
    """A model with these tokens; ``facts`` are set under ``tokenizer.ggml.``, None leaves one out.

    ``architecture``: "lfm2" keeps a state in all layers but the last.
    """
    width = 32
    made = gguf.GGUFWriter(path, architecture)
    made.add_context_length(context)
    made.add_embedding_length(width)
    made.add_block_count(layers)
    made.add_feed_forward_length(64)
    made.add_head_count(heads)
    lfm2 = architecture == "lfm2"
    made.add_head_count_kv([*[0] * (layers - 1), heads] if lfm2 else heads)
    if lfm2:
        made.add_shortconv_l_cache(3)
    made.add_layer_norm_rms_eps(1e-5)
    made.add_rope_dimension_count(width // heads)
    made.add_vocab_size(len(tokens))
    made.add_tokenizer_model("gpt2")
    made.add_tokenizer_pre("gpt-2")
    made.add_token_list(list(tokens))
    control = {END: gguf.TokenType.CONTROL, BEGIN: gguf.TokenType.CONTROL, **(kinds or {})}
    made.add_token_types([control.get(n, gguf.TokenType.NORMAL) for n in range(len(tokens))])
    made.add_token_merges(list(MERGES))
    made.add_token_scores(list(scores) or [0.0] * len(tokens))
    told = {"eos_token_id": END, "bos_token_id": BEGIN, "add_bos_token": True, **facts}
    _describe(made, told, chat_template)
    random = np.random.default_rng(seed)

    def matrix(*shape: int) -> Any:
        return (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    made.add_tensor("token_embd.weight", matrix(len(tokens), width))
    norm = "token_embd_norm" if lfm2 else "output_norm"
    made.add_tensor(f"{norm}.weight", np.ones(width, dtype=np.float32))
    output = matrix(len(tokens), width) * 4
    if quiet:  # as a trained model, which never answers with what it has not met
        output[len(TOKENS) :] = 0
    made.add_tensor("output.weight", output)
    attention: dict[str, tuple[int, ...]]
    attention = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (width, width))
    state = {"in_proj": (3 * width, width), "conv": (width, 3), "out_proj": (width, width)}
    if lfm2:
        attention |= dict.fromkeys(("attn_q_norm", "attn_k_norm"), (width // heads,))
    for number in range(layers):
        for name in ("attn_norm", "ffn_norm"):
            made.add_tensor(f"blk.{number}.{name}.weight", np.ones(width, dtype=np.float32))
        keeps = lfm2 and number + 1 < layers
        for name, shape in (state if keeps else attention).items():
            of = f"blk.{number}.{'shortconv.' if keeps else ''}{name}"
            made.add_tensor(f"{of}.weight", matrix(*shape))
        for name in ("ffn_gate", "ffn_up"):
            made.add_tensor(f"blk.{number}.{name}.weight", matrix(64, width))
        made.add_tensor(f"blk.{number}.ffn_down.weight", matrix(width, 64))
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()
    return path


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

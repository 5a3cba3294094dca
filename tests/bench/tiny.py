"""Real models of MLX's that answer in milliseconds: a llama of two thin layers, weights drawn.

A draft is the same model with noise on its weights, so how often it agrees is a matter of how much.
They speak SmolLM2's tokens, so that prompts and answers go through a real tokenizer.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map
from mlx_lm import load
from mlx_lm.models.llama import Model, ModelArgs

from specd.bench.engine_mlx import Main, MlxEngine
from specd.demo.models import SMALL, ensure


def model(*, noise: float = 0.0) -> Any:
    """The main, or with ``noise`` (relative to each weight) a draft for it."""
    mx.random.seed(7)
    made = Model(
        ModelArgs(
            model_type="llama",
            hidden_size=48,
            num_hidden_layers=2,
            intermediate_size=96,
            num_attention_heads=4,
            rms_norm_eps=1e-5,
            vocab_size=49216,
            tie_word_embeddings=True,
        )
    )
    # Strong enough weights that the text depends on all of what stands before.
    made.update(tree_map(lambda weight: weight * 3, made.parameters()))
    if noise:
        mx.random.seed(11)
        made.update(
            tree_map(
                lambda weight: weight * (1 + noise * mx.random.normal(weight.shape)),
                made.parameters(),
            )
        )
    mx.eval(made.parameters())
    return made


@cache
def tokenizer() -> Any:
    """SmolLM2's."""
    return load(str(ensure(SMALL.good)))[1]


def engine(*, noise: float) -> MlxEngine:
    """A main and its noisy copy."""
    return MlxEngine(Main(model(), tokenizer()), model(noise=noise))

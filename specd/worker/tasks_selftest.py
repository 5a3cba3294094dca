"""Worker task: a tiny random main must give the same answer with and without a draft here."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generate_step, speculative_generate_step
from mlx_lm.models.llama import Model, ModelArgs

from specd.worker import Progress

TOKENS = 48
PROMPT = tuple(range(7, 39))


def self_test(request: dict[str, Any], progress: Progress) -> dict[str, Any]:  # noqa: ARG001 - as all tasks
    """``{"device", "mlx", "mlx_lm", "same", "tokens", "drafted", "seconds"}``."""
    began = time.perf_counter()
    progress({"device": str(mx.default_device())})
    main, again, draft = _model(layers=2), _model(layers=2), _model(layers=1)
    prompt = mx.array(PROMPT)
    alone = [int(token) for token, _ in generate_step(prompt, main, max_tokens=TOKENS)]
    # As its own draft the main is always accepted, the other draft hardly ever: test both.
    runs = [
        list(speculative_generate_step(prompt, main, each, num_draft_tokens=3, max_tokens=TOKENS))
        for each in (again, draft)
    ]
    return {
        "device": str(mx.default_device()),
        "mlx": version("mlx"),
        "mlx_lm": version("mlx-lm"),
        "same": all([int(token) for token, *_ in run] == alone for run in runs),
        "tokens": TOKENS,
        "drafted": sum(bool(from_draft) for *_, from_draft in runs[0]),
        "seconds": time.perf_counter() - began,
    }


def _model(*, layers: int) -> Any:
    mx.random.seed(0)
    model = Model(
        ModelArgs(
            model_type="llama",
            hidden_size=64,
            num_hidden_layers=layers,
            intermediate_size=128,
            num_attention_heads=4,
            num_key_value_heads=2,
            rms_norm_eps=1e-5,
            vocab_size=256,
            rope_theta=10_000.0,
            tie_word_embeddings=False,
        )
    )
    mx.eval(model.parameters())
    return model

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from specd.tokenizer import engine
from specd.tokenizer.engine import Trimmable
from tests.tokenizer import folders
from tests.tokenizer.models import model

MAIN = model("Main-8B-4bit", size_bytes=4_600_000_000)
DRAFT = model("Draft-0.6B-4bit", size_bytes=400_000_000)


def test_nothing_speaks_against_a_plain_pair() -> None:
    cache = Trimmable(yes=True, kinds=("KVCache",))
    assert engine.hopeless(MAIN, DRAFT) is None
    assert engine.refusal(MAIN, cache) is None
    assert engine.advice(MAIN, DRAFT, cache) == ()


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"kind": "embedding"}, "makes embeddings"),
        ({"kind": "mmproj"}, "projector"),
        ({"kind": "adapter"}, "adapter without its base"),
        ({"format": "gguf"}, "different engines"),
    ],
)
def test_what_never_drafts_is_refused_whatever_its_tokens(
    facts: dict[str, Any], reason: str
) -> None:
    other = model("Draft-0.6B", **{"size_bytes": 1, **facts})
    assert reason in (engine.hopeless(MAIN, other) or "")
    assert reason in (engine.hopeless(other, MAIN) or "")


def test_a_model_does_not_draft_for_itself() -> None:
    assert engine.hopeless(MAIN, MAIN) == "a model cannot draft for itself"


def test_a_vision_main_is_refused_and_a_vision_draft_is_not() -> None:
    seeing = model("Seeing-8B", kind="vlm")
    assert "vision_config" in (engine.refusal(seeing, None) or "")
    assert engine.hopeless(MAIN, seeing) is None
    assert engine.refusal(model("Seeing-8B-GGUF", kind="vlm", format="gguf"), None) is None


def test_a_cache_that_cannot_be_trimmed_is_refused_by_its_class() -> None:
    refusal = engine.refusal(MAIN, Trimmable(yes=False, kinds=("ArraysCache",)))
    assert refusal is not None
    assert "ArraysCache" in refusal


def test_a_rotating_cache_is_said_to_end_speculation() -> None:
    (advice,) = engine.advice(MAIN, DRAFT, Trimmable(yes=True, window=1024))
    assert "last 1,024 tokens" in advice


def test_a_cache_nobody_could_ask_about_is_said() -> None:
    (advice,) = engine.advice(MAIN, DRAFT, Trimmable(None, problem="no such class"))
    assert "no such class" in advice


def test_a_draft_that_is_not_smaller_gains_nothing() -> None:
    (advice,) = engine.advice(MAIN, model("Other-8B", size_bytes=MAIN.size_bytes), None)
    assert "not smaller" in advice


@pytest.mark.parametrize(
    ("main", "draft", "said"),
    [
        ("Main-3B", "Draft-0.5B", "see no gain"),
        ("Main-7B", "Draft-0.5B", ""),
        ("Main-7B", "Draft-1B", ""),
        ("Main-8B", "Draft-3B", "up to 1B"),
        ("Main-14B", "Draft-3B", ""),
        ("Main-14B", "Draft-7B", "up to 3B"),
        ("Main-32B", "Draft-7B", ""),
        ("Main-32B", "Draft-14B", "up to 7B"),
        ("SmolLM2-135M", "SmolLM2-30M", ""),
    ],
)
def test_the_docs_advice_on_sizes_is_advice(main: str, draft: str, said: str) -> None:
    found = engine.advice(model(main, size_bytes=1 << 34), model(draft, size_bytes=1 << 30), None)
    assert bool(found) == bool(said)
    assert all(said in each for each in found)


@pytest.mark.parametrize(
    ("name", "quantization", "size", "billions"),
    [
        ("Josiefied-Qwen3-8B-abliterated-v1-4bit", "4bit", 4_620_000_000, 8),
        ("Qwen2.5-0.5B-Instruct", "4bit", 294_000_000, 0.5),
        ("SmolLM2-135M-Instruct", "bf16", 270_000_000, 0.135),
        ("Phi-4-mini", "4bit", 2_160_000_000, 3.8),
        ("gemma-3-27b-it-qat-4bit", "4bit", 15_000_000_000, 27),
        ("Something-v2", None, 5_000_000_000, None),
        ("Kimi-K2-1T-mlx", "8bit", 8_500_000_000, 8),
    ],
)
def test_parameters_are_told_by_the_name_else_by_the_size(
    name: str, quantization: str | None, size: int, billions: float | None
) -> None:
    found = engine.billions(model(name, quantization=quantization, size_bytes=size))
    assert found == (None if billions is None else pytest.approx(billions, rel=0.05))


def test_what_cannot_be_looked_at_is_unknown() -> None:
    assert engine.unusable(model("Half", kind="incomplete", problem="a shard is missing"))
    assert "pickles" in (engine.unusable(model("Torch", format="other")) or "")
    assert engine.unusable(MAIN) is None


# -- what mlx-lm's own classes say ----------------------------------------------------------------

PLAIN = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "head_dim": 16,
}


@pytest.mark.mlx
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "llama"}, Trimmable(yes=True, kinds=("KVCache",))),
        ({"model_type": "qwen3", "rope_theta": 1e6, "max_position_embeddings": 512,
          "tie_word_embeddings": True}, Trimmable(yes=True, kinds=("KVCache",))),
        ({"model_type": "mamba", "state_size": 4, "conv_kernel": 4, "use_bias": False,
          "use_conv_bias": True, "time_step_rank": 4},
         Trimmable(yes=False, kinds=("ArraysCache",))),
        ({"model_type": "gpt_oss"},
         Trimmable(yes=True, kinds=("KVCache", "RotatingKVCache"), window=128)),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_mlx_lms_cache_classes_are_asked_by_architecture(
    tmp_path: Path, config: dict[str, Any], expected: Trimmable
) -> None:
    from specd.tokenizer.kv_cache import trimmable

    folder = folders.lay_out(tmp_path, folders.small(), config={**PLAIN, **config})
    assert trimmable(folder) == expected


@pytest.mark.mlx
def test_an_architecture_mlx_lm_does_not_know_is_said(tmp_path: Path) -> None:
    from specd.tokenizer.kv_cache import trimmable

    folder = folders.lay_out(tmp_path, folders.small(), config={"model_type": "nonsense"})
    found = trimmable(folder)
    assert found.yes is None
    assert "nonsense" in found.problem

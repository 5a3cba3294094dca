from __future__ import annotations

from typing import Any

import pytest

from specd.tokenizer import eligible
from specd.tokenizer.engines.mlx import Built
from tests.tokenizer.models import model

MAIN = model("Main-8B-4bit", size_bytes=4_600_000_000)
DRAFT = model("Draft-0.6B-4bit", size_bytes=400_000_000)


def test_nothing_speaks_against_a_plain_pair() -> None:
    assert eligible.hopeless(MAIN, DRAFT) is None
    assert eligible.advice(MAIN, DRAFT, Built(loads=True, kinds=("KVCache",), trimmable=True)) == ()


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"kind": "embedding"}, "makes embeddings"),
        ({"kind": "mmproj"}, "projector"),
        ({"kind": "adapter"}, "adapter without its base"),
        ({"kind": "drafter"}, "is a drafter"),
        ({"format": "gguf"}, "different engines"),
    ],
)
def test_what_never_drafts_is_refused_whatever_its_tokens(
    facts: dict[str, Any], reason: str
) -> None:
    other = model("Draft-0.6B", **{"size_bytes": 1, **facts})
    assert reason in (eligible.hopeless(MAIN, other) or "")
    assert reason in (eligible.hopeless(other, MAIN) or "")


def test_a_model_does_not_draft_for_itself() -> None:
    assert eligible.hopeless(MAIN, MAIN) == "a model cannot draft for itself"


@pytest.mark.parametrize(
    ("drafting", "said"),
    [
        (Built(loads=True, trimmable=True, window=1024), "last 1,024 tokens"),
        (Built(loads=True, trimmable=False, kinds=("ArraysCache",)), "ArraysCache"),
    ],
)
def test_a_draft_that_guesses_worse_in_time_is_advice(drafting: Built, said: str) -> None:
    (advice,) = eligible.advice(MAIN, DRAFT, drafting)
    assert said in advice


def test_a_draft_that_is_not_smaller_gains_nothing() -> None:
    (advice,) = eligible.advice(MAIN, model("Other-8B", size_bytes=MAIN.size_bytes), None)
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
    found = eligible.advice(model(main, size_bytes=1 << 34), model(draft, size_bytes=1 << 30), None)
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
    found = eligible.billions(model(name, quantization=quantization, size_bytes=size))
    assert found == (None if billions is None else pytest.approx(billions, rel=0.05))


def test_what_cannot_be_looked_at_is_unknown() -> None:
    assert eligible.unusable(model("Half", kind="incomplete", problem="a shard is missing"))
    assert "pickles" in (eligible.unusable(model("Torch", format="other")) or "")
    assert eligible.unusable(MAIN) is None

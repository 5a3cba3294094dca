from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest

from specd.demo.models import SMALL, ensure
from specd.tokenizer import weights
from specd.tokenizer.reading import Unreadable
from specd.tokenizer.weights import Rows
from tests.tokenizer import folders


def test_rows_are_those_of_the_embedding_quantized_or_not(tmp_path: Path) -> None:
    for name, tensors in {
        "plain": {"model.embed_tokens.weight": [1000, 64]},
        "packed": {"model.embed_tokens.weight": [1000, 8], "model.embed_tokens.scales": [1000, 2]},
        "nested": {"language_model.model.embed_tokens.weight": [1000, 64]},
        "gpt2": {"transformer.wte.weight": [1000, 64], "transformer.wpe.weight": [2048, 64]},
    }.items():
        (tmp_path / name).mkdir()
        folders.weights(tmp_path / name / "model.safetensors", tensors)
        assert weights.rows(tmp_path / name) == Rows(1000, 1000)


def test_an_output_projection_tells_the_logits(tmp_path: Path) -> None:
    folders.weights(
        tmp_path / "model-00001-of-00002.safetensors", {"model.embed_tokens.weight": [1000, 64]}
    )
    folders.weights(tmp_path / "model-00002-of-00002.safetensors", {"lm_head.weight": [1024, 64]})
    folders.weights(tmp_path / "adapters.safetensors", {"model.embed_tokens.weight": [9999, 64]})
    assert weights.rows(tmp_path) == Rows(1000, 1024)


@pytest.mark.mlx
def test_real_models_have_the_rows_that_mlx_loads() -> None:
    for recipe in (SMALL.main, SMALL.good):
        folder = ensure(recipe)
        loaded = mx.load(str(folder / "model.safetensors"))
        assert isinstance(loaded, dict)
        rows = loaded["model.embed_tokens.weight"].shape[0]
        assert weights.rows(folder) == Rows(rows, rows)


def test_weights_that_name_no_embedding_do_not_tell(tmp_path: Path) -> None:
    folders.weights(tmp_path / "model.safetensors", {"model.norm.weight": [64]})
    assert weights.rows(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [b"\x10", b"\xff" * 16, b"\x04" + b"\0" * 7 + b"nope", b"\x02" + b"\0" * 7 + b"[]"],
    ids=["cut off", "impossible length", "no JSON", "no object"],
)
def test_broken_weights_are_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(Unreadable, match=r"model\.safetensors"):
        weights.rows(tmp_path)


def test_weights_that_mlx_lm_does_not_load_are_none(tmp_path: Path) -> None:
    for name in ("consolidated.safetensors", "weights.00.safetensors"):
        folders.weights(tmp_path / name, {"model.embed_tokens.weight": [1000, 64]})
    with pytest.raises(Unreadable, match=r"no model\*\.safetensors"):
        weights.rows(tmp_path)

"""What mlx-engine does with a draft, rule by rule."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from specd.tokenizer.engines import mlx
from specd.tokenizer.engines.mlx import Built, Pair
from specd.tokenizer.weights import digest
from tests.tokenizer import folders, mlx_models
from tests.tokenizer.models import model

MAIN = model("Main-8B-4bit", size_bytes=4_600_000_000)
DRAFT = model("Draft-0.6B-4bit", size_bytes=400_000_000)
FULL = Built(loads=True, kinds=("KVCache",), caches=2, layers=2, trimmable=True)
TYPES = frozenset({MAIN.architecture, DRAFT.architecture})
FITS = mlx.on_tokens(5, 5)


def test_it_looks_at_sizes_alone() -> None:
    assert FITS.accepts
    assert "it looks at no token" in FITS.why
    refused = mlx.on_tokens(5, 6)
    assert (refused.accepts, refused.objects) == (False, True)
    assert "5 in the main and 6 in the draft" in refused.why


def test_a_plain_pair_keeps_the_text() -> None:
    found = mlx.opinion(FITS, Pair(MAIN, DRAFT, FULL, FULL))
    assert (found.name, found.accepts, found.text, found.objects) == (
        "mlx-engine", True, "same", False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "changes", "says"),
    [
        ("vision main", {"main": replace(MAIN, kind="vlm")}, "vision_config"),
        (
            "unknown main",
            {"built": Built(loads=False, problem="Model type laguna not supported.")},
            "laguna not supported",
        ),
        ("unknown main", {"main": replace(MAIN, architecture="laguna")}, "with parallel = 1 it"),
        ("unknown main", {"types": frozenset({"llama"})}, "in LM Studio's home"),
        (
            "untrimmable cache",
            {"built": replace(FULL, kinds=("ArraysCache", "KVCache"), trimmable=False)},
            "(ArraysCache in mlx-lm)",
        ),
        ("fewer caches than layers", {"built": replace(FULL, layers=3)}, "2 KV caches for 3"),
        (
            "window",
            {"built": replace(FULL, kinds=("KVCache", "RotatingKVCache"), window=1024)},
            "1,024 tokens",
        ),
        (
            "nested caches",
            {"built": replace(FULL, kinds=("CacheList", "KVCache"))},
            "reads a token twice",
        ),
        ("dynamic RoPE", {"built": replace(FULL, stretches=4_096)}, "beyond 4,096 tokens"),
        ("chunks", {"built": replace(FULL, kinds=("ChunkedKVCache", "KVCache"))}, "is edited"),
        (
            "unknown draft",
            {"drafting": Built(loads=False, problem="Model type x not supported.")},
            "x not supported",
        ),
        (
            "quantized KV cache",
            {"kv_group": 64, "drafting": replace(FULL, kinds=("RotatingKVCache",), window=9)},
            "mlx-lm quantizes no RotatingKVCache, and the draft has one",
        ),
        (
            "quantized KV cache",
            {"kv_group": 64, "built": replace(FULL, heads=(80,))},
            "main's heads have 80",
        ),
        ("late quantization", {"kv_group": 64, "kv_start": 5_000}, "from 5,000 tokens on"),
        (
            "unknown draft",
            {"draft": replace(DRAFT, architecture="new"), "types": frozenset({"qwen3"})},
            "load the draft (new)",
        ),
    ],
)
def test_each_rule_decides(rule: str, changes: dict[str, Any], says: str) -> None:
    found = mlx.opinion(FITS, replace(Pair(MAIN, DRAFT, FULL, FULL), **changes))
    (line, *_) = [each for each in mlx.RULES if each.name == rule]
    text = "may differ" if line.alters else "unknown"
    assert (found.accepts, found.text, found.objects) == (line.alters, text, True)
    assert says in found.why


def test_every_rule_is_tested_and_has_a_source() -> None:
    (mark,) = [m for m in test_each_rule_decides.pytestmark if m.name == "parametrize"]
    assert {rule for rule, _, _ in mark.args[1]} == {each.name for each in mlx.RULES}
    assert all(each.source for each in mlx.RULES)


def test_a_cache_that_nobody_has_seen_is_unknown() -> None:
    new = replace(FULL, kinds=("KVCache", "NovelCache"))
    found = mlx.opinion(FITS, Pair(MAIN, DRAFT, new, FULL))
    assert (found.accepts, found.text) == (True, "unknown")
    assert "NovelCache" in found.why


def test_a_rotating_or_hybrid_draft_is_accepted() -> None:
    for drafting in (
        replace(FULL, kinds=("RotatingKVCache",), window=64),
        replace(FULL, kinds=("ArraysCache",), trimmable=False),
    ):
        assert mlx.opinion(FITS, Pair(MAIN, DRAFT, FULL, drafting)).text == "same"


def test_what_lm_studios_own_mlx_lm_loads_decides() -> None:
    """It may be newer than the one that is installed beside specd."""
    types = frozenset({"qwen3", "laguna"})
    unbuilt = Built(loads=False, problem="Model type laguna not supported.")
    pair = Pair(replace(MAIN, architecture="laguna"), DRAFT, unbuilt, FULL, types)
    found = mlx.opinion(FITS, pair)
    assert (found.accepts, found.text) == (True, "unknown")
    assert "laguna not supported" in found.why


def test_what_mlx_lm_could_not_be_asked_is_unknown() -> None:
    unasked = Built(loads=None, problem="MLX does not start: no such library")
    for built in (unasked, None):
        found = mlx.opinion(FITS, Pair(MAIN, DRAFT, built, FULL))
        assert (found.accepts, found.text, found.objects) == (True, "unknown", False)
    assert "no such library" in mlx.opinion(FITS, Pair(MAIN, DRAFT, unasked, FULL)).why


def test_a_main_is_refused_by_the_same_rules() -> None:
    assert mlx.refuses_main(MAIN, FULL, None) is None
    assert mlx.refuses_main(MAIN, None, None) is None
    rotating = replace(FULL, kinds=("RotatingKVCache",))
    assert "window" in (mlx.refuses_main(MAIN, rotating, None) or "")


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
        ({"model_type": "llama"}, FULL),
        ({"model_type": "qwen3", "rope_theta": 1e6, "max_position_embeddings": 512,
          "tie_word_embeddings": True}, FULL),
        ({"model_type": "mamba", "state_size": 4, "conv_kernel": 4, "use_bias": False,
          "use_conv_bias": True, "time_step_rank": 4},
         replace(FULL, kinds=("ArraysCache",), trimmable=False)),
        ({"model_type": "gpt_oss"},
         replace(FULL, kinds=("KVCache", "RotatingKVCache"), window=128)),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_mlx_lms_cache_classes_are_asked_by_architecture(
    tmp_path: Path, config: dict[str, Any], expected: Built
) -> None:
    from specd.tokenizer.kv_cache import built

    folder = folders.lay_out(tmp_path, folders.small(), config={**PLAIN, **config})
    found = replace(built(folder), unfit="")  # the folder has a Llama's weights
    assert found == replace(expected, heads=() if config["model_type"] == "mamba" else (16,))


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda weights: weights.__delitem__(name)


def as_part(weights: dict[str, Any]) -> None:
    for name in list(weights):
        weights[f"language_model.{name}"] = weights.pop(name)


CHANGES: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], None], str]] = {
    "none": ({}, lambda _: None, ""),
    "a weight is missing": ({}, without("model.layers.1.mlp.up_proj.weight"), "Missing 1 param"),
    "a layer more": ({"num_hidden_layers": 3}, lambda _: None, "Missing 9 parameters"),
    "a layer fewer": ({"num_hidden_layers": 1}, lambda _: None, "9 parameters not in model"),
    "other rows": ({"vocab_size": 300}, lambda _: None, "Expected shape (300, 64)"),
    "another width": ({"hidden_size": 32}, lambda _: None, "Expected shape (320, 32)"),
    "no output of its own": ({"tie_word_embeddings": False}, lambda _: None, "lm_head.weight"),
    "a prefix": ({}, as_part, "parameters not in model"),
    "no quantized weights": ({"quantization": {"group_size": 64, "bits": 4}}, lambda _: None, ""),
}


@pytest.mark.mlx
def test_a_few_tensors_alone_are_not_called_unfit(tmp_path: Path) -> None:
    import mlx.core as mx

    from specd.tokenizer.kv_cache import built

    folder = mlx_models.make(tmp_path / "model", "llama")
    weights = dict(mx.load(str(folder / "model.safetensors")))
    mx.eval(weights)
    few = {name: weights[name] for name in list(weights)[:3]}
    mx.save_safetensors(str(folder / "model.safetensors"), few, {"format": "mlx"})
    assert built(folder).unfit == ""
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0no header")
    assert built(folder).unfit.startswith("its weights and config.json do not fit")


@pytest.mark.mlx
@pytest.mark.parametrize("change", CHANGES)
def test_weights_unlike_config_json_are_found_without_loading_them(
    tmp_path: Path, change: str
) -> None:
    import mlx.core as mx
    from mlx_lm.utils import load_model

    from specd.tokenizer.kv_cache import built

    config, alter, why = CHANGES[change]
    folder = mlx_models.make(tmp_path / "model", "llama")
    before = digest(folder)
    weights = dict(mx.load(str(folder / "model.safetensors")))
    mx.eval(weights)
    alter(weights)
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, **config}))
    found = built(folder)
    assert found.loads
    assert why in found.unfit
    assert bool(found.unfit) is bool(why)
    if why:
        assert digest(folder) != before
        with pytest.raises(ValueError, match="param"):
            load_model(folder)
        for pair in (Pair(MAIN, DRAFT, found, FULL), Pair(MAIN, DRAFT, FULL, found, TYPES)):
            opinion = mlx.opinion(FITS, pair)
            assert opinion.accepts is False
            assert why in opinion.why
    else:
        load_model(folder)


@pytest.mark.mlx
def test_an_architecture_mlx_lm_does_not_know_is_said(tmp_path: Path) -> None:
    from specd.tokenizer.kv_cache import built

    folder = folders.lay_out(tmp_path, folders.small(), config={"model_type": "nonsense"})
    found = built(folder)
    assert found.loads is False
    assert "nonsense" in found.problem


@pytest.mark.mlx
def test_a_module_of_mlx_lm_that_ends_the_program_ends_no_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from specd.tokenizer.kv_cache import built

    monkeypatch.setitem(sys.modules, "hf_olmo", None)
    found = built(folders.lay_out(tmp_path, folders.small(), config={"model_type": "olmo"}))
    assert (found.loads, found.problem) == (
        False, "its module in mlx-lm needs a package that is missing",
    )  # fmt: skip

"""Files that draft and are no models are told apart from models, and paired with their main."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from specd.lmstudio import drafters
from specd.lmstudio.model import Model
from specd.lmstudio.models import index
from tests.lmstudio import homes


def heads_file(path: Path, architecture: str, tensors: int, **numbers: int) -> None:
    """A GGUF file with ``tensors`` small tensors, by the maintained writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(path), architecture)
    for name, value in numbers.items():
        writer.add_uint32(f"{architecture}.{name}", value)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"<{n}>" for n in range(32)])
    for number in range(tensors):
        writer.add_tensor(f"blk.{number}.weight", np.zeros(1, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def mlx_folder(models: Path, identifier: str, tensors: list[str], **config: Any) -> None:
    folder = homes.mlx_model(models, identifier, **config)
    made = {name: {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]} for name in tensors}
    header = json.dumps(made).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0")


def installed(models: Path) -> dict[str, Model]:
    return {model.identifier: model for model in index(models).models}


@pytest.mark.parametrize(
    ("architecture", "drafter"),
    [
        ("gemma4-assistant", "mtp"),
        ("dflash", "dflash"),
        ("dflash-draft", "dflash"),
        ("eagle3", "other"),
        ("qwen35", None),
    ],
)
def test_a_gguf_file_is_a_drafter_by_its_architecture(
    tmp_path: Path, architecture: str, drafter: str | None
) -> None:
    homes.gguf_model(tmp_path, "a/b-GGUF/b.gguf", architecture=architecture)
    (model,) = index(tmp_path).models
    assert (model.drafter, model.kind) == (drafter, "drafter" if drafter else "llm")


@pytest.mark.parametrize(
    ("name", "tensors", "numbers", "drafter"),
    [
        ("mtp-b.gguf", 3, {"nextn_predict_layers": 1, "block_count": 65}, "mtp"),
        ("heads.gguf", 3, {"nextn_predict_layers": 1, "block_count": 65}, "mtp"),
        ("heads.gguf", 3, {"nextn_predict_layers": 1, "block_count": 1}, "mtp"),
        ("MTP/mtp-model.gguf", 0, {"nextn_predict_layers": 1}, "mtp"),
        ("b.gguf", 70, {"nextn_predict_layers": 1, "block_count": 65}, None),
        ("mtp-b.gguf", 70, {"block_count": 65}, None),
    ],
)
def test_or_by_heads_without_the_layers_of_a_model(
    tmp_path: Path, name: str, tensors: int, numbers: dict[str, int], drafter: str | None
) -> None:
    heads_file(tmp_path / "a" / "b-GGUF" / name, "qwen35", tensors, **numbers)
    (model,) = index(tmp_path).models
    assert model.drafter == drafter
    assert bool(model.mtp_heads) == (drafter is None and "nextn_predict_layers" in numbers)


LAYER = "model.layers.0.mlp.gate_proj.weight"


@pytest.mark.parametrize(
    ("tensors", "config", "drafter"),
    [
        (["model.embed_tokens.weight", LAYER], {"model_type": "qwen3"}, None),
        ([LAYER, "fc.weight"], {"model_type": "glm4_moe_lite_mtp"}, "mtp"),
        ([LAYER], {"model_type": "gemma4_assistant"}, "mtp"),
        ([LAYER, "fc.weight"], {"model_type": "qwen3", "dflash_config": {}}, "dflash"),
        ([LAYER], {"architectures": ["LlamaForCausalLMEagle3"]}, "other"),
        ([LAYER, "norm.weight"], {"model_type": "qwen3"}, "other"),
        (["mtp.layers.0.mlp.gate_proj.weight"], {"model_type": "qwen3_5"}, "mtp"),
    ],
)
def test_a_folder_is_a_drafter_by_its_type_or_by_layers_without_an_embedding(
    tmp_path: Path, tensors: list[str], config: dict[str, Any], drafter: str | None
) -> None:
    mlx_folder(tmp_path, "a/b", tensors, **config)
    (model,) = index(tmp_path).models
    assert (model.drafter, model.drafts) == (drafter, drafter is None)


MTP_LAYER = "mtp.layers.0.mlp.gate_proj.weight"


@pytest.mark.parametrize(
    ("tensors", "config", "heads"),
    [
        ([LAYER, MTP_LAYER], {"mtp_num_hidden_layers": 1}, 1),
        ([LAYER, f"language_model.{MTP_LAYER}"], {"text_config": {"mtp_num_hidden_layers": 1}}, 1),
        ([LAYER], {"mtp_num_hidden_layers": 1}, 0),
        (
            [LAYER, "model.layers.47.eh_proj.weight"],
            {"num_nextn_predict_layers": 1, "num_hidden_layers": 47},
            1,
        ),
        ([LAYER], {"num_nextn_predict_layers": 1, "num_hidden_layers": 47}, 0),
    ],
)
def test_a_conversion_that_lost_its_heads_has_none(
    tmp_path: Path, tensors: list[str], config: dict[str, Any], heads: int
) -> None:
    mlx_folder(tmp_path, "a/b", ["model.embed_tokens.weight", *tensors], **config)
    (model,) = index(tmp_path).models
    assert (model.mtp_heads, model.drafter) == (heads, None)


def test_a_drafter_beside_its_main_leaves_the_mains_key_alone(tmp_path: Path) -> None:
    homes.gguf_model(tmp_path, "a/b-GGUF/b-Q4_K_M.gguf", architecture="gemma4")
    homes.gguf_model(tmp_path, "a/b-GGUF/mtp-b.gguf", architecture="gemma4-assistant")
    assert {each.key for each in installed(tmp_path).values()} == {"b", "mtp-b"}


def test_a_drafter_goes_with_the_main_of_its_structure(tmp_path: Path) -> None:
    wide = {"embedding_length": 5120}
    homes.gguf_model(tmp_path, "a/m31-GGUF/m31.gguf", architecture="gemma4", **wide)
    homes.gguf_model(tmp_path, "a/m4-GGUF/m4.gguf", architecture="gemma4", embedding_length=2560)
    homes.gguf_model(tmp_path, "a/qwen-GGUF/qwen.gguf", architecture="qwen35", **wide)
    homes.gguf_model(
        tmp_path,
        "a/heads-GGUF/heads.gguf",
        architecture="gemma4-assistant",
        embedding_length=256,
        embedding_length_out=5120,
    )
    homes.gguf_model(tmp_path, "a/df-GGUF/df.gguf", architecture="dflash", **wide)
    homes.gguf_model(
        tmp_path, "a/tokens-GGUF/tokens.gguf", architecture="dflash", tokens=40, **wide
    )
    homes.gguf_model(tmp_path, "a/m4-DFlash-GGUF/m4-dflash.gguf", architecture="dflash")
    models = installed(tmp_path)

    def of(identifier: str) -> list[str]:
        found = drafters.for_main(models[identifier], models.values())
        return [each.identifier for each in found]

    assert of("a/m31-GGUF/m31.gguf") == ["a/df-GGUF/df.gguf", "a/heads-GGUF/heads.gguf"]
    assert of("a/m4-GGUF/m4.gguf") == ["a/m4-DFlash-GGUF/m4-dflash.gguf"]
    assert of("a/qwen-GGUF/qwen.gguf") == ["a/df-GGUF/df.gguf"]


def test_a_model_with_an_mmproj_beside_it_may_draft(tmp_path: Path) -> None:
    homes.gguf_model(tmp_path, "a/b-GGUF/b.gguf")
    homes.gguf_model(tmp_path, "a/b-GGUF/mmproj-b.gguf", architecture="clip")
    assert installed(tmp_path)["a/b-GGUF/b.gguf"].drafts

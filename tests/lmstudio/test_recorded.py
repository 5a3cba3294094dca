"""Every reader on the recorded shapes of LM Studio's files, by version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specd.config import Speculation
from specd.files.jsonedit import edit, parse
from specd.lmstudio import catalogue, home, model_defaults, models, server_log, settings
from specd.lmstudio.model_defaults import DraftDefaults
from tests.lmstudio import shapes

DEFAULTS = "0.4/model-defaults"


@pytest.mark.parametrize("version", shapes.VERSIONS)
def test_one_value_of_recorded_settings_changes_and_no_other_byte(version: str) -> None:
    text = shapes.path(f"{version}/settings.json").read_bytes()
    wished = settings.desired_values(Speculation(visualize=False), parse(text), {})
    assert edit(text, [each.edit for each in wished]) == text.replace(
        b'"speculativeDecoding": false', b'"speculativeDecoding": true'
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "mlx-community/Qwen3-8B-4bit",
            DraftDefaults("mlx-community/Qwen3-0.6B-4bit", quantized_cache=True, of_request=True),
        ),
        (
            "qwen/qwen3.8-27b",
            DraftDefaults(
                "someone/Qwen3.8-27B-DFlash2-GGUF/Qwen3.8-27B-DFlash2-Q4_K_M.gguf",
                4,
                sidecar="dflash",
            ),
        ),
        ("someone/Llama-GGUF/llama-Q4_K_M.gguf", DraftDefaults(None, 3, mtp=True)),
        ("someone/Marked-4bit", DraftDefaults("someone/Small-4bit", of_request=True)),
    ],
)
def test_recorded_default_configs_are_read(name: str, said: DraftDefaults) -> None:
    content = shapes.path(f"{DEFAULTS}/{name}.json").read_bytes()
    assert model_defaults.read(parse(content)) == said


def test_bionics_tree_is_found_beside_lm_studios(tmp_path: Path) -> None:
    shapes.home(tmp_path)
    own, bionic = home.apps(tmp_path)
    assert (own.name, bionic.name) == ("LM Studio", "Bionic")
    assert json.loads(bionic.settings.read_text())["developerMode"] is True
    (news,), _ = server_log.read_on(bionic.internal.parent, None)
    assert [(each.main, each.accepted) for each in news.drafts] == [("qwen3-8b", 30)]


def test_an_empty_models_folder_makes_the_index_say_nothing(tmp_path: Path) -> None:
    shapes.home(tmp_path)
    (tmp_path / "models").mkdir()
    assert catalogue.named(tmp_path, models.index(tmp_path / "models").models) == ()

"""The sampling and the KV cache with which new chats begin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from specd.lmstudio import chat_settings, model_defaults
from specd.lmstudio.chat_settings import ChatSettings
from tests.reconcile.pairs import MAIN

SAMPLING = "llm.prediction."
CACHE = "llm.load.mlx.kvCacheQuantization"


def fields(**held: Any) -> dict[str, Any]:
    return {"fields": [{"key": key, "value": value} for key, value in held.items()]}


def defaults(home: Path, operation: dict[str, Any], load: dict[str, Any], preset: str = "") -> None:
    path = model_defaults.config_path(home, MAIN)
    path.parent.mkdir(parents=True)
    document = {"preset": preset, "operation": fields(**operation), "load": fields(**load)}
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("operation", "load", "found"),
    [
        ({}, {}, ChatSettings()),
        ({"temperature": 0, "topKSampling": 0}, {}, ChatSettings(temperature=0.0, top_k=0)),
        ({"topKSampling": -1}, {}, ChatSettings(top_k=0)),
        ({"topPSampling": {"checked": True, "value": 0.5}}, {}, ChatSettings(top_p=0.5)),
        ({"topPSampling": {"checked": False, "value": 0.5}}, {}, ChatSettings(top_p=1.0)),
        ({"minPSampling": {"checked": False, "value": 0.5}}, {}, ChatSettings(min_p=0.0)),
        ({"minPSampling": 0.2}, {}, ChatSettings(min_p=0.2)),
        ({"temperature": "hot", "topPSampling": {"checked": True}}, {}, ChatSettings()),
        ({"temperature": True, "topKSampling": 1e9, "minPSampling": [1]}, {}, ChatSettings()),
        ({}, {"enabled": True, "bits": 4, "groupSize": 32}, ChatSettings(kv_bits=4, kv_group=32)),
        ({}, {"enabled": True}, ChatSettings(kv_bits=8)),
        ({}, {"enabled": True, "quantizedStart": 9}, ChatSettings(kv_bits=8, kv_start=9)),
        ({}, {"enabled": True, "quantizedStart": "x"}, ChatSettings(kv_bits=8)),
        ({}, {"enabled": False, "bits": 4}, ChatSettings()),
        ({}, {"enabled": True, "bits": 5}, ChatSettings()),
    ],
)
def test_they_are_read_from_a_models_defaults(
    tmp_path: Path, operation: dict[str, Any], load: dict[str, Any], found: ChatSettings
) -> None:
    defaults(tmp_path, {SAMPLING + k: v for k, v in operation.items()}, {CACHE: load})
    assert chat_settings.read(tmp_path, MAIN) == found
    how = None if found.kv_bits is None else (found.kv_group, found.kv_start)
    assert chat_settings.kv_quantized(tmp_path, MAIN) == how


def test_the_types_of_llama_cpps_cache_are_read(tmp_path: Path) -> None:
    key = "llm.load.llama.{}CacheQuantizationType"
    load = {
        key.format("k"): {"checked": True, "value": "q8_0"},
        key.format("v"): {"checked": False, "value": "q4_0"},
    }
    defaults(tmp_path, {}, load)
    assert chat_settings.read(tmp_path, MAIN).kv_types == ("q8_0", "f16")


@pytest.mark.parametrize("value", ["q9_9", 8, None, [], {"checked": True, "value": []}])
def test_types_that_llama_cpp_does_not_have_are_passed_over(tmp_path: Path, value: Any) -> None:
    load = {"llm.load.llama.kCacheQuantizationType": {"checked": True, "value": value}}
    defaults(tmp_path, {}, load)
    assert chat_settings.read(tmp_path, MAIN) == ChatSettings()


def test_the_preset_of_new_chats_wins(tmp_path: Path) -> None:
    operation = {SAMPLING + "temperature": 0.3, SAMPLING + "topKSampling": 7}
    defaults(tmp_path, operation, {}, "@local:Mine")
    assert chat_settings.read(tmp_path, MAIN) == ChatSettings(temperature=0.3, top_k=7)
    (tmp_path / "config-presets").mkdir()
    preset = {"identifier": "@local:Mine", "operation": fields(**{SAMPLING + "temperature": 1.1})}
    (tmp_path / "config-presets" / "Mine.preset.json").write_text(json.dumps(preset))
    assert chat_settings.read(tmp_path, MAIN) == ChatSettings(temperature=1.1, top_k=7)


def test_without_any_file_they_are_lm_studios_own(tmp_path: Path) -> None:
    assert chat_settings.read(None, MAIN) == chat_settings.read(tmp_path, MAIN) == ChatSettings()

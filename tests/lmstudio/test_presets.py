"""A preset that carries another draft, or an empty one, wins over a model's defaults."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from specd.lmstudio import presets
from tests.reconcile.pairs import MAIN, SMALL

PREDICTION = "llm.prediction.speculativeDecoding.draftModel"
LLAMA = "llm.load.llama.speculativeDecoding."
GGUF = replace(MAIN, format="gguf")
GGUF_SMALL = replace(SMALL, format="gguf")


def preset(home: Path, section: str, **fields: Any) -> presets.Preset:
    folder = home / "config-presets"
    folder.mkdir(exist_ok=True)
    held = [{"key": key, "value": value} for key, value in fields.items()]
    document = {"identifier": "@local:mine", "name": "Mine", section: {"fields": held}}
    (folder / "mine.preset.json").write_text(json.dumps(document))
    (found,) = presets.read(home)
    return found


@pytest.mark.parametrize(
    ("section", "fields", "undoes"),
    [
        ("operation", {"llm.prediction.temperature": 0.7}, (False, False)),
        ("operation", {PREDICTION: ""}, (True, False)),
        ("operation", {PREDICTION: "someone/else"}, (True, False)),
        ("operation", {PREDICTION: SMALL.identifier}, (False, False)),
        ("load", {LLAMA + "draftSimple": False}, (False, True)),
        ("load", {LLAMA + "draftMtp": True}, (False, True)),
        ("load", {LLAMA + "draftModel": "someone/else.gguf"}, (False, True)),
        ("load", {LLAMA + "draftSimple": True, LLAMA + "draftMtp": False}, (False, False)),
    ],
)
def test_what_would_undo_a_pair_is_told(
    tmp_path: Path, section: str, fields: dict[str, Any], undoes: tuple[bool, bool]
) -> None:
    found = preset(tmp_path, section, **fields)
    assert (found.undoes(MAIN, SMALL), found.undoes(GGUF, GGUF_SMALL)) == undoes


@pytest.mark.parametrize(
    ("section", "fields", "undoes"),
    [
        ("operation", {PREDICTION: ""}, True),
        ("operation", {PREDICTION: "someone/else"}, True),
        ("operation", {PREDICTION: GGUF_SMALL.identifier}, False),
        ("load", {LLAMA + "draftModel": "someone/else.gguf"}, False),
    ],
)
def test_before_0_4_23_a_gguf_mains_draft_is_chosen_by_the_request(
    tmp_path: Path, section: str, fields: dict[str, Any], undoes: bool
) -> None:
    found = preset(tmp_path, section, **fields)
    assert found.undoes(GGUF, GGUF_SMALL, by_request=True) is undoes


def test_the_one_that_a_model_names_is_found_by_identifier_or_name(tmp_path: Path) -> None:
    found = preset(tmp_path, "operation", **{PREDICTION: ""})
    assert presets.chosen("@local:mine", [found]) == found
    assert presets.chosen("Mine", [found]) == found
    assert presets.chosen("@local:other", [found]) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"operation": 7, "name": {}}'])
def test_a_broken_preset_stops_nothing(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "config-presets"
    folder.mkdir()
    (folder / "broken.preset.json").write_bytes(content)
    assert all(not each.drafts for each in presets.read(tmp_path))

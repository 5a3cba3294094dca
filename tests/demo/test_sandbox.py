"""The homes the demo and the tests play in are shaped like real ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from bench.seed_home import DRAFT, MAIN, byte_alphabet, seed_home
from specd.demo import app
from specd.demo.models import SMALL
from specd.demo.sandbox import lay_out


@pytest.mark.mlx
def test_the_sandbox_is_a_home_whose_app_has_speculation_off(tmp_path: Path) -> None:
    sandbox = lay_out(tmp_path, SMALL)
    settings = json.loads(sandbox.settings.read_text())
    assert not app.switched_on(settings)
    assert settings["downloadsFolder"] == str(sandbox.home / "models")
    assert len(settings) > 25
    assert app.draft_of(json.loads(sandbox.main_defaults.read_text())) is None
    for recipe in SMALL:
        assert (sandbox.home / "models" / recipe.identifier / "model.safetensors").is_file()


@pytest.mark.parametrize("save", [app.save_in_place, app.save_by_rename, app.delete_and_save])
def test_the_app_saves_what_it_holds_in_memory(tmp_path: Path, save: app.Save) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"theirs": 1}')
    save(path, {"mine": "ü"})
    assert json.loads(path.read_text()) == {"mine": "ü"}
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_have_256_printable_names() -> None:
    names = byte_alphabet()
    assert len(set(names)) == 256
    assert (names[ord(" ")], names[ord("a")], names[0]) == ("Ġ", "a", "Ā")
    assert all(name.isprintable() for name in names)


def test_in_the_seeds_home_the_main_knows_four_tokens_more_than_its_draft(tmp_path: Path) -> None:
    seed_home(tmp_path)
    main, draft = (
        Tokenizer.from_file(str(tmp_path / "models" / name / "tokenizer.json")).get_vocab()
        for name in (MAIN, DRAFT)
    )
    assert draft.items() < main.items()
    assert set(main) - set(draft) == {"<think>", "</think>", "<tool_response>", "</tool_response>"}


def test_the_seeds_models_have_their_sizes_and_take_no_room(tmp_path: Path) -> None:
    seed_home(tmp_path)
    weights = tmp_path / "models" / MAIN / "model.safetensors"
    assert weights.stat().st_size > 4_600_000_000
    assert weights.stat().st_blocks * 512 < 1_000_000

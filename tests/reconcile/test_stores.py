from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from specd import places
from specd.config import Pair, SpecdConfig
from specd.lmstudio import model_defaults
from specd.reconcile.stores import Stores
from specd.tokenizer.proof import Proof
from specd.tokenizer.store import Known, identity
from tests.tokenizer import folders
from tests.tokenizer.models import model
from tests.tokenizer.test_store import compare


def test_a_proof_holds_for_the_settings_and_engines_it_was_made_with(tmp_path: Path) -> None:
    home = tmp_path / "home"
    main, draft = (
        model(name, folders.lay_out(tmp_path / name, folders.small())) for name in ("Main", "Draft")
    )
    stores = Stores.open(tmp_path / "state")
    known = [Known("digest", "", each.key) for each in (main, draft)]
    for each, facts in zip((main, draft), known, strict=True):
        stores.verdicts.keep_model(each.path, identity(each.path), facts)
    request = stores.proof_request(main, draft, home)
    assert request["pairs"] == [[str(main.path), str(draft.path)]]
    assert request["context"]["settings"]["temperature"] == 0.8
    assert not stores.proven(main, draft, home)
    stores.verdicts.keep_proof(*known, Proof("proven", context=request["context"]))
    assert stores.proven(main, draft, home)
    file = model_defaults.config_path(home, main)
    file.parent.mkdir(parents=True)
    field = {"key": "llm.prediction.temperature", "value": 0.35}
    file.write_text(json.dumps({"operation": {"fields": [field]}, "load": {"fields": []}}))
    assert not stores.proven(main, draft, home)
    request = stores.proof_request(main, draft, home)
    assert request["context"]["settings"]["temperature"] == 0.35
    stores.verdicts.keep_proof(*known, Proof("proven", context=request["context"]))
    assert stores.proven(main, draft, home)
    stores.verdicts.llama_servers = (tmp_path / "llama-server",)
    assert stores.proven(main, draft, home)
    gguf = replace(main, format="gguf"), replace(draft, format="gguf")
    assert not stores.proven(*gguf, home)
    stores.close()


def test_measurements_that_may_not_be_read_are_not_taken_for_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = Stores.open(tmp_path)
    path = places.history_path(tmp_path)
    path.write_bytes(b"another user's")
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    stores.set_aside()
    assert path.read_bytes() == b"another user's"


def test_a_store_that_cannot_be_read_keeps_no_named_pair_from_being_written(tmp_path: Path) -> None:
    named, other = (
        model(f"{name}-8B", folders.lay_out(tmp_path / name, folders.small("<think>")))
        for name in ("Named", "Other")
    )
    laid_out = folders.lay_out(tmp_path / "Draft", folders.small())
    draft = model("Draft-0.5B", laid_out, size_bytes=1_000)
    compare(places.tokenizer_cache_dir(tmp_path), named.path, draft.path)
    stores = Stores.open(tmp_path)
    wanted = SpecdConfig(pair=(Pair(named.key, draft.key), Pair(other.key), Pair("absent")))

    def resolved() -> list[tuple[str, str]]:
        pairs = stores.resolve(wanted, (named, other, draft), ())
        assert all(stores.unread.get(path, "") in pairs[1].why for path in stores.unread)
        return [(pair.state, pair.reason) for pair in pairs]

    absent = ("missing", "NoSuchMain")
    sound = [("wanted", "AsNamed"), ("waiting", "Comparing"), absent]
    assert resolved() == sound
    history = places.history_path(tmp_path)
    stores.history.close()
    kept = history.rename(tmp_path / "kept")
    history.mkdir()  # SQLite cannot open it, as another user's file
    assert resolved() == [sound[0], ("waiting", "NotReadable"), absent]
    compare(places.tokenizer_cache_dir(tmp_path), other.path, draft.path)
    assert resolved() == [sound[0], ("waiting", "NotReadable"), absent]
    assert set(stores.unread) == {history}
    history.rmdir()
    kept.rename(history)
    assert resolved() == [sound[0], ("wanted", "MostPromising"), absent]
    assert stores.unread == {}
    stores.close()


@pytest.mark.parametrize("end", ["-wal", "-shm"])
def test_a_cache_whose_log_is_another_users_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    cache = places.tokenizer_cache_dir(tmp_path) / "tokenizers.db"
    stores = Stores.open(tmp_path)
    assert stores.verdicts.disproven() is not None
    stores.close()
    cache.with_name(cache.name + end).write_bytes(b"root's")
    monkeypatch.setattr("os.access", lambda path, *_, **__: not str(path).endswith(end))
    (line,) = stores.set_aside()
    assert str(cache) in line
    assert not cache.exists()
    assert not cache.with_name(cache.name + end).exists()

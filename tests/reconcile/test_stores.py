from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from specd import places
from specd.lmstudio import model_defaults
from specd.reconcile.stores import Stores
from specd.tokenizer.proof import Proof
from specd.tokenizer.store import Known, identity
from tests.tokenizer import folders
from tests.tokenizer.models import model


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

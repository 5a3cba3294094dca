from __future__ import annotations

import json
from pathlib import Path

from specd.lmstudio import model_defaults
from specd.reconcile.stores import Stores
from tests.tokenizer.models import model


def test_a_proof_is_asked_for_at_the_users_own_temperature(tmp_path: Path) -> None:
    main, draft, home = model("Main"), model("Draft"), tmp_path / "home"
    stores = Stores.open(tmp_path / "state")
    assert stores.proof_request(main, draft, home)["temperature"] is None
    file = model_defaults.config_path(home, main)
    file.parent.mkdir(parents=True)
    field = {"key": "llm.prediction.temperature", "value": 0.35}
    file.write_text(json.dumps({"operation": {"fields": [field]}, "load": {"fields": []}}))
    request = stores.proof_request(main, draft, home)
    assert request["temperature"] == 0.35
    assert request["pairs"] == [[str(main.path), str(draft.path)]]
    stores.close()

"""The client and the demo's stand-in were written apart from each other, from the same facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from specd.demo.models import SMALL, ensure
from specd.demo.serving import VERSIONS, standin
from specd.lmstudio import names
from specd.lmstudio.models import index
from specd.lmstudio.server import Server, server_urls
from tests.standins import load, unload

pytestmark = pytest.mark.mlx

QUESTION = [{"role": "user", "content": "Count from one to ten."}]


@pytest.mark.parametrize("version", VERSIONS)
def test_they_understand_each_other(tmp_path: Path, version: str) -> None:
    for recipe in SMALL:
        link = tmp_path / "models" / recipe.identifier
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ensure(recipe))
    with standin(tmp_path, tmp_path / "standin.log", version=version) as url:
        server = Server(server_urls(tmp_path)[0])
        installed = index(tmp_path / "models").models
        keys = [model.key for model in server.models()]
        served = {model.identifier: names.served_as(model, keys, installed) for model in installed}
        assert None not in served.values()
        assert len(set(served.values())) == len(list(SMALL))
        main, draft = served[SMALL.main.identifier], served[SMALL.good.identifier]
        assert main is not None
        load(url, main)
        plain = server.chat(main, QUESTION, max_tokens=24)
        drafted = server.chat(main, QUESTION, max_tokens=24, draft_model=draft, num_draft_tokens=2)
        streamed = server.chat(main, QUESTION, max_tokens=24, draft_model=draft, stream=True)
        assert plain.draft is None
        assert plain.tokens > 0
        assert drafted.draft is not None
        assert drafted.draft.accepted > 0
        assert plain.text == drafted.text == streamed.text
        assert streamed.tokens == plain.tokens
        assert streamed.time_to_first_token is not None
        assert 0 < streamed.time_to_first_token < streamed.seconds
        (loaded,) = (model for model in server.models() if model.key == main)
        assert loaded.loaded
        newer = version == "0.4.24"
        assert loaded.loaded_instances[0].parallel == (1 if newer else None)
        unload(url, loaded.loaded_instances[0].id)
        assert any(model.loaded for model in server.models() if model.key == main) != newer

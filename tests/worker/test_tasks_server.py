"""What a measurement on a server leaves behind there: nothing that was not there before."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from specd.bench import confirm, engine_server, prompts
from specd.bench.silence import Circumstances
from specd.demo.models import SMALL, ensure
from specd.demo.serving import standin
from specd.lmstudio.server import Server
from specd.worker import tasks_server
from tests.daemon import until
from tests.standins import load, one_at_a_time

pytestmark = pytest.mark.mlx


def side(home: Path, recipe: Any) -> dict[str, str]:
    link = home / "models" / recipe.identifier
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(ensure(recipe))
    return {"name": recipe.identifier, "path": str(link), "served": link.name.lower()}


def in_memory(server: Server) -> set[str]:
    return {each.key for each in server.models() if each.loaded}


def test_a_main_loaded_only_to_be_measured_is_dropped_again_and_the_users_own_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_server, "LENGTHS", (2,))
    monkeypatch.setattr(confirm, "LOOKS", (2,))
    monkeypatch.setattr(prompts, "QUICK_TOKENS", 6)
    monkeypatch.setattr(tasks_server, "FREED_S", 2)
    home, state = tmp_path / "home", tmp_path / "state"
    state.mkdir()
    pair = {
        "main": side(home, SMALL.main),
        "draft": side(home, SMALL.good),
        "known": asdict(Circumstances(formats=("mlx", "mlx"))),
        "draft_tokens": None,
        "settings": {"temperature": 0.0},
    }
    one_at_a_time(home, SMALL.main.identifier)
    with standin(home, tmp_path / "log") as url:
        server = Server(url)
        request = {
            "url": url,
            "configured": False,
            "token_env": "LM_API_TOKEN",
            "pairs": [pair],
            "engine_version": None,
            "suite": "brief",
            "quick": True,
            "seconds": 60.0,
            "weights": {"short": 2.0},
            "history": os.fspath(state / "history.db"),
        }
        told = tasks_server.bench_server(request, lambda _: None)
        assert told["troubles"] == []
        assert told["results"][0]["confirmation"]["passes"] == 2
        until(lambda: in_memory(server) == set(), "both are dropped")
        load(url, pair["main"]["served"])
        mine = tasks_server._served(pair, tasks_server.on_demand(server))
        assert mine.ttl is None

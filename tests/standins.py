"""Having a stand-in server load and unload models, whichever version of LM Studio it stands for."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from tests.lmstudio import homes


def post(url: str, path: str, body: dict[str, Any]) -> Any:
    with urllib.request.urlopen(f"{url}{path}", json.dumps(body).encode()) as answer:  # noqa: S310 - loopback
        return json.loads(answer.read())


def load(url: str, model: str, parallel: int = 1) -> None:
    """Load ``model``: by the path for it, which 0.3 does not have, else by asking something."""
    told = post(url, "/api/v1/models/load", {"model": model, "parallel": parallel})
    if "error" in told:
        hello = [{"role": "user", "content": "Hello"}]
        asked = {"model": model, "messages": hello, "max_tokens": 1, "draft_model": ""}
        post(url, "/v1/chat/completions", asked)


def one_at_a_time(home: Path, identifier: str) -> None:
    """Have LM Studio load a model for one request, as specd does; else it refuses every draft."""
    field = {"key": "llm.load.numParallelSessions", "value": 1}
    homes.write(homes.defaults_path(home, identifier), {"load": {"fields": [field]}})


def unload(url: str, instance: str) -> None:
    post(url, "/api/v1/models/unload", {"instance_id": instance})

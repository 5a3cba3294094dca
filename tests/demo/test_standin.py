"""The stand-in answers as LM Studio's server does, with real text and real draft statistics."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from specd.demo.models import SMALL
from specd.demo.serving import standin

pytestmark = pytest.mark.mlx

MAIN, GOOD, POOR = (
    r.identifier.split("/")[1].lower() for r in (SMALL.main, SMALL.good, SMALL.poor)
)
QUESTION = {"model": MAIN, "messages": [{"role": "user", "content": "Count."}], "max_tokens": 12}
DRAFT_COUNTS = {
    f"{kind}_draft_tokens_count" for kind in ("total", "accepted", "rejected", "ignored")
}


def ask(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and body, decoded when it is JSON."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    content = body if isinstance(body, bytes) or body is None else json.dumps(body)
    connection.request(method, path, content, headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    is_json = response.headers["Content-Type"].startswith("application/json")
    return response.status, json.loads(text) if is_json else text


def chat(url: str, **more: Any) -> Any:
    status, answer = ask(url, "POST", "/api/v0/chat/completions", QUESTION | more)
    assert status == 200, answer
    return answer


def test_its_port_stands_where_lm_studio_writes_it(served: tuple[Path, str]) -> None:
    home, url = served
    config = json.loads((home / ".internal" / "http-server-config.json").read_text())
    assert urlsplit(url).port == config["port"]
    assert urlsplit(url).hostname == "127.0.0.1"


def test_models_are_listed_in_all_three_dialects(served: tuple[Path, str]) -> None:
    _, url = served
    _, v0 = ask(url, "GET", "/api/v0/models")
    _, v1 = ask(url, "GET", "/api/v1/models")
    _, openai = ask(url, "GET", "/v1/models")
    assert (
        {m["id"] for m in v0["data"]}
        == {m["key"] for m in v1["models"]}
        == {m["id"] for m in openai["data"]}
    )
    main = next(m for m in v0["data"] if m["id"] == MAIN)
    assert (main["publisher"], main["compatibility_type"], main["arch"]) == (
        "specd-demo",
        "mlx",
        "llama",
    )


def test_a_question_loads_its_model_and_an_unload_takes_it_out(served: tuple[Path, str]) -> None:
    _, url = served

    def instances() -> list[Any]:
        _, models = ask(url, "GET", "/api/v1/models")
        return next(m["loaded_instances"] for m in models["models"] if m["key"] == POOR)

    ask(url, "POST", "/api/v1/models/unload", {"instance_id": POOR})
    assert instances() == []
    status, loaded = ask(
        url, "POST", "/api/v1/models/load", {"model": POOR, "context_length": 2048, "parallel": 4}
    )
    assert (status, loaded["instance_id"]) == (200, POOR)
    assert instances() == [{"id": POOR, "config": {"context_length": 2048, "parallel": 4}}]
    assert ask(url, "POST", "/api/v1/models/unload", {"instance_id": POOR})[0] == 200
    assert instances() == []


def test_speculation_gives_the_same_text_and_says_what_was_drafted(
    served: tuple[Path, str],
) -> None:
    _, url = served
    plain = chat(url)
    drafted = chat(url, draft_model=GOOD, num_draft_tokens=3)
    assert drafted["choices"][0]["message"] == plain["choices"][0]["message"]
    assert not DRAFT_COUNTS & set(plain["stats"])
    stats = drafted["stats"]
    assert stats["draft_model"] == GOOD
    # 12 tokens of a draft that is always right: 3 rounds of 3 and one.
    assert [
        stats[f"{k}_draft_tokens_count"] for k in ("total", "accepted", "rejected", "ignored")
    ] == [9, 9, 0, 0]
    assert plain["usage"]["completion_tokens"] == 12
    assert plain["stats"]["stop_reason"] == "maxPredictedTokensReached"


def test_a_poor_draft_is_rejected_more_often(served: tuple[Path, str]) -> None:
    _, url = served
    stats = chat(url, draft_model=POOR, num_draft_tokens=3)["stats"]
    assert stats["rejected_draft_tokens_count"] > stats["accepted_draft_tokens_count"]


@pytest.mark.parametrize("draft", ["narrow-4bit", "not-installed", MAIN, ""])
def test_a_draft_that_cannot_be_used_is_dropped_without_a_word(
    served: tuple[Path, str], draft: str
) -> None:
    _, url = served
    answer = chat(url, draft_model=draft)
    assert "error" not in answer
    assert "draft_model" not in answer["stats"]


def test_the_models_own_default_config_names_the_draft_unless_the_request_does(
    served: tuple[Path, str],
) -> None:
    home, url = served
    config = (
        home / ".internal" / "user-concrete-model-default-config" / f"{SMALL.main.identifier}.json"
    )
    config.parent.mkdir(parents=True)
    fields = [
        {"key": "llm.prediction.speculativeDecoding.draftModel", "value": SMALL.good.identifier},
        {"key": "llm.prediction.speculativeDecoding.numDraftTokensExact", "value": 4},
    ]
    config.write_text(json.dumps({"operation": {"fields": fields}}))
    try:
        assert chat(url)["stats"]["draft_model"] == GOOD
        assert "draft_model" not in chat(url, draft_model="")["stats"]
    finally:
        config.unlink()


def test_streaming_sends_the_same_text_in_pieces(served: tuple[Path, str]) -> None:
    _, url = served
    whole = chat(url, draft_model=GOOD)
    _, text = ask(
        url, "POST", "/api/v0/chat/completions", QUESTION | {"stream": True, "draft_model": GOOD}
    )
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert events.pop() == "[DONE]"
    chunks = [json.loads(event) for event in events]
    said = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks)
    assert said == whole["choices"][0]["message"]["content"]
    assert (
        chunks[-1]["stats"]["accepted_draft_tokens_count"]
        == whole["stats"]["accepted_draft_tokens_count"]
    )


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", b"[]", 400),
        ("/v1/chat/completions", QUESTION | {"messages": []}, 400),
        ("/v1/chat/completions", QUESTION | {"model": "no-such-model"}, 404),
        ("/v1/chat/completions", QUESTION | {"temperature": "warm"}, 400),
        ("/api/v1/models/unload", {"instance_id": "nothing"}, 404),
        ("/nowhere", {}, 200),
    ],
)
def test_bad_requests_get_an_error_and_leave_the_server_up(
    served: tuple[Path, str], path: str, body: Any, status: int
) -> None:
    _, url = served
    got, answer = ask(url, "POST", path, body)
    assert (got, "error" in answer) == (status, True)
    assert ask(url, "GET", "/v1/models")[0] == 200


def test_with_a_token_only_those_who_have_it_are_answered(tmp_path: Path) -> None:
    with standin(tmp_path, tmp_path / "log", token="let-me-in") as url:
        assert ask(url, "GET", "/v1/models")[0] == 401
        assert ask(url, "GET", "/v1/models", Authorization="Bearer let-me-out")[0] == 401
        assert ask(url, "GET", "/v1/models", Authorization="Bearer let-me-in") == (
            200,
            {"object": "list", "data": []},
        )


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, psutil, sys\n"
        "from specd.demo.serving import standin\n"
        "with standin(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1], 'log')):\n"
        "    print(psutil.Process().children()[0].pid, flush=True)\n"
        "    os._exit(9)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    died = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert died.returncode == 9
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(died.stdout)):
        assert time.monotonic() < deadline, "the stand-in outlived whoever started it"
        time.sleep(0.05)

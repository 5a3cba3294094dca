"""The stand-in answers as LM Studio's server does, with real text and real draft statistics."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from specd.demo.models import SMALL
from specd.lmstudio import answers
from specd.lmstudio.connection import DraftRefused
from specd.lmstudio.server import Server, server_urls
from tests.daemon import until
from tests.lmstudio import shapes

pytestmark = pytest.mark.mlx

MAIN, GOOD, POOR = (
    r.identifier.split("/")[1].lower() for r in (SMALL.main, SMALL.good, SMALL.poor)
)
QUESTION = {"model": MAIN, "messages": [{"role": "user", "content": "Count."}], "max_tokens": 12}
DRAFT = "llm.prediction.speculativeDecoding.draftModel"
SESSIONS = "llm.load.numParallelSessions"
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


def test_the_newer_writes_where_it_listens(newer: tuple[Path, str]) -> None:
    home, url = newer
    assert server_urls(home)[0] == url
    listening = json.loads((home / ".internal" / "http-server.json").read_text())
    assert listening == {"port": urlsplit(url).port}


def test_models_are_listed_in_all_three_dialects(newer: tuple[Path, str]) -> None:
    _, url = newer
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


def test_a_question_loads_its_model_and_an_unload_takes_it_out(newer: tuple[Path, str]) -> None:
    _, url = newer

    def instances() -> list[Any]:
        _, models = ask(url, "GET", "/api/v1/models")
        return next(m["loaded_instances"] for m in models["models"] if m["key"] == POOR)

    ask(url, "POST", "/api/v1/models/unload", {"instance_id": POOR})
    assert instances() == []
    status, loaded = ask(url, "POST", "/api/v1/models/load", {"model": POOR, "parallel": 3})
    assert (status, loaded["instance_id"]) == (200, POOR)
    assert instances() == [{"id": POOR, "config": {"context_length": 4096, "parallel": 3}}]
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


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("draft", ["narrow-4bit", "not-installed"])
def test_a_draft_that_cannot_be_used_is_refused(
    served: tuple[Path, str], draft: str, stream: bool
) -> None:
    _, url = served
    with pytest.raises(DraftRefused) as refused:
        Server(url).chat(MAIN, QUESTION["messages"], draft_model=draft, stream=stream)
    assert not refused.value.at_load_only


def shape(value: Any) -> Any:
    """The names in an answer, down to its values."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return [shape(each) for each in value[:1]] if isinstance(value, list) else None


def less_than(mine: Any, recorded: Any) -> bool:
    """Whether every name stands where it stands in the recorded shape."""
    if isinstance(mine, dict):
        known = isinstance(recorded, dict)
        return known and all(k in recorded and less_than(v, recorded[k]) for k, v in mine.items())
    if isinstance(mine, list):
        return isinstance(recorded, list) and all(less_than(e, recorded[0]) for e in mine)
    return True


@pytest.mark.parametrize(
    ("version", "path", "name"),
    [
        ("0.3", "/api/v0/chat/completions", "0.3/api-v0-chat-completions"),
        ("0.4", "/api/v0/chat/completions", "0.4/api-v0-chat-completions"),
        ("0.4", "/v1/chat/completions", "0.4/v1-chat-completions"),
    ],
)
def test_answers_have_the_recorded_shapes(
    served: tuple[Path, str], newer: tuple[Path, str], version: str, path: str, name: str
) -> None:
    home, url = newer if version == "0.4" else served
    with defaults(home, (SESSIONS, 1), (DRAFT, SMALL.good.identifier)):
        ask(url, "POST", "/api/v1/models/unload", {"instance_id": MAIN})
        status, body = ask(url, "POST", path, QUESTION)
    assert status == 200
    recorded = shapes.value(f"{name}.json")
    assert less_than(shape(body), shape(recorded))
    read = answers.read_answer(body, answers.text_in(body), 1.0, None)
    assert read.tokens > 0
    assert read.draft is not None
    assert read.draft.accepted > 0
    assert (read.draft.total is None) == (version == "0.4")  # MLX's are not counted


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("key", "file"), [("big", "someone/Big-GGUF/big-Q4_K_M.gguf"), ("owner/hub", "owner/hub")]
)
def test_the_newer_takes_a_gguf_draft_at_load_only(
    newer: tuple[Path, str], key: str, file: str, stream: bool
) -> None:
    """A catalogue model's defaults are read by its name in the catalogue."""
    home, url = newer
    llama = "llm.load.llama.speculativeDecoding."
    with defaults(
        home,
        (f"{llama}draftSimple", True),
        (f"{llama}draftModel", "someone/Small-GGUF/small.gguf"),
        identifier=file,
    ):
        with pytest.raises(DraftRefused) as refused:
            Server(url).chat(key, QUESTION["messages"], draft_model="small", stream=stream)
        assert refused.value.at_load_only
        (instance,) = next(m for m in Server(url).models() if m.key == key).loaded_instances
        in_force = (instance.draft_simple, instance.draft_model, instance.draft_mtp)
        assert in_force == (True, "someone/Small-GGUF/small.gguf", False)
    ask(url, "POST", "/api/v1/models/unload", {"instance_id": key})


def parallel(url: str) -> list[int | None]:
    (main,) = (each for each in Server(url).models() if each.key == MAIN)
    return [each.parallel for each in main.loaded_instances]


def test_the_newer_reads_the_default_config_when_it_loads_a_model(newer: tuple[Path, str]) -> None:
    home, url = newer
    ask(url, "POST", "/api/v1/models/unload", {"instance_id": MAIN})
    question = QUESTION["messages"]
    assert Server(url).chat(MAIN, question, max_tokens=4).draft is None
    assert parallel(url) == [4]
    with defaults(home, (SESSIONS, 1), (DRAFT, SMALL.good.identifier)):
        assert Server(url).chat(MAIN, question, max_tokens=4).draft is None
        with pytest.raises(DraftRefused, match="batched"):
            Server(url).chat(MAIN, question, draft_model=GOOD)
        ask(url, "POST", "/api/v1/models/unload", {"instance_id": MAIN})
        assert Server(url).chat(MAIN, question, max_tokens=8).draft is not None
        assert parallel(url) == [1]
    ask(url, "POST", "/api/v1/models/unload", {"instance_id": MAIN})


def test_the_newer_forgets_parallel_one_when_a_model_comes_back_with_a_request(
    newer: tuple[Path, str],
) -> None:
    home, url = newer
    question = QUESTION["messages"]
    ask(url, "POST", "/api/v1/models/unload", {"instance_id": MAIN})
    with defaults(home, (SESSIONS, 1)):
        Server(url).chat(MAIN, question, max_tokens=2, ttl=4)
        assert parallel(url) == [1]
        until(lambda: parallel(url) == [], "it is unloaded for idleness")
        Server(url).chat(MAIN, question, max_tokens=2)
        assert parallel(url) == [4]
        ask(url, "POST", "/api/v1/models/unload", {"instance_id": MAIN})
        ask(url, "POST", "/api/v1/models/load", {"model": MAIN})
        assert parallel(url) == [1]
    ask(url, "POST", "/api/v1/models/unload", {"instance_id": MAIN})


def test_a_quantized_cache_drafts_although_four_requests_are_served(
    newer: tuple[Path, str],
) -> None:
    home, url = newer
    ask(url, "POST", "/api/v1/models/unload", {"instance_id": MAIN})
    with defaults(home, ("llm.load.mlx.kvCacheQuantization", {"enabled": True, "bits": 8})):
        answer = Server(url).chat(MAIN, QUESTION["messages"], draft_model=GOOD, max_tokens=8)
        assert (parallel(url), answer.draft is not None) == ([4], True)
    ask(url, "POST", "/api/v1/models/unload", {"instance_id": MAIN})


@contextmanager
def defaults(
    home: Path, *fields: tuple[str, Any], identifier: str = SMALL.main.identifier
) -> Iterator[None]:
    """A default config for as long as the context lasts."""
    config = home / ".internal" / "user-concrete-model-default-config" / f"{identifier}.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    written = [{"key": key, "value": value} for key, value in fields]
    operation = [each for each in written if each["key"].startswith("llm.prediction.")]
    load = [each for each in written if each not in operation]
    document = {"operation": {"fields": operation}, "load": {"fields": load}}
    config.write_text(json.dumps(document))
    try:
        yield
    finally:
        config.unlink()


def test_the_models_own_default_config_names_the_draft_unless_the_request_does(
    served: tuple[Path, str],
) -> None:
    home, url = served
    tokens = "llm.prediction.speculativeDecoding.numDraftTokensExact"
    with defaults(home, (DRAFT, SMALL.good.identifier), (tokens, 4)):
        assert chat(url)["stats"]["draft_model"] == GOOD
        assert "draft_model" not in chat(url, draft_model="")["stats"]


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
        ("/api/v1/models/unload", {"instance_id": "nothing"}, 200),  # 0.3 has no such path
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
    until(lambda: not psutil.pid_exists(int(died.stdout)), "the stand-in ends too")

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.bench import engine_server, prompts
from specd.bench.engine_server import Asked, DraftSilent, Named, benchmark
from specd.bench.replay import replay
from specd.bench.silence import Circumstances
from specd.demo.models import SMALL, ensure
from specd.demo.serving import standin
from specd.lmstudio.server import Answer, DraftStats, Server
from specd.worker.client import environment
from tests.daemon import until

MAIN, DRAFT = "smollm2-small-deep-fp16", "smollm2-small-4bit"
ASKED = Asked(Named("main", MAIN), Named("draft", DRAFT), Circumstances(formats=("mlx", "mlx")))
SHORT = (prompts.Prompt("short", "Count to ten.", 6),)


@pytest.fixture
def few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few lengths and passes as can be, however long they take on this machine."""
    monkeypatch.setattr(engine_server, "LENGTHS", (2,))
    monkeypatch.setattr(engine_server, "PASSES", 1)


def measure(server: Server, asked: Asked = ASKED, seconds: float = 120) -> Any:
    steps: list[float] = []
    result, probe = benchmark(
        server,
        asked,
        SHORT,
        "brief",
        seconds=seconds,
        progress=lambda said: steps.append(said["done"]),
    )
    assert steps == sorted(steps)
    return result, probe


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("home")
    for recipe in SMALL:
        link = made / "models" / recipe.identifier
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ensure(recipe))
    return made


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    with standin(home, home / "standin.log") as url:
        yield Server(url)


@pytest.fixture
def default_draft(home: Path) -> Iterator[None]:
    """The main's own default config names the draft, as specd writes it."""
    config = home / ".internal" / "user-concrete-model-default-config"
    path = config / f"{SMALL.main.identifier}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    key = "llm.prediction.speculativeDecoding.draftModel"
    path.write_text(json.dumps({"operation": {"fields": [{"key": key, "value": DRAFT}]}}))
    yield
    path.unlink()


@pytest.mark.mlx
def test_a_pair_is_measured_with_and_without_the_draft_on_a_real_server(
    server: Server, few_passes: None
) -> None:
    result, probe = measure(server)
    assert (result.engine, result.main, result.draft) == ("server", "main", "draft")
    assert result.text_equal
    assert result.baseline_tps > 0
    none, *tried = result.lengths
    assert (none.draft_tokens, none.predicted_speedup) == (0, 1.0)
    assert tried
    assert all(0 < (each.acceptance or 0) <= 1 and each.rounds for each in tried)
    figures = result.by_class["short"]
    assert 0 < figures["first_token_s"] < 6 / figures["measured_tps"]
    assert probe.drafted >= probe.accepted > 0
    assert probe.finding is None


@pytest.mark.mlx
def test_without_is_without_even_where_the_default_config_names_the_draft(
    server: Server, default_draft: None
) -> None:
    chat = [{"role": "user", "content": "Count."}]
    assert server.chat(MAIN, chat, max_tokens=8).draft is not None
    talk = engine_server._acquainted(server, ASKED)
    assert talk.ask("Count.", 8, 0).draft is None
    assert talk.ask("Count.", 8, 2).draft is not None


@pytest.mark.mlx
def test_a_draft_that_is_dropped_without_a_word_is_a_finding_with_its_cause(
    server: Server,
) -> None:
    for instance in (each for model in server.models() for each in model.loaded_instances):
        server.unload(instance.id)
    body = json.dumps({"model": MAIN, "parallel": 4}).encode()
    urllib.request.urlopen(f"{server.base_url}/api/v1/models/load", body)  # noqa: S310 - loopback
    (served,) = (each for each in server.models() if each.key == MAIN)
    known = Circumstances(parallel=served.loaded_instances[0].parallel, formats=("mlx", "mlx"))
    with pytest.raises(DraftSilent) as raised:
        measure(server, Asked(ASKED.main, ASKED.draft, known))
    finding = raised.value.probe.finding or ""
    assert "the draft was asked for and did not run" in finding
    assert "loaded for 4 requests at once" in finding
    assert raised.value.probe.drafted == 0
    server.unload(MAIN)


@pytest.fixture
def plain_server(tmp_path: Path) -> Iterator[Server]:
    """A real ``mlx_lm.server``, which tells no statistics and takes folders as names."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # With prompts kept, mlx-lm 0.32 goes on wrongly from one that was answered with a draft.
    kept = ["--prompt-cache-size", "0"]
    command = [sys.executable, "-m", "mlx_lm", "server", "--port", str(port), *kept]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--model", str(ensure(SMALL.main)), "--log-level", "INFO"],
            stdout=log,
            stderr=log,
            env=environment(),
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}")
    try:
        until(lambda: process.poll() is None and server.reachable(), "it answers", 60)
        yield server
    finally:
        process.kill()
        process.wait()


@pytest.mark.mlx
def test_a_plain_openai_server_takes_draft_and_length_with_the_request(
    plain_server: Server, few_passes: None
) -> None:
    main, draft = str(ensure(SMALL.main)), str(ensure(SMALL.good))
    asked = Asked(Named("main", main), Named("draft", draft), ASKED.known, draft_tokens=3)
    result, probe = measure(plain_server, asked)
    assert result.text_equal
    assert [each.acceptance for each in result.lengths if each.draft_tokens] == [None] * (
        len(result.lengths) - 1
    )
    assert 3 in [each.draft_tokens for each in result.lengths]
    assert any("tells no statistics" in note for note in result.notes)
    assert result.by_class["short"]["first_token_s"] > 0
    assert (probe.drafted, probe.finding) == (0, None)


# -- which length was in force, from what the server counts -----------------------------------


def told(agrees: list[bool], length: int) -> Answer:
    counts = replay(agrees, length, len(agrees))
    draft = DraftStats("d", counts.drafted, counts.accepted, 0, 0)
    return Answer("", counts.tokens, 5, 1.0, tokens_per_second=1.0, draft=draft)


def talk() -> Any:
    return engine_server._Talk(Server("http://127.0.0.1:1"), ASKED, tells=True)


ANSWERS = st.lists(st.lists(st.booleans(), min_size=1, max_size=60), min_size=1, max_size=5)


@given(ANSWERS, st.integers(1, 10))
def test_a_length_that_was_taken_is_never_taken_for_another(
    answers: list[list[bool]], length: int
) -> None:
    mine = talk()
    assert engine_server._in_force(mine, [told(each, length) for each in answers], length) == length
    assert mine.fixed is None


@given(st.lists(st.booleans(), min_size=300, max_size=300), st.integers(1, 8), st.integers(1, 8))
def test_a_length_the_server_did_not_take_is_noticed(
    agrees: list[bool], asked: int, real: int
) -> None:
    found = engine_server._in_force(talk(), [told(agrees, real)], asked)
    assert found == asked if asked == real else abs(found - real) <= 1


def test_llama_cpp_s_length_is_only_the_most_it_drafts() -> None:
    mine = talk()
    mine.asked = Asked(ASKED.main, ASKED.draft, Circumstances(formats=("gguf", "gguf")))
    assert engine_server._in_force(mine, [told([True] * 40, 5)], 2) == 16

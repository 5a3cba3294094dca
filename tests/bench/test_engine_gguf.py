"""GGUF mains with a real llama.cpp: with and without what drafts, no prompt twice on one slot."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from specd import places
from specd.agent import benchmarks
from specd.bench import confirm
from specd.bench.circumstances import dependencies
from specd.bench.engine import Timed, TimeUp
from specd.bench.engine_gguf import DraftSilent, GgufEngine
from specd.bench.history import Run
from specd.bench.outcome import outcome
from specd.bench.prompts import BASIC, Prompt
from specd.bench.result import BenchRequest, BenchResult, Best
from specd.bench.tried import Repeated, measure
from specd.demo.weights import find_gguf
from specd.llamacpp.engine import LlamaCpp, find
from tests.daemon import Sandbox, until
from tests.llamacpp import gguf_models

PROMPTS = tuple(replace(each, max_tokens=12) for each in BASIC[:2])


@pytest.fixture(scope="module")
def llama() -> LlamaCpp:
    found = find()
    assert found is not None
    return found


@pytest.fixture
def drafting_for_itself(llama: LlamaCpp) -> Iterator[GgufEngine]:
    with closing(GgufEngine(llama, find_gguf(), "draft-simple", find_gguf())) as engine:
        yield engine


def asked(prompts: tuple[Prompt, ...] = PROMPTS) -> BenchRequest:
    return BenchRequest("main", prompts, "basic", {}, 3000.0, "now")


@pytest.mark.mlx
@pytest.mark.timeout(900)  # real models, loaded for each side: minutes on a busy machine
def test_a_pair_is_measured_with_and_without_the_draft(
    drafting_for_itself: GgufEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirm, "LOOKS", (2,))
    result, runs = measure(drafting_for_itself, asked(), "draft", (4,))
    assert (result.engine, result.text_equal) == ("llama.cpp", True)
    assert result.baseline_tps > 0
    none, drafting = result.lengths
    assert none.draft_tokens == 0
    assert drafting.acceptance == pytest.approx(1.0, abs=0.05)
    assert runs is not None
    assert runs.passes == 2
    assert result.best.measured_speedup is not None
    assert [each.from_draft for of_prompt in runs.answers[0] for each in of_prompt] == [0] * 4


@pytest.mark.mlx
def test_a_draft_that_llama_cpp_drops_is_a_finding(llama: LlamaCpp, tmp_path: Path) -> None:
    stranger = gguf_models.write(tmp_path / "stranger.gguf")
    with (
        closing(GgufEngine(llama, find_gguf(), "draft-simple", stranger)) as engine,
        pytest.raises(DraftSilent, match="drafts nothing"),
    ):
        measure(engine, asked(PROMPTS[:1]), "draft", (4,))


@pytest.mark.mlx
def test_no_answer_outlasts_the_time_of_its_pair(drafting_for_itself: GgufEngine) -> None:
    engine = drafting_for_itself
    long = replace(BASIC[0], text="Count on and on, from one to ten thousand.", max_tokens=9_000)
    for length in (0, 4):
        engine.answer(PROMPTS[0], length)  # loads its server
    for length in (0, 4):
        engine.until = engine.clock() + 1
        with pytest.raises(TimeUp, match="the time was up"):
            engine.answer(long, length)
    begun = engine.clock()
    with pytest.raises(TimeUp, match="the time was up"):
        engine.answer(long, 4)
    assert engine.clock() - begun < 1
    engine.until = engine.clock() + 300
    assert engine.answer(PROMPTS[1], 4).drafted  # the server gave the long ones up


class FarSlower(GgufEngine):
    """A real llama.cpp that has no time left for an answer with a draft."""

    def answer(self, prompt: Prompt, draft_tokens: int) -> Timed:
        found = GgufEngine.answer(self, prompt, draft_tokens)
        return replace(found, seconds=1_000 * found.seconds) if draft_tokens else found


@pytest.mark.mlx
def test_a_draft_that_takes_all_the_time_is_called_far_slower(llama: LlamaCpp) -> None:
    with closing(FarSlower(llama, find_gguf(), "draft-simple", find_gguf())) as engine:
        result, runs = measure(engine, replace(asked(), seconds=9.0), "draft", (4, 16))
    assert runs is None
    assert result.far_slower
    assert outcome(result).kind == "none"


def test_the_same_answer_of_two_ways_has_the_same_text_and_none_is_asked_twice() -> None:
    repeated = Repeated()
    one, other = ([repeated.text(BASIC[0], length) for _ in range(3)] for length in (0, 4))
    assert one == other
    assert len(set(one)) == 3
    assert all(text.endswith(BASIC[0].text) for text in one)
    drawn = replace(BASIC[0], temperature=0.8)
    assert repeated.text(drawn, 0) == BASIC[0].text


@pytest.mark.mlx
def test_a_gguf_main_is_measured_from_the_command_line(sandbox: Sandbox) -> None:
    main, draft = gguf_models.install(sandbox.home)
    ran = sandbox.specd("bench", main, draft, "--suite", "brief", "--minutes", "6", "--json")
    told = json.loads(ran.stdout)
    found = {each["draft"]: each for each in told}
    assert set(found) == {draft, "ngram"}, ran.stderr
    assert {each["engine"] for each in told} == {"llama.cpp"}
    assert found[draft]["lengths"][0]["draft_tokens"] == 0
    (*_, newest) = json.loads(sandbox.specd("history", "--json").stdout)
    assert "xllamacpp" in newest["context"]["engine"]


@pytest.mark.mlx
def test_the_daemon_measures_a_gguf_main_without_lm_studio_running(sandbox: Sandbox) -> None:
    main, draft = gguf_models.install(sandbox.home)
    sandbox.config.write_text(
        f'[[pair]]\nmain = "{main}"\ndraft = "{draft}"\n'
        '[benchmark]\nschedule = ""\nmax_minutes = 10\n'
    )
    sandbox.running()
    until(lambda: sandbox.condition("TokenizersCompatible")["status"] == "true", "the verdict")
    socket = str(places.socket_path(sandbox.state))
    order = json.dumps({"suite": "brief", "quick": True})
    told = subprocess.run(
        ["curl", "-s", "--unix-socket", socket, "http://specd/v1/bench", "-d", order],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    assert json.loads(told) == {"benchmark": "started"}

    def ended() -> bool:
        return not (sandbox.status()["benchmark"] or "").startswith("running")

    until(ended, "its end", 700, pause_s=0.5)
    runs = json.loads(sandbox.specd("history", "--json").stdout)
    assert runs, sandbox.said()
    assert {each["engine"] for each in runs} == {"llama.cpp"}


def test_a_result_of_llama_cpp_depends_on_llama_cpp_and_not_on_lm_studio(llama: LlamaCpp) -> None:
    model = find_gguf()
    sight: Any = SimpleNamespace(home=None, engine_version="0.4.24")
    best = Best(4, 1.2, None, None, 4)
    result = BenchResult("main", "draft", "llama.cpp", "basic", "now", 9.0, (), best, True, 1.0)

    def stale(version: str) -> dict[str, tuple[str, ...]]:
        run = Run(1, result, dependencies(model, model, engine_version=version))
        return benchmarks._stale([("pair", model, model, run)], sight)

    assert stale(llama.name) == {}
    words = f"llama.cpp was xllamacpp 1, now {llama.name}"
    assert stale("xllamacpp 1") == {"pair": (words,)}

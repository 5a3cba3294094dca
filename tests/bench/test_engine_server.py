from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.bench import confirm, engine_server, prompts, tried
from specd.bench.choice import decide
from specd.bench.engine import Timed
from specd.bench.engine_server import (
    CannotMeasure,
    DraftSilent,
    Named,
    ServedPair,
    ServerEngine,
    benchmark,
)
from specd.bench.outcome import sentence
from specd.bench.replay import replay
from specd.bench.result import BenchRequest
from specd.bench.silence import Circumstances
from specd.config import Benchmark
from specd.demo.models import SMALL, ensure
from specd.demo.serving import standin
from specd.lmstudio.chat_settings import ChatSettings
from specd.lmstudio.connection import DraftRefused, NotReachable, ServerError
from specd.lmstudio.server import Server
from specd.worker.client import environment
from tests.bench.simulated import Setting, SimulatedEngine, SimulatedServer
from tests.daemon import until
from tests.standins import load

MAIN, DRAFT = "smollm2-small-deep-fp16", "smollm2-small-4bit"
ASKED = ServedPair(
    Named("main", MAIN), Named("draft", DRAFT), Circumstances(formats=("mlx", "mlx"))
)
SHORT = (prompts.Prompt("short", "Count to ten.", 6),)


@pytest.fixture
def few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few lengths and passes as can be, however long they take on this machine."""
    monkeypatch.setattr(engine_server, "LENGTHS", (2,))
    monkeypatch.setattr(confirm, "LOOKS", (2,))


def answers(server: Server) -> bool:
    try:
        server.models(1.0)
    except NotReachable:
        return False
    except ServerError:  # without a cache of models, it lists none
        return True
    return True


def measure(server: Server, asked: ServedPair = ASKED, seconds: float = 120) -> Any:
    steps: list[float] = []
    result, probe = benchmark(
        server,
        asked,
        BenchRequest(
            "main",
            SHORT,
            "brief",
            {},
            seconds,
            "now",
            progress=lambda said: steps.append(said["done"]),
        ),
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
    with standin(home, home / "standin.log", version="0.3") as url:
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
    assert result.confirmation.passes == 2
    assert result.best.measured_speedup > 0
    assert probe.drafted >= probe.accepted > 0
    assert probe.finding is None


@pytest.mark.mlx
def test_without_is_without_even_where_the_default_config_names_the_draft(
    server: Server, default_draft: None
) -> None:
    chat = [{"role": "user", "content": "Count."}]
    assert server.chat(MAIN, chat, max_tokens=8).draft is not None
    engine = engine_server._acquainted(ServerEngine(server, ASKED, has_statistics=True))
    assert engine.ask("Count.", 8, 0).draft is None
    assert engine.ask("Count.", 8, 2).draft is not None


@pytest.fixture
def newer(home: Path) -> Iterator[Server]:
    with standin(home, home / "newer.log") as url:
        yield Server(url)


@pytest.mark.mlx
def test_a_draft_that_is_refused_is_a_finding_with_its_cause(newer: Server) -> None:
    load(newer.base_url, MAIN, parallel=4)
    (served,) = (each for each in newer.models() if each.key == MAIN)
    known = Circumstances(parallel=served.loaded_instances[0].parallel, formats=("mlx", "mlx"))
    with pytest.raises(DraftSilent) as raised:
        measure(newer, ServedPair(ASKED.main, ASKED.draft, known))
    finding = raised.value.probe.finding or ""
    assert "the draft was asked for and did not run" in finding
    assert "loaded for 4 requests at once" in finding
    assert raised.value.probe.drafted == 0


@pytest.mark.mlx
@pytest.mark.usefixtures("few_passes")
def test_where_only_accepted_tokens_are_counted_the_configured_length_is_measured(
    newer: Server,
) -> None:
    load(newer.base_url, MAIN)
    result, probe = measure(newer)
    assert [each.draft_tokens for each in result.lengths] == [0, 2]
    assert result.lengths[1].acceptance is None
    assert probe.accepted > 0


@pytest.fixture
def plain_server(tmp_path: Path) -> Iterator[Server]:
    """A real ``mlx_lm.server``, which reports no statistics and takes folders as names."""
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
        until(lambda: process.poll() is None and answers(server), "it answers")
        yield server
    finally:
        process.kill()
        process.wait()


@pytest.mark.mlx
def test_a_plain_openai_server_takes_draft_and_length_with_the_request(
    plain_server: Server, few_passes: None
) -> None:
    main, draft = str(ensure(SMALL.main)), str(ensure(SMALL.good))
    asked = ServedPair(Named("main", main), Named("draft", draft), ASKED.known, draft_tokens=3)
    result, probe = measure(plain_server, asked)
    assert result.text_equal
    assert [each.acceptance for each in result.lengths if each.draft_tokens] == [None] * (
        len(result.lengths) - 1
    )
    assert 3 in [each.draft_tokens for each in result.lengths]
    assert any("reports no statistics" in note for note in result.notes)
    assert result.by_class["short"]["first_token_s"] > 0
    assert (probe.drafted, probe.finding) == (0, None)


# -- the confirmation, on a server whose truth is known ---------------------------------------

FAST = Setting(lambda k: 1.02 + 0.01 * (k - 1), 0.03, 0.95)
SLOW = Setting(lambda k: 0.95 * k, 0.3, 0.5)


def simulated(
    server: SimulatedServer,
    asked: ServedPair = ASKED,
    seconds: float = 1e6,
    weights: Mapping[str, float] = {},
    temperature: float = 0.0,
) -> Any:
    suite = tuple(server.pair.prompts)
    return benchmark(
        server,
        asked,
        BenchRequest("main", suite, "standard", weights, seconds, "now", temperature),
        server.pair.clock,
    )[0]


CLOSE = replace(FAST, acceptance=0.8)
"""A pair with which the usual length is nearly as fast as the best."""


def test_the_choice_is_confirmed_against_no_draft_and_against_the_usual_length() -> None:
    over_none = over_usual = compared = 0
    for seed in range(20):
        server = SimulatedServer(SimulatedEngine(CLOSE, prompts.BASIC, seed))
        result = simulated(server)
        truth = server.pair.truth
        tried, confirmed = result.best.tried, result.confirmation
        assert confirmed.ended in ("decided", "enough")
        low, high = result.best.interval
        over_none += low <= truth(tried) / truth(0) <= high
        if confirmed.over_default is not None:
            compared += 1
            low, high = confirmed.over_default_interval
            over_usual += low <= truth(tried) / truth(2) <= high
    assert over_none >= 18
    assert compared > 10
    assert over_usual >= compared - 2


def test_a_usual_length_that_cannot_win_is_not_run() -> None:
    server = SimulatedServer(SimulatedEngine(FAST, prompts.BASIC[:2]))
    result = simulated(server)
    swept = 2 * (1 + len(engine_server.LENGTHS))
    said = [length for kind, length in server.asked if kind]
    assert set(said[swept:]) == {0, result.best.tried}


def test_an_answer_that_is_timed_never_follows_a_change_of_the_draft() -> None:
    quick, late = (
        SimulatedServer(SimulatedEngine(FAST, prompts.BASIC), switching=each)
        for each in (0.0, 60.0)
    )
    assert simulated(late).best == simulated(quick).best
    assert late.pair.now > quick.pair.now + 600


def test_where_nothing_is_faster_no_speculation_is_chosen_and_the_loss_is_measured() -> None:
    best = simulated(SimulatedServer(SimulatedEngine(SLOW, prompts.BASIC))).best
    assert best.draft_tokens == 0
    assert best.interval[1] < 1


def test_the_interval_covers_the_truth_at_its_rate_however_early_the_runs_end() -> None:
    covered = 0
    for seed in range(100):
        gain = replace(FAST, acceptance=0.2 + seed / 400, noise=0.1, step=0.02)
        server = SimulatedServer(SimulatedEngine(gain, prompts.BASIC, seed), fixed=3)
        best = simulated(server, replace(ASKED, draft_tokens=3)).best
        truth = server.pair.truth(3) / server.pair.truth(0)
        covered += best.interval[0] <= truth <= best.interval[1]
    assert covered >= 95 - 3 * (100 * 0.95 * 0.05) ** 0.5


def test_a_length_that_requests_cannot_change_is_compared_with_none_alone() -> None:
    server = SimulatedServer(SimulatedEngine(FAST, prompts.BASIC), fixed=5)
    result = simulated(server)
    assert {length for _, length in server.asked} == {0, 5}
    assert result.best.tried == 5
    assert result.confirmation.over_default is None
    assert any("takes no draft length" in note for note in result.notes)


def test_disturbed_answers_are_kept_and_named() -> None:
    def outliers(disturbed: float) -> list[float]:
        setting = replace(FAST, disturbed=disturbed, noise=0.01)
        return [
            outlier.times
            for seed in range(5)
            for outlier in simulated(
                SimulatedServer(SimulatedEngine(setting, prompts.BASIC, seed))
            ).confirmation.outliers
        ]

    assert max(outliers(0.0), default=1.0) < 1.1
    assert max(outliers(0.1)) > 1.3


@pytest.mark.parametrize("fixed", [None, 2, 5])
def test_every_pass_has_texts_of_its_own_the_same_with_and_without_the_draft(
    fixed: int | None,
) -> None:
    server = SimulatedServer(SimulatedEngine(FAST, prompts.BASIC), fixed=fixed)
    simulated(server, seconds=1e6 if fixed else 200)
    alone, drafted = server.texts[False], server.texts[True]
    assert len(alone) == len(set(alone)) > 2 * len(prompts.BASIC)
    if fixed is not None:
        assert set(drafted) == set(alone)


def test_texts_that_differ_are_told() -> None:
    server = SimulatedServer(SimulatedEngine(FAST, prompts.BASIC[:2], differs=True))
    result = simulated(server)
    assert not result.text_equal
    assert any("differ" in note for note in result.notes)
    assert result.other_text == 2
    choice = decide([result], Benchmark())
    assert choice is not None
    assert choice.draft is None
    assert "changes what the main says" in choice.reason
    assert "changes what the main says" in sentence(result)


def test_a_class_without_weight_has_no_say() -> None:
    setting = replace(FAST, spread=0.8)

    def tuned(weights: dict[str, float]) -> Any:
        server = SimulatedServer(SimulatedEngine(setting, prompts.BASIC[:2]))
        return simulated(server, weights=weights)

    easy, both, hard = tuned({"long": 0}), tuned({}), tuned({"short": 0})
    speedups = [each.best.measured_speedup for each in (easy, both, hard)]
    assert speedups == sorted(speedups, reverse=True)
    assert easy.best.tried > hard.best.tried


@pytest.mark.parametrize("tokens_per_second", [50, 18, 5])
def test_a_slow_main_is_confirmed_at_its_temperature_in_ten_minutes(
    tokens_per_second: float,
) -> None:
    setting = replace(FAST, step=1 / tokens_per_second, disturbed=0.0)
    server = SimulatedServer(SimulatedEngine(setting, prompts.STANDARD, hot=0.8))
    result = simulated(server, seconds=540.0, temperature=0.8)
    assert server.pair.now <= 600
    assert result.at_temperature.interval[0] > 1
    assert result.text_equal


def test_a_length_that_is_far_slower_is_tried_no_further() -> None:
    server = SimulatedServer(
        SimulatedEngine(replace(SLOW, noise=0.0, disturbed=0.0), prompts.BASIC)
    )
    result = simulated(server)
    asked = Counter(length for kind, length in server.asked if kind)
    assert asked[8] == tried.ENOUGH
    assert asked[1] > tried.ENOUGH
    slowest = result.lengths[-1]
    assert (slowest.draft_tokens, slowest.predicted_speedup < 1 / tried.HOPELESS) == (8, True)


def test_a_longer_answer_at_a_temperature_is_no_slower_one() -> None:
    alone = [Timed("", 10, 1.0)] * 3
    assert not tried._hopeless([Timed("", 120, 12.0)] * 3, alone)
    assert tried._hopeless([Timed("", 120, 25.0)] * 3, alone)


def test_a_slow_main_is_asked_only_what_there_is_time_for() -> None:
    server = SimulatedServer(SimulatedEngine(replace(FAST, step=1.0), prompts.BASIC))
    result = simulated(server, seconds=1000.0)
    assert any("prompts were asked" in note for note in result.notes)
    assert server.pair.now < 1200


def test_an_empty_answer_cannot_be_timed_and_is_said() -> None:
    class Silent(SimulatedServer):
        def chat(self, *words: Any, **more: Any) -> Any:
            heard = super().chat(*words, **more)
            return replace(heard, tokens=0) if more["max_tokens"] == 60 else heard

    with pytest.raises(CannotMeasure, match="'translation'"):
        simulated(Silent(SimulatedEngine(FAST, prompts.BASIC)))


@pytest.mark.parametrize("ttl", [None, 120])
def test_every_request_says_how_long_the_main_may_stay(ttl: int | None) -> None:
    server = SimulatedServer(SimulatedEngine(FAST, prompts.BASIC[:1]))
    simulated(server, replace(ASKED, ttl=ttl))
    assert server.ttls == {ttl}


def test_the_users_own_narrowing_of_the_choice_is_sent_with_a_temperature() -> None:
    server = SimulatedServer(SimulatedEngine(FAST, prompts.BASIC[:1]))
    settings = ChatSettings(top_k=7, top_p=0.5, min_p=0.0)
    simulated(server, replace(ASKED, settings=settings), temperature=0.7)
    sent = [narrowed for temperature, narrowed in server.narrowed if temperature]
    assert sent
    assert all(each == {"top_k": 7, "top_p": 0.5, "min_p": 0.0} for each in sent)
    assert all(not narrowed for temperature, narrowed in server.narrowed if not temperature)


# -- which length was in force, from what the server counts -----------------------------------


def told(agrees: list[bool], length: int) -> Timed:
    counts = replay(agrees, length, len(agrees))
    return Timed("", counts.tokens, 1.0, counts.accepted, counts.drafted)


def engine(asked: ServedPair = ASKED) -> ServerEngine:
    return ServerEngine(Server("http://127.0.0.1:1"), asked, has_statistics=True)


ANSWERS = st.lists(st.lists(st.booleans(), min_size=1, max_size=60), min_size=1, max_size=5)


@given(ANSWERS, st.integers(1, 10))
def test_a_length_that_was_taken_is_never_taken_for_another(
    answers: list[list[bool]], length: int
) -> None:
    mine = engine()
    assert mine.in_force([told(each, length) for each in answers], length) == length
    assert mine.fixed is None


@given(st.lists(st.booleans(), min_size=300, max_size=300), st.integers(1, 8), st.integers(1, 8))
def test_a_length_the_server_did_not_take_is_noticed(
    agrees: list[bool], asked: int, real: int
) -> None:
    found = engine().in_force([told(agrees, real)], asked)
    assert found == asked if asked == real else abs(found - real) <= 1


def test_llama_cpp_s_length_is_only_the_most_it_drafts() -> None:
    mine = engine(ServedPair(ASKED.main, ASKED.draft, Circumstances(formats=("gguf", "gguf"))))
    assert mine.in_force([told([True] * 40, 5)], 2) == 16


def test_a_draft_that_is_taken_at_load_only_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    server = SimulatedServer(SimulatedEngine(FAST, prompts.BASIC[:2]))
    alone = server.chat

    def chat(*args: Any, draft_model: str | None = None, **more: Any) -> Any:
        if draft_model:
            raise DraftRefused("must be configured at load time", 400)
        return alone(*args, **more)

    monkeypatch.setattr(server, "chat", chat)
    with pytest.raises(CannotMeasure, match="only when it loads the model"):
        simulated(server)

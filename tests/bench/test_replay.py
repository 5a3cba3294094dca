"""Replay counts what mlx-lm's own loop does: with scripted models, tiny ones and real ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.generate import speculative_generate_step

from specd.bench.engine_mlx import MlxEngine, open_draft, open_main
from specd.bench.prompts import BASIC, Prompt
from specd.bench.replay import Replay, replay
from specd.demo.models import DEMO, SMALL, ensure
from tests.bench import tiny
from tests.conftest import Figures

VOCABULARY = 8
AGREEMENTS = st.lists(st.booleans(), min_size=1, max_size=60)


@dataclass
class Position:
    """A cache that only knows how much was read, as mlx-lm's caches do besides holding keys."""

    offset: int = 0

    @property
    def state(self) -> Any:
        return mx.array(self.offset)

    def is_trimmable(self) -> bool:
        return True

    def trim(self, count: int) -> int:
        self.offset -= count
        return count


@dataclass
class Scripted:
    """A model that says ``script[i]`` after i + 1 tokens, whatever they were; counts its tokens."""

    script: list[int]
    passes: list[int] = field(default_factory=list)

    def make_cache(self) -> list[Position]:
        return [Position()]

    @property
    def layers(self) -> list[None]:
        return [None]

    def __call__(self, tokens: Any, cache: list[Position]) -> Any:
        start = cache[0].offset
        count = tokens.shape[1]
        cache[0].offset += count
        self.passes.append(count)
        said = [self.script[min(start + at, len(self.script) - 1)] for at in range(count)]
        return mx.array([[[float(word == each) for word in range(VOCABULARY)] for each in said]])


def run(agrees: list[bool], draft_tokens: int, max_tokens: int) -> tuple[Replay, Scripted]:
    """Counts of mlx-lm's own loop over models that agree as told; the script ends the answer."""
    answer = [index % 5 for index in range(len(agrees))]
    guesses = [token if right else 7 for token, right in zip(answer, agrees, strict=True)]
    main, draft = Scripted([*answer, 6]), Scripted([*guesses, 7])
    accepted = rounds = 0
    in_round = False
    for number, (_, _, from_draft) in enumerate(
        speculative_generate_step(
            mx.array([1]), main, draft, num_draft_tokens=draft_tokens, max_tokens=max_tokens
        )
    ):
        rounds += not in_round
        in_round = from_draft
        accepted += from_draft
        if number + 1 == len(agrees):
            break
    drafted = sum(count - 1 for count in main.passes)
    caught_up = sum(count == 2 for count in draft.passes)
    return Replay(len(agrees), len(main.passes), drafted, accepted, caught_up), main


@settings(deadline=None, max_examples=120)
@given(agrees=AGREEMENTS, draft_tokens=st.integers(1, 16), more=st.integers(0, 20))
def test_counts_are_those_of_mlx_lms_loop(agrees: list[bool], draft_tokens: int, more: int) -> None:
    max_tokens = len(agrees) + more
    counted, _ = run(agrees, draft_tokens, max_tokens)
    assert replay(agrees, draft_tokens, max_tokens) == counted


@given(agrees=AGREEMENTS, draft_tokens=st.integers(0, 16), more=st.integers(0, 20))
def test_every_token_is_the_drafts_or_ends_a_round(
    agrees: list[bool], draft_tokens: int, more: int
) -> None:
    counts = replay(agrees, draft_tokens, len(agrees) + more)
    assert counts.tokens - counts.accepted in (counts.rounds, counts.rounds - 1)
    assert counts.accepted <= counts.drafted <= counts.rounds * draft_tokens
    assert counts.caught_up <= counts.rounds


@given(agrees=AGREEMENTS)
def test_without_a_draft_every_token_is_a_round(agrees: list[bool]) -> None:
    size = len(agrees)
    assert replay(agrees, 0, size) == Replay(size, size, 0, 0, 0)


@given(agrees=AGREEMENTS, draft_tokens=st.integers(1, 15))
def test_a_longer_draft_never_needs_more_rounds(agrees: list[bool], draft_tokens: int) -> None:
    size = len(agrees)
    longer = replay(agrees, draft_tokens + 1, size)
    assert longer.rounds <= replay(agrees, draft_tokens, size).rounds


def test_an_answer_cut_by_its_limit_drafts_no_further_than_the_limit() -> None:
    assert replay([True] * 5, 4, 5) == Replay(5, 1, 4, 4, 0)
    assert replay([True] * 5, 4, 50) == Replay(5, 1, 4, 4, 0)
    assert replay([True] * 6, 4, 6) == Replay(6, 2, 5, 5, 1)


def compare(
    engine: MlxEngine, prompts: list[Prompt], lengths: range | tuple[int, ...]
) -> tuple[int, int, int]:
    """Run every prompt at every length: (runs, equal, different where two logits all but tie)."""
    runs = equal = explained = 0
    for prompt in prompts:
        alone = engine.answer(prompt, 0)
        study = engine.study(prompt, alone)
        for length in lengths:
            real = engine.answer(prompt, length)
            foretold = replay(study.chances, length, prompt.max_tokens)
            runs += 1
            if real.output == alone.output and real.from_draft == foretold.accepted:
                equal += 1
            elif (
                engine.same_but_for_rounding(prompt, alone, real)
                or closest_guess(engine, prompt, alone.output) < 1e-3
            ):
                explained += 1
    return runs, equal, explained


def closest_guess(engine: MlxEngine, prompt: Prompt, said: Any) -> float:
    """The least difference between the draft's two best logits at any place of the answer."""
    ids = engine.encode(prompt)
    logits = engine.draft(mx.array([[*ids, *said[:-1]]]))[0, len(ids) - 1 :]
    two = mx.topk(logits, 2, axis=-1)
    return float(mx.abs(two[:, 0] - two[:, 1]).min().item())


@pytest.mark.mlx
@pytest.mark.parametrize("noise", [0.002, 0.02])
def test_real_runs_accept_as_many_as_replay_says_at_every_length(
    noise: float, figures: Figures
) -> None:
    engine = tiny.engine(noise=noise)
    prompts = [replace(each, max_tokens=14) for each in BASIC[:3]]
    runs, equal, explained = compare(engine, prompts, range(1, 17))
    figures(runs=runs, equal=equal, near_ties=explained)
    assert equal + explained == runs
    assert equal >= 0.9 * runs


@pytest.mark.mlx
def test_so_do_smollm2s_first_layers(figures: Figures) -> None:
    draft = replace(SMALL.good, noise=0.02)
    engine = MlxEngine(open_main(ensure(SMALL.main)), open_draft(ensure(draft)))
    runs, equal, explained = compare(engine, [replace(BASIC[0], max_tokens=8)], (1, 16))
    figures(runs=runs, equal=equal, near_ties=explained)
    assert equal + explained == runs


@pytest.mark.mlx
@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.1])
def test_so_does_all_of_smollm2(noise: float, figures: Figures) -> None:
    draft = replace(DEMO.good, noise=noise)
    engine = MlxEngine(open_main(ensure(DEMO.main)), open_draft(ensure(draft)))
    runs, equal, explained = compare(
        engine, [replace(each, max_tokens=48) for each in BASIC], range(1, 17)
    )
    figures(runs=runs, equal=equal, near_ties=explained)
    assert equal + explained == runs

"""What is expected at a temperature, and in closed form, is what happens."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx_lm.sample_utils import make_sampler

from specd.bench import sampling
from specd.bench.engine_mlx import TEMPERATURE, MlxEngine
from specd.bench.prompts import STANDARD, Prompt
from specd.bench.replay import replay
from tests.bench import tiny
from tests.conftest import Figures


@given(
    agrees=st.lists(st.booleans(), min_size=1, max_size=60),
    draft_tokens=st.integers(0, 16),
    more=st.integers(0, 20),
)
def test_certain_chances_are_exact_replay(agrees: list[bool], draft_tokens: int, more: int) -> None:
    limit = len(agrees) + more
    exact = replay(agrees, draft_tokens, limit)
    assert sampling.expected([float(each) for each in agrees], draft_tokens, limit) == (
        sampling.Expected(exact.tokens, exact.rounds, exact.drafted, exact.accepted)
    )


@pytest.mark.parametrize("draft_tokens", [1, 3, 8])
def test_chances_are_the_mean_of_replays_that_draw_by_them(draft_tokens: int) -> None:
    chance = random.Random(5)  # noqa: S311 - for a test
    chances = [chance.random() for _ in range(50)]
    drawn = [
        replay([chance.random() < each for each in chances], draft_tokens, 50) for _ in range(4000)
    ]
    told = sampling.expected(chances, draft_tokens, 50)
    assert sum(each.rounds for each in drawn) / 4000 == pytest.approx(told.rounds, rel=0.01)
    assert sum(each.accepted for each in drawn) / 4000 == pytest.approx(told.accepted, rel=0.02)
    assert sum(each.drafted for each in drawn) / 4000 == pytest.approx(told.drafted, rel=0.01)


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.6, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("draft_tokens", [1, 2, 5, 16])
def test_leviathans_closed_form_is_replay_of_independent_guesses(
    acceptance: float, draft_tokens: int
) -> None:
    chance = random.Random(3)  # noqa: S311 - for a test
    agrees = [chance.random() < acceptance for _ in range(60_000)]
    counts = replay(agrees, draft_tokens, len(agrees))
    assert counts.tokens / counts.rounds == pytest.approx(
        sampling.tokens_per_round(acceptance, draft_tokens), rel=0.02
    )
    cost = 0.1
    replayed = counts.tokens / (counts.rounds + counts.drafted * cost)
    assert replayed == pytest.approx(sampling.speedup(acceptance, draft_tokens, cost), rel=0.02)


@given(acceptance=st.floats(0, 1), draft_tokens=st.integers(1, 16), cost=st.floats(0, 2))
def test_the_closed_form_is_between_its_bounds(
    acceptance: float, draft_tokens: int, cost: float
) -> None:
    found = sampling.speedup(acceptance, draft_tokens, cost)
    low = 1 / (draft_tokens * cost + 1)
    assert low * (1 - 1e-9) <= found <= (draft_tokens + 1) * low * (1 + 1e-9)


def drawn_by_the_draft(engine: MlxEngine, prompt: Prompt, said: Any) -> list[float]:
    """The draft's probability of each token of an answer."""
    ids = engine.encode(prompt)
    logits = engine.draft(mx.array([[*ids, *said[:-1]]]))[0, len(ids) - 1 :]
    chances = mx.softmax(logits / TEMPERATURE, axis=-1)
    return [float(chances[place, token].item()) for place, token in enumerate(said)]


@pytest.mark.mlx
def test_mlx_lm_accepts_sampled_guesses_as_often_as_the_models_probabilities_say(
    figures: Figures,
) -> None:
    mx.random.seed(1)
    engine = tiny.engine(noise=0.01)
    prompt = replace(STANDARD[0], max_tokens=16)
    sampler = make_sampler(temp=TEMPERATURE)
    accepted = 0
    told: list[sampling.Expected] = []
    chances: list[float] = []
    studies: list[sampling.Sampled] = []
    for _ in range(30):
        answer = engine.answer(prompt, 2, sampler=sampler)
        accepted += answer.from_draft or 0
        of_answer = drawn_by_the_draft(engine, prompt, answer.said)
        chances += of_answer
        told.append(sampling.expected(of_answer, 2, prompt.max_tokens))
        studies.append(engine.study(prompt, answer).sampled)
    foretold = sum(each.accepted for each in told)
    matching = sum(each.matching for each in studies) / len(studies)
    rejection = sum(each.rejection for each in studies) / len(studies)
    mean = sum(chances) / len(chances)
    figures(accepted=accepted, foretold=foretold, matching=matching, rejection=rejection)
    assert accepted == pytest.approx(foretold, abs=4 * math.sqrt(foretold))
    # The main draws its text by p, so the draft's chance of it is Σ p·q in the mean.
    assert mean == pytest.approx(matching, abs=4 * 0.5 / math.sqrt(len(chances)))
    assert rejection > matching


@pytest.mark.mlx
def test_a_model_drafting_for_itself_still_misses_what_it_draws_twice() -> None:
    engine = tiny.engine(noise=0.0)
    study = engine.study(*_answered(engine, replace(STANDARD[0], max_tokens=24)))
    assert study.sampled.greedy == 1.0
    assert study.sampled.rejection == pytest.approx(1.0, abs=1e-4)
    assert study.sampled.matching < 0.95


def _answered(engine: MlxEngine, prompt: Prompt) -> tuple[Prompt, object]:
    return prompt, engine.answer(prompt, 0)

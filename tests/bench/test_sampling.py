"""What is expected at a temperature is what happens, and what the closed form says."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p

from specd.bench.engine_mlx import Main, MlxEngine
from specd.bench.prompts import BASIC, Prompt
from specd.bench.replay import Replay, replay
from specd.lmstudio.chat_settings import ChatSettings
from tests.bench import tiny
from tests.conftest import Figures


@pytest.mark.parametrize("draft_tokens", [1, 3, 8])
def test_chances_are_the_mean_of_replays_that_draw_by_them(draft_tokens: int) -> None:
    chance = random.Random(5)  # noqa: S311 - for a test
    chances = [chance.random() for _ in range(50)]
    drawn = [
        replay([chance.random() < each for each in chances], draft_tokens, 50) for _ in range(4000)
    ]
    told = replay(chances, draft_tokens, 50)
    assert sum(each.rounds for each in drawn) / 4000 == pytest.approx(told.rounds, rel=0.01)
    assert sum(each.accepted for each in drawn) / 4000 == pytest.approx(told.accepted, rel=0.02)
    assert sum(each.drafted for each in drawn) / 4000 == pytest.approx(told.drafted, rel=0.01)
    caught_up = sum(each.caught_up for each in drawn) / 4000
    assert caught_up == pytest.approx(told.caught_up, rel=0.1, abs=0.05)


def tokens_per_round(acceptance: float, draft_tokens: int) -> float:
    """Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", equation 1."""
    if acceptance == 1.0:
        return draft_tokens + 1.0
    return (1 - acceptance ** (draft_tokens + 1)) / (1 - acceptance)


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.6, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("draft_tokens", [1, 2, 5, 16])
def test_leviathans_closed_form_is_what_is_expected_of_equal_chances(
    acceptance: float, draft_tokens: int
) -> None:
    told = replay([acceptance] * 3_000, draft_tokens, 3_000)
    assert told.tokens / told.rounds == pytest.approx(
        tokens_per_round(acceptance, draft_tokens), rel=0.01
    )


def drawn_by_the_draft(engine: MlxEngine, prompt: Prompt, said: Any) -> list[float]:
    """The draft's probability of each token of an answer."""
    ids = engine.encode(prompt)
    logits = engine.draft(mx.array([[*ids, *said[:-1]]]))[0, len(ids) - 1 :]
    kept = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    kept = apply_top_k(apply_min_p(apply_top_p(kept, 0.95), 0.05), 40)  # LM Studio's defaults
    chances = mx.softmax(kept / prompt.temperature, axis=-1)
    return [float(chances[place, token].item()) for place, token in enumerate(said)]


@pytest.mark.mlx
def test_the_users_own_narrowing_of_the_choice_is_used_and_predicted() -> None:
    main = Main(tiny.model(), tiny.tokenizer())
    engine = MlxEngine(main, tiny.model(noise=0.01), ChatSettings(top_k=1, top_p=1.0, min_p=0.0))
    greedy = replace(BASIC[0], max_tokens=16)
    hot = replace(greedy, temperature=0.8)
    answer = engine.answer(hot, 0)
    # One token is left to draw: the most likely one.
    assert answer.output == engine.answer(greedy, 0).output
    assert set(engine.study(hot, answer).chances) <= {0.0, 1.0}


@pytest.mark.mlx
def test_mlx_lm_accepts_sampled_guesses_as_often_as_the_models_probabilities_say(
    figures: Figures,
) -> None:
    mx.random.seed(1)
    engine = tiny.engine(noise=0.01)
    prompt = replace(BASIC[0], max_tokens=16, temperature=0.8)
    accepted = 0
    told: list[Replay] = []
    chances: list[float] = []
    matching: list[float] = []
    for _ in range(30):
        answer = engine.answer(prompt, 2)
        accepted += answer.from_draft or 0
        of_answer = drawn_by_the_draft(engine, prompt, answer.output)
        chances += of_answer
        told.append(replay(of_answer, 2, prompt.max_tokens))
        matching += engine.study(prompt, answer).chances
    foretold = sum(each.accepted for each in told)
    figures(accepted=accepted, foretold=foretold)
    assert accepted == pytest.approx(foretold, abs=4 * math.sqrt(foretold))
    # The main draws its text by p, so the draft's chance of it is Σ p·q in the mean.
    mean = sum(chances) / len(chances)
    assert mean == pytest.approx(
        sum(matching) / len(matching), abs=4 * 0.5 / math.sqrt(len(chances))
    )


@pytest.mark.mlx
def test_a_model_drafting_for_itself_still_misses_what_it_draws_twice() -> None:
    engine = tiny.engine(noise=0.0)
    prompt = replace(BASIC[0], max_tokens=24)
    assert all(engine.study(prompt, engine.answer(prompt, 0)).chances)
    drawn = replace(prompt, temperature=0.8)
    chances = engine.study(drawn, engine.answer(drawn, 0)).chances
    assert len(chances) == 24
    assert sum(chances) / 24 < 0.95

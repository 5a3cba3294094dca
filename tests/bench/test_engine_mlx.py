"""Pairs with known answers by construction: noise lowers acceptance, idle layers raise the price."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest
from mlx_lm import load
from mlx_lm.models.cache import QuantizedKVCache

from specd.bench import engine_mlx
from specd.bench.engine_mlx import CHAIN, LONG, Main, MlxEngine, open_draft, open_main
from specd.bench.measure import STEPS, Candidate, benchmark
from specd.bench.predict import LONGEST
from specd.bench.prompts import BASIC, STANDARD
from specd.bench.result import BenchRequest
from specd.demo.models import DEMO, SMALL, ensure
from specd.lmstudio.chat_settings import ChatSettings
from tests.bench import tiny
from tests.conftest import Figures
from tests.tokenizer import mlx_models

pytestmark = pytest.mark.mlx

PROMPT = replace(BASIC[0], max_tokens=12)


def acceptance(main: Main, draft: object, tokens: int) -> float:
    engine = MlxEngine(main, draft)
    prompt = replace(BASIC[0], max_tokens=tokens)
    agrees = engine.study(prompt, engine.answer(prompt, 0)).chances
    return sum(agrees) / len(agrees)


def test_the_stronger_the_noise_on_a_draft_the_rarer_it_is_right(figures: Figures) -> None:
    main = Main(tiny.model(), tiny.tokenizer())
    shares = {noise: acceptance(main, tiny.model(noise=noise), 60) for noise in (0, 0.003, 0.02)}
    figures(**{f"noise_{noise}": share for noise, share in shares.items()})
    assert shares[0] == 1.0
    assert 1.0 > shares[0.003] > shares[0.02] + 0.1


def test_so_it_is_with_smollm2s_weights(figures: Figures) -> None:
    main = open_main(ensure(SMALL.main))
    shares = {
        noise: acceptance(main, open_draft(ensure(replace(SMALL.good, noise=noise))), 12)
        for noise in (0.0, 0.5)
    }
    figures(**{f"noise_{noise}": share for noise, share in shares.items()})
    assert shares[0.0] == 1.0
    assert shares[0.5] < 0.5


def test_a_draft_with_a_full_rotating_cache_is_predicted_as_it_drafts(tmp_path: Path) -> None:
    """Refused tokens stay in such a cache, so it guesses otherwise than its pass over the text."""
    draft = mlx_models.with_windows(ensure(SMALL.good), tmp_path / "draft", 32)
    engine = MlxEngine(open_main(ensure(SMALL.main)), open_draft(draft))
    prompt = replace(BASIC[1], max_tokens=48)
    alone = engine.answer(prompt, 0)
    studied = engine.study(prompt, alone)
    plain = replace(studied, left_behind=())
    assert studied.counts(2) == plain.counts(2)
    drafting = engine.answer(prompt, 4)
    assert drafting.output == alone.output
    assert studied.counts(4).accepted == drafting.from_draft < plain.counts(4).accepted
    drawn = engine.study(replace(prompt, temperature=0.8), alone)
    assert drawn.counts(4).accepted < replace(drawn, left_behind=()).counts(4).accepted


def test_the_quantized_cache_of_chats_is_that_of_both_sides() -> None:
    main = open_main(ensure(SMALL.main))
    draft = open_draft(ensure(SMALL.good))
    prompt = replace(BASIC[2], max_tokens=32)
    engine = MlxEngine(main, draft, ChatSettings(kv_bits=4))
    alone, drafted = engine.answer(prompt, 0), engine.answer(prompt, 3)
    assert (
        alone.output != MlxEngine(Main(main.model, main.tokenizer), draft).answer(prompt, 0).output
    )
    assert alone.output == drafted.output or engine.same_but_for_rounding(prompt, alone, drafted)
    counts = engine.study(prompt, alone).counts(3)
    assert drafted.from_draft == pytest.approx(counts.accepted, abs=3)
    engine.costs(PROMPT, verifying=(1, 3), seconds=0.2)
    assert {type(each) for cache in engine._caches.values() for each in cache} == {QuantizedKVCache}


def test_a_reasoning_model_thinks_only_for_the_prompt_that_is_about_it() -> None:
    _, tokenizer = load(str(ensure(SMALL.good)))
    tokenizer.chat_template = "{% if enable_thinking %}<think>{% endif %}{{ messages[0].content }}"
    engine = MlxEngine(Main(tiny.model(), tokenizer), tiny.model())
    thoughts = {each.kind: "<think>" in tokenizer.decode(engine.encode(each)) for each in STANDARD}
    assert [kind for kind, thinks in thoughts.items() if thinks] == ["thinking"]


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_acceptance_falls_with_every_step_of_noise_on_all_of_smollm2(figures: Figures) -> None:
    main = open_main(ensure(DEMO.main))
    steps = (0.0, 0.05, 0.1, 0.2, 0.4)
    shares = [
        acceptance(main, open_draft(ensure(replace(DEMO.good, noise=noise))), 80) for noise in steps
    ]
    figures(**{f"noise_{noise}": share for noise, share in zip(steps, shares, strict=True)})
    assert shares[0] > 0.95
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.3


def test_layers_that_add_nothing_cost_time_and_change_no_word(figures: Figures) -> None:
    deep = replace(SMALL.main, idle_layers=12)
    draft = open_draft(ensure(SMALL.good))
    engines = [MlxEngine(open_main(ensure(each)), draft) for each in (SMALL.main, deep)]
    prompt = replace(PROMPT, max_tokens=6)
    answers = [[engine.answer(prompt, 0) for _ in range(2)] for engine in engines]
    assert len({each.output for of_engine in answers for each in of_engine}) == 1
    short, long = (min(each.seconds for each in of_engine) for of_engine in answers)
    figures(two_idle_layers=short, twelve=long)
    assert long > short


def test_costs_are_measured_at_a_short_and_a_long_context_for_every_count() -> None:
    engine = tiny.engine(noise=0.01)
    costs = engine.costs(PROMPT, verifying=STEPS, seconds=5)
    for steps in (costs.short, costs.long):
        assert sorted(steps.main) == list(STEPS)
        assert steps.main[17] > steps.main[1]
        for each in (steps.plain, steps.draft, steps.main_prefill, steps.draft_prefill):
            assert each > 0
    assert costs.short.context == len(engine.encode(PROMPT))
    assert costs.long.context >= LONG[-1]
    assert costs.long.main_prefill > costs.short.main_prefill


def test_further_counts_are_added_to_what_is_known() -> None:
    engine = tiny.engine(noise=0.01)
    known = engine.costs(PROMPT, verifying=(1, 5), seconds=0.1)
    more = engine.costs(PROMPT, verifying=(3,), seconds=0.1, known=known)
    assert sorted(more.long.main) == [1, 3, 5]
    assert more.short.plain == known.short.plain
    assert more.short.main[5] == known.short.main[5]


def test_a_draft_writes_what_the_main_would_have_written() -> None:
    engine = tiny.engine(noise=0.01)
    alone = engine.answer(PROMPT, 0)
    assert alone.from_draft == 0
    with_draft = engine.answer(PROMPT, 3)
    assert with_draft.output == alone.output
    assert (with_draft.from_draft or 0) > 0


def test_answers_that_part_at_a_tie_are_the_same_but_for_rounding() -> None:
    engine = tiny.engine(noise=0.01)
    alone = engine.answer(PROMPT, 0)
    said = list(alone.output)
    ids = engine.encode(PROMPT)
    logits = engine.main(mx.array([[*ids, *said[:3]]]))[0, -1]
    ranked = [int(each) for each in mx.argsort(logits)[-2:].tolist()]
    assert ranked[1] == said[3]
    other = replace(alone, output=(*said[:3], ranked[0], *said[4:]))
    gap = float((logits[ranked[1]] - logits[ranked[0]]).item())
    assert gap > 1e-3
    assert not engine.same_but_for_rounding(PROMPT, alone, other)
    engine_mlx_rounding = gap / float(mx.finfo(logits.dtype).eps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_mlx, "ROUNDING", engine_mlx_rounding)
        assert engine.same_but_for_rounding(PROMPT, alone, other)


def test_an_answer_that_ends_early_is_another_text() -> None:
    engine = tiny.engine(noise=0.01)
    alone = engine.answer(PROMPT, 0)
    assert not engine.same_but_for_rounding(PROMPT, alone, replace(alone, output=alone.output[:-1]))


def test_what_a_model_may_read_is_bounded_by_itself_and_by_memory() -> None:
    engine = tiny.engine(noise=0.01)
    assert 1_000 < engine.longest <= 1 << 20
    engine.main.args.max_position_embeddings = 77
    assert engine.longest == 77


def test_steps_that_use_up_the_time_are_measured_twice_and_at_one_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = tiny.engine(noise=0.01)
    measured: list[int] = []
    check = engine_mlx._check

    def count(model: object, cache: object, ids: list[int], tokens: int) -> float:
        measured.extend([tokens] if model is engine.main else [])
        return check(model, cache, ids, tokens)

    monkeypatch.setattr(engine_mlx, "_check", count)
    slow = engine.costs(PROMPT, verifying=(1, 2), seconds=0.0)
    assert sorted(measured) == [1, 1, 2, 2]
    assert slow.long is slow.short


def test_measuring_leaves_the_next_answer_as_it_was() -> None:
    engine = tiny.engine(noise=0.01)
    before = engine.answer(PROMPT, 2)
    engine.costs(PROMPT, verifying=(1, 2), seconds=0.1)
    after = engine.answer(PROMPT, 2)
    assert (after.output, after.from_draft) == (before.output, before.from_draft)


def test_a_benchmark_of_real_models_holds_together(figures: Figures) -> None:
    engine = tiny.engine(noise=0.005)
    prompts = tuple(replace(each, max_tokens=16) for each in BASIC[:3])
    (result,) = benchmark(
        BenchRequest("main", prompts, "standard", {}, 60.0, "now", temperature=0.8),
        [Candidate("draft", 1, lambda: engine)],
    )
    figures(
        predicted=result.best.predicted_speedup,
        measured=result.best.measured_speedup,
        seconds=result.model_seconds,
    )
    assert result.text_equal
    assert len(result.lengths) == LONGEST + 1
    assert result.lengths[4].accepted > 0
    assert result.best.measured_speedup is not None
    assert result.at_temperature is not None
    assert 0 < (result.at_temperature.acceptance or 0) < 1
    assert result.at_temperature.measured_speedup is not None
    assert result.costs["short"]["main"]["1"] > 0


@pytest.mark.parametrize("kind", ["mamba", "qwen3_next", "nested"])
def test_a_draft_of_any_kind_of_cache_is_measured(tmp_path: Path, kind: str) -> None:
    main = mlx_models.make(tmp_path / "main", "llama")
    known, more = (kind, {}) if kind in mlx_models.KINDS else ("llama", mlx_models.NESTED)
    draft = mlx_models.make(tmp_path / "draft", known, seed=1, **more)
    opened = open_main(main)
    engine = MlxEngine(opened, open_draft(draft))
    assert 0 < engine.longest <= 512
    (long, *_) = [each for each in STANDARD if each.context]
    request = BenchRequest("main", (PROMPT, long), "basic", {}, 60.0, "", 0.0)
    (result,) = benchmark(request, [Candidate("draft", 1, lambda: engine)])
    assert result.other_text == 0
    assert any("were left out" in note for note in result.notes)
    whole = replace(PROMPT, max_tokens=150)
    studied = engine.study(whole, engine.answer(whole, 0))
    assert bool(studied.left_behind) is (kind != "nested")
    assert studied.counts(CHAIN).accepted == engine.answer(whole, CHAIN).from_draft

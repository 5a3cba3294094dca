"""From specd.toml and what is installed to what is wanted, or to the sentence why it cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from specd import config
from specd.bench.choice import Choice
from specd.lmstudio.model import Model
from specd.reconcile.desired import WantedPair, resolve
from specd.tokenizer.verdict import EngineOpinion, Verdict

from .pairs import MAIN, OTHER, SMALL, verdict


def wanted(*pairs: config.Pair, enabled: bool = True) -> config.SpecdConfig:
    return config.SpecdConfig(pair=pairs, speculation=config.Speculation(enabled=enabled))


def resolved(
    asked: config.SpecdConfig,
    *,
    models: Sequence[Model] = (MAIN, SMALL, OTHER),
    verdicts: dict[str, Verdict] | None = None,
    choice: Choice | None = None,
) -> tuple[WantedPair, ...]:
    known = {SMALL.key: verdict(), OTHER.key: verdict()} if verdicts is None else verdicts
    return resolve(
        asked,
        models,
        verdict=lambda _, draft: known.get(draft.key),
        rank=lambda main, all_: [each for each in all_ if each is not main],
        choose=lambda _, drafts: choice if drafts else None,
    )


HEADED = replace(MAIN, format="gguf", mtp_heads=1)
AUTO = config.Pair(main="qwen3-8b")
NAMED = config.Pair(main="Qwen3-8B-4bit", draft="qwen3-0.6b", draft_tokens=5)


def test_a_named_pair_with_a_length_is_wanted_as_it_is_written():
    (pair,) = resolved(wanted(NAMED))
    assert (pair.state, pair.draft, pair.draft_tokens) == ("wanted", SMALL, 5)


def test_before_any_benchmark_the_most_promising_proven_draft_is_taken():
    (pair,) = resolved(wanted(AUTO))
    assert (pair.state, pair.draft, pair.draft_tokens) == ("wanted", SMALL, None)
    assert "not benchmarked" in pair.why


REFUSED = verdict(
    "unsupported",
    "vocab_size is 3 and 4",
    engines=(EngineOpinion("mlx-engine", False, "unknown", "vocab_size is 3 and 4"),),
)


def test_a_draft_that_the_engine_refuses_is_not_even_taken_by_name():
    (pair,) = resolved(wanted(AUTO), verdicts={SMALL.key: REFUSED, OTHER.key: verdict()})
    assert (pair.state, pair.draft) == ("wanted", OTHER)
    (pair,) = resolved(wanted(AUTO), verdicts={SMALL.key: REFUSED, OTHER.key: REFUSED})
    assert pair.state == "refused"
    assert pair.why.endswith("vocab_size is 3 and 4)")
    (pair,) = resolved(wanted(NAMED), verdicts={SMALL.key: REFUSED})
    assert (pair.state, pair.why) == ("refused", "unsupported: vocab_size is 3 and 4")


@pytest.mark.parametrize("text", ["unknown", "may differ"])
def test_a_draft_that_may_change_the_text_is_never_taken_unnamed(text):
    unsure = verdict(engines=(EngineOpinion("mlx-engine", True, text, "nobody asked"),))
    (pair,) = resolved(wanted(AUTO), verdicts={SMALL.key: unsure, OTHER.key: verdict()})
    assert (pair.state, pair.draft) == ("wanted", OTHER)
    (named,) = resolved(wanted(NAMED), verdicts={SMALL.key: unsure})
    assert named.state == ("wanted" if text == "unknown" else "refused")


def test_the_benchmarks_choice_decides_draft_and_length():
    (pair,) = resolved(wanted(AUTO), choice=Choice(OTHER.key, 7, "measured 1.40×"))
    assert (pair.draft, pair.draft_tokens, pair.why) == (OTHER, 7, "measured 1.40×")


def test_a_length_in_the_configuration_beats_the_measured_one():
    (pair,) = resolved(wanted(NAMED), choice=Choice(SMALL.key, 9, "measured"))
    assert pair.draft_tokens == 5


def test_a_draft_measured_slower_is_withdrawn_with_its_figure():
    (pair,) = resolved(wanted(AUTO), choice=Choice(None, 0, "measured 0.80×"))
    assert (pair.state, pair.draft, pair.why) == ("withdrawn", None, "measured 0.80×")


def test_a_withdrawn_draft_of_several_is_named_so_that_its_figure_can_be_shown():
    choice = Choice(None, 0, "measured 0.80×", SMALL.key)
    (pair,) = resolved(wanted(AUTO), choice=choice)
    assert (pair.state, pair.draft) == ("withdrawn", SMALL)


def test_a_main_with_prediction_heads_drafts_for_itself_until_something_was_measured():
    (pair,) = resolved(wanted(AUTO), models=(HEADED, SMALL))
    assert (pair.state, pair.mtp, pair.draft, pair.draft_tokens) == ("wanted", True, None, None)
    assert pair.name == "qwen3-8b ← mtp"


def test_its_heads_are_a_candidate_beside_draft_models():
    (heads,) = resolved(wanted(AUTO), models=(HEADED, SMALL), choice=Choice("mtp", 3, "faster"))
    assert (heads.mtp, heads.draft, heads.draft_tokens) == (True, None, 3)
    (model,) = resolved(wanted(AUTO), models=(HEADED, SMALL), choice=Choice(SMALL.key, 5, "faster"))
    assert (model.mtp, model.draft, model.draft_tokens) == (False, SMALL, 5)


def test_heads_that_slow_down_are_withdrawn_like_any_draft():
    (pair,) = resolved(
        wanted(config.Pair(main="qwen3-8b", draft="mtp")),
        models=(HEADED, SMALL),
        choice=Choice(None, 0, "measured 0.90×"),
    )
    assert (pair.state, pair.mtp, pair.why) == ("withdrawn", False, "measured 0.90×")


def test_heads_can_be_asked_for_by_name_where_there_are_some():
    asked = config.Pair(main="qwen3-8b", draft="mtp", draft_tokens=2)
    (pair,) = resolved(wanted(asked), models=(HEADED, SMALL))
    assert (pair.state, pair.mtp, pair.draft_tokens) == ("wanted", True, 2)
    (without,) = resolved(wanted(asked))
    assert without.state == "refused"
    assert "no prediction heads" in without.why


def test_while_a_verdict_is_missing_nothing_is_written():
    (pair,) = resolved(wanted(AUTO), verdicts={OTHER.key: verdict()})
    assert (pair.state, pair.undecided) == ("waiting", (SMALL,))


def test_an_incompatible_draft_is_refused_and_the_first_difference_said():
    bad = verdict("incompatible", "3 token ids mean different things, the first is 17")
    (pair,) = resolved(wanted(NAMED), verdicts={SMALL.key: bad})
    assert pair.state == "refused"
    assert "the first is 17" in pair.why


def test_no_verdict_that_is_not_usable_is_ever_wanted():
    for kind in ("incompatible", "unsupported", "unknown"):
        both = {SMALL.key: verdict(kind), OTHER.key: verdict(kind)}
        for asked in (AUTO, NAMED):
            (pair,) = resolved(wanted(asked), verdicts=both)
            assert pair.state == "refused", kind


def test_a_main_that_is_not_there_is_missing_and_near_names_are_listed():
    (pair,) = resolved(wanted(config.Pair(main="qwen3-8")))
    assert pair.state == "missing"
    assert MAIN.identifier in pair.why


def test_two_pairs_for_one_main_refuse_the_second():
    first, second = resolved(wanted(NAMED, AUTO))
    assert first.state == "wanted"
    assert (second.state, "earlier [[pair]]" in second.why) == ("refused", True)


def test_switched_off_means_every_draft_is_withdrawn():
    (pair,) = resolved(wanted(NAMED, enabled=False))
    assert pair.state == "withdrawn"


def test_with_nothing_to_draft_the_user_hears_what_to_install():
    (pair,) = resolved(wanted(AUTO), models=(MAIN,))
    assert (pair.state, "install a smaller model" in pair.why) == ("refused", True)

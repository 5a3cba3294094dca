"""From specd.toml and what is installed to what is wanted, or to the sentence why it cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from specd import config
from specd.bench.choice import Choice
from specd.lmstudio.model import Model
from specd.lmstudio.model_defaults import DraftDefaults
from specd.reconcile.desired import DesiredPair, Known, resolve
from specd.tokenizer.verdict import EngineOpinion, Verdict

from .pairs import MAIN, OTHER, SMALL, model, verdict

NOTHING = DraftDefaults()


def _any(drafts: Sequence[str], measured: Sequence[str] | None) -> bool:
    return measured is None or not set(drafts).isdisjoint(measured)


def wanted(*pairs: config.Pair, enabled: bool = True) -> config.SpecdConfig:
    return config.SpecdConfig(pair=pairs, speculation=config.Speculation(enabled=enabled))


def resolved(
    asked: config.SpecdConfig,
    *,
    models: Sequence[Model] = (MAIN, SMALL, OTHER),
    verdicts: dict[str, Verdict] | None = None,
    choice: Choice | None = None,
    users: DraftDefaults = NOTHING,
    measured: Sequence[str] | None = None,
    refusal: str | None = None,
    proves: bool = True,
) -> tuple[DesiredPair, ...]:
    known = {SMALL.key: verdict(), OTHER.key: verdict()} if verdicts is None else verdicts
    return resolve(
        asked,
        models,
        Known(
            lambda _, draft: known.get(draft.key),
            lambda main, all_: [each for each in all_ if each is not main and not each.drafter],
            lambda _, drafts: choice if drafts and _any(drafts, measured) else None,
            lambda _: users,
            lambda _: refusal,
            lambda _: proves,
        ),
    )


HEADED = replace(MAIN, format="gguf", mtp_heads=1, width=4096)
SIDECAR = replace(
    HEADED,
    key="qwen3-8b-mtp",
    identifier="someone/Qwen3-8B-MTP-GGUF/mtp-qwen3-8b.gguf",
    repo="Qwen3-8B-MTP-GGUF",
    kind="drafter",
    drafter="mtp",
    mtp_heads=0,
)
AUTO = config.Pair(main="qwen3-8b")
NAMED = config.Pair(main="Qwen3-8B-4bit", draft="qwen3-0.6b", draft_tokens=5)


def test_a_named_pair_with_a_length_is_wanted_as_it_is_written():
    (pair,) = resolved(wanted(NAMED))
    assert (pair.state, pair.draft, pair.draft_tokens) == ("wanted", SMALL, 5)


def test_before_any_benchmark_the_most_promising_proven_draft_is_taken():
    (pair,) = resolved(wanted(AUTO))
    assert (pair.state, pair.draft, pair.draft_tokens) == ("wanted", SMALL, None)
    assert "not benchmarked" in pair.why


def test_of_drafts_that_nothing_confirmed_the_one_tried_as_fastest_is_taken():
    unconfirmed = Choice(OTHER.key, None, "tried once, not confirmed: 1.50×", OTHER.key)
    (pair,) = resolved(wanted(AUTO), choice=unconfirmed)
    assert (pair.state, pair.draft) == ("wanted", OTHER)
    assert "1.50×" in pair.why


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


def test_for_a_main_that_no_draft_helps_it_names_what_could_be_used_instead():
    gguf = model("Qwen3-8B-GGUF", 9_000, format="gguf", kind="vlm")
    refused = {each.key: REFUSED for each in (SMALL, OTHER, gguf)}
    for asked in (AUTO, NAMED):
        (pair,) = resolved(wanted(asked), verdicts=refused, refusal="it sees images")
        assert (pair.state, pair.why) == ("refused", "it sees images")
        assert "prediction heads" in pair.instead
        here = (MAIN, SMALL, OTHER, gguf)
        (pair,) = resolved(wanted(asked), models=here, verdicts=refused, refusal="it sees images")
        assert pair.instead.endswith(f"installed: {gguf.identifier}")
        (pair,) = resolved(wanted(asked), verdicts=refused)
        assert pair.instead == ""


@pytest.mark.parametrize("text", ["unknown", "may differ"])
def test_a_draft_that_may_change_the_text_is_never_taken_unnamed(text):
    unsure = verdict(engines=(EngineOpinion("mlx-engine", True, text, "nobody asked"),))
    (pair,) = resolved(wanted(AUTO), verdicts={SMALL.key: unsure, OTHER.key: verdict()})
    assert (pair.state, pair.draft) == ("wanted", OTHER)
    (named,) = resolved(wanted(NAMED), verdicts={SMALL.key: unsure})
    assert named.state == ("waiting" if text == "unknown" else "refused")


def test_a_named_draft_of_which_the_engine_says_nothing_waits_until_it_has_run():
    unsure = verdict(engines=(EngineOpinion("mlx-engine", True, "unknown", "never seen"),))
    (pair,) = resolved(wanted(NAMED), verdicts={SMALL.key: unsure})
    assert (pair.state, pair.reason, pair.draft) == ("waiting", "NotProven", SMALL)
    assert "never seen; " in pair.why
    assert f"specd check --deep {MAIN.key} {SMALL.key}" in pair.why
    (pair,) = resolved(wanted(NAMED), verdicts={SMALL.key: unsure}, proves=False)
    assert (pair.state, pair.reason) == ("wanted", "AsNamed")
    tried = {SMALL.key: replace(unsure, validated="not proven: it needs more memory")}
    (pair,) = resolved(wanted(NAMED), verdicts=tried)
    assert (pair.state, pair.reason) == ("wanted", "AsNamed")
    ran = Choice(SMALL.key, 3, "measured 1.40×", confirmed=True)
    (pair,) = resolved(wanted(NAMED), verdicts={SMALL.key: unsure}, choice=ran)
    assert (pair.state, pair.reason) == ("wanted", "Measured")


def test_a_draft_that_the_user_set_and_names_needs_no_proof_to_stay():
    unsure = verdict(engines=(EngineOpinion("mlx-engine", True, "unknown", "never seen"),))
    for users, state in (
        (DraftDefaults(SMALL.identifier), "adopted"),
        (DraftDefaults(OTHER.identifier), "waiting"),
        (NOTHING, "waiting"),
    ):
        (pair,) = resolved(wanted(NAMED), verdicts={SMALL.key: unsure}, users=users)
        assert (pair.state, pair.draft) == (state, SMALL)


def test_the_benchmarks_choice_decides_draft_and_length():
    (pair,) = resolved(wanted(AUTO), choice=Choice(OTHER.key, 7, "measured 1.40×", confirmed=True))
    assert (pair.draft, pair.draft_tokens, pair.why) == (OTHER, 7, "measured 1.40×")


def test_a_length_in_the_configuration_beats_the_measured_one():
    (pair,) = resolved(wanted(NAMED), choice=Choice(SMALL.key, 9, "measured"))
    assert pair.draft_tokens == 5


def test_a_draft_measured_slower_is_withdrawn_with_its_figure():
    (pair,) = resolved(wanted(AUTO), choice=Choice(None, 0, "measured 0.80×"))
    assert (pair.state, pair.draft, pair.why) == ("withdrawn", None, "taken out: measured 0.80×")


def test_a_withdrawn_draft_of_several_is_named_so_that_its_figure_can_be_shown():
    choice = Choice(None, 0, "measured 0.80×", SMALL.key)
    (pair,) = resolved(wanted(AUTO), choice=choice)
    assert (pair.state, pair.draft) == ("withdrawn", SMALL)
    # Its verdict stays known: without one its tokenizers would count as being compared.
    assert pair.verdict is not None
    assert pair.verdict.usable


def test_heads_and_sidecars_are_never_switched_on_unmeasured():
    (pair,) = resolved(wanted(AUTO), models=(HEADED, SIDECAR, SMALL))
    assert (pair.state, pair.mtp, pair.draft) == ("wanted", False, SMALL)
    assert pair.candidates == ("mtp", SIDECAR.key)
    (alone,) = resolved(wanted(AUTO), models=(HEADED, SIDECAR))
    assert (alone.state, alone.reason, alone.draft) == ("unmeasured", "NotMeasured", None)
    thought = Choice("mtp", 3, "thought faster")
    (alone,) = resolved(wanted(AUTO), models=(HEADED, SIDECAR), choice=thought)
    assert alone.state == "unmeasured"


def test_its_heads_are_a_candidate_beside_draft_models():
    models = (HEADED, SIDECAR, SMALL)
    (heads,) = resolved(
        wanted(AUTO), models=models, choice=Choice("mtp", 3, "faster", confirmed=True)
    )
    assert (heads.mtp, heads.draft, heads.draft_tokens) == (True, None, 3)
    (model,) = resolved(
        wanted(AUTO), models=models, choice=Choice(SMALL.key, 5, "faster", confirmed=True)
    )
    assert (model.mtp, model.draft, model.draft_tokens) == (False, SMALL, 5)
    (sidecar,) = resolved(
        wanted(AUTO), models=models, choice=Choice(SIDECAR.key, 2, "faster", confirmed=True)
    )
    assert (sidecar.state, sidecar.draft, sidecar.draft_tokens) == ("wanted", SIDECAR, 2)


def test_a_sidecar_is_taken_by_name_where_it_was_made_for_the_main():
    named = config.Pair(main="qwen3-8b", draft=SIDECAR.key)
    (pair,) = resolved(wanted(named), models=(HEADED, SIDECAR))
    assert (pair.state, pair.draft) == ("wanted", SIDECAR)
    assert pair.verdict is not None
    assert pair.verdict.kind != "identical"
    other = replace(HEADED, width=2048)
    (pair,) = resolved(wanted(named), models=(other, SIDECAR))
    assert (pair.state, pair.reason) == ("refused", "NotItsDrafter")
    mlx = replace(SIDECAR, format="mlx")
    (pair,) = resolved(wanted(named), models=(MAIN, mlx))
    assert (pair.state, pair.reason) == ("refused", "NotItsDrafter")


def test_mtp_means_the_sidecar_where_the_main_has_no_heads_of_its_own():
    named = config.Pair(main="qwen3-8b", draft="mtp")
    headless = replace(HEADED, mtp_heads=0)
    (pair,) = resolved(wanted(named), models=(headless, SIDECAR))
    assert (pair.state, pair.draft, pair.mtp) == ("wanted", SIDECAR, False)


def test_a_drafter_is_nobodys_main():
    (pair,) = resolved(wanted(config.Pair(main=SIDECAR.key)), models=(SIDECAR, SMALL))
    assert (pair.state, pair.reason) == ("missing", "NoSuchMain")


def test_a_draft_that_the_user_set_and_that_works_is_adopted():
    users = DraftDefaults(OTHER.identifier, 6)
    (pair,) = resolved(wanted(AUTO), users=users)
    assert (pair.state, pair.draft, pair.draft_tokens) == ("adopted", OTHER, 6)
    assert pair.why == "kept: set in LM Studio"
    bad = {SMALL.key: verdict(), OTHER.key: verdict("incompatible")}
    (pair,) = resolved(wanted(AUTO), users=users, verdicts=bad)
    assert (pair.state, pair.draft) == ("wanted", SMALL)
    (pair,) = resolved(wanted(AUTO), users=DraftDefaults("someone/gone"))
    assert (pair.state, pair.draft) == ("wanted", SMALL)
    (pair,) = resolved(wanted(AUTO), users=users, verdicts={SMALL.key: verdict()})
    assert (pair.state, pair.undecided) == ("waiting", (OTHER,))


def test_so_are_heads_and_sidecars_that_are_switched_on():
    models = (HEADED, SIDECAR, SMALL)
    (pair,) = resolved(wanted(AUTO), models=models, users=DraftDefaults(mtp=True))
    assert (pair.state, pair.mtp, pair.name) == ("adopted", True, ("qwen3-8b", "mtp"))
    models = (replace(HEADED, mtp_heads=0), *models[1:])
    (pair,) = resolved(wanted(AUTO), models=models, users=DraftDefaults(mtp=True))
    assert (pair.state, pair.mtp) == ("wanted", False)
    users = DraftDefaults(SIDECAR.identifier, 4, sidecar="dflash")
    (pair,) = resolved(wanted(AUTO), models=models, users=users)
    assert (pair.state, pair.draft, pair.draft_tokens) == ("adopted", SIDECAR, 4)


def test_a_sidecar_that_is_not_installed_is_not_adopted():
    users = DraftDefaults("someone/gone.gguf", 4, sidecar="dflash")
    (pair,) = resolved(wanted(AUTO), models=(HEADED, SMALL), users=users)
    assert (pair.state, pair.draft) == ("wanted", SMALL)


def test_several_switches_of_the_users_are_not_chosen_from():
    users = DraftDefaults(SMALL.identifier, mtp=True, several=True)
    (pair,) = resolved(wanted(AUTO), models=(HEADED, SMALL), users=users)
    assert (pair.state, pair.reason) == ("refused", "SeveralSwitches")
    assert "allows one" in pair.why
    (pair,) = resolved(wanted(NAMED), models=(HEADED, SMALL), users=users)
    assert (pair.state, pair.draft) == ("wanted", SMALL)


def test_a_draft_that_no_benchmark_compared_stays_although_another_was_confirmed():
    users = DraftDefaults(OTHER.identifier)
    confirmed = Choice(SMALL.key, 5, "measured 1.4×", confirmed=True)
    (pair,) = resolved(wanted(AUTO), users=users, choice=confirmed, measured=(SMALL.key,))
    assert (pair.state, pair.draft) == ("adopted", OTHER)
    (pair,) = resolved(wanted(AUTO), users=users, choice=confirmed)
    assert (pair.state, pair.draft) == ("wanted", SMALL)


def test_a_gguf_mains_draft_of_an_older_lm_studio_is_written_where_newer_ones_look():
    gguf = replace(MAIN, format="gguf")
    users = DraftDefaults(OTHER.identifier, of_request=True)
    (pair,) = resolved(wanted(AUTO), models=(gguf, SMALL, OTHER), users=users)
    assert (pair.state, pair.draft, pair.reason) == ("wanted", OTHER, "SetInLMStudio")


def test_it_stays_until_another_is_named_or_confirmed_to_be_faster():
    users = DraftDefaults(OTHER.identifier)
    (pair,) = resolved(wanted(NAMED), users=users)
    assert (pair.state, pair.draft) == ("wanted", SMALL)
    for choice, state in (
        (Choice(SMALL.key, 5, "measured 1.4×", confirmed=True), "wanted"),
        (Choice(SMALL.key, None, "thought"), "adopted"),
        (Choice(OTHER.key, 5, "measured 1.4×", confirmed=True), "adopted"),
        (Choice(None, None, "measured 0.8×"), "adopted"),
    ):
        (pair,) = resolved(wanted(AUTO), users=users, choice=choice)
        assert pair.state == state, choice


def test_a_named_draft_without_a_gain_stays_where_the_user_set_it():
    slow = Choice(None, None, "measured 1.00×, not surely faster than none", SMALL.key)
    (pair,) = resolved(wanted(NAMED), users=DraftDefaults(SMALL.identifier), choice=slow)
    assert (pair.state, pair.draft, pair.reason) == ("adopted", SMALL, "SetInLMStudio")
    assert pair.why == "kept: set in LM Studio; measured 1.00×, not surely faster than none"
    for others in (NOTHING, DraftDefaults(OTHER.identifier)):
        (pair,) = resolved(wanted(NAMED), users=others, choice=slow)
        assert (pair.state, pair.draft, pair.reason) == ("withdrawn", SMALL, "NoGain")
    heads = config.Pair(main="qwen3-8b", draft="mtp")
    for users, state in ((DraftDefaults(mtp=True), "adopted"), (NOTHING, "withdrawn")):
        (pair,) = resolved(wanted(heads), models=(HEADED, SMALL), users=users, choice=slow)
        assert (pair.state, pair.mtp) == (state, state == "adopted")


def test_a_draft_of_the_users_that_changes_the_text_is_said_to_and_not_written():
    why = "the best draft, qwen3-0.6b, changes what the main says"
    wrong = Choice(None, None, why, SMALL.key, changes_text=True)
    (pair,) = resolved(wanted(AUTO), users=DraftDefaults(SMALL.identifier), choice=wrong)
    assert (pair.state, pair.draft, pair.reason) == ("adopted", SMALL, "ChangesText")
    assert pair.why == f"kept: set in LM Studio; {why}"
    (pair,) = resolved(wanted(NAMED), users=DraftDefaults(SMALL.identifier), choice=wrong)
    assert (pair.state, pair.reason) == ("withdrawn", "ChangesText")
    assert pair.why.endswith("set in LM Studio, where it still drafts: take it out there")
    gguf = replace(MAIN, format="gguf")
    older = DraftDefaults(SMALL.identifier, of_request=True)
    (pair,) = resolved(wanted(AUTO), models=(gguf, SMALL), users=older, choice=wrong)
    assert (pair.state, pair.reason) == ("withdrawn", "ChangesText")


def test_heads_that_slow_down_are_withdrawn_like_any_draft():
    (pair,) = resolved(
        wanted(config.Pair(main="qwen3-8b", draft="mtp")),
        models=(HEADED, SMALL),
        choice=Choice(None, 0, "measured 0.90×"),
    )
    assert (pair.state, pair.mtp, pair.why) == ("withdrawn", False, "taken out: measured 0.90×")


def test_heads_can_be_asked_for_by_name_where_there_are_some():
    asked = config.Pair(main="qwen3-8b", draft="mtp", draft_tokens=2)
    (pair,) = resolved(wanted(asked), models=(HEADED, SMALL))
    assert (pair.state, pair.mtp, pair.draft_tokens) == ("wanted", True, 2)
    (without,) = resolved(wanted(asked))
    assert without.state == "refused"
    assert "no prediction heads: its weights hold none" in without.why
    (idle,) = resolved(wanted(asked), models=(replace(MAIN, mtp_heads=1), SMALL))
    assert (idle.state, idle.reason) == ("refused", "NoHeads")
    assert "does not run the prediction heads" in idle.why


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
    (pair,) = resolved(wanted(config.Pair(main="qwen3-9b")))
    assert pair.state == "missing"
    assert MAIN.identifier in pair.why


def test_two_pairs_for_one_main_refuse_the_second():
    first, second = resolved(wanted(NAMED, AUTO))
    assert first.state == "wanted"
    assert (second.state, "earlier [[pair]]" in second.why) == ("refused", True)


def test_switched_off_means_every_draft_is_withdrawn():
    (pair,) = resolved(wanted(NAMED, enabled=False))
    assert pair.state == "withdrawn"


def test_with_nothing_to_draft_a_pair_is_refused():
    (pair,) = resolved(wanted(AUTO), models=(MAIN,))
    assert (pair.state, pair.why.startswith("no installed model could")) == ("refused", True)

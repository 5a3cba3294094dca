"""Conditions: what is so, since when, and for everything that is false what to do about it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.config import Benchmark, Pair, SpecdConfig, Speculation
from specd.lmstudio import keys
from specd.lmstudio.answers import Instance, ServedModel
from specd.lmstudio.draft_cache import CacheOpinion
from specd.lmstudio.home import Home, NoHome, lm_studio
from specd.lmstudio.model import Model
from specd.lmstudio.model_defaults import DraftDefaults
from specd.lmstudio.presets import Preset
from specd.reconcile import in_force
from specd.reconcile.apply import Applied
from specd.reconcile.conditions import CONDITIONS, Condition, ConditionType, files, judge
from specd.reconcile.contention import Contender, Patience
from specd.reconcile.desired import DesiredPair, PairName
from specd.reconcile.facts import AppSeen, DraftsSeen, Facts, ServerSeen
from specd.reconcile.plan import Blocked, FileEdit
from specd.reconcile.stores import Stores
from specd.tokenizer.verdict import VerdictKind

from .pairs import MAIN, SMALL, measured, verdict

HOME = Path("/home/anna/.lmstudio")
SETTINGS = HOME / "settings.json"
NOW = "2026-11-24T20:00:00+00:00"
PAIR = DesiredPair(
    Pair(main="qwen3-8b"), "wanted", "proven", main=MAIN, draft=SMALL, verdict=verdict()
)
WANTED = SpecdConfig(pair=(PAIR.configured,))
WELL = Facts(
    config_problem=None,
    config_path=Path("/home/anna/.config/specd/specd.toml"),
    home=Home(HOME, "LM Studio's usual place"),
    pairs=(PAIR,),
    apps=(lm_studio(HOME),),
    server=ServerSeen("http://localhost:1234", None),
    app=AppSeen(running=True, started=datetime(2026, 11, 24, 12, tzinfo=UTC)),
    benchmarks={PAIR.name: measured(1.3)},
    drafts_seen=(DraftsSeen(MAIN.key, SMALL.key, 100, 80, "the last probe"),),
    opinion=CacheOpinion({MAIN.identifier: (SMALL.identifier,)}),
)


def judged(wanted: SpecdConfig = WANTED, **facts: Any) -> dict[ConditionType, Condition]:
    found = judge(replace(WELL, **facts), wanted, (), NOW)
    return {each.type: each for each in found}


def test_when_all_is_well_every_condition_is_true():
    assert {kind: each.status for kind, each in judged().items()} == dict.fromkeys(judged(), "true")


def test_what_is_left_out_of_the_models_folder_is_said():
    found = judged(model_problems=("/models/a cannot be read: Permission denied",))["HomeFound"]
    assert found.status == "true"
    assert found.message.endswith("; /models/a cannot be read: Permission denied")


@pytest.mark.parametrize("kind", ["incompatible", "unknown", "unsupported"])
def test_a_refused_draft_is_one_fault_and_others_are_named_beside_it(kind: VerdictKind):
    refused = replace(PAIR, state="refused", why="no", verdict=verdict(kind))
    missing = replace(PAIR, state="missing", why="no such model")
    found = judged(pairs=(refused, missing), opinion=None)
    assert [each.type for each in found.values() if each.degraded] == ["PairsConfigured"]
    message = found["PairsConfigured"].message
    assert message == f"{missing.name}: no such model. {refused.name}: no"
    assert "specd check MAIN DRAFT" in found["PairsConfigured"].remedy


def test_a_specd_toml_that_is_not_there_is_not_called_valid():
    found = judged(config_there=False)["ConfigValid"]
    assert (found.status, found.reason) == ("true", "Defaults")
    assert found.message.startswith("there is no /")


@pytest.mark.parametrize(
    ("facts", "kind", "reason", "said"),
    [
        ({"config_problem": "line 2: no key visualise"}, "ConfigValid", "Invalid", "visualise"),
        ({"home": NoHome("not started", (HOME,))}, "HomeFound", "NoHome", "start LM Studio once"),
        (
            {"blocked": (Blocked(SETTINGS, "settings", "line 3: no value", unsettled=True),)},
            "SettingsApplied",
            "Unreadable",
            "line 3",
        ),
        (
            {"blocked": (Blocked(SETTINGS, "settings", "it is a link", unread=True),)},
            "SettingsApplied",
            "Unreadable",
            "that specd can read",
        ),
        ({"pending": (SETTINGS,)}, "SettingsApplied", "Drifted", "about to restore"),
        (
            {"pairs": (replace(PAIR, state="missing", why="no such model"),)},
            "PairsConfigured",
            "ModelMissing",
            "no such model",
        ),
        (
            {
                "pairs": (replace(PAIR, state="missing", why="no such model"),),
                "model_problems": ("/m/x cannot be read: Permission denied",),
            },
            "PairsConfigured",
            "ModelMissing",
            "no such model; /m/x cannot be read: Permission denied",
        ),
        (
            {"pairs": (replace(PAIR, state="refused", instead="the GGUF file can be"),)},
            "PairsConfigured",
            "PairRefused",
            "the GGUF file can be",
        ),
        (
            {"pairs": (replace(PAIR, state="refused", reason="NoDraft"),)},
            "PairsConfigured",
            "PairRefused",
            "`specd pairs` names a draft to download",
        ),
        (
            {"pairs": (replace(PAIR, state="refused", verdict=verdict("incompatible")),)},
            "TokenizersCompatible",
            "Incompatible",
            "proven",
        ),
        (
            {"pairs": (replace(PAIR, state="refused", verdict=verdict("unknown")),)},
            "TokenizersCompatible",
            "FilesUnreadable",
            "proven",
        ),
        (
            {"pairs": (replace(PAIR, state="refused", verdict=verdict("unsupported")),)},
            "EngineWillSpeculate",
            "EngineRefuses",
            "proven",
        ),
        (
            {"server": ServerSeen("http://localhost:1234", "refused", (), "set LM_API_TOKEN")},
            "ServerReachable",
            "Refused",
            "LM_API_TOKEN",
        ),
        (
            {"server": ServerSeen("http://localhost:1234", "no answer")},
            "ServerReachable",
            "NoAnswer",
            "lms server start",
        ),
        (
            {"drafts_seen": (DraftsSeen(MAIN.key, SMALL.key, 0, 0, "probe", "no draft tokens"),)},
            "SpeculationObserved",
            "NoDraftTokens",
            "no draft tokens",
        ),
        ({"benchmarks": {PAIR.name: measured(0.8)}}, "Faster", "NoGain", "on_slower"),
        (
            {
                "benchmarks": {PAIR.name: measured(0.8)},
                "pairs": (replace(PAIR, state="adopted", reason="ChangesText"),),
            },
            "Faster",
            "ChangesText",
            "take the draft out in LM Studio",
        ),
        (
            {"opinion": CacheOpinion({MAIN.identifier: ()})},
            "CacheAgrees",
            "LeavesOut",
            "specd cache refresh",
        ),
        (
            {"settings_written": {"LM Studio": datetime(2026, 11, 24, 13, tzinfo=UTC)}},
            "AppUpToDate",
            "RestartNeeded",
            "restart LM Studio",
        ),
        (
            {
                "patience": {SETTINGS: Patience(undone=9)},
                "contender": Contender((("sync-tool", 77),), "which watches the folder"),
            },
            "Uncontended",
            "Contended",
            "sync-tool",
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(facts, kind, reason, said):
    found = judged(**facts)[kind]
    assert (found.status, found.reason) == ("false", reason)
    assert said in f"{found.message} {found.remedy}"


@pytest.mark.parametrize(("undone", "faults"), [(9, {"Uncontended"}), (1, {"SettingsApplied"})])
def test_a_fight_is_one_fault(undone, faults):
    patience = {SETTINGS: Patience(undone=undone, delay_s=8)}
    found = judged(patience=patience, pending=(SETTINGS,))
    assert {kind for kind, each in found.items() if each.degraded} == faults
    assert found["SettingsApplied"].status == "false"


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        (
            {"server": ServerSeen("u", "no answer"), "app": AppSeen(running=False)},
            "ServerReachable",
        ),
        ({"benchmarks": {}}, "Faster"),
        ({"benchmarks": {PAIR.name: measured(1.01, interval=(0.97, 1.05))}}, "Faster"),
        ({"drafts_seen": ()}, "SpeculationObserved"),
        ({"opinion": None}, "CacheAgrees"),
        ({"app": None}, "AppUpToDate"),
        ({"app": AppSeen(running=False), "server": ServerSeen("u", None)}, "AppUpToDate"),
        ({"pairs": (replace(PAIR, state="waiting", verdict=None),)}, "TokenizersCompatible"),
    ],
)
def test_what_could_not_be_seen_is_unknown_and_no_fault(facts, kind):
    assert judged(**facts)[kind].status == "unknown"


@pytest.mark.parametrize("listed", [(), (SMALL.identifier,)])
def test_a_pair_whose_files_do_not_tell_contradicts_no_cache(listed):
    pair = replace(PAIR, state="refused", verdict=verdict("unknown"))
    opinion = CacheOpinion({MAIN.identifier: listed})
    assert judged(pairs=(pair,), opinion=opinion)["CacheAgrees"].status == "true"


def loaded(main: Model, key: str, **config: Any) -> dict[str, Any]:
    pair = replace(PAIR, main=main)
    served = ServedModel(key, loaded_instances=(Instance(key, **config),))
    found = in_force.find((pair,), (served,), (main, SMALL), {}, {})
    return {"pairs": (pair,), "not_in_force": found}


@pytest.mark.parametrize("key", ["qwen3-8b", "qwen3-8b-4bit"])
def test_parallel_requests_are_named_as_what_switches_speculation_off(key: str):
    main = replace(MAIN, key=key)
    found = judged(**loaded(main, "qwen3-8b", parallel=4, context_length=8192))
    assert found["EngineWillSpeculate"].reason == "Parallel"
    command = "lms load qwen3-8b --parallel 1 --context-length 8192"
    assert command in found["EngineWillSpeculate"].remedy
    assert found["AppUpToDate"].status == "true"
    quantized = loaded(main, "qwen3-8b", parallel=4)
    quantized["pairs"] = (replace(PAIR, main=main, users=DraftDefaults(quantized_cache=True)),)
    served = ServedModel("qwen3-8b", loaded_instances=(Instance("qwen3-8b", parallel=4),))
    quantized["not_in_force"] = in_force.find(quantized["pairs"], (served,), (main, SMALL), {}, {})
    assert judged(**quantized)["EngineWillSpeculate"].status == "true"


def test_a_silent_draft_of_a_main_to_be_loaded_again_has_the_remedy_of_that():
    silent = DraftsSeen(MAIN.key, SMALL.key, 0, 0, "probe", "none ran")
    found = judged(**loaded(MAIN, "qwen3-8b", parallel=4), drafts_seen=(silent,))
    observed, engine = found["SpeculationObserved"], found["EngineWillSpeculate"]
    assert (observed.status, observed.remedy) == ("false", engine.remedy)
    assert [each.type for each in found.values() if each.degraded] == ["EngineWillSpeculate"]
    old = (in_force.NotInForce(PAIR, "m", ("it is old",), (("load", "m"),), shown=False),)
    observed = judged(not_in_force=old, drafts_seen=(silent,))["SpeculationObserved"]
    assert (observed.degraded, observed.remedy) == (True, "`lms load m`")
    slower = (replace(old[0], differs=("it drafts 3 tokens",), shown=True, length_only=True),)
    observed = judged(not_in_force=slower, drafts_seen=(silent,))["SpeculationObserved"]
    assert (observed.degraded, "restart LM Studio" in observed.remedy) == (True, True)
    other = replace(silent, main="another", finding="nor here")
    observed = judged(not_in_force=old, drafts_seen=(silent, other))["SpeculationObserved"]
    assert (observed.message, "restart LM Studio" in observed.remedy) == ("nor here", True)


def test_what_runs_otherwise_than_its_file_says_is_to_be_loaded_again():
    found = judged(
        not_in_force=(in_force.NotInForce(PAIR, "m:2", ("it is old",), (("load", "m"),)),)
    )
    assert (found["AppUpToDate"].reason, found["AppUpToDate"].severity) == ("LoadAgain", "state")
    assert found["AppUpToDate"].remedy == "`lms load m`"
    assert "m:2: it is old" in found["AppUpToDate"].message


def test_a_preset_that_would_undo_the_pair_is_named():
    mine = Preset("@local:mine", "Mine", ((keys.DRAFT_MODEL, ""),))
    found = judged(presets=(mine,))["PairsConfigured"]
    assert (found.status, "preset Mine undoes it" in found.message) == ("true", True)
    chosen = replace(PAIR, users=DraftDefaults(preset="@local:mine"))
    kept = replace(chosen, state="adopted", why="kept: set in LM Studio")
    other = replace(PAIR, state="adopted")
    for pairs in ((chosen,), (kept,), (other, chosen), (replace(PAIR, state="withdrawn"), kept)):
        found = judged(presets=(mine,), pairs=pairs)["PairsConfigured"]
        assert (found.status, found.reason, found.severity) == ("false", "PresetWins", "advice")
        assert "Mine" in found.remedy


def test_a_write_that_failed_says_so_for_its_own_file_alone():
    edit = FileEdit(SETTINGS, "settings", b"", b"", (), ())
    failed = Applied(edit, problem="the disk is full; free some space")
    found = judged(applied=(failed,))
    assert found["SettingsApplied"].reason == "WriteFailed"
    assert found["PairsConfigured"].status == "true"


def test_taken_out_on_purpose_is_said_differently_from_merely_slower():
    disabled = SpecdConfig(pair=WANTED.pair, benchmark=Benchmark(on_slower="disable"))
    slow = {PAIR.name: measured(0.8)}
    as_asked = judged(disabled, benchmarks=slow)["Faster"]
    assert "takes the draft out" in as_asked.remedy
    assert not as_asked.degraded
    assert "disable" in judged(benchmarks=slow)["Faster"].remedy


def test_since_stays_while_the_status_does_and_moves_when_it_changes():
    earlier = (datetime.fromisoformat(NOW) - timedelta(hours=1)).isoformat()
    first = judge(WELL, WANTED, (), earlier)
    second = judge(replace(WELL, config_problem="broken"), WANTED, first, NOW)
    since = {each.type: each.since for each in second}
    assert since["ConfigValid"] == NOW
    assert since["HomeFound"] == earlier


optional_facts = st.fixed_dictionaries(
    {},
    optional={
        "config_problem": st.none() | st.just("broken"),
        "home": st.sampled_from([WELL.home, NoHome("gone", ())]),
        "pairs": st.lists(
            st.builds(
                replace,
                st.just(PAIR),
                state=st.sampled_from(["wanted", "waiting", "refused", "withdrawn", "missing"]),
                main=st.sampled_from([None, MAIN]),
                draft=st.sampled_from([None, SMALL]),
                verdict=st.sampled_from(
                    [None, verdict(), verdict("incompatible"), verdict("unknown")]
                ),
            ),
            max_size=3,
        ).map(tuple),
        "server": st.sampled_from([None, WELL.server, ServerSeen("u", "no answer")]),
        "app": st.sampled_from([None, WELL.app, AppSeen(running=False), AppSeen(running=True)]),
        "benchmarks": st.sampled_from([{}, {PAIR.name: measured(0.9)}, {PAIR.name: measured(1.2)}]),
        "drafts_seen": st.sampled_from([(), WELL.drafts_seen]),
        "opinion": st.sampled_from([None, CacheOpinion({}), CacheOpinion({}, "unreadable")]),
        "pending": st.sampled_from([(), (SETTINGS,)]),
        "apps": st.sampled_from([(), (lm_studio(HOME),)]),
        "settings_written": st.sampled_from(
            [{}, {"LM Studio": datetime(2026, 11, 24, 13, tzinfo=UTC)}]
        ),
    },
)


@given(optional_facts)
def test_whatever_is_known_every_condition_is_judged_once_and_in_words(facts):
    found = judge(replace(WELL, **facts), WANTED, (), NOW)
    assert [each.type for each in found] == [each.type for each in CONDITIONS]
    for each in found:
        assert each.status in ("true", "false", "unknown")
        assert each.reason.isalnum()
        assert each.reason[0].isupper()
        assert each.message
        assert each.remedy or each.status != "false"


def test_a_server_that_is_off_and_a_cache_that_leaves_a_pair_out_are_advice():
    found = judged(
        server=ServerSeen("http://localhost:1234", "no answer"),
        opinion=CacheOpinion({MAIN.identifier: ()}),
        benchmarks={},
    )
    for kind in ("ServerReachable", "CacheAgrees", "Faster"):
        assert found[kind].severity == "advice"
        assert found[kind].status != "true"
        assert found[kind].remedy
    assert not any(each.degraded for each in found.values())


def test_a_cache_that_offers_a_pair_that_would_say_something_else_is_a_fault_and_comes_first():
    bad = replace(PAIR, state="refused", verdict=verdict("incompatible"))
    good = replace(PAIR, main=SMALL, draft=MAIN)
    opinion = CacheOpinion({MAIN.identifier: (SMALL.identifier,), SMALL.identifier: ()})
    found = judged(pairs=(good, bad), opinion=opinion)["CacheAgrees"]
    assert found.degraded
    assert found.message.index("it lists") < found.message.index("it does not list")


def test_an_unusable_draft_that_the_cache_offers_beside_the_chosen_one_is_advice_and_comes_first():
    opinion = CacheOpinion({MAIN.identifier: ("other/draft",)})
    offered = ((PairName("qwen3-8b", "other"), "incompatible"),)
    found = judged(opinion=opinion, listed_unusable=offered)["CacheAgrees"]
    assert (found.status, found.reason, found.severity) == ("false", "ListsUnusable", "advice")
    assert found.message.index("it lists") < found.message.index("it does not list")


def test_conditions_kept_by_a_version_without_remedies_are_read(tmp_path):
    old = {
        "type": "Faster",
        "status": "true",
        "reason": "Measured",
        "message": "1.3× faster",
        "since": NOW,
    }
    file = tmp_path / "conditions.json"
    file.write_text(json.dumps([{**old, "unheard_of": "x"}]))
    with contextlib.closing(Stores.open(tmp_path)) as stores:
        assert stores.last_conditions() == (
            Condition("Faster", "true", "Measured", "1.3× faster", NOW),
        )
        for wrong in ({**old, "type": "Unheard"}, {**old, "since": 1}, {"type": "Faster"}, "x"):
            file.write_text(json.dumps([wrong]))
            assert stores.last_conditions() == ()
        for config in (WELL.config_path, Path("/not utf-8 \udcff/specd.toml")):
            found = judge(replace(WELL, config_path=config), WANTED, (), NOW)
            stores.keep_conditions(found)
            assert stores.last_conditions() == found


def test_a_run_without_an_interval_takes_nothing_out_and_asks_for_one_more():
    slow = measured(0.8)
    once = replace(slow, best=replace(slow.best, draft_tokens=0, interval=None))
    disabled = SpecdConfig(pair=WANTED.pair, benchmark=Benchmark(on_slower="disable"))
    (found,) = [
        each
        for each in judge(replace(WELL, benchmarks={PAIR.name: once}), disabled, (), NOW)
        if each.type == "Faster"
    ]
    assert (found.reason, found.severity) == ("NotConfirmed", "advice")
    assert found.remedy == "`specd bench` measures again"


def test_a_draft_that_is_far_slower_is_a_fault_without_an_interval_too():
    slow = replace(measured(0.05), engine="llama.cpp")
    once = replace(slow, best=replace(slow.best, measured_speedup=None, interval=None))
    found = judged(benchmarks={PAIR.name: once})["Faster"]
    assert (found.status, found.reason, found.severity) == ("false", "NoGain", "state")
    assert found.remedy == "`specd config set benchmark.on_slower disable` takes it out"


def test_without_a_pair_the_advice_is_a_pair_and_no_benchmark() -> None:
    found = judged(SpecdConfig())
    assert found["PairsConfigured"].remedy == files.PROPOSE
    assert [each.type for each in found.values() if each.severity == "advice"] == [
        "PairsConfigured"
    ]
    off = judged(SpecdConfig(speculation=Speculation(enabled=False)))
    assert not off["PairsConfigured"].remedy

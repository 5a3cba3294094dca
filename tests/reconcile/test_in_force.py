"""What a loaded main runs with is compared with what its file says, by instance."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from specd.config import Pair
from specd.lmstudio.answers import LISTINGS, Instance, ServedModel
from specd.lmstudio.model import Model
from specd.lmstudio.model_defaults import DraftDefaults
from specd.reconcile.desired import DesiredPair
from specd.reconcile.in_force import NotInForce, find

from .pairs import MAIN, SMALL, verdict

GGUF = replace(MAIN, format="gguf", identifier="a/b-GGUF/b.gguf")
DRAFT = replace(SMALL, format="gguf", identifier="a/c-GGUF/c.gguf")
SIDECAR = replace(DRAFT, kind="drafter", drafter="mtp")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def pair(main: Model, draft: Model | None, **more: Any) -> DesiredPair:
    return DesiredPair(
        Pair(main=main.key), "wanted", "", main=main, draft=draft, verdict=verdict(), **more
    )


def found(wanted: DesiredPair, *instances: Instance, **times: Any) -> tuple[NotInForce, ...]:
    assert wanted.main is not None
    served = ServedModel(wanted.main.key, loaded_instances=instances)
    loaded_at = dict.fromkeys(instances, times["loaded"]) if "loaded" in times else {}
    name = wanted.main.defaults
    written_at = {name: times["written"]} if "written" in times else {}
    return find((wanted,), (served,), (wanted.main, SMALL), loaded_at, written_at)


CLASSIC = pair(GGUF, DRAFT, draft_tokens=6)
SWITCHES = "--speculative-draft-simple --speculative-draft-model a/c-GGUF/c.gguf"


@pytest.mark.parametrize(
    ("wanted", "instance", "differs"),
    [
        (CLASSIC, {"parallel": 4}, None),
        (CLASSIC, {"parallel": 4, "draft_simple": True, "draft_max_tokens": 6}, None),
        (CLASSIC, {"draft_mtp": True, "draft_simple": False}, "without the draft"),
        (CLASSIC, {"draft_simple": True, "draft_model": "x/y.gguf"}, "x/y.gguf as the draft"),
        (CLASSIC, {"draft_simple": True, "draft_max_tokens": 3}, "3 tokens instead of 6"),
        (pair(GGUF, None, mtp=True), {"draft_mtp": True, "parallel": 1}, None),
        (pair(GGUF, None, mtp=True), {"draft_mtp": True, "parallel": 4}, "4 parallel"),
        (pair(GGUF, None, mtp=True), {"draft_mtp": False}, "heads are off"),
        (pair(GGUF, SIDECAR), {"draft_mtp": False, "draft_simple": False}, None),
        (pair(MAIN, SMALL), {"parallel": 4}, "4 parallel"),
        (pair(MAIN, SMALL), {"parallel": None}, None),
        (pair(MAIN, SMALL, draft_tokens=6), {"draft_max_tokens": 3}, None),
        (pair(MAIN, SMALL, users=DraftDefaults(quantized_cache=True)), {"parallel": 4}, None),
        (replace(pair(MAIN, SMALL), state="withdrawn"), {"parallel": 4}, None),
    ],
)
def test_an_instance_is_held_against_its_file(
    wanted: DesiredPair, instance: dict[str, Any], differs: str | None
) -> None:
    each = found(wanted, Instance("m", **instance))
    assert bool(each) == (differs is not None)
    assert differs is None or differs in str(each[0])
    assert all(it.length_only == ("tokens instead of" in str(differs)) for it in each)


def test_every_instance_is_looked_at_by_itself() -> None:
    two = found(pair(MAIN, SMALL), Instance("m", parallel=1), Instance("qwen3-8b:2", parallel=4))
    assert [each.instance for each in two] == ["qwen3-8b:2"]
    assert two[0].command == "lms unload qwen3-8b:2 && lms load qwen3-8b --parallel 1"
    assert two[0].parallel


def test_the_command_names_all_that_the_file_says_as_options_may_bypass_it() -> None:
    (each,) = found(CLASSIC, Instance("m", context_length=4096, draft_simple=False))
    assert each.command == (
        f"lms unload m && lms load qwen3-8b {SWITCHES} --speculative-draft-max-tokens 6 "
        "--context-length 4096 --identifier m"
    )
    (each,) = found(pair(GGUF, SIDECAR), Instance("qwen3-8b", parallel=4, context_length=4096))
    assert each.command.endswith("lms load qwen3-8b"), "a sidecar comes from the file alone"


def test_one_that_was_loaded_before_the_write_is_to_be_loaded_again() -> None:
    old = {"loaded": NOW, "written": NOW + timedelta(minutes=1)}
    (each,) = found(pair(MAIN, SMALL), Instance("m", parallel=1), **old)
    assert not each.shown
    new = {"loaded": NOW, "written": NOW - timedelta(minutes=1)}
    assert not found(pair(MAIN, SMALL), Instance("m", parallel=1), **new)
    withdrawn = replace(pair(MAIN, SMALL), state="withdrawn")
    assert found(withdrawn, Instance("m", parallel=1), **old), "the draft is still there"


def test_a_recorded_answer_of_0_4_is_understood() -> None:
    recorded = Path(__file__).parents[1] / "lmstudio/recorded/0.4/api-v1-models.json"
    _, name, read = LISTINGS[0]
    served = [read(each) for each in json.loads(recorded.read_text())[name]]
    qwen = replace(
        GGUF, key="qwen3.8-27b", catalogue="qwen/qwen3.8-27b", aliases=("qwen/qwen3.8-27b",)
    )

    def differing(wanted: DesiredPair) -> list[str]:
        installed = (qwen, MAIN, SMALL, DRAFT)
        return [each for it in find((wanted,), served, installed, {}, {}) for each in it.differs]

    assert differing(pair(MAIN, SMALL)) == ["loaded for 4 parallel requests instead of 1"]
    assert differing(pair(MAIN, SMALL, users=DraftDefaults(quantized_cache=True))) == []
    assert differing(pair(qwen, None, mtp=True, draft_tokens=2)) == []
    assert differing(pair(qwen, None, mtp=True, draft_tokens=3)) == [
        "it drafts 2 tokens instead of 3"
    ]
    assert differing(pair(qwen, DRAFT)) == ["it runs without the draft"]

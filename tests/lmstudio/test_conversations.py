from __future__ import annotations

import copy
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.files import private
from specd.lmstudio import conversations, keys
from specd.lmstudio.conversations import AnswerStats, Read, TokenRun
from specd.lmstudio.model import OWN_HEADS
from specd.lmstudio.presets import Preset
from tests.chats import PRIVATE, answer, chat, keep
from tests.conftest import Figures
from tests.lmstudio import shapes

HOUR_AGO = time.time() - 3600


def read(folder: Path, done: Read) -> list[AnswerStats]:
    return [each for batch in conversations.read(folder, done) for each in batch or ()]


def test_an_answers_figures_are_read(tmp_path: Path) -> None:
    keep(tmp_path, "a", chat(answer()))
    (found,) = read(tmp_path, {})
    assert found == AnswerStats(
        id=found.id,
        at=1764000001.0,
        model="mlx-community/Qwen3-8B-4bit",
        configured_draft="mlx-community/Qwen3-0.6B-4bit",
        draft="qwen3-0.6b",
        draft_tokens=3,
        tokens=102,
        prompt_tokens=35,
        seconds=5.6,
        time_to_first_token=0.31,
        tokens_per_second=18.2,
        drafted=40,
        accepted=25,
        runs=(
            TokenRun(from_draft=False, tokens=1),
            TokenRun(from_draft=True, tokens=3),
            TokenRun(False, 1),
        ),
        kind="plain",
    )


def test_the_sampling_of_an_answer_is_read(tmp_path: Path) -> None:
    step = answer()
    step["genInfo"]["predictionConfig"]["fields"] += [
        {"key": "llm.prediction.temperature", "value": 0.1},
        {"key": "llm.prediction.topKSampling", "value": 7},
        {"key": "llm.prediction.topPSampling", "value": {"checked": False, "value": 0.5}},
        {"key": "llm.prediction.minPSampling", "value": "much"},
    ]
    keep(tmp_path, "a", chat(step))
    (found,) = read(tmp_path, {})
    assert found.sampling == {"temperature": 0.1, "top_k": 7, "top_p": 1.0}


def temperature(value: float) -> dict[str, Any]:
    return {"fields": [{"key": "llm.prediction.temperature", "value": value}]}


PER_CHAT, LOADED = "perChatPredictionConfig", "instanceOperationTimeConfig"
COOL = Preset("@local:cool", "Cool", sampling={"temperature": 0.2})


@pytest.mark.parametrize(
    ("own", "of_chat", "used", "found"),
    [
        ({}, {PER_CHAT: temperature(0.1)}, {}, {"temperature": 0.1}),
        (
            {},
            {PER_CHAT: temperature(0.1), "usePerChatPredictionConfig": True},
            {},
            {"temperature": 0.1},
        ),
        ({}, {PER_CHAT: temperature(0.1), "usePerChatPredictionConfig": False}, {}, {}),
        ({}, {}, {LOADED: temperature(0.3)}, {"temperature": 0.3}),
        ({}, {PER_CHAT: temperature(0.1)}, {LOADED: temperature(0.3)}, {"temperature": 0.1}),
        ({}, {"preset": "@local:cool"}, {}, {"temperature": 0.2}),
        ({}, {"preset": "@local:cool", PER_CHAT: temperature(0.1)}, {}, {"temperature": 0.1}),
        ({}, {"preset": "@local:gone"}, {}, {}),
        ({}, {"preset": ["odd"], PER_CHAT: "odd"}, {LOADED: 7}, {}),
        (temperature(0.9), {PER_CHAT: temperature(0.1)}, {}, {"temperature": 0.9}),
        ({}, {}, {LOADED: temperature(0.3), "indexedModelIdentifier": "other/main"}, {}),
    ],
)
def test_the_chats_sampling_counts_where_its_answers_have_none(
    tmp_path: Path,
    own: dict[str, Any],
    of_chat: dict[str, Any],
    used: dict[str, Any],
    found: dict[str, float],
) -> None:
    step = answer()
    step["genInfo"]["predictionConfig"]["fields"] += own.get("fields", [])
    model = {"indexedModelIdentifier": "mlx-community/Qwen3-8B-4bit"}
    keep(tmp_path, "a", {**chat(step), **of_chat, "lastUsedModel": {**model, **used}})
    ((seen,),) = conversations.read(tmp_path, {}, [COOL])
    assert seen is not None
    assert seen.sampling == found


@pytest.mark.parametrize(
    ("stats", "structured", "before", "kind"),
    [
        ({}, None, None, "plain"),
        ({"stopReason": "toolCalls"}, None, None, "tools"),
        ({}, {"type": "json", "jsonSchema": {"title": PRIVATE}}, None, "tools"),
        ({}, {"type": "none"}, None, "plain"),
        ({}, "json", None, "plain"),
        ({}, None, {"style": {"type": "thinking", "title": PRIVATE}}, "thinking"),
        ({"stopReason": "toolCalls"}, None, {"style": {"type": "thinking"}}, "thinking"),
        ({}, None, {"style": [1]}, "plain"),
        ({"stopReason": None}, None, None, None),
    ],
)
def test_the_kind_of_an_answer_is_seen_in_its_figures(
    tmp_path: Path,
    stats: dict[str, object],
    structured: object,
    before: dict[str, object] | None,
    kind: str | None,
) -> None:
    step, next_one = answer(), answer(1764000002000)
    step["genInfo"]["stats"] |= stats
    if structured is not None:
        field = {"key": "llm.prediction.structured", "value": structured}
        step["genInfo"]["predictionConfig"]["fields"].append(field)
    document = chat(step)
    steps = document["messages"][-1]["versions"][0]["steps"]
    steps.append(next_one)
    if before is not None:
        content = [{"type": "text", "text": PRIVATE}]
        steps.insert(0, {"type": "contentBlock", "content": content, **before})
    keep(tmp_path, "a", document)
    found = read(tmp_path, {})
    # A thought belongs to the one answer that follows it.
    assert [each.kind for each in found] == [kind, "plain"]
    assert PRIVATE not in repr(found)


def test_the_recorded_chat_is_read_with_every_version_of_an_answer(tmp_path: Path) -> None:
    shapes.home(tmp_path)
    plain, own_heads, unnamed = read(tmp_path / "conversations", {})
    main = "qwen/Qwen3.8-27B-GGUF/Qwen3.8-27B-Q4_K_M.gguf"
    assert [each.model for each in (plain, own_heads, unnamed)] == [main] * 3
    assert (plain.draft, plain.drafted, plain.tokens_per_second) == (None, None, 20.77)
    assert (own_heads.draft, own_heads.drafted, own_heads.accepted) == (OWN_HEADS, 100, 80)
    assert (plain.seconds, unnamed.time_to_first_token) == (None, None)


@pytest.mark.parametrize(
    ("load", "draft"),
    [
        ([(keys.LLAMA_DRAFT_SIMPLE, True), (keys.LLAMA_DRAFT_MODEL, "a/b/d.gguf")], "a/b/d.gguf"),
        ([("draftDflashSidecar", True), (keys.LLAMA_DRAFT_MODEL, "a/b/h.gguf")], "a/b/h.gguf"),
        ([(keys.LLAMA_DRAFT_MTP, True), (keys.LLAMA_DRAFT_MODEL, "")], OWN_HEADS),
        ([], OWN_HEADS),
    ],
)
def test_counts_without_a_name_belong_to_what_was_loaded(
    tmp_path: Path, load: list[tuple[str, object]], draft: str
) -> None:
    step = answer()
    del step["genInfo"]["stats"]["usedDraftModelKey"]
    step["genInfo"]["predictionConfig"] = {"fields": []}
    prefix = keys.LLAMA_DRAFT_SIMPLE.removesuffix("draftSimple")
    step["genInfo"]["loadModelConfig"] = {
        "fields": [
            {"key": key if "." in key else prefix + key, "value": value} for key, value in load
        ]
    }
    keep(tmp_path, "a", chat(step))
    (found,) = read(tmp_path, {})
    assert found.draft == draft


LAST = {"identifier": "mine", "indexedModelIdentifier": "a/model-4bit"}


@pytest.mark.parametrize(
    ("step", "last", "model"),
    [
        ({"identifier": "mine", "indexedModelIdentifier": "a/b-4bit"}, LAST, "a/b-4bit"),
        ({"identifier": "mine"}, LAST, "a/model-4bit"),
        ({"identifier": "another"}, LAST, "another"),
        ({}, LAST, "a/model-4bit"),
        ({}, {"identifier": "mine"}, "mine"),
        ({"identifier": "mine"}, None, "mine"),
        ({"identifier": 7}, {"indexedModelIdentifier": ["a"]}, ""),
    ],
)
def test_the_model_is_meant_also_where_the_user_gave_it_another_name(
    tmp_path: Path, step: dict[str, object], last: object, model: str
) -> None:
    made = answer()
    for name in LAST:
        made["genInfo"].pop(name)
    made["genInfo"] |= step
    keep(tmp_path, "a", {**chat(made), "lastUsedModel": last})
    assert [each.model for each in read(tmp_path, {})] == [model]


def test_not_a_word_of_text_is_kept(tmp_path: Path) -> None:
    keep(tmp_path, f"{PRIVATE}/a", chat(answer()))
    since: Read = {}
    found = read(tmp_path, since)
    assert PRIVATE not in repr(found)
    assert PRIVATE not in repr(since)


def test_an_answer_without_a_draft_has_none(tmp_path: Path) -> None:
    step = answer(draft=False)
    step["genInfo"]["predictionConfig"] = {"fields": []}
    keep(tmp_path, "a", chat(step))
    (found,) = read(tmp_path, {})
    assert (found.configured_draft, found.draft, found.drafted) == (None, None, None)


def test_a_draft_that_was_asked_for_and_never_ran_can_be_told(tmp_path: Path) -> None:
    keep(tmp_path, "a", chat(answer(draft=False)))
    (found,) = read(tmp_path, {})
    assert found.configured_draft is not None
    assert found.draft is None


def ids(folder: Path) -> list[str]:
    return [each.id for each in read(folder, {})]


def test_an_answer_keeps_its_identifier_as_a_chat_grows(tmp_path: Path) -> None:
    steps = [answer(1764000000000 + n) for n in range(5)]
    found: list[str] = []
    for count in range(1, 6):
        keep(tmp_path, "folder/a", chat(*steps[:count]))
        assert ids(tmp_path)[:-1] == found
        found = ids(tmp_path)
    assert len(set(found)) == 5


def test_an_answer_keeps_its_identifier_when_an_earlier_message_is_deleted(tmp_path: Path) -> None:
    steps = [answer(1764000000000 + n) for n in range(3)]
    keep(tmp_path, "a", chat(*steps))
    _, *later = ids(tmp_path)
    keep(tmp_path, "a", chat(*steps[1:]))
    assert ids(tmp_path) == later


def test_an_answer_keeps_its_identifier_in_a_copied_chat(tmp_path: Path) -> None:
    path = keep(tmp_path, "a", chat(answer()))
    shutil.copy(path, tmp_path / "b.conversation.json")
    one, other = ids(tmp_path)
    assert one == other


def test_steps_without_a_time_are_told_apart_by_their_place(tmp_path: Path) -> None:
    steps = [answer(), answer()]
    for step, identifier in zip(steps, ("0-x", None), strict=True):
        step["stepIdentifier"] = identifier
    keep(tmp_path, "a", chat(*steps))
    before = ids(tmp_path)
    assert len(set(before)) == 2
    keep(tmp_path, "a", chat(*steps, answer()))
    *same, _ = ids(tmp_path)
    assert same == before


def test_every_version_of_an_answer_counts(tmp_path: Path) -> None:
    document = chat(answer(1764000000001))
    again = copy.deepcopy(document["messages"][1]["versions"][0])
    again["steps"][1] = answer(1764000000002)
    document["messages"][1]["versions"].append(again)
    keep(tmp_path, "a", document)
    assert len(read(tmp_path, {})) == 2


def test_a_chat_that_did_not_change_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keep(tmp_path, "a", chat(answer()))
    os.utime(path, (HOUR_AGO, HOUR_AGO))
    since: Read = {}
    assert len(read(tmp_path, since)) == 1
    monkeypatch.setattr(private, "read", lambda *_: pytest.fail("it was opened"))
    assert read(tmp_path, copy.deepcopy(since)) == []


@pytest.mark.parametrize("part", [1, 0.3, 0.9])
def test_a_half_written_file_is_read_when_it_is_whole(tmp_path: Path, part: float) -> None:
    whole = json.dumps(chat(answer()))
    path = keep(tmp_path, "a", whole[: int(len(whole) * part) - 1])
    since: Read = {}
    assert list(conversations.read(tmp_path, since)) == [None]
    path.write_text(whole)
    assert len(read(tmp_path, since)) == 1


def test_a_reader_that_is_stopped_counts_the_same_batch_again(tmp_path: Path) -> None:
    for name in "ab":
        keep(tmp_path, name, chat(answer(1764000000000 + ord(name))))
    since: Read = {}
    first = next(iter(conversations.read(tmp_path, since)))
    assert first is not None
    kept = copy.deepcopy(since)
    assert first[0].id in {each.id for each in read(tmp_path, kept)}


def test_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    path = keep(tmp_path, "a", chat(answer()))
    os.utime(path, (HOUR_AGO, HOUR_AGO))
    since: Read = {}
    read(tmp_path, since)
    assert len(since) == 1
    path.unlink()
    read(tmp_path, since)
    assert since == {}


def test_links_and_other_files_are_not_read(tmp_path: Path) -> None:
    outside = keep(tmp_path / "outside", "a", chat(answer()))
    inside = tmp_path / "conversations"
    inside.mkdir()
    (inside / "link.conversation.json").symlink_to(outside)
    (inside / "folder").symlink_to(outside.parent)
    (inside / "notes.json").write_text(json.dumps(chat(answer())))
    assert read(inside, {}) == []
    assert read(tmp_path / "gone", {}) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("predictedTokensCount", 10**15), ("promptTokensCount", 10**8), ("tokensPerSecond", 1e-300),
        ("tokensPerSecond", 1e9), ("totalDraftTokensCount", 10**15),
    ],
)  # fmt: skip
def test_a_figure_that_no_answer_can_have_is_none(tmp_path: Path, key: str, value: float) -> None:
    made = answer(1764000000000)
    made["genInfo"]["stats"][key] = value
    keep(tmp_path, "a", chat(made))
    (found,) = read(tmp_path, {})
    figures = (found.tokens, found.prompt_tokens, found.tokens_per_second, found.drafted)
    assert None in figures
    assert value not in figures


ODD = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([]) | st.just({})


@given(data=st.data())
def test_one_odd_value_loses_at_most_its_own_answer(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = chat(*(answer(1764000000000 + n) for n in range(3)))
    step = document["messages"][3]["versions"][0]["steps"][1]
    places = [
        (document["messages"][3], "versions"),
        (document["messages"][3]["versions"][0], "steps"),
        *((step, key) for key in step),
        *((step["genInfo"], key) for key in step["genInfo"]),
        *((step["genInfo"]["stats"], key) for key in step["genInfo"]["stats"]),
        *((step["content"][1], key) for key in step["content"][1]),
    ]
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = data.draw(ODD)
    folder = tmp_path_factory.getbasetemp() / "odd"
    shutil.rmtree(folder, ignore_errors=True)
    keep(folder, "a", document)
    found = read(folder, {})
    assert {1764000000.0, 1764000000.002} <= {each.at for each in found}


@given(st.binary(max_size=60))
def test_any_bytes_are_no_conversation_and_no_crash(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "noise"
    folder.mkdir(exist_ok=True)
    (folder / "a.conversation.json").write_bytes(b"{" + content)
    read(folder, {})


def test_a_deep_file_is_refused(tmp_path: Path) -> None:
    keep(tmp_path, "a", '{"messages": ' + "[" * 200_000)
    assert read(tmp_path, {}) == []


def test_thousands_of_conversations_take_seconds_and_the_second_time_none(
    tmp_path: Path, figures: Figures
) -> None:
    content = json.dumps(chat(*(answer(1764000000000 + n) for n in range(10))))
    for n in range(2000):
        path = keep(tmp_path, f"folder-{n % 20}/{n}", content.replace("1764", str(1800 + n)))
        os.utime(path, (HOUR_AGO, HOUR_AGO))
    since: Read = {}
    started = time.process_time()
    assert len(read(tmp_path, since)) == 20_000
    first = time.process_time() - started
    started = time.process_time()
    assert read(tmp_path, since) == []
    second = time.process_time() - started
    figures(first_s=first, second_ms=second * 1000)
    assert first < 20
    assert second < 1


_MEASURE = """
import resource, sys, time
from pathlib import Path
from specd.lmstudio import conversations, keys

def peak():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status").read_text()  # ru_maxrss would begin with the parent's
    return next(int(l.split()[1]) * 1024 for l in status.splitlines() if l.startswith("VmHWM"))

before = peak()
started = time.process_time()
count = sum(len(each or ()) for each in conversations.read(Path(sys.argv[1]), {}))
print(count, time.process_time() - started, peak() - before)
"""


def test_a_hundred_megabytes_are_read_in_seconds_with_little_more_memory(
    tmp_path: Path, figures: Figures
) -> None:
    letters = random.Random(0)  # noqa: S311 - filler
    text = "".join(letters.choices('abc äöü \\" \n', k=50_000))
    steps = [answer(1764000000000 + n) for n in range(800)]
    for step in steps:
        step["content"][0]["text"] = text
    path = keep(tmp_path, "big", chat(*steps))
    size = path.stat().st_size
    assert size > 100_000_000
    measured = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    count, seconds, memory = (float(word) for word in measured.stdout.split())
    figures(megabytes=size / 1e6, seconds=seconds, extra_memory_mb=memory / 1e6)
    assert count == 800
    assert seconds < 20
    assert 0 < memory < 1.5 * size

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.files import jsonedit
from specd.files.pointer import ABSENT, Json
from specd.lmstudio import model_defaults
from specd.lmstudio.model import Model
from specd.lmstudio.model_defaults import DraftDefaults
from specd.lmstudio.surface import DesiredDraft, Misfit, Target
from specd.reconcile.entry import Entry
from specd.reconcile.observe import FileSeen
from specd.reconcile.ownership import Ownership
from specd.reconcile.plan import plan

HOME = Path("/home")
PATH = HOME / "Qwen3-8B-4bit.json"
DRAFT = "llm.prediction.speculativeDecoding.draftModel"
EXACT = "llm.prediction.speculativeDecoding.numDraftTokensExact"
MAXIMUM = "llm.prediction.speculativeDecoding.maxTokensToDraft"
PARALLEL = "llm.load.numParallelSessions"
LLAMA = "llm.load.llama.speculativeDecoding."


def model(identifier: str, form: str = "mlx") -> Model:
    publisher, _, repo = identifier.partition("/")
    return Model(
        key=repo.lower(),
        identifier=identifier,
        publisher=publisher,
        repo=repo,
        path=Path("/models") / identifier,
        format=form,  # type: ignore[arg-type]
        kind="llm",
        architecture="qwen3",
        vocab_size=151936,
        quantization="4bit",
        size_bytes=1,
    )


MAIN = model("mlx-community/Qwen3-8B-4bit")
SMALL = model("mlx-community/Qwen3-0.6B-4bit")
GGUF_MAIN = model("someone/Qwen3-8B-GGUF/qwen3-8b-q4_k_m.gguf", "gguf")
GGUF_SMALL = model("someone/Qwen3-0.6B-GGUF/qwen3-0.6b-q8_0.gguf", "gguf")


class File:
    """A main's file of defaults, and what specd wrote into it."""

    def __init__(self, main: Model, content: bytes | None = None) -> None:
        self.main = main
        self.content = content
        self.ownership = Ownership()

    def drafts(
        self, draft: Model | None = None, tokens: int | None = None, *, mtp: bool = False
    ) -> bytes | None:
        """Make it so, and return the content."""
        current: Json | Any = ABSENT if self.content is None else jsonedit.parse(self.content)
        desired = DesiredDraft(self.main, draft, tokens, mtp=mtp, why="a test")
        made = plan(
            [target(desired)], {PATH: FileSeen(PATH, self.content, current)}, self.ownership.of
        )
        assert not made.blocked
        for edit in made.edits:
            sha = None if self.content is None else "content"
            self.ownership.wrote(
                Entry(1, "", PATH, "test", edit.changes, "written", sha, "", "", made=edit.made)
            )
            self.content = edit.after
        return self.content


def apply(
    content: bytes | None,
    main: Model,
    draft: Model | None,
    tokens: int | None,
    *,
    mtp: bool = False,
) -> bytes | None:
    return File(main, content).drafts(draft, tokens, mtp=mtp)


def target(desired: DesiredDraft) -> Target:
    return Target("test", PATH, partial(model_defaults.desired_values, desired), "a test")


def refused(document: Json) -> str:
    seen = FileSeen(PATH, b"", document)
    (blocked,) = plan([target(DesiredDraft(MAIN, SMALL, 4))], {PATH: seen}).blocked
    return blocked.why


def fields(content: bytes | None, section: str) -> dict[str, Any]:
    assert content is not None
    return {each["key"]: each["value"] for each in json.loads(content)[section]["fields"]}


@pytest.mark.parametrize(
    ("main", "path"),
    [
        (MAIN, "mlx-community/Qwen3-8B-4bit.json"),
        (GGUF_MAIN, "someone/Qwen3-8B-GGUF/qwen3-8b-q4_k_m.gguf.json"),
        (model("someone/lone.gguf", "gguf"), "someone/lone.gguf.json"),
    ],
)
def test_a_models_defaults_stand_under_its_identifier(main: Model, path: str) -> None:
    folder = HOME / ".internal" / "user-concrete-model-default-config"
    assert model_defaults.config_path(HOME, main) == folder / path


def test_a_missing_file_is_made_in_the_shape_lm_studio_gives_it() -> None:
    made = apply(None, MAIN, SMALL, 4)
    assert made is not None
    assert json.loads(made) == {
        "preset": "",
        "operation": {
            "fields": [
                {"key": DRAFT, "value": SMALL.identifier},
                {"key": EXACT, "value": 4},
            ]
        },
        "load": {"fields": [{"key": PARALLEL, "value": 1}]},
    }


def test_an_mlx_main_is_loaded_for_one_request_at_a_time_or_the_engine_would_refuse() -> None:
    file = File(MAIN, json.dumps({"load": {"fields": [{"key": PARALLEL, "value": 4}]}}).encode())
    assert fields(file.drafts(SMALL, 4), "load") == {PARALLEL: 1}
    assert fields(file.drafts(None), "load") == {PARALLEL: 4}


@pytest.mark.parametrize(("enabled", "parallel"), [(True, 4), (False, 1)])
def test_with_a_quantized_cache_the_engine_takes_one_request_at_a_time_anyway(
    enabled: bool, parallel: int
) -> None:
    cache = {"enabled": enabled, "bits": 8, "groupSize": 64, "quantizedStart": 5000}
    load = [
        {"key": PARALLEL, "value": 4},
        {"key": "llm.load.mlx.kvCacheQuantization", "value": cache},
    ]
    made = apply(json.dumps({"load": {"fields": load}}).encode(), MAIN, SMALL, None)
    assert fields(made, "load")[PARALLEL] == parallel


def test_no_file_is_made_to_take_a_draft_out_of() -> None:
    assert apply(None, MAIN, None, None) is None


def test_entries_of_others_stay_where_they_are() -> None:
    before = (
        b'{"preset": "@local:mine", "operation": {"fields": [\n'
        b'  {"key": "llm.prediction.temperature", "value": 0.60},\n'
        b'  {"key": "' + DRAFT.encode() + b'", "value": "old/draft"},\n'
        b'  {"key": "llm.prediction.topKSampling", "value": 1e1}\n'
        b']}, "load": {"fields": [{"key": "llm.load.contextLength", "value": 40960}]}, "x": null}\n'
    )
    after = apply(before, MAIN, SMALL, 3)
    assert after is not None
    order = [each["key"] for each in json.loads(after)["operation"]["fields"]]
    assert order == ["llm.prediction.temperature", DRAFT, "llm.prediction.topKSampling", EXACT]
    assert b'"value": 0.60}' in after
    assert b'"value": 1e1}' in after
    assert b'"preset": "@local:mine"' in after
    assert after.endswith(b'"x": null}\n')


def test_specds_length_goes_when_none_is_asked_for_and_the_users_stays() -> None:
    file = File(MAIN)
    alone = File(MAIN).drafts(SMALL)
    assert fields(file.drafts(SMALL, 7), "operation")[EXACT] == 7
    assert json.loads(file.drafts(SMALL) or b"") == json.loads(alone or b"")
    users = json.dumps({"operation": {"fields": [{"key": EXACT, "value": 3}]}}).encode()
    assert fields(apply(users, MAIN, SMALL, None), "operation")[EXACT] == 3


def test_a_draft_taken_out_leaves_everything_else() -> None:
    before = (
        b'{"preset":"","operation":{"fields":[{"key":"llm.prediction.temperature","value":0.6}]},'
        b'"load":{"fields":[{"key":"llm.load.numParallelSessions","value":1}]}}'
    )
    file = File(MAIN, before)
    assert file.drafts(SMALL, 5) != before
    assert file.drafts(None) == before


def test_a_gguf_mains_draft_is_set_where_it_is_loaded() -> None:
    made = apply(None, GGUF_MAIN, GGUF_SMALL, 8)
    assert fields(made, "operation") == {}
    assert fields(made, "load") == {
        LLAMA + "draftMaxTokens": 8,
        LLAMA + "draftModel": GGUF_SMALL.identifier,
        LLAMA + "draftSimple": True,
    }


def test_the_older_keys_of_a_gguf_main_are_the_users() -> None:
    older = {"fields": [{"key": DRAFT, "value": "a/b"}, {"key": MAXIMUM, "value": 9}]}
    before = json.dumps({"operation": older}).encode()
    expected = {DRAFT: "a/b", MAXIMUM: 9}
    assert fields(apply(before, GGUF_MAIN, GGUF_SMALL, 8), "operation") == expected
    assert apply(before, GGUF_MAIN, None, None) == before


def test_exactly_one_way_of_drafting_is_on_for_a_gguf_main() -> None:
    sidecar = {"key": LLAMA + "draftMtpSidecar", "value": True}
    own = {"key": LLAMA + "draftMtp", "value": True}
    file = File(GGUF_MAIN, json.dumps({"load": {"fields": [own, sidecar]}}).encode())
    before = file.content
    simple = fields(file.drafts(GGUF_SMALL, 8), "load")
    assert [key for key, value in simple.items() if value is True] == [LLAMA + "draftSimple"]
    assert simple[LLAMA + "draftMtp"] is False
    heads = fields(file.drafts(None, 3, mtp=True), "load")
    assert heads == {
        LLAMA + "draftMtp": True,
        LLAMA + "draftMtpSidecar": False,
        LLAMA + "draftMaxTokens": 3,
        PARALLEL: 1,
    }
    file.drafts(None)
    assert file.content == before


PUBLISHED = json.dumps(
    {
        "preset": "",
        "operation": {"fields": []},
        "load": {
            "fields": [
                {"key": PARALLEL, "value": 1},
                {"key": LLAMA + "draftMtp", "value": False},
                {"key": LLAMA + "draftSimple", "value": False},
                {"key": LLAMA + "draftDflashSidecar", "value": True},
                {"key": LLAMA + "draftModel", "value": "someone/DFlash-GGUF/dflash.gguf"},
                {"key": LLAMA + "draftMaxTokens", "value": 4},
            ]
        },
    },
    indent=2,
).encode()


def test_a_sidecar_that_the_user_set_stays_when_nothing_is_to_draft() -> None:
    assert apply(PUBLISHED, GGUF_MAIN, None, None) == PUBLISHED


def test_a_draft_in_the_place_of_the_users_sidecar_gives_it_back() -> None:
    file = File(GGUF_MAIN, PUBLISHED)
    load = fields(file.drafts(GGUF_SMALL), "load")
    assert load[LLAMA + "draftModel"] == GGUF_SMALL.identifier
    assert [key for key, value in load.items() if value is True] == [LLAMA + "draftSimple"]
    assert load[LLAMA + "draftMtp"] is False
    assert load[LLAMA + "draftMaxTokens"] == 4
    assert file.drafts(None) == PUBLISHED


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "it holds a list where LM Studio keeps an object"),
        (None, "it holds null"),
        ({"operation": []}, "operation is a list where LM Studio keeps an object"),
        (
            {"operation": {"fields": {}}},
            "operation.fields is an object where LM Studio keeps a list",
        ),
        ({"operation": {"fields": None}}, "operation.fields is null"),
        (
            {"operation": {"fields": [{"key": DRAFT, "value": {"checked": True, "value": "a/b"}}]}},
            f"{DRAFT} is an object where LM Studio keeps a single value",
        ),
        (
            {"operation": {"fields": [{"key": DRAFT, "value": "a"}, {"key": DRAFT, "value": "b"}]}},
            f"has {DRAFT} twice",
        ),
    ],
)
def test_what_is_not_understood_is_reported_and_left(document: Json, words: str) -> None:
    message = refused(document)
    assert words in message
    assert "Qwen3-8B-4bit.json" in message


def test_what_others_keep_may_be_of_any_shape() -> None:
    odd: Json = {
        "operation": {"fields": ["text", 7, None, {"key": 5}, {"key": "x", "value": [1]}, {}]},
        "load": {"fields": [], "x": 7},
    }
    assert model_defaults.desired_values(DesiredDraft(MAIN, SMALL, 4), odd, {})


def test_reading_back_says_what_was_written() -> None:
    made = apply(None, MAIN, SMALL, 4)
    assert made is not None
    assert model_defaults.read(jsonedit.parse(made)) == DraftDefaults(
        SMALL.identifier, 4, of_request=True
    )
    made = apply(None, GGUF_MAIN, GGUF_SMALL, 8)
    assert made is not None
    assert model_defaults.read(jsonedit.parse(made)) == DraftDefaults(GGUF_SMALL.identifier, 8)
    made = apply(None, GGUF_MAIN, None, 2, mtp=True)
    assert made is not None
    assert model_defaults.read(jsonedit.parse(made)) == DraftDefaults(None, 2, mtp=True)


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["operation", "load", "fields", "key", "value", DRAFT, "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(ANY_JSON)
def test_whatever_the_file_holds_it_is_either_reported_or_edited_so_that_it_holds_the_draft(
    document: Json,
) -> None:
    model_defaults.read(document)
    try:
        made = model_defaults.desired_values(DesiredDraft(MAIN, SMALL, 4), document, {})
    except Misfit:
        return
    after = jsonedit.edit(json.dumps(document).encode(), [wish.edit for wish in made])
    assert model_defaults.read(jsonedit.parse(after)) == DraftDefaults(
        SMALL.identifier,
        4,
        mtp=model_defaults.read(document).mtp,
        of_request=True,
    )

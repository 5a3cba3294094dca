from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.lmstudio import draft_cache
from specd.lmstudio.models import index
from tests.lmstudio import homes
from tests.lmstudio.test_names import SEED

MAIN, DRAFT = homes.SEED_MAIN, homes.SEED_DRAFT
OTHER = homes.SEED_OTHERS[1]
KEY = SEED[0].key
DRAFT_KEY = SEED[1].key


def read(document: Any) -> draft_cache.CacheOpinion:
    return draft_cache.read(json.dumps(document).encode(), SEED)


def test_the_first_machines_cache_is_read(home: Path) -> None:
    content = draft_cache.path(home).read_bytes()
    opinion = draft_cache.read(content, index(home / "models").models)
    assert opinion.problem is None
    assert opinion.pairs == {MAIN: (DRAFT, *homes.SEED_OTHERS)}


@pytest.mark.parametrize(
    "document",
    [
        {MAIN: [DRAFT]},
        {KEY: [DRAFT_KEY]},
        {KEY.upper(): {DRAFT: True}},
        {MAIN: {DRAFT: {"compatible": True, "checkedAt": 1}}},
        {MAIN: {"compatible": [DRAFT], "lastUpdated": 17}},
        {MAIN: {"drafts": [{"key": DRAFT, "reason": "same vocabulary"}]}},
        {"version": 1, "cache": {MAIN: [{"modelKey": DRAFT}]}},
        {"entries": [[MAIN, "unrelated"], {"model": MAIN, "draftModels": [DRAFT]}]},
        [{"mainModelKey": MAIN, "draftModelKey": DRAFT, "isCompatible": True}],
        {"json": [{"mainModel": KEY, "compatibleDraftModels": [DRAFT, "gone/model"]}]},
        {"json": [[MAIN, [DRAFT]]], "meta": {"values": ["map"]}},
        {"json": [[MAIN, [[DRAFT, True], [OTHER, False]]]], "meta": {"values": ["map"]}},
        {"json": [[MAIN, {"drafts": [DRAFT], "at": 1}]], "meta": {"values": ["map"]}},
    ],
)
def test_mains_and_drafts_are_found_whatever_the_shape(document: Any) -> None:
    opinion = read(document)
    assert opinion.problem is None
    assert opinion.pairs == {MAIN: (DRAFT,)}


@pytest.mark.parametrize(
    "document",
    [
        {MAIN: []},
        {MAIN: {}},
        {MAIN: {DRAFT: False}},
        {MAIN: {DRAFT: "incompatible"}},
        {MAIN: {DRAFT: {"compatible": False}}},
        {MAIN: [{"key": DRAFT, "isCompatible": False}]},
        {MAIN: [MAIN, "gone/model"]},
        {"json": [[MAIN, []]], "meta": {"values": ["map"]}},
    ],
)
def test_a_main_without_a_compatible_draft_is_an_opinion_too(document: Any) -> None:
    assert read(document).pairs == {MAIN: ()}


def test_several_mains_are_kept_apart() -> None:
    assert read({MAIN: [DRAFT, OTHER], OTHER: [DRAFT]}).pairs == {
        MAIN: (DRAFT, OTHER),
        OTHER: (DRAFT,),
    }


def test_an_empty_cache_is_no_opinion_and_no_fault() -> None:
    assert read({}) == draft_cache.CacheOpinion({})


@pytest.mark.parametrize("document", [{"a": ["b"]}, [1, 2], "text", 7])
def test_a_cache_that_names_nobody_is_said_to(document: Any) -> None:
    assert "names no installed model" in (read(document).problem or "")


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1, "a": 2}', b"\xff", b"[" * 100_000])
def test_a_broken_cache_is_a_problem_in_words(content: bytes) -> None:
    opinion = draft_cache.read(content, SEED)
    assert opinion.pairs == {}
    assert "cannot be read" in (opinion.problem or "")


NAMES = st.sampled_from([MAIN, DRAFT, OTHER, KEY, DRAFT_KEY, "compatible", "draft", "model", "x"])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


@given(ANY)
def test_any_json_gives_installed_models_or_words(document: Any) -> None:
    opinion = read(document)
    identifiers = {model.identifier for model in SEED}
    for main, drafts in opinion.pairs.items():
        assert main in identifiers
        assert set(drafts) <= identifiers - {main}
        assert len(set(drafts)) == len(drafts)

"""Every corruption of a draft's tokenizer is found, whichever token it hits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from specd.demo.models import SMALL, ensure
from specd.tokenizer import fingerprint
from specd.tokenizer.compare import compare
from specd.tokenizer.spelling import quoted, shown, to_alphabet
from specd.tokenizer.verdict import Verdict
from tests.tokenizer import folders

MAIN_ROWS = 512

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def judge(main: Path, draft: Path) -> Verdict:
    return compare("main", fingerprint.read(main), "draft", fingerprint.read(draft))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return folders.small("<think>", "</think>")


@pytest.fixture
def against(tmp_path: Path, document: dict[str, Any]) -> Callable[..., Verdict]:
    """The verdict on a draft that is the main with its tokenizer changed."""
    main = folders.lay_out(tmp_path / "main", document, rows=MAIN_ROWS)

    def judged(changed: dict[str, Any], **how: Any) -> Verdict:
        shutil.rmtree(tmp_path / "draft", ignore_errors=True)
        how.setdefault("rows", MAIN_ROWS)
        return judge(main, folders.lay_out(tmp_path / "draft", changed, **how))

    return judged


def test_the_same_tokenizer_is_identical(
    against: Callable[..., Verdict], document: dict[str, Any]
) -> None:
    verdict = against(document)
    assert verdict.kind == "identical"
    assert verdict.counts["same"] == verdict.counts["main"] == verdict.counts["draft"]
    assert not verdict.differences
    assert not verdict.missing_in_draft


@quick
@given(data=st.data())
def test_two_swapped_ids_are_found(
    against: Callable[..., Verdict], document: dict[str, Any], data: st.DataObject
) -> None:
    changed = deepcopy(document)
    vocab = changed["model"]["vocab"]
    one, other = data.draw(
        st.lists(st.sampled_from(sorted(vocab)), min_size=2, max_size=2, unique=True)
    )
    vocab[one], vocab[other] = vocab[other], vocab[one]
    verdict = against(changed)
    assert verdict.kind == "incompatible"
    assert verdict.difference_count == 2
    assert {each.id for each in verdict.differences} == {vocab[one], vocab[other]}


@quick
@given(data=st.data())
def test_one_changed_byte_is_found(
    against: Callable[..., Verdict], document: dict[str, Any], data: st.DataObject
) -> None:
    changed = deepcopy(document)
    vocab = changed["model"]["vocab"]
    text = data.draw(st.sampled_from(sorted(t for t in vocab if len(t) > 1)))
    at = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.sampled_from([to_alphabet(bytes([b])) for b in range(256)]))
    new = text[:at] + byte + text[at + 1 :]
    if new in vocab:
        return
    number = vocab.pop(text)
    changed["model"]["vocab"] = {**vocab, new: number}
    verdict = against(changed)
    assert verdict.kind == "incompatible"
    assert [each.id for each in verdict.differences] == [number]
    assert verdict.differences[0].main != verdict.differences[0].draft


@quick
@given(data=st.data())
def test_a_dropped_added_token_is_listed_by_id_and_text(
    against: Callable[..., Verdict], document: dict[str, Any], data: st.DataObject
) -> None:
    changed = deepcopy(document)
    last = changed["added_tokens"].pop()
    changed["_config"] = {"eos_token": "<|im_end|>"}  # else loaders add it again
    verdict = against(changed)
    assert verdict.kind == "compatible"
    assert [(each.id, each.text) for each in verdict.missing_in_draft] == [
        (last["id"], last["content"])
    ]
    assert "costs acceptance, not correctness" in verdict.reasons[1]
    # From the middle: loaders give what follows other ids, so the file contradicts itself.
    at = data.draw(st.integers(0, len(document["added_tokens"]) - 2))
    changed = deepcopy(document)
    del changed["added_tokens"][at]
    changed["_config"] = {"eos_token": "<|im_end|>"}
    with pytest.raises(fingerprint.Unreadable, match="contradicts itself"):
        against(changed)


@quick
@given(data=st.data())
def test_a_moved_end_of_answer_is_found(
    against: Callable[..., Verdict], document: dict[str, Any], data: st.DataObject
) -> None:
    added = {each["content"]: each["id"] for each in document["added_tokens"]}
    text = data.draw(st.sampled_from(sorted(set(added) - {"<|im_end|>"})))
    verdict = against(document, eos_token=text)
    assert verdict.kind == "compatible"
    (said,) = [reason for reason in verdict.reasons if "an answer of the main ends with" in reason]
    assert str(added[text]) in said
    assert str(added["<|im_end|>"]) in said
    both = against(document, eos_token=text, config={"eos_token_id": [added["<|im_end|>"]]})
    assert both.kind == "compatible"
    assert any("an answer of the main ends with" in reason for reason in both.reasons)


@quick
@given(wider=st.integers(1, 1_000))
def test_padding_is_said_and_refused_where_the_main_has_no_row_for_it(
    tmp_path: Path, document: dict[str, Any], wider: int
) -> None:
    narrow = folders.lay_out(tmp_path / "narrow", document, rows=MAIN_ROWS)
    wide = folders.lay_out(tmp_path / "wide", document, rows=MAIN_ROWS + wider)
    fits = judge(wide, narrow)
    assert fits.kind == "identical"
    assert any(f"{MAIN_ROWS + wider:,} wide in the main" in reason for reason in fits.reasons)
    beyond = judge(narrow, wide)
    assert beyond.kind == "incompatible"
    assert beyond.counts["beyond_main"] == wider
    assert f"up to {MAIN_ROWS + wider - 1} (no token)" in beyond.reasons[0]


@quick
@given(rows=st.integers(1, 272))
def test_ids_beyond_the_other_ones_embedding_are_refused(
    tmp_path: Path, document: dict[str, Any], rows: int
) -> None:
    """The draft needs rows for the main's tokens, the main for every row of the draft's output."""
    count = len(fingerprint.read(folders.lay_out(tmp_path / "whole", document)).tokens)
    narrow = folders.lay_out(tmp_path / "narrow", document, rows=rows)
    assert (judge(tmp_path / "whole", narrow).kind == "incompatible") == (rows < count)
    wide_logits = folders.lay_out(tmp_path / "logits", document, rows=rows, logits=MAIN_ROWS)
    beyond = judge(narrow, wide_logits)
    assert beyond.kind == "incompatible"
    assert "embedding has only" in beyond.reasons[0]


def test_a_token_for_which_the_main_has_a_row_alone_costs_acceptance(
    against: Callable[..., Verdict], document: dict[str, Any]
) -> None:
    verdict = against(folders.small("<think>", "</think>", "<new>"))
    assert verdict.kind == "compatible"
    assert verdict.counts["extra_in_draft"] == 1
    assert any("lacks (<new>)" in reason for reason in verdict.reasons)


def test_a_control_token_that_is_ordinary_text_elsewhere_is_said(
    against: Callable[..., Verdict], document: dict[str, Any]
) -> None:
    changed = deepcopy(document)
    changed["added_tokens"][3]["special"] = False
    changed["_config"] = {"eos_token": "<|im_end|>"}
    verdict = against(changed)
    assert verdict.usable
    assert verdict.counts["control_in_one"] == 1
    assert any("<tool_call>" in reason for reason in verdict.reasons)


def test_the_same_tokens_split_otherwise_are_not_claimed_to_split_alike(
    against: Callable[..., Verdict], document: dict[str, Any]
) -> None:
    assert against(document).segmentation is not None
    changed = deepcopy(document)
    changed["model"]["merges"].reverse()
    verdict = against(changed)
    assert verdict.kind == "identical"
    assert verdict.segmentation is None


# -- well-known models ----------------------------------------------------------------------------


def test_qwen2_5_may_draft_for_qwen3_and_lacks_four_tokens(tmp_path: Path) -> None:
    verdict = judge(folders.qwen3(tmp_path / "qwen3"), folders.qwen2_5(tmp_path / "qwen2.5"))
    assert verdict.kind == "compatible"
    assert [(each.id, each.text) for each in verdict.missing_in_draft] == list(
        zip(range(151_665, 151_669), folders.QWEN3_ADDS, strict=True)
    )
    assert verdict.counts["same"] == 151_665
    assert verdict.engine is not None
    assert verdict.engine.accepts
    back = judge(tmp_path / "qwen2.5", tmp_path / "qwen3")
    assert back.kind == "compatible"
    assert back.counts["extra_in_draft"] == len(folders.QWEN3_ADDS)
    assert any("guesses that are never accepted" in reason for reason in back.reasons)


def test_llama_3_and_3_1_differ_where_the_library_says_so(tmp_path: Path) -> None:
    main = folders.real_model("llama3", tmp_path / "a", rows=128_256, eos_token_id=128_009)
    draft = folders.real_model("llama3_1", tmp_path / "b", rows=128_256, eos_token_id=128_009)
    one, other = (
        {n: t for t, n in Tokenizer.from_file(str(f / "tokenizer.json")).get_vocab().items()}
        for f in (main, draft)
    )
    differing = sorted(number for number in one if one[number] != other[number])
    verdict = judge(main, draft)
    assert verdict.difference_count == len(differing)
    assert [each.id for each in verdict.differences] == differing[: len(verdict.differences)]
    assert verdict.usable == (not differing)
    assert any("128001 ('<|end_of_text|>')" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("other", ["llama3", "gpt4o", "gemma", "llama2"])
def test_other_families_are_incompatible(tmp_path: Path, other: str) -> None:
    main = folders.qwen3(tmp_path / "main")
    draft = folders.real_model(other, tmp_path / "draft", rows=256_000)
    verdict = judge(main, draft)
    assert verdict.kind == "incompatible"
    assert verdict.difference_count > 1_000


def test_a_real_tokenizers_corruption_is_found_at_its_id(tmp_path: Path) -> None:
    main = folders.real_model("llama2", tmp_path / "main", rows=32_000)
    raw = json.loads((main / "tokenizer.json").read_bytes())
    texts = {number: text for text, number in raw["model"]["vocab"].items()}
    shutil.copytree(main, tmp_path / "draft")

    @settings(max_examples=10, deadline=None)
    @given(one=st.integers(3, 31_999), other=st.integers(3, 31_999))
    def check(one: int, other: int) -> None:
        changed = deepcopy(raw)
        vocab = changed["model"]["vocab"]
        vocab[texts[one]], vocab[texts[other]] = other, one
        folders.put(tmp_path / "draft" / "tokenizer.json", changed)
        verdict = judge(main, tmp_path / "draft")
        assert {each.id for each in verdict.differences} == (
            {one, other} if one != other else set()
        )

    check()


@pytest.mark.mlx
def test_the_demos_models_are_what_they_are_made_to_be() -> None:
    main, good, poor, incompatible = (ensure(recipe) for recipe in SMALL)
    assert judge(main, good).kind == "compatible"
    assert [each.text for each in judge(main, good).missing_in_draft] == list(
        SMALL.main.extra_tokens
    )
    assert judge(good, poor).kind == "identical"
    assert judge(main, incompatible).kind == "incompatible"


def test_a_token_that_is_no_text_can_be_shown() -> None:
    assert shown(b"\xe2\x80") == "\\xe2\\x80"
    assert quoted(shown(b"\xe2\x80\n")) == r"'\xe2\x80\n'"
    assert quoted(shown(b"\\n")) == r"'\\n'"
    assert quoted(None) == "no token"
    assert shown("é ▁".encode()) == "é ▁"

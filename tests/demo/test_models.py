"""The demo's models are what they claim: real, loadable, and related as their recipes say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest
from mlx_lm import load

from specd.demo.models import SMALL, Recipe, ensure

pytestmark = pytest.mark.mlx

QUESTION = "Name 3 colours: red, 12 greens…"


def _logits(folder: Path, ids: list[int]) -> mx.array:
    model, _ = load(str(folder))
    return model(mx.array([ids]))[0]


@pytest.fixture(scope="module")
def question() -> list[int]:
    _, tokenizer = load(str(ensure(SMALL.good)))
    return list(tokenizer.encode(QUESTION))


def test_text_survives_the_tokenizer_made_from_the_gguf(question: list[int]) -> None:
    _, tokenizer = load(str(ensure(SMALL.good)))
    assert tokenizer.decode(question) == QUESTION
    assert "1" in tokenizer.convert_ids_to_tokens(question)  # every digit stands alone


def test_the_chat_template_asks_for_an_answer() -> None:
    _, tokenizer = load(str(ensure(SMALL.main)))
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    )
    assert prompt.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.eos_token == "<|im_end|>"


def test_idle_layers_change_no_logit(question: list[int]) -> None:
    with_idle = _logits(ensure(SMALL.main), question)
    without = _logits(ensure(replace(SMALL.main, idle_layers=0)), question)
    assert mx.array_equal(with_idle, without)


def test_sixteen_bit_weights_say_what_four_bit_ones_say(question: list[int]) -> None:
    dense = _logits(ensure(replace(SMALL.good, dense=True)), question)
    packed = _logits(ensure(SMALL.good), question)
    assert mx.argmax(dense, axis=-1).tolist() == mx.argmax(packed, axis=-1).tolist()


def test_the_poor_draft_guesses_differently(question: list[int]) -> None:
    poor = mx.argmax(_logits(ensure(SMALL.poor), question), axis=-1)
    good = mx.argmax(_logits(ensure(SMALL.good), question), axis=-1)
    assert poor.tolist() != good.tolist()


def test_the_incompatible_draft_says_the_same_words_under_other_ids(question: list[int]) -> None:
    model, tokenizer = load(str(ensure(SMALL.incompatible)))
    ids = tokenizer.encode(QUESTION)
    assert ids != question
    assert tokenizer.decode(ids) == QUESTION
    _, straight = load(str(ensure(SMALL.good)))
    said = mx.argmax(model(mx.array([ids]))[0], axis=-1).tolist()
    expected = mx.argmax(_logits(ensure(SMALL.good), question), axis=-1).tolist()
    assert tokenizer.convert_ids_to_tokens(said) == straight.convert_ids_to_tokens(expected)


def test_the_main_names_tokens_its_drafts_lack_within_the_same_logit_width() -> None:
    main, good = ensure(SMALL.main), ensure(SMALL.good)
    width = {
        json.loads((folder / "config.json").read_text())["vocab_size"] for folder in (main, good)
    }
    assert len(width) == 1
    _, wide = load(str(main))
    _, narrow = load(str(good))
    extra = set(wide.get_vocab()) - set(narrow.get_vocab())
    assert extra == {"<think>", "</think>", "<tool_response>", "</tool_response>"}


def test_a_model_is_built_once_and_found_again(tmp_path: Path) -> None:
    recipe = Recipe("someone/Tiny", layers=1)
    first = ensure(recipe, tmp_path)
    before = (first / "model.safetensors").stat()
    assert ensure(recipe, tmp_path) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == before.st_mtime_ns
    assert first.parts[-2:] == ("someone", "Tiny")
    assert [p.name for p in first.parent.iterdir()] == ["Tiny"]

"""Random folders, read by specd and by transformers' own loaders: the same ids, the same opinion."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from specd.tokenizer import fingerprint, tokenizer_json
from specd.tokenizer.compare import compare
from specd.tokenizer.fingerprint import Fingerprint
from tests.tokenizer import random_folders
from tests.tokenizer.random_folders import CONTROL

pytestmark = pytest.mark.mlx


def read(folder: Path) -> tuple[Fingerprint, Any]:
    """specd's reading and the real tokenizer, which give the same ids to the same texts."""
    from mlx_lm.tokenizer_utils import load

    tokenizer_json.forget()
    mine, theirs = fingerprint.read(folder), load(folder, {})._tokenizer
    ids = {text: number for number, text in enumerate(mine.texts) if text is not None}
    real = theirs.get_vocab()
    assert ids.items() <= real.items()
    assert real.keys() - ids.keys() <= set(CONTROL)
    assert mine.vocab_size == theirs.vocab_size
    return mine, theirs


def spelled(tokenizer: Any, number: int) -> str:
    both = tokenizer.backend_tokenizer.decode([number, number], skip_special_tokens=False)
    return str(both).removeprefix(" ")


@pytest.mark.parametrize(
    "seeds", [range(150), pytest.param(range(1_000, 5_000), marks=pytest.mark.nightly)]
)
def test_the_verdict_is_what_the_real_tokenizers_do(tmp_path: Path, seeds: range) -> None:
    kinds: set[str] = set()
    for seed in seeds:
        of = Random(seed)  # noqa: S311 - a test case
        case = random_folders.case(of)
        main, one = read(case.lay_out(tmp_path / "main"))
        draft, other = read(random_folders.changed(case, of).lay_out(tmp_path / "draft"))
        verdict = compare("main", main, "draft", draft)
        kinds.add(verdict.kind)
        texts = random_folders.texts(of)
        encoded = [
            [each.encode(text, add_special_tokens=False) for text in texts] for each in (one, other)
        ]
        if verdict.segmentation is not None:
            assert encoded[0] == encoded[1], seed
        listed = [
            {number: text for text, number in each.get_vocab().items()} for each in (one, other)
        ]
        both = [number for number in listed[0] if main.token(number) and draft.token(number)]
        unlike = [number for number in both if listed[0][number] != listed[1][number]]
        if verdict.kind == "incompatible":
            assert unlike, seed
        else:
            assert not [n for n in unlike if spelled(one, n) != spelled(other, n)], seed
    assert kinds == {"identical", "compatible", "incompatible"}


@pytest.mark.parametrize(
    ("beside", "listed"),
    [
        ({"extra_special_tokens": ["<x>", "<y>"]}, {"extra_special_tokens": ["<z>", "<x>"]}),
        ({"additional_special_tokens": ["<x>"]}, {"extra_special_tokens": ["<z>"]}),
        ({"additional_special_tokens": ["<x>"], "extra_special_tokens": {"boi": "<y>"}}, {}),
        ({"image_token": "<x>"}, {"video_token": "<z>"}),
        ({"extra_special_tokens": {"boi": "<y>"}}, {"extra_special_tokens": ["<z>"]}),
        ({"extra_special_tokens": ["<x>"]}, {"extra_special_tokens": {"boi": "<y>"}}),
        ({"image_token": "<x>"}, {"image_token": "<z>", "additional_special_tokens": ["<y>"]}),
    ],
)
def test_tokens_named_in_several_places_get_the_ids_of_the_real_tokenizer(
    tmp_path: Path, beside: dict[str, Any], listed: dict[str, Any]
) -> None:
    cases = map(random_folders.case, map(Random, range(100)))
    case = next(
        each
        for each in cases
        if "tokenizer.json" in each.files and "added_tokens_decoder" not in each.beside
    )
    case.beside |= beside
    case.files["special_tokens_map.json"] = listed
    _, real = read(case.lay_out(tmp_path / "model"))
    assert {"<x>", "<y>", "<z>"} & real.get_vocab().keys()

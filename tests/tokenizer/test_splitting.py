"""What decides how text is split is in the digest: equal digests, equal splits."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from mlx_lm.tokenizer_utils import load
from tokenizers import Tokenizer
from tokenizers.models import Unigram, WordPiece

from specd.tokenizer import fingerprint, tokenizer_json
from tests.llamacpp import gguf_models
from tests.tokenizer import folders

UNIGRAM: list[tuple[str, float]] = [("<unk>", 0.0), ("a", -1.0), ("b", -2.0), ("ab", -1.5)]


def unigram(folder: Path, pieces: list[tuple[str, float]]) -> Path:
    model = {"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": False}
    return folders.lay_out(folder, {"version": "1.0", "added_tokens": [], "model": model})


def splits(folder: Path) -> str:
    return fingerprint.read(folder).splits


def model(**facts: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["model"].update(facts)


def flag(name: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["added_tokens"][0][name] = not document["added_tokens"][0][name]

    return change


@pytest.mark.parametrize(
    "change",
    [
        model(ignore_merges=True),
        model(dropout=0.1),
        model(fuse_unk=True),
        model(unk_token="<|endoftext|>"),
        flag("lstrip"),
        flag("rstrip"),
        flag("single_word"),
        flag("normalized"),
    ],
)
def test_each_rule_of_splitting_counts(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    document = folders.small()
    del document["_config"]["added_tokens_decoder"]  # its flags would count instead
    changed = deepcopy(document)
    change(changed)
    one, other = (
        splits(folders.lay_out(tmp_path / name, each))
        for name, each in (("one", document), ("other", changed))
    )
    assert one != other
    assert one == splits(folders.lay_out(tmp_path / "same", deepcopy(document)))


def test_unigram_scores_count(tmp_path: Path) -> None:
    other = [*UNIGRAM[:3], ("ab", -9.0)]
    ids = [Tokenizer(Unigram(each, 0)).encode("ab").ids for each in (UNIGRAM, other)]
    assert ids[0] != ids[1]
    assert splits(unigram(tmp_path / "one", UNIGRAM)) != splits(unigram(tmp_path / "other", other))


def test_a_piece_that_stands_there_twice_counts_as_the_library_counts_it(tmp_path: Path) -> None:
    pieces = [*UNIGRAM, ("a", -3.0)]
    library = Tokenizer(Unigram(pieces, 0))
    read = fingerprint.read(unigram(tmp_path, pieces))
    assert read.vocab_size == library.get_vocab_size() == 5
    assert [read.texts[number] for number in range(5)] == [library.id_to_token(n) for n in range(5)]


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n"])
def test_words_are_those_that_the_library_reads(tmp_path: Path, end: str) -> None:
    folder = folders.lay_out(tmp_path, folders.small())
    (folder / "tokenizer.json").unlink()
    folders.put(folder / "tokenizer_config.json", {})
    words = ["[UNK]", "a\u2028b", "a\x85b", "c ", "d\x85", "\x0b", "e\x1f", " f", "g\u200b", "end"]
    (folder / "vocab.txt").write_bytes(("\n".join(words) + end).encode())
    library = WordPiece.from_file(str(folder / "vocab.txt"), unk_token="[UNK]")
    theirs = Tokenizer(library).get_vocab()
    read = fingerprint.read(folder)
    assert {text: number for number, text in enumerate(read.texts)} == theirs
    assert read.vocab_size == len(theirs)


STRIPPED = {"5": {"content": "<x>", "lstrip": True}}
PLAIN = {"5": {"content": "<x>"}}


@pytest.mark.mlx
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"added_tokens_decoder": STRIPPED}, {"added_tokens_decoder": PLAIN}),
        ({"tokenizer_class": "GPT2Tokenizer"}, {"tokenizer_class": "Qwen2Tokenizer"}),
        ({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}, {"tokenizer_class": "GPT2Tokenizer"}),
        ({"split_special_tokens": True}, {}),
    ],
)  # fmt: skip
def test_what_tokenizer_config_says_of_splitting_counts(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any]
) -> None:
    document = folders.small()
    model = document["model"]
    model["vocab"]["12"] = model["vocab"].pop("ā")  # Qwen2's class takes digits apart
    model["merges"].append(["1", "2"])
    made = [
        folders.lay_out(tmp_path / name, document, **config)
        for name, config in (("one", one), ("other", other))
    ]
    text = "123 the <x> a<|im_end|>"
    ids = [load(folder, {}).encode(text, add_special_tokens=False) for folder in made]
    assert ids[0] != ids[1]
    assert splits(made[0]) != splits(made[1])
    assert splits(made[0]) == splits(folders.lay_out(tmp_path / "same", document, **one))


@pytest.mark.mlx
def test_of_a_token_in_both_files_the_flags_in_tokenizer_config_count(tmp_path: Path) -> None:
    document = folders.small()
    (number,) = (
        each["id"] for each in document["added_tokens"] if each["content"] == "<tool_call>"
    )
    decoder = {str(number): {"content": "<tool_call>", "lstrip": True, "special": False}}
    folder = folders.lay_out(tmp_path / "one", document, added_tokens_decoder=decoder)
    library = load(folder, {}).added_tokens_decoder[number]
    assert (library.lstrip, library.special) == (True, number in fingerprint.read(folder).special)
    assert splits(folder) != splits(folders.lay_out(tmp_path / "other", document))


def test_gguf_scores_count(tmp_path: Path) -> None:
    one, other = (
        gguf_models.write(tmp_path / f"{score}.gguf", scores=[score] * len(gguf_models.TOKENS))
        for score in (-1.0, -2.0)
    )
    assert splits(one) != splits(other)
    assert fingerprint.read(one).digest() != fingerprint.read(other).digest()


def test_an_added_token_of_a_vocabulary_with_holes_takes_the_librarys_id(tmp_path: Path) -> None:
    document = {
        "version": "1.0",
        "added_tokens": [
            {"id": number, "content": text, "special": True, "single_word": False,
             "lstrip": False, "rstrip": False, "normalized": False}
            for text, number in (("w1", 7), ("<new>", 4))
        ],
        "model": {"type": "BPE", "vocab": {"w0": 1, "w1": 7, "w2": 6, "w3": 2}, "merges": []},
    }  # fmt: skip
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document))
    assert Tokenizer.from_file(str(path)).token_to_id("<new>") == 4
    assert tokenizer_json.read(path).id_of("<new>") == 4


def test_a_gguf_token_that_is_cut_out_first_splits_otherwise(tmp_path: Path) -> None:
    import gguf

    tokens = (*gguf_models.TOKENS, "zqx")
    kinds = {len(tokens) - 1: gguf.TokenType.USER_DEFINED}
    one = gguf_models.write(tmp_path / "one.gguf", tokens, kinds=kinds)
    other = gguf_models.write(tmp_path / "other.gguf", tokens)
    assert fingerprint.read(one).splits != fingerprint.read(other).splits

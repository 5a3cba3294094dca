"""What decides how text is split is in the digest: equal digests, equal splits."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import Unigram

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


def test_words_end_with_a_newline_and_with_nothing_else(tmp_path: Path) -> None:
    folder = folders.lay_out(tmp_path, folders.small())
    (folder / "tokenizer.json").unlink()
    folders.put(folder / "tokenizer_config.json", {})
    words = ["[UNK]", "\u2028", "\x85", "\x0b", "end"]
    (folder / "vocab.txt").write_bytes("\n".join(words).encode() + b"\n")
    assert fingerprint.read(folder).texts == tuple(words)


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

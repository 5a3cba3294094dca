from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf as maintained
import pytest
import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from specd.tokenizer import fingerprint
from specd.tokenizer.fingerprint import Fingerprint
from specd.tokenizer.spelling import BYTE_LEVEL, to_alphabet
from tests import real_tokenizers
from tests.tokenizer import folders


def spelled_by_the_library(tokenizer: Tokenizer, number: int) -> str:
    """What an id stands for, written twice, as ``tokenizers`` itself decodes it."""
    return tokenizer.decode([number, number], skip_special_tokens=False)


def agrees(found: Fingerprint, tokenizer: Tokenizer, ids: range | list[int]) -> list[int]:
    """The ids on which the fingerprint and the library differ: each token twice, decoded."""
    wrong: list[int] = []
    stripped = found.family.name == "sentencepiece" and "Strip" in str(tokenizer.decoder)
    for number in ids:
        token = found.tokens[number]
        if token is None:
            continue
        mine = (token * 2).decode("utf-8", "replace")
        theirs = spelled_by_the_library(tokenizer, number)
        if mine != theirs and not (stripped and mine.removeprefix(" ") == theirs):
            wrong.append(number)
    return wrong


@pytest.mark.parametrize("name", real_tokenizers.NAMES)
def test_a_real_tokenizers_ids_and_bytes_are_what_the_library_says(
    name: str, tmp_path: Path
) -> None:
    folder = folders.real_model(name, tmp_path / name, rows=300_000)
    found = fingerprint.read(folder)
    oracle = Tokenizer.from_file(str(folder / "tokenizer.json"))
    known = set(oracle.get_vocab(with_added_tokens=True).values())
    assert {n for n, token in enumerate(found.tokens) if token is not None} == known
    assert found.vocab_size == oracle.get_vocab_size(with_added_tokens=False)
    step = 7 if len(known) > 40_000 else 1
    ids = [*range(0, len(found.tokens), step), *range(300), *found.special]
    assert agrees(found, oracle, ids) == []


@pytest.mark.nightly
@pytest.mark.parametrize("name", real_tokenizers.NAMES)
def test_every_id_of_a_real_tokenizer_is_what_transformers_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import AutoTokenizer

    folder = folders.real_model(name, tmp_path / name, rows=300_000)
    found = fingerprint.read(folder)
    oracle: Any = AutoTokenizer.from_pretrained(str(folder))
    assert {n for n, t in enumerate(found.tokens) if t is not None} == set(
        oracle.get_vocab().values()
    )
    assert found.eos == {oracle.eos_token_id}
    assert found.bos == oracle.bos_token_id
    assert agrees(found, oracle.backend_tokenizer, range(len(found.tokens))) == []


def test_byte_level_and_sentencepiece_spell_the_same_token_alike(tmp_path: Path) -> None:
    byte_level = Tokenizer(models.BPE(vocab={"Ġthe": 0, "Ċ": 1, "Ã©": 2}, merges=[]))
    byte_level.decoder = decoders.ByteLevel()
    pieces = Tokenizer(
        models.BPE(vocab={"▁the": 0, "<0x0A>": 1, "é": 2}, merges=[], byte_fallback=True)
    )
    pieces.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    read = [_read(tmp_path / name, made) for name, made in (("a", byte_level), ("b", pieces))]
    assert [each.tokens for each in read] == [(b" the", b"\n", "é".encode())] * 2
    assert [each.family.name for each in read] == ["byte-level", "sentencepiece"]


def test_unigram_ids_are_positions(tmp_path: Path) -> None:
    made = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁a", -1.0), ("b", -2.0)], unk_id=0))
    made.decoder = decoders.Metaspace()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.normalizer = normalizers.NFKC()
    assert _read(tmp_path, made).tokens == (b"<unk>", b" a", b"b")


def test_wordpiece_marks_what_continues_a_word(tmp_path: Path) -> None:
    made = Tokenizer(models.WordPiece(vocab={"[UNK]": 0, "the": 1, "##se": 2}, unk_token="[UNK]"))
    made.decoder = decoders.WordPiece()
    found = _read(tmp_path, made)
    assert (found.family.name, found.tokens[1:]) == ("wordpiece", (b" the", b"se"))


def _read(folder: Path, made: Tokenizer) -> Fingerprint:
    folders.lay_out(folder, json.loads(made.to_str()), rows=64)
    return fingerprint.read(folder)


# -- other files ----------------------------------------------------------------------------------


def test_vocab_json_with_merges_reads_as_the_same_tokenizer_json_does(tmp_path: Path) -> None:
    document = folders.small()
    whole = fingerprint.read(folders.lay_out(tmp_path / "whole", document))
    apart = folders.lay_out(tmp_path / "apart", document)
    model = document["model"]
    added = document["added_tokens"]
    texts = {each["content"] for each in added}
    vocab = {text: number for text, number in model["vocab"].items() if text not in texts}
    folders.put(apart / "vocab.json", vocab)
    folders.put(apart / "added_tokens.json", {each["content"]: each["id"] for each in added})
    (apart / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(str, model["merges"])))
    (apart / "tokenizer.json").unlink()
    found = fingerprint.read(apart)
    assert found.tokens == whole.tokens
    assert found.eos == whole.eos


def test_tiktoken_ranks_are_bytes(tmp_path: Path) -> None:
    folder = folders.lay_out(
        tmp_path,
        {},
        added_tokens_decoder={"4": {"content": "<|end|>", "special": True}},
        eos_token="<|end|>",
    )
    (folder / "tokenizer.json").unlink()
    ranks = [b"a", b" the", b"\xff\x00", "é".encode()]
    lines = b"".join(base64.b64encode(t) + b" %d\n" % n for n, t in enumerate(ranks))
    (folder / "qwen.tiktoken").write_bytes(lines)
    found = fingerprint.read(folder)
    assert found.tokens == (*ranks, b"<|end|>")
    assert found.eos == {4}
    (folder / "qwen.tiktoken").rename(folder / "tokenizer.model")
    assert fingerprint.read(folder).tokens == found.tokens


def test_a_sentencepiece_model_is_read_by_its_own_library(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog\n" * 50)
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    folder = folders.lay_out(tmp_path / "model", {}, eos_token="</s>")
    (folder / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.model").rename(folder / "tokenizer.model")
    found = fingerprint.read(folder)
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    assert len(found.tokens) == oracle.get_piece_size()
    assert found.tokens[oracle.piece_to_id("<0x0A>")] == b"\n"
    assert found.tokens[oracle.piece_to_id("▁the")] == b" the"
    assert found.eos == {oracle.eos_id()}
    for number, token in enumerate(found.tokens):
        if not (oracle.is_byte(number) or oracle.is_control(number) or oracle.is_unknown(number)):
            assert token == oracle.id_to_piece(number).replace("▁", " ").encode()


def test_gguf_metadata_hold_a_vocabulary_too(tmp_path: Path) -> None:
    document = folders.small()
    texts = {number: text for text, number in document["model"]["vocab"].items()}
    texts |= {each["id"]: each["content"] for each in document["added_tokens"]}
    special = {each["id"] for each in document["added_tokens"]}
    tokens = [texts[number] for number in sorted(texts)]
    path = tmp_path / "model.gguf"
    writer = maintained.GGUFWriter(str(path), "qwen3")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*tokens, "[PAD271]"])
    writer.add_token_types([3 if n in special else 1 for n in range(len(tokens))] + [5])
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(min(special))
    writer.add_eos_token_id(min(special) + 2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    found = fingerprint.read(path)
    same = fingerprint.read(folders.lay_out(tmp_path / "mlx", document))
    assert found.tokens[:-1] == same.tokens
    assert found.tokens[-1] is None
    assert (found.special, found.eos, found.bos) == (same.special, same.eos, min(special))


def test_the_byte_alphabet_is_its_own_inverse() -> None:
    every = bytes(range(256))
    assert BYTE_LEVEL.spell([to_alphabet(every)]) == [every]


# -- what stands beside ---------------------------------------------------------------------------


def test_an_answer_ends_where_mlx_lm_ends_it(tmp_path: Path) -> None:
    document = folders.small()
    end = document["added_tokens"][2]["id"]
    other = document["added_tokens"][0]["id"]
    plain = folders.lay_out(tmp_path / "a", document, config={"eos_token_id": other})
    assert fingerprint.read(plain).eos == {other, end}
    listed = folders.lay_out(
        tmp_path / "b", document, config={"eos_token_id": 1}, generation={"eos_token_id": [other]}
    )
    assert fingerprint.read(listed).eos == {other, end}


def test_tokens_that_only_the_config_names_get_the_ids_loaders_give_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import AutoTokenizer

    document = folders.small()
    size = document["added_tokens"][-1]["id"] + 1
    more = {str(size + 3): {"content": "<extra>", "special": False}}
    folder = folders.lay_out(
        tmp_path,
        document,
        added_tokens_decoder=more,
        pad_token="<pad>",
        tokenizer_class="PreTrainedTokenizerFast",
    )
    found = fingerprint.read(folder)
    oracle: Any = AutoTokenizer.from_pretrained(str(folder))
    for text in ("<extra>", "<pad>"):
        assert found.tokens[oracle.convert_tokens_to_ids(text)] == text.encode()
    assert len(oracle) == found.count
    assert found.remarks == (
        f"tokenizer_config.json gives '<extra>' the id {size + 3}, loaders give it {size}",
    )


def test_the_chat_templates_control_tokens_are_known(tmp_path: Path) -> None:
    found = fingerprint.read(folders.lay_out(tmp_path, folders.small()))
    texts = {found.tokens[number] for number in found.template}
    assert texts == {b"<|im_start|>", b"<|im_end|>"}


def test_equal_digests_mean_equal_fingerprints(tmp_path: Path) -> None:
    one = fingerprint.read(folders.lay_out(tmp_path / "a", folders.small()))
    same = fingerprint.read(folders.lay_out(tmp_path / "b", folders.small()))
    wider = fingerprint.read(folders.lay_out(tmp_path / "c", folders.small(), rows=576))
    more = fingerprint.read(folders.lay_out(tmp_path / "d", folders.small("<x>")))
    assert one.digest() == same.digest()
    assert len({one.digest(), wider.digest(), more.digest()}) == 3
    unnamed = replace(one, texts=(None, *one.texts[1:]))
    empty = replace(one, texts=("", *one.texts[1:]))
    assert len({one.digest(), unnamed.digest(), empty.digest()}) == 3

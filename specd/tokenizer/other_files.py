"""Vocabularies that do not come as ``tokenizer.json``.

- SentencePiece's ``tokenizer.model``: a protobuf, read by SentencePiece's own library;
- ``tiktoken`` ranks: a line per token, its bytes in base64 and its id;
- ``vocab.json`` beside ``merges.txt``: GPT-2's files, in its byte alphabet;
- ``vocab.txt``: WordPiece, a token per line;
- ``tekken.json``: Mistral's, the control tokens and then the others' bytes in base64.

Special tokens are not in the others but in ``added_tokens.json`` and ``tokenizer_config.json``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import msgspec

from specd.tokenizer import spelling
from specd.tokenizer.reading import REMEDY, Unreadable, content, damaged
from specd.tokenizer.vocabulary import Vocabulary, by_id, check_size

LIMIT_BYTES = 64 << 20

_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680"
    + "".join(map(chr, range(0x2000, 0x200B)))
    + ("\u2028\u2029\u202f\u205f\u3000")
)
"""What the ``tokenizers`` library takes from the end of a line: less than ``str.rstrip`` does."""


def read_model(path: Path) -> Vocabulary:
    """SentencePiece's model, or tiktoken's ranks, which go by the same name.

    Raises:
        Unreadable: it is neither, or cannot be read.
    """
    raw = content(path, LIMIT_BYTES)
    first = raw[:4096].partition(b"\n")[0]
    return _ranks(path.name, raw) if _rank(first) is not None else _sentencepiece(path.name, raw)


def read_vocab_and_merges(path: Path) -> Vocabulary:
    """``vocab.json``, and the ``merges.txt`` beside it.

    Raises:
        Unreadable: one of them cannot be read.
    """
    merges = content(path.with_name("merges.txt"), LIMIT_BYTES)
    raw = content(path, LIMIT_BYTES)
    try:
        ids = msgspec.json.decode(raw, type=dict[str, int])
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise damaged(path.name, raw, error, "a vocabulary") from error
    splits = hashlib.sha256(b"merges.txt" + merges).hexdigest()
    return Vocabulary(spelling.BYTE_LEVEL, by_id(ids), ids, splits=splits)


def read_words(path: Path) -> Vocabulary:
    """``vocab.txt``.

    Raises:
        Unreadable: it cannot be read.
    """
    raw = content(path, LIMIT_BYTES)
    try:
        # Not splitlines(): other line ends, such as U+2028, do not end a token here.
        texts = [line.rstrip(_SPACE) for line in raw.decode("utf-8").split("\n")]
    except UnicodeDecodeError as error:
        raise damaged(path.name, raw, error, "a list of words") from error
    if raw.endswith(b"\n"):
        texts.pop()
    check_size(len(texts))
    ids = {text: number for number, text in enumerate(texts)}
    return Vocabulary(spelling.WORDPIECE, [*texts], ids)


class _Tekken(msgspec.Struct):
    class Config(msgspec.Struct):
        default_vocab_size: int | None = None
        default_num_special_tokens: int | None = None

    class Token(msgspec.Struct):
        token_bytes: str

    class Control(msgspec.Struct):
        rank: int
        token_str: str

    config: Config
    vocab: list[Token]
    special_tokens: list[Control]


def read_tekken(path: Path) -> Vocabulary:
    """``tekken.json``.

    Raises:
        Unreadable: it cannot be read, or is of the first versions, which name no control tokens.
    """
    raw = content(path, LIMIT_BYTES)
    try:
        read = msgspec.json.decode(raw, type=_Tekken)
        tokens = [base64.b64decode(each.token_bytes, validate=True) for each in read.vocab]
    except (ValueError, RecursionError) as error:
        raise damaged(path.name, raw, error, "a tekken vocabulary") from error
    named = by_id({each.token_str: each.rank for each in read.special_tokens})
    size = read.config.default_num_special_tokens or len(named)
    check_size(size + len(tokens))
    control = [text or f"<SPECIAL_{number}>" for number, text in zip_longest(range(size), named)]
    most = read.config.default_vocab_size or size + len(tokens)
    texts = [*control, *map(spelling.to_alphabet, tokens[: most - size])]
    ids = {text: number for number, text in enumerate(texts)}
    splits = hashlib.sha256(raw).hexdigest()
    special = set(range(len(control)))
    return Vocabulary(spelling.BYTE_LEVEL, [*texts], ids, special=special, splits=splits)


def _sentencepiece(name: str, raw: bytes) -> Vocabulary:
    from sentencepiece import SentencePieceProcessor  # noqa: PLC0415 - few models need it

    pieces: Any = SentencePieceProcessor()
    try:
        pieces.LoadFromSerializedProto(raw)
        size = pieces.GetPieceSize()
    except (RuntimeError, ValueError, OSError) as error:
        raise Unreadable(
            f"{name} ({len(raw):,} bytes) is no whole SentencePiece model, nor a list of tiktoken "
            f"ranks; {REMEDY}"
        ) from error
    check_size(max(1, size))
    numbers = range(size)
    texts = [pieces.IdToPiece(number) for number in numbers]
    family = replace(spelling.SENTENCEPIECE, byte_tokens=any(map(pieces.IsByte, numbers)))
    special = {n for n in numbers if pieces.IsControl(n) or pieces.IsUnknown(n)}
    ids = {text: number for number, text in enumerate(texts)}
    splits = hashlib.sha256(raw).hexdigest()
    return Vocabulary(family, [*texts], ids, special=special, splits=splits, own=size)


def _ranks(name: str, raw: bytes) -> Vocabulary:
    ids: dict[str, int] = {}
    for number, line in enumerate(raw.splitlines()):
        if not line.strip():
            continue
        rank = _rank(line)
        if rank is None:
            raise Unreadable(f"{name}, line {number + 1:,}, is no tiktoken rank; {REMEDY}")
        ids[spelling.to_alphabet(rank[0])] = rank[1]
    splits = hashlib.sha256(b"tiktoken" + raw).hexdigest()
    return Vocabulary(spelling.BYTE_LEVEL, by_id(ids), ids, splits=splits, as_listed=True)


def _rank(line: bytes) -> tuple[bytes, int] | None:
    token, _, number = line.strip().partition(b" ")
    if not number.isdigit() or len(number) > 9:
        return None
    try:
        return base64.b64decode(token, validate=True), int(number)
    except (binascii.Error, ValueError):
        return None

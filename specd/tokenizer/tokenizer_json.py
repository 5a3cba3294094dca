"""``tokenizer.json``, the serialisation of the ``tokenizers`` library: BPE, Unigram, WordPiece.

Vocabulary and merges take about ten megabytes. The typed decoder builds only the vocabulary; merges
go into a digest without being decoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from specd.tokenizer import spelling
from specd.tokenizer.reading import REMEDY, Unreadable, content, damaged
from specd.tokenizer.spelling import Family
from specd.tokenizer.vocabulary import Flags, Vocabulary, by_id, check_size

FILE = "tokenizer.json"
LIMIT_BYTES = 64 << 20

_EXPECTED = "a tokenizer that can be read"


class _Added(msgspec.Struct):
    id: int
    content: str
    special: bool = False
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool | None = None


class _Model(msgspec.Struct):
    vocab: msgspec.Raw
    merges: msgspec.Raw = msgspec.Raw(b"[]")
    type: str | None = None
    byte_fallback: bool | None = None
    unk_token: str | None = None
    unk_id: int | None = None
    fuse_unk: bool | None = None
    ignore_merges: bool | None = None
    dropout: float | None = None
    max_input_chars_per_word: int | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None


class _Tokenizer(msgspec.Struct):
    model: _Model
    added_tokens: list[_Added] | None = None
    decoder: msgspec.Raw = msgspec.Raw(b"null")
    pre_tokenizer: msgspec.Raw = msgspec.Raw(b"null")
    normalizer: msgspec.Raw = msgspec.Raw(b"null")


_DECODER = msgspec.json.Decoder(_Tokenizer)


def read(path: Path) -> Vocabulary:
    """The vocabulary in ``path``.

    Raises:
        Unreadable: it is missing, too large, not a ``tokenizer.json``, lists impossible ids or
            contradicts itself.
    """
    raw = content(path, LIMIT_BYTES)
    try:
        tokenizer = _DECODER.decode(raw)
        family = _family(tokenizer)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise damaged(path.name, raw, error, _EXPECTED) from error
    listed = bytes(tokenizer.model.vocab)
    try:
        ids, texts = _vocabulary(listed)
    except msgspec.ValidationError as error:
        raise Unreadable(f"{path.name}: {_wrong(listed, error)}; {REMEDY}") from error
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise damaged(path.name, raw, error, _EXPECTED, part=listed) from error
    made = Vocabulary(family, list(texts), ids, splits=_splits(tokenizer), own=len(texts))
    if listed.startswith(b"{"):
        made.own = len(ids)
    _add(made, tokenizer.added_tokens or [], path.name)
    return made


def _add(made: Vocabulary, listed: list[_Added], name: str) -> None:
    """Give added tokens the ids that the library gives them when it loads the file.

    The library uses the vocabulary's id for a text that the vocabulary contains, and the next free
    id otherwise; it ignores the id in the file. If the two differ, readers disagree on the tokens.
    """
    following = made.next_id()
    for each in listed:
        check_size(each.id + 1)
        loaded = made.id_of(each.content)
        if loaded is None:
            loaded = following
        if loaded != each.id:
            raise Unreadable(
                f"{name} contradicts itself: it gives {each.content!r} the id {each.id}, and "
                f"loaders give it {loaded}; {REMEDY}, or another conversion of it"
            )
        made.add(each.content, loaded, special=each.special)
        found = Flags(each.single_word, each.lstrip, each.rstrip, each.normalized)
        made.flags[each.content] = found
        if each.content not in made.ids:
            following = max(following, loaded + 1)


@lru_cache(maxsize=2)
def _vocabulary(raw: bytes) -> tuple[Mapping[str, int], tuple[str | None, ...]]:
    """The ids and texts; cached, since main and draft usually have identical vocabularies."""
    if not raw.startswith(b"{"):  # Unigram: (text, score) by position
        texts = [text for text, _ in msgspec.json.decode(raw, type=list[tuple[str, float]])]
        return {text: number for number, text in enumerate(texts)}, tuple(texts)
    ids = msgspec.json.decode(raw, type=dict[str, int])
    return ids, tuple(by_id(ids))


def _wrong(raw: bytes, error: msgspec.ValidationError) -> str:
    """The message that names the token without an id, which msgspec's own does not name."""
    listed = msgspec.json.decode(raw)
    for text, number in listed.items() if isinstance(listed, dict) else ():
        if not isinstance(number, int) or isinstance(number, bool):
            return f"model.vocab gives {text[:40]!r} the id {str(number)[:40]!r}"
    return f"model.vocab is no vocabulary: {error}"


def forget() -> None:
    """Empty the cache of vocabularies."""
    _vocabulary.cache_clear()


def _family(tokenizer: _Tokenizer) -> Family:
    decoders = {str(each.get("type")): each for each in _parts(tokenizer.decoder, "decoders")}
    before = {str(each.get("type")) for each in _parts(tokenizer.pre_tokenizer, "pretokenizers")}
    model = tokenizer.model
    if "ByteLevel" in decoders or ("ByteLevel" in before and not decoders):
        return spelling.BYTE_LEVEL
    if model.type == "WordPiece" or "WordPiece" in decoders:
        return Family("wordpiece", model.continuing_subword_prefix or "##")
    bytes_ = "ByteFallback" in decoders or bool(model.byte_fallback)
    space = _space(decoders)
    if space is not None or bytes_:
        return Family("sentencepiece", space or "▁", bytes_)
    if model.end_of_word_suffix:
        return Family("word-end", model.end_of_word_suffix)
    return spelling.LITERAL


def _space(decoders: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The text that the decoder turns into a space; None if there is none."""
    metaspace = decoders.get("Metaspace")
    if metaspace is not None:
        return str(metaspace.get("replacement") or "▁")
    replace = decoders.get("Replace")
    if replace is not None and replace.get("content") == " ":
        pattern = replace.get("pattern")
        text = pattern.get("String") if isinstance(pattern, dict) else None
        return text if isinstance(text, str) and text else None
    return None


def _parts(raw: msgspec.Raw, inner: str) -> Iterator[Mapping[str, Any]]:
    """A decoder or pre-tokenizer and its parts."""
    part = msgspec.json.decode(raw)
    if not isinstance(part, dict):
        return
    yield part
    nested = part.get(inner)
    for each in nested if isinstance(nested, list) else ():
        if isinstance(each, dict):
            yield each


def _splits(tokenizer: _Tokenizer) -> str:
    """A digest of all settings that split text, without the tokens' ids and flags."""
    model = tokenizer.model
    hashed = hashlib.sha256()
    # A list contains the scores with which Unigram splits.
    scores = model.vocab if bytes(model.vocab)[:1] == b"[" else msgspec.Raw(b"")
    for part in (model.merges, tokenizer.pre_tokenizer, tokenizer.normalizer, scores):
        hashed.update(len(bytes(part)).to_bytes(8, "big"))
        hashed.update(part)
    rules = (
        model.type,
        model.byte_fallback,
        model.unk_token,
        model.unk_id,
        bool(model.fuse_unk),
        bool(model.ignore_merges),
        model.dropout or 0.0,
        model.max_input_chars_per_word,
        model.continuing_subword_prefix,
        model.end_of_word_suffix,
    )
    hashed.update(repr(rules).encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()

"""What decides whether an id means the same in two models, read from a model's own files.

id → bytes for every id, whatever the family spells them like: byte-level BPE writes bytes as
printable characters (GPT-2's table), SentencePiece writes a space as ``▁`` and stray bytes as
``<0x0A>``, WordPiece marks what continues a word. Special tokens are kept by their text. Nothing in
a model folder is executed, no link out of the models directory is needed, and every file has a size
limit.

Formats: ``tokenizer.json`` is the serialisation of the ``tokenizers`` library; ``config.json`` and
``generation_config.json`` are transformers'; safetensors begins with the length of its JSON header.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

TOKENIZER_BYTES = 64 << 20
CONFIG_BYTES = 4 << 20
HEADER_BYTES = 64 << 20
MAX_IDS = 4 << 20

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Unreadable(Exception):
    """The files do not tell; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One model's token ids.

    ``tokens[i]`` is what id ``i`` spells, None for an id without a token; ``special`` holds the ids
    of control tokens; ``eos`` the ids that end an answer; ``rows`` the logit width; ``family`` how
    its tokenizer is built ("byte-level", "sentencepiece", "wordpiece").
    """

    tokens: tuple[bytes | None, ...]
    special: frozenset[int]
    eos: frozenset[int]
    rows: int
    family: str
    model_type: str

    def digest(self) -> str:
        """SHA-256 over everything above: equal digests, equal meaning."""
        hashed = hashlib.sha256()
        for token in self.tokens:
            spelled = b"\xff" * 4 if token is None else len(token).to_bytes(4, "big") + token
            hashed.update(spelled)
        rest = [sorted(self.special), sorted(self.eos), self.rows, self.model_type]
        hashed.update(json.dumps(rest).encode())
        return hashed.hexdigest()


class _Added(msgspec.Struct):
    id: int
    content: str
    special: bool = False


class _Model(msgspec.Struct):
    vocab: dict[str, int] | list[tuple[str, float]]
    type: str | None = None
    byte_fallback: bool = False


class _Tokenizer(msgspec.Struct):
    model: _Model
    added_tokens: list[_Added] = []
    decoder: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None


def read(folder: Path) -> Fingerprint:
    """The fingerprint of the MLX model in ``folder``.

    Raises:
        Unreadable: a file is missing, too large, not what it should be, or lists impossible ids.
    """
    tokenizer = _decode_tokenizer(folder / "tokenizer.json")
    config = _json(folder / "config.json", required=True)
    family = _family(tokenizer)
    tokens = _spell(tokenizer, family)
    special = frozenset(each.id for each in tokenizer.added_tokens if each.special)
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else {}
    return Fingerprint(
        tokens=tokens,
        special=special,
        eos=_eos(folder, config, tokens),
        rows=_rows(folder)
        or _whole(config.get("vocab_size"))
        or _whole(text.get("vocab_size"))
        or len(tokens),
        family=family,
        model_type=str(config.get("model_type", "")),
    )


def _decode_tokenizer(path: Path) -> _Tokenizer:
    content = read_bytes(path, TOKENIZER_BYTES)
    try:
        return msgspec.json.decode(content, type=_Tokenizer)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path} is not a tokenizer specd understands: {error}") from error


def _family(tokenizer: _Tokenizer) -> str:
    kinds = set(_kinds(tokenizer.decoder)) | set(_kinds(tokenizer.pre_tokenizer))
    if "ByteLevel" in kinds:
        return "byte-level"
    if tokenizer.model.type == "WordPiece" or "WordPiece" in kinds:
        return "wordpiece"
    return "sentencepiece"


def _kinds(part: Mapping[str, Any] | None) -> Iterable[str]:
    if part is None:
        return
    yield str(part.get("type"))
    for inner in ("decoders", "pretokenizers"):
        for each in part.get(inner) or ():
            if isinstance(each, dict):
                yield str(each.get("type"))


def _spell(tokenizer: _Tokenizer, family: str) -> tuple[bytes | None, ...]:
    vocab = tokenizer.model.vocab
    if isinstance(vocab, list):
        listed: Iterable[tuple[str, int]] = ((text, i) for i, (text, _) in enumerate(vocab))
        size = len(vocab)
    else:
        listed = vocab.items()
        size = max(vocab.values(), default=-1) + 1
    size = max([size, *(each.id + 1 for each in tokenizer.added_tokens)])
    if size > MAX_IDS:
        raise Unreadable(f"tokenizer.json lists id {size - 1}, more than any model has")
    tokens: list[bytes | None] = [None] * size
    spell = _SPELLING[family]
    for text, number in listed:
        if number < 0:
            raise Unreadable(f"tokenizer.json lists the negative id {number}")
        if tokens[number] is not None:
            raise Unreadable(f"tokenizer.json lists the id {number} twice")
        tokens[number] = spell(text)
    for added in tokenizer.added_tokens:
        if added.id < 0:
            raise Unreadable(f"tokenizer.json lists the negative id {added.id}")
        tokens[added.id] = added.content.encode("utf-8", "surrogatepass")
    return tuple(tokens)


def _byte_of_character() -> dict[str, int]:
    # GPT-2's byte_encoder, read backwards: printable bytes stand for themselves, the others for the
    # characters from U+0100 on, in order.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in table.values()]
    table |= {chr(256 + index): byte for index, byte in enumerate(others)}
    return table


_BYTES = str.maketrans({chr_: chr(byte) for chr_, byte in _byte_of_character().items()})


def _byte_level(text: str) -> bytes:
    try:
        return text.translate(_BYTES).encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _sentencepiece(text: str) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(text)
    if byte is not None:
        return bytes([int(byte[1], 16)])
    return text.replace("▁", " ").encode("utf-8", "surrogatepass")


def _wordpiece(text: str) -> bytes:
    continued = text.startswith("##")
    return text.removeprefix("##").encode() if continued else b" " + text.encode()


_SPELLING = {
    "byte-level": _byte_level,
    "sentencepiece": _sentencepiece,
    "wordpiece": _wordpiece,
}


def _eos(
    folder: Path, config: Mapping[str, Any], tokens: tuple[bytes | None, ...]
) -> frozenset[int]:
    """The ids that end an answer: those of both configs, and the tokenizer's own eos token."""
    found: set[int] = set()
    for source in (config, _json(folder / "generation_config.json", required=False)):
        listed = source.get("eos_token_id")
        ids = listed if isinstance(listed, list) else [listed]
        found.update(each for each in ids if isinstance(each, int) and not isinstance(each, bool))
    named = _json(folder / "tokenizer_config.json", required=False).get("eos_token")
    text = named.get("content") if isinstance(named, dict) else named
    if isinstance(text, str) and text.encode() in tokens:
        found.add(tokens.index(text.encode()))
    return frozenset(found)


def _rows(folder: Path) -> int | None:
    """The rows of the embedding, from the weights' headers; None where no file tells."""
    for path in sorted(folder.glob("*.safetensors"))[:256]:
        try:
            header = _safetensors_header(path)
        except Unreadable:
            continue
        for name, tensor in header.items():
            if name.endswith("embed_tokens.weight") and isinstance(tensor, dict):
                shape = tensor.get("shape")
                if isinstance(shape, list) and shape and isinstance(shape[0], int):
                    return shape[0]
    return None


def _safetensors_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise Unreadable(f"{path} is not a safetensors file")
        (length,) = struct.unpack("<Q", start)
        if length > HEADER_BYTES:
            raise Unreadable(f"{path} has an impossible header")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"{path} has a broken header") from error
    return header if isinstance(header, dict) else {}


def _json(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        value = json.loads(read_bytes(path, CONFIG_BYTES))
    except Unreadable:
        if required:
            raise
        return {}
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{path} is not JSON: {error}") from error
    return value if isinstance(value, dict) else {}


def read_bytes(path: Path, limit: int) -> bytes:
    """A regular file's content, at most ``limit`` bytes.

    Raises:
        Unreadable: it is missing, something else than a file, or too large.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise Unreadable(f"{path} is not a regular file")
        if facts.st_size > limit:
            raise Unreadable(f"{path} is {facts.st_size >> 20} MB, more than {limit >> 20} MB")
        if facts.st_size == 0:
            raise Unreadable(f"{path} is empty: the download is not finished")
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror or error}") from error


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None

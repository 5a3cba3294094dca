"""A model's fingerprint: its token ids and their meaning, read from the model's own files.

Nothing in a model folder is executed, the network is not used, and every read has a limit.
"""

from __future__ import annotations

import contextlib
import hashlib
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from specd.tokenizer import gguf_tokens, other_files, roles, tokenizer_json, weights
from specd.tokenizer.gguf_tokens import LlamaFacts
from specd.tokenizer.reading import REMEDY, Absent, Unreadable, json_object, whole
from specd.tokenizer.spelling import Family
from specd.tokenizer.vocabulary import Impossible, Vocabulary

__all__ = ["Fingerprint", "Unreadable", "read"]

_Told = TypeVar("_Told")


@dataclass(frozen=True)
class Fingerprint:
    """One model's token ids and the sizes of its embedding and output.

    ``texts[i]``: the text of id ``i`` in the files, None for an id without a token. ``family``: how
    texts spell bytes; ``tokens`` are the bytes. ``special``: ids of control tokens. ``template``:
    ids of the tokens in its chat template. ``eos``: ids that end an answer, ``bos``: the id that
    begins a text. ``rows``: number of input ids (embedding), ``logits``: number of output ids, both
    read from ``rows_from`` ("weights", "config", "tokens"). ``vocab_size``: the tokenizer's own
    tokens without added ones. ``splits``: a digest of the splitting rules, "" if unknown.
    ``remarks``: sentences on oddities of the files. ``llama``: llama.cpp's view of a GGUF file,
    None for a folder.
    """

    texts: tuple[str | None, ...]
    special: frozenset[int]
    eos: frozenset[int]
    rows: int
    logits: int
    family: Family
    vocab_size: int
    bos: int | None = None
    template: frozenset[int] = frozenset()
    rows_from: str = "weights"
    splits: str = ""
    remarks: tuple[str, ...] = ()
    llama: LlamaFacts | None = None

    @cached_property
    def count(self) -> int:
        """The number of ids with a token."""
        return len(self.texts) - self.texts.count(None)

    @cached_property
    def tokens(self) -> tuple[bytes | None, ...]:
        """The bytes of each id, computed on first use: comparing texts is mostly enough."""
        spelled = iter(self.family.spell([text for text in self.texts if text is not None]))
        return tuple(None if text is None else next(spelled) for text in self.texts)

    def token(self, number: int) -> bytes | None:
        """The bytes of one id; None if it has no token."""
        text = self.texts[number] if 0 <= number < len(self.texts) else None
        return None if text is None else self.family.spell([text])[0]

    def digest(self) -> str:
        """SHA-256 over everything that a verdict depends on."""
        hashed = hashlib.sha256()
        whole = self.count == len(self.texts)
        holes = () if whole else [n for n, text in enumerate(self.texts) if text is None]
        texts = [text or "" for text in self.texts]
        hashed.update(array("q", map(len, texts)).tobytes())
        hashed.update("".join(texts).encode("utf-8", "surrogatepass"))
        rest = (
            holes,
            sorted(self.special),
            sorted(self.eos),
            sorted(self.template),
            self.bos,
            self.rows,
            self.logits,
            self.rows_from,
            self.family,
            self.vocab_size,
            self.splits,
            self.remarks,
            self.llama,
        )
        hashed.update(repr(rest).encode())
        return hashed.hexdigest()


def read(path: Path) -> Fingerprint:
    """The fingerprint of a model folder or GGUF file.

    Raises:
        Unreadable: a file is missing, too large, damaged, or lists impossible ids.
    """
    return _read_gguf(path) if path.is_file() else _read_folder(path)


def _read_folder(folder: Path) -> Fingerprint:
    config = json_object(folder / "config.json", required=True)
    tokenizer_config = roles.configuration(folder)
    _refuse_custom_code(config, tokenizer_config)
    vocabulary = _vocabulary(folder)
    try:
        roles.complete(vocabulary, folder, tokenizer_config)
    except Impossible as why:
        raise Unreadable(f"added_tokens.json or tokenizer_config.json: {why}; {REMEDY}") from why
    generation = json_object(folder / "generation_config.json")
    room, source = _rows(folder, config, len(vocabulary.texts))
    return Fingerprint(
        texts=tuple(vocabulary.texts),
        special=frozenset(vocabulary.special),
        eos=roles.eos(vocabulary, tokenizer_config, config, generation),
        rows=room.embedding,
        logits=room.logits,
        family=vocabulary.family,
        vocab_size=vocabulary.own,
        bos=roles.bos(vocabulary, tokenizer_config),
        template=roles.template(vocabulary, folder, tokenizer_config),
        rows_from=source,
        splits=roles.splitting(vocabulary, tokenizer_config, config),
        remarks=tuple(vocabulary.remarks[:8]),
    )


def _refuse_custom_code(*configs: Mapping[str, Any]) -> None:
    for config in configs:
        named = config.get("auto_map")
        if isinstance(named, dict) and "AutoTokenizer" in named:
            raise Unreadable(
                "its tokenizer is code of its own (auto_map), which specd does not run, so what "
                "its ids mean cannot be known"
            )
        if config.get("model_file"):
            raise Unreadable("the model is code of its own (model_file), which specd does not run")


_FILES: Final = (
    ("tokenizer.json", tokenizer_json.read),
    ("tokenizer.model", other_files.read_model),
    ("vocab.json", other_files.read_vocab_and_merges),
    ("tiktoken.model", other_files.read_model),
    ("vocab.txt", other_files.read_words),
    ("tekken.json", other_files.read_tekken),
)


def _vocabulary(folder: Path) -> Vocabulary:
    ranks = [(each.name, other_files.read_model) for each in sorted(folder.glob("*.tiktoken"))]
    for name, read_file in (*_FILES, *ranks):
        with contextlib.suppress(Absent):
            return _named(read_file, folder / name)
    raise Absent(f"tokenizer.json is missing, and no other tokenizer is there; {REMEDY}")


def _named(read_file: Callable[[Path], _Told], path: Path) -> _Told:
    try:
        return read_file(path)
    except Impossible as why:
        raise Unreadable(f"{path.name}: {why}; {REMEDY}") from why


def _rows(folder: Path, config: Mapping[str, Any], tokens: int) -> tuple[weights.Rows, str]:
    found = weights.rows(folder)
    if found is not None:
        return found, "weights"
    size = _logit_width(config)
    return weights.Rows(size or tokens, size or tokens), "config" if size else "tokens"


def _logit_width(config: Mapping[str, Any]) -> int | None:
    """The logit width in config.json; None if it is missing."""
    width = whole(config.get("vocab_size"))
    for nested in ("text_config", "llm_config", "language_config"):
        inner = config.get(nested)
        if width is None and isinstance(inner, dict):
            width = whole(inner.get("vocab_size"))
    return width or None


def _read_gguf(path: Path) -> Fingerprint:
    vocabulary, head, llama = _named(gguf_tokens.read, path)
    ends = (head.whole(f"tokenizer.ggml.{role}_token_id") for role in ("eos", "eot", "eom"))
    size = len(vocabulary.texts)
    return Fingerprint(
        texts=tuple(vocabulary.texts),
        special=frozenset(vocabulary.special),
        eos=frozenset(number for each in ends if (number := whole(each)) is not None),
        rows=size,
        logits=size,
        family=vocabulary.family,
        vocab_size=len(vocabulary.ids),
        bos=whole(head.whole("tokenizer.ggml.bos_token_id")),
        rows_from="tokens",
        splits=vocabulary.splits,
        llama=llama,
    )

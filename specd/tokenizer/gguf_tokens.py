"""The vocabulary in a GGUF file's metadata (``tokenizer.ggml.*``, ggml's ``docs/gguf.md``)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from specd.lmstudio import gguf
from specd.tokenizer import spelling
from specd.tokenizer.reading import REMEDY, Unreadable
from specd.tokenizer.vocabulary import Vocabulary, check_size

_UNKNOWN: Final = 2  # llama.cpp's enum llama_token_type
_CONTROL: Final = 3
_UNUSED: Final = 5
_PADDING: Final = re.compile(r"\[PAD-?\d+\]")

_FAMILIES: Final = {
    "gpt2": spelling.BYTE_LEVEL,
    "llama": spelling.SENTENCEPIECE,
    "t5": spelling.SENTENCEPIECE,
    "gemma4": spelling.SENTENCEPIECE,
    "bert": replace(spelling.SENTENCEPIECE, byte_tokens=False),
}


def read(path: Path) -> tuple[Vocabulary, gguf.Tokenizer]:
    """The vocabulary in ``path``, and what else the file says of its tokenizer.

    Raises:
        Unreadable: it cannot be read, or names no tokens.
    """
    try:
        told = gguf.read_tokenizer(path)
    except gguf.NotGguf as error:
        raise Unreadable(f"{path.name} cannot be used: {error}; {REMEDY}") from error
    except OSError as error:
        raise Unreadable(f"{path.name} cannot be read: {error.strerror or error}") from error
    if not told.tokens:
        raise Unreadable(f"{path.name} holds no tokenizer (tokenizer.ggml.tokens); {REMEDY}")
    check_size(len(told.tokens))
    family = _FAMILIES.get(told.model, spelling.LITERAL)
    texts: list[str | None] = [*told.tokens]
    for number, kind in enumerate(told.types[: len(texts)]):
        if kind == _UNUSED and _PADDING.fullmatch(told.tokens[number]):
            texts[number] = None
    special = {n for n, kind in enumerate(told.types) if kind in (_CONTROL, _UNKNOWN)}
    ids = {text: number for number, text in enumerate(told.tokens)}
    split = "\n".join((told.model, told.pre, *told.merges))
    splits = hashlib.sha256(split.encode("utf-8", "surrogatepass")).hexdigest()
    return Vocabulary(family, texts, ids, special=special, splits=splits), told

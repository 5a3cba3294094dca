"""The vocabulary in a GGUF file's metadata (``tokenizer.ggml.*``, ggml's ``docs/gguf.md``)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from specd.lmstudio import gguf
from specd.tokenizer import spelling
from specd.tokenizer.engines import llama_cpp
from specd.tokenizer.reading import REMEDY, Unreadable
from specd.tokenizer.vocabulary import Vocabulary, check_size

_UNKNOWN: Final = 2  # llama.cpp's enum llama_token_type
_CONTROL: Final = 3
_USER_DEFINED: Final = 4
_UNUSED: Final = 5
_PADDING: Final = re.compile(r"\[PAD-?\d+\]")

_SPLITTING: Final = ("add_space_prefix", "remove_extra_whitespaces", "escape_whitespaces")

_FAMILIES: Final = {
    "gpt2": spelling.BYTE_LEVEL,
    "llama": spelling.SENTENCEPIECE,
    "t5": spelling.SENTENCEPIECE,
    "gemma4": spelling.SENTENCEPIECE,
    "bert": replace(spelling.SENTENCEPIECE, byte_tokens=False),
}


_KINDS: Final = {"gpt2": "BPE", "gemma4": "BPE", "llama": "SPM", "bert": "WPM", "t5": "UGM"}
_ENDS: Final[dict[str, tuple[int | None, int | None]]] = {
    "BPE": (11, 11),
    "SPM": (1, 2),
    "WPM": (101, None),
    "UGM": (None, 1),
}
_BEGINNING: Final = frozenset(
    {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
     "tekken", "chameleon", "jina-v5-nano", "gemma4", "granite-embed-multi-311m"}
)  # fmt: skip
"""Pre-tokenizers (``pre``) with which llama.cpp adds a BOS token by default."""


_RECURRENT: Final = (".ssm.conv_kernel", ".wkv.head_size", ".shortconv.l_cache")
"""Keys of models that keep a state (Mamba, RWKV, LFM2) in some layers or all of them."""


@dataclass(frozen=True, slots=True)
class LlamaFacts:
    """What llama.cpp looks at besides the tokens' texts: kind, BOS and EOS tokens, and the state.

    ``size`` counts all tokens, ``padding`` are the texts of those that only pad. ``recurrent``: the
    model keeps a state from which no tokens can be taken back. ``diffusion``: it does not write
    token after token. ``fault``: why it does not load the file, ``doubt``: why that is not known,
    "" if it does.
    """

    kind: str
    size: int
    add_bos: bool
    bos: int | None
    add_eos: bool
    eos: int | None
    padding: tuple[tuple[int, str], ...] = ()
    recurrent: bool = False
    diffusion: bool = False
    fault: str = ""
    doubt: str = ""


def _llama_facts(stored: gguf.Tokenizer, padding: Sequence[tuple[int, str]]) -> LlamaFacts:
    """llama.cpp's view of a file, with its defaults (``src/llama-vocab.cpp``)."""
    kind = _KINDS.get(stored.model, stored.model)
    ends = [
        default if number is None or number >= len(stored.tokens) else number
        for role, default in zip(("bos", "eos"), _ENDS.get(kind, (None, None)), strict=True)
        for number in [stored.header.whole(f"tokenizer.ggml.{role}_token_id")]
    ]
    begins = kind in ("SPM", "WPM") or (kind == "BPE" and stored.pre in _BEGINNING)
    defaults = {"add_bos_token": begins, "add_eos_token": kind == "UGM"}
    given = {name: stored.header.values.get(f"tokenizer.ggml.{name}") for name in defaults}
    adds = [
        default if given[name] is None else bool(given[name]) for name, default in defaults.items()
    ]
    if stored.model == "gemma4":  # whatever the file says
        adds[0] = True
    bare = llama_cpp.bare(stored)
    return LlamaFacts(
        kind,
        len(stored.tokens),
        adds[0],
        ends[0],
        adds[1],
        ends[1],
        tuple(padding),
        any(key.endswith(_RECURRENT) for key in stored.header.values),
        stored.header.architecture in llama_cpp.DIFFUSION,
        "" if bare else next(llama_cpp.faults(stored), ""),
        "" if bare else next(llama_cpp.doubts(stored), ""),
    )


def read(path: Path) -> tuple[Vocabulary, gguf.Header, LlamaFacts]:
    """The vocabulary in ``path``, its other metadata, and llama.cpp's view of both.

    Raises:
        Unreadable: it cannot be read, or names no tokens.
    """
    try:
        stored = gguf.read_tokenizer(path)
    except gguf.NotGguf as error:
        raise Unreadable(f"{path.name} cannot be used: {error}; {REMEDY}") from error
    except OSError as error:
        raise Unreadable(f"{path.name} cannot be read: {error.strerror or error}") from error
    if not stored.tokens:
        raise Unreadable(f"{path.name} holds no tokenizer (tokenizer.ggml.tokens); {REMEDY}")
    check_size(len(stored.tokens))
    family = _FAMILIES.get(stored.model, spelling.LITERAL)
    # llama.cpp names empty tokens so.
    named = [text or f"[EMPTY_{number}]" for number, text in enumerate(stored.tokens)]
    texts: list[str | None] = [*named]
    unused = [n for n, kind in enumerate(stored.types[: len(named)]) if kind == _UNUSED]
    padding = [(number, named[number]) for number in unused if _PADDING.fullmatch(named[number])]
    for number, _ in padding:
        texts[number] = None
    special = {n for n, kind in enumerate(stored.types) if kind in (_CONTROL, _UNKNOWN)}
    ids = {text: number for number, text in enumerate(named)}
    rules = [stored.header.values.get(f"tokenizer.ggml.{name}") for name in _SPLITTING]
    cut_out = [n for n, kind in enumerate(stored.types) if kind == _USER_DEFINED]
    how = (stored.model, stored.pre, repr(rules), repr(stored.scores), repr(cut_out))
    split = "\n".join((*how, *stored.merges))
    splits = hashlib.sha256(split.encode("utf-8", "surrogatepass")).hexdigest()
    vocabulary = Vocabulary(family, texts, ids, special=special, splits=splits)
    return vocabulary, stored.header, _llama_facts(stored, padding)

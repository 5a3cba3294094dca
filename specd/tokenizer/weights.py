"""The number of token ids in a model's weights, from the headers of its safetensors files.

config.json's ``vocab_size`` is a converter's claim; the engine indexes the rows of the embedding
and of the output projection. Quantizing packs columns, so the number of rows stays.

Format: the length of the JSON header (u64, little-endian), the header, the tensors.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from specd.lmstudio.folder import CONFIG_MAX_BYTES, HEADER_MAX_BYTES
from specd.tokenizer.reading import REMEDY, Absent, Unreadable, content

MAX_FILES: Final = 512

_EMBEDDINGS: Final = (
    "embed_tokens.weight",
    "tok_embeddings.weight",
    "word_embeddings.weight",
    "wte.weight",
    "embed_in.weight",
    "embeddings.weight",
    "embedding.weight",
)
_OUTPUTS: Final = ("lm_head.weight", "embed_out.weight", "ff_out.weight")


@dataclass(frozen=True, slots=True)
class Rows:
    """``embedding``: number of input ids; ``logits``: number of output ids."""

    embedding: int
    logits: int


class _Tensor(msgspec.Struct):
    shape: list[int] = []


_HEADER = msgspec.json.Decoder(dict[str, _Tensor])  # "__metadata__" has no shape, and is ignored


def rows(folder: Path) -> Rows | None:
    """The rows of the embedding and of the output; None if the weights contain no embedding.

    A model without an output projection uses its embedding as the output.

    Raises:
        Unreadable: a file of weights cannot be read or is broken.
    """
    embedding: list[int] = []
    output: list[int] = []
    for header in _headers(folder):
        for name, tensor in header.items():
            if len(tensor.shape) != 2:
                continue
            if name.endswith(_EMBEDDINGS):
                embedding.append(tensor.shape[0])
            elif name.endswith(_OUTPUTS) or name == "output.weight":
                output.append(tensor.shape[0])
    if not embedding:
        return None
    # Vision and audio towers may have embeddings too; the vocabulary's is the largest.
    found = max(embedding)
    return Rows(found, max(output, default=found))


def tensors(folder: Path) -> int:
    """The number of tensors in a folder's weights.

    Raises:
        Unreadable: a file of weights cannot be read or is broken.
    """
    return sum(len(header.keys() - {"__metadata__"}) for header in _headers(folder))


def digest(folder: Path) -> str:
    """A digest of a folder's configuration and its weights' names and shapes; "" for a GGUF file.

    These decide whether mlx-lm loads the model.

    Raises:
        Unreadable: a file cannot be read or is broken.
    """
    if folder.is_file():
        return ""
    hashed = hashlib.sha256()
    for name in ("config.json", "hf_quant_config.json"):
        with contextlib.suppress(Absent):
            hashed.update(content(folder / name, CONFIG_MAX_BYTES))
    for path in _files(folder):
        hashed.update(_raw_header(path))
    return hashed.hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("model*.safetensors"))[:MAX_FILES]


def _headers(folder: Path) -> Iterator[dict[str, _Tensor]]:
    files = _files(folder)
    if not files:
        raise Unreadable("it has no model*.safetensors, and mlx-lm loads no other weights")
    yield from map(_header, files)


def _header(path: Path) -> dict[str, _Tensor]:
    try:
        return _HEADER.decode(_raw_header(path))
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise Unreadable(
            f"{path.name} has no safetensors header: {str(error)[:200]}; {REMEDY}"
        ) from error


def _raw_header(path: Path) -> bytes:
    start = content(path, HEADER_MAX_BYTES, head=8)
    if len(start) < 8:
        raise Unreadable(f"{path.name} is cut off; {REMEDY}")
    (length,) = struct.unpack("<Q", start)
    if length > HEADER_MAX_BYTES:
        raise Unreadable(
            f"{path.name} is no safetensors file, or its header is impossibly large; {REMEDY}"
        )
    return content(path, HEADER_MAX_BYTES, head=8 + length)[8:]

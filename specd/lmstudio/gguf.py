"""Read the few facts specd needs from the head of a GGUF file.

Layout (ggml's ``docs/gguf.md``), little-endian: ``GGUF``, version (u32), tensor count (u64),
metadata count (u64), then that many of: key (string), value type (u32), value. A string is its
length (u64) and UTF-8 bytes; an array is its element type (u32), its length (u64), its elements.

The ``gguf`` package maps every tensor and needs numpy. specd needs some forty numbers and strings,
which stand before the tokenizer's arrays, so ``read_header`` stops at the first of those: a few
kilobytes, whatever the size of the model. ``read_tokenizer`` reads those arrays too.
"""

from __future__ import annotations

import math
import os
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

Scalar: TypeAlias = "bool | int | float | str"
_List: TypeAlias = "tuple[str, ...] | tuple[int, ...] | tuple[float, ...]"

_MAX_ENTRIES: Final = 4096
_MAX_STRING: Final = 1 << 20
_MAX_ELEMENTS_PASSED: Final = 1 << 21

U32: Final = 4
BOOL: Final = 7
STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}

_MAX_TENSORS: Final = 1 << 16
_BLOCKS: Final = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 29: (256, 56), 30: (1, 2), 39: (32, 17),
}  # fmt: skip
"""Weights and bytes in a block, by ggml's number of the type; not of every type."""

_REMOVED: Final = frozenset({4, 5, 31, 32, 33, 36, 37, 38})
"""Types that llama.cpp read once: Q4_2, Q4_3, and those with rows interleaved (Q4_0_4_4)."""
_FOREIGN: Final = 97
"""ggml's types are below; from here on they are those of ik_llama.cpp."""
_PART: Final = re.compile(r"-\d{5}-of-(\d{5})(\.gguf)$", re.IGNORECASE)
_MAX_PARTS: Final = 1000

TOKENS: Final = "tokenizer.ggml.tokens"
MTP_LAYERS: Final = "nextn_predict_layers"  # this and the next under the architecture's name
LAYERS: Final = "block_count"
WIDTH: Final = "embedding_length"
WIDTH_OUT: Final = "embedding_length_out"
_TYPES: Final = "tokenizer.ggml.token_type"
_MERGES: Final = "tokenizer.ggml.merges"
_SCORES: Final = "tokenizer.ggml.scores"


class NotGguf(ValueError):
    """The file is not a GGUF file that can be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """Scalars and strings by key, arrays by their length alone, up to the tokenizer's arrays.

    ``kinds``: the numbers of the values' types by key.
    """

    values: dict[str, Scalar]
    lengths: dict[str, int]
    tensors: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """``general.architecture``, "" when it is not named."""
        return self.text("general.architecture") or ""

    @property
    def vocab_size(self) -> int | None:
        """The number of tokens: the length of the list itself, or what the metadata say."""
        return self.lengths.get(TOKENS) or self.whole(f"{self.architecture}.vocab_size")

    def text(self, key: str) -> str | None:
        """The string ``key``."""
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def whole(self, key: str) -> int | None:
        """The integer ``key``."""
        value = self.values.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """The tokenizer in a GGUF file.

    ``model`` is its kind ("gpt2", "llama", …), ``pre`` names how text is split first; ``tokens`` by
    id, ``types`` llama.cpp's token type of each and ``scores`` what decides between two splits,
    ``merges`` best first. ``header`` holds the rest. ``shapes``: the shape of each tensor by name,
    over all parts of the model, its shortest stride first.
    """

    model: str
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    scores: tuple[float, ...]
    header: Header
    shapes: dict[str, tuple[int, ...]]


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of ``path``, which is not trusted: counts and lengths are bounded.

    Raises:
        NotGguf: another magic, an unknown version, a truncated or nonsensical file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        lists: dict[str, _List] = {_TYPES: (), _MERGES: (), _SCORES: (), TOKENS: ()}
        header = _read(file, lists)
        shapes = _shapes(file, header)
    for part in _other_parts(path, header):
        shapes |= _of_part(part)
    texts = {key: tuple(map(str, lists[key])) for key in (TOKENS, _MERGES)}
    return Tokenizer(
        header.text("tokenizer.ggml.model") or "",
        header.text("tokenizer.ggml.pre") or "",
        texts[TOKENS],
        tuple(map(int, lists[_TYPES])),
        texts[_MERGES],
        tuple(float(score) for score in lists[_SCORES]),
        header,
        shapes,
    )


def read_header(path: Path) -> Header:
    """The metadata of ``path``, which is not trusted: counts and lengths are bounded.

    Raises:
        NotGguf: another magic, an unknown version, a truncated or nonsensical file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return _read(file)


def _read(file: BinaryIO, lists: dict[str, _List] | None = None) -> Header:
    """The header; also the arrays named in ``lists``, which are put there."""
    if _take(file, 4) != b"GGUF":
        raise NotGguf("it does not begin with GGUF")
    version, tensors, count = struct.unpack("<IQQ", _take(file, 20))
    if version not in (2, 3):
        raise NotGguf(f"its version {version} is not 2 or 3")
    header = Header({}, {}, tensors)
    for _ in range(min(count, _MAX_ENTRIES)):
        key = _string(file)
        (kind,) = struct.unpack("<I", _take(file, 4))
        header.kinds[key] = kind
        if kind == _ARRAY:
            of, length = struct.unpack("<IQ", _take(file, 12))
            header.lengths[key] = length
            if lists is None and key == TOKENS and header.architecture:
                break
            if lists is not None and key in lists:
                lists[key] = _array(file, of, length)
                continue
            _pass_array(file, of, length)
        elif kind == STRING:
            header.values[key] = _string(file)
        elif kind in _SCALARS:
            layout = _SCALARS[kind]
            (header.values[key],) = struct.unpack(layout, _take(file, struct.calcsize(layout)))
        else:
            raise NotGguf(f"byte {file.tell() - 4:,} of its header names the unknown type {kind}")
    return header


def _shapes(file: BinaryIO, header: Header) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in a file, which is at the list of them.

    Raises:
        NotGguf: it is cut off.
    """
    size, end = os.fstat(file.fileno()).st_size, 0
    shapes: dict[str, tuple[int, ...]] = {}
    for _ in range(min(header.tensors, _MAX_TENSORS)):
        name = _string(file)
        (dimensions,) = struct.unpack("<I", _take(file, 4))
        if dimensions > 8:
            raise NotGguf(f"it has a tensor of {dimensions:,} dimensions")
        *shape, kind, offset = struct.unpack(f"<{dimensions}QIQ", _take(file, 8 * dimensions + 12))
        if kind in _REMOVED or kind >= _FOREIGN:
            raise NotGguf(
                f"llama.cpp reads no weights of its type {kind}; take another quantization"
            )
        shapes[name] = tuple(shape)
        weights, of_block = _BLOCKS.get(kind, (1, 0))
        end = max(end, offset + math.prod(shape) // weights * of_block)
    alignment = header.whole("general.alignment") or 32
    expected = -(-file.tell() // alignment) * alignment + end
    if end and size < expected:
        raise NotGguf(f"it is cut off: {size:,} of {expected:,} bytes are there")
    return shapes


def parts(name: str) -> list[str]:
    """The names of all files of the model that ``name`` belongs to, at most ``_MAX_PARTS``."""
    part = _PART.search(name)
    if part is None:
        return [name]
    head, count = name[: part.start()], min(int(part[1]), _MAX_PARTS)
    return [f"{head}-{number:05}-of-{part[1]}{part[2]}" for number in range(1, count + 1)]


def _other_parts(path: Path, header: Header) -> list[Path]:
    """The other files of a split model, by the names that llama.cpp builds from the first's.

    Raises:
        NotGguf: the first has another name.
    """
    count = header.whole("split.count") or 0
    if count < 2:
        return []
    end = f"-00001-of-{count:05}.gguf"
    if not path.name.endswith(end) or count > _MAX_PARTS:
        raise NotGguf(f"it is one of {count:,} parts, and llama.cpp wants its name to end in {end}")
    return [path.with_name(each) for each in parts(path.name)[1:]]


def _of_part(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in another file of a split model.

    Raises:
        NotGguf: it is missing, cut off or no GGUF file; the message names it.
    """
    try:
        with path.open("rb") as file:
            return _shapes(file, _read(file, {}))
    except FileNotFoundError as error:
        raise NotGguf(f"its part {path.name} is missing") from error
    except NotGguf as error:
        raise NotGguf(f"its part {path.name}: {error}") from error


def _take(file: BinaryIO, size: int) -> bytes:
    taken = file.read(size)
    if len(taken) != size:
        size = os.fstat(file.fileno()).st_size
        raise NotGguf(f"it ends in the middle of its header, at byte {size:,}")
    return taken


def _string(file: BinaryIO, errors: str = "replace") -> str:
    (length,) = struct.unpack("<Q", _take(file, 8))
    if length > _MAX_STRING:
        at = file.tell() - 8
        raise NotGguf(f"byte {at:,} of its header announces a string of {length:,} bytes")
    return _take(file, length).decode("utf-8", errors)


def _array(file: BinaryIO, of: int, length: int) -> _List:
    if length > _MAX_ELEMENTS_PASSED:
        at = file.tell() - 8
        raise NotGguf(f"byte {at:,} of its header announces an array of {length:,} elements")
    if of == STRING:
        # Tokens that are no UTF-8 stay different from each other.
        return tuple(_string(file, "surrogateescape") for _ in range(length))
    layout = _SCALARS.get(of, "")
    if layout[1:] not in "BbHhIiQqf" or not layout:
        raise NotGguf("it has token types or scores that are no numbers")
    return struct.unpack(f"<{length}{layout[1:]}", _take(file, length * struct.calcsize(layout)))


def _pass_array(file: BinaryIO, of: int, length: int) -> None:
    if of in _SCALARS:
        size = length * struct.calcsize(_SCALARS[of])
        if file.tell() + size > os.fstat(file.fileno()).st_size:
            raise NotGguf("it ends in the middle of its header, in its last array")
        file.seek(size, os.SEEK_CUR)
    elif of == STRING and length <= _MAX_ELEMENTS_PASSED:
        for _ in range(length):
            _string(file)
    else:
        raise NotGguf("it has an array that cannot be passed over")

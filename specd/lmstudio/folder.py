"""The models in one folder, by file names, sizes and small headers.

Reads config.json, the JSON header of each safetensors file and the head of each GGUF file, all of
bounded size; never weights, never a tokenizer's content. Nothing in a model folder is trusted: a
model with an unreadable file is "incomplete", with the reason in words.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from specd.lmstudio import drafters, gguf
from specd.lmstudio.model import Model, ModelKind
from specd.lmstudio.values import count, members, text

CONFIG_MAX_BYTES: Final = 8 * 1024 * 1024
HEADER_MAX_BYTES: Final = 64 * 1024 * 1024

PARTIAL_SUFFIXES: Final = (".part", ".incomplete", ".downloading", ".crdownload", ".download")
_FOREIGN_SUFFIXES: Final = (".bin", ".pt", ".pth", ".onnx", ".ckpt", ".npz", ".h5", ".tflite")
_TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
_MODEL_FILES: Final = frozenset(
    {"config.json", "adapter_config.json", "modules.json", "config_sentence_transformers.json"}
    | set(_TOKENIZERS)
)
_MODEL_SUFFIXES: Final = (
    ".safetensors",
    ".safetensors.index.json",
    ".gguf",
    ".tiktoken",
    *PARTIAL_SUFFIXES,
    *_FOREIGN_SUFFIXES,
)

_EMBEDDING_TYPES: Final = frozenset({"t5encoder", "gemma-embedding", "mpnet", "gte", "new"})
_GENERIC: Final = re.compile(r"(mtp|mtp[-_]model|model)$", re.IGNORECASE)  # names no main
_SHARD: Final = re.compile(r"-(\d{5})-of-(\d{5})\.(?:gguf|safetensors)$", re.IGNORECASE)
_GGUF_QUANTIZATION: Final = re.compile(
    r"[-_.@]((?:UD-)?I?Q\d(?:_[0-9A-Z]+)*|BF16|F16|F32|FP16|MXFP\d(?:_MOE)?|TQ\d_\d)$",
    re.IGNORECASE,
)
_FILE_TYPES: Final = {  # llama.cpp's enum llama_ftype
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    32: "BF16",
}


def is_model_file(name: str) -> bool:
    """Whether a file of this name is relevant to a model."""
    lowered = name.lower()
    return lowered in _MODEL_FILES or lowered.endswith(_MODEL_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder: ``parts``, its path below the models directory; ``sizes`` of its model files."""

    path: Path
    parts: tuple[str, ...]
    sizes: dict[str, int]
    subfolders: tuple[str, ...] = ()

    def ending(self, *suffixes: str) -> list[str]:
        """The model files with one of these suffixes, sorted."""
        return sorted(name for name in self.sizes if name.lower().endswith(suffixes))


def models_in(folder: Folder) -> tuple[Model, ...]:
    """Every model in ``folder``: at most one of MLX's, and each GGUF file or set of shards.

    In a ``publisher/repo`` folder, a config.json or the parts of a download count as a model;
    elsewhere only weights do.
    """
    ggufs = tuple(_gguf_models(folder))
    weights = folder.ending(".safetensors")
    if weights and folder.parts:
        return (*ggufs, _folder_model(folder, weights))
    if ggufs or len(folder.parts) != 2:
        return ggufs
    parts = folder.ending(*PARTIAL_SUFFIXES, *_FOREIGN_SUFFIXES)
    if parts or "config.json" in folder.sizes or "adapter_config.json" in folder.sizes:
        return (_folder_model(folder, weights),)
    return ()


# -- MLX and other folders ------------------------------------------------------------------------


def _folder_model(folder: Folder, weights: list[str]) -> Model:
    read = _read_config(folder)
    config = members(read)
    inner = config
    for nested in ("text_config", "llm_config", "language_config"):
        if isinstance(config.get(nested), dict):
            inner = {**config, **config[nested]}
            break
    problem = read if isinstance(read, str) else None
    adapter = "adapter_config.json" in folder.sizes and not _base_weights(weights)
    foreign = not weights and folder.ending(*_FOREIGN_SUFFIXES)
    kind: ModelKind
    drafter = None
    tensors: set[str] = set()
    if adapter:
        kind, problem = "adapter", None
    else:
        problem = _unfinished(folder) or problem or _unusable(folder, weights, tensors)
        drafter = drafters.of_folder(config, tensors)
        kind = "drafter" if drafter else _kind(folder, config)
        if problem and not foreign:
            kind, drafter = "incomplete", None
    return Model(
        key=folder.parts[-1].lower(),
        identifier="/".join(folder.parts),
        publisher=folder.parts[0] if len(folder.parts) > 1 else "",
        repo="/".join(folder.parts[1:]) or folder.parts[0],
        path=folder.path,
        format="mlx" if weights or ("config.json" in folder.sizes and not foreign) else "other",
        kind=kind,
        architecture=_name(config.get("model_type")),
        vocab_size=_size(inner.get("vocab_size")),
        quantization=_quantization(config, inner),
        size_bytes=sum(folder.sizes[name] for name in weights or foreign or ()),
        problem=problem if kind == "incomplete" else None,
        mtp_heads=0 if adapter or drafter else _heads(inner, tensors),
        drafter=drafter,
        width=_size(inner.get("hidden_size")),
    )


def _heads(config: dict[str, Any], tensors: set[str]) -> int:
    """How many prediction heads the weights hold; conversions may drop those config.json names."""
    named = (config.get(name) for name in ("mtp_num_hidden_layers", "num_nextn_predict_layers"))
    announced = max((_size(each) or 0 for each in named), default=0)
    beyond = f".layers.{_size(config.get('num_hidden_layers'))}."
    there = any(name.startswith("mtp.") or ".mtp." in name or beyond in name for name in tensors)
    return announced if there else 0


def _base_weights(weights: Iterable[str]) -> bool:
    return any("adapter" not in name.lower() for name in weights)


def _read_config(folder: Folder) -> dict[str, Any] | str:
    """The object in config.json, or a sentence about what is wrong with the file."""
    size = folder.sizes.get("config.json")
    if size is None:
        return "config.json is missing: the download was not finished, or this is no model"
    if size == 0:
        return "config.json is empty; download the model again"
    if size > CONFIG_MAX_BYTES:
        return f"config.json is {size:,} bytes long: too long for a model's"
    try:
        value = json.loads((folder.path / "config.json").read_bytes())
    except OSError as error:
        return f"config.json cannot be read: {error.strerror or error}"
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        return f"config.json is not valid JSON ({where}: {error.msg}); download the model again"
    except (ValueError, RecursionError):
        return "config.json is not valid JSON; download the model again"
    if not isinstance(value, dict):
        return "config.json does not hold an object; download the model again"
    return value


def _unfinished(folder: Folder) -> str | None:
    partial = folder.ending(*PARTIAL_SUFFIXES)
    if partial:
        return f"its download is not finished ({partial[0]})"
    return None


def _unusable(folder: Folder, weights: list[str], tensors: set[str]) -> str | None:
    """A sentence about the first missing or broken file; None if there is none.

    Adds the names of the weights that it reads to ``tensors``.
    """
    if not weights:
        return "it has no weights (*.safetensors)"
    absent = _absent_shards(folder, weights)
    if absent:
        return f"{absent[0]} is missing ({len(absent)} of its weight files are not there)"
    for name in weights:
        problem = _broken_safetensors(folder.path / name, folder.sizes[name], tensors)
        if problem:
            return f"{name} {problem}"
    tokenizers = [*filter(folder.sizes.__contains__, _TOKENIZERS), *folder.ending(".tiktoken")]
    if not tokenizers:
        return "it has no tokenizer (tokenizer.json); download the model again"
    empty = [name for name in tokenizers if folder.sizes[name] == 0]
    return f"{empty[0]} is empty; download the model again" if empty else None


class _Index(msgspec.Struct):
    weight_map: dict[str, str] = {}


def _absent_shards(folder: Folder, weights: list[str]) -> list[str]:
    """Shards that the index names and the folder lacks; without one, those that the names count.

    An index that names none of the folder's weights is ignored, as loaders do: it is left over from
    another conversion.
    """
    for index in folder.ending(".safetensors.index.json"):
        if not 0 < folder.sizes[index] <= HEADER_MAX_BYTES:
            continue
        try:
            listed = msgspec.json.decode((folder.path / index).read_bytes(), type=_Index)
        except (OSError, ValueError, RecursionError):
            continue
        named = set(listed.weight_map.values())
        if named & set(weights):
            return sorted(named - set(weights))
    counts = {
        (name[: found.start()], found[2])
        for name in weights
        if name.startswith("model") and (found := _SHARD.search(name))
    }
    shards = {
        f"{stem}-{number:05}-of-{of}.safetensors"
        for stem, of in counts
        for number in range(1, int(of) + 1)
    }
    return sorted(shards - set(weights))


class _Tensor(msgspec.Struct):
    data_offsets: tuple[int, int] = (0, 0)


def _broken_safetensors(path: Path, size: int, names: set[str]) -> str | None:
    """Why a safetensors file (length as u64, JSON header, data) cannot be used; None if it can."""
    if size < 8:
        return "is empty; download the model again" if size == 0 else "is cut off"
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(HEADER_MAX_BYTES, size - 8):
                return "is cut off, or no safetensors file; download the model again"
            tensors = msgspec.json.decode(file.read(length), type=dict[str, _Tensor])
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except (ValueError, RecursionError, struct.error):
        return "has no safetensors header; download the model again"
    names |= tensors.keys() - {"__metadata__"}
    expected = 8 + length + max((each.data_offsets[1] for each in tensors.values()), default=0)
    if size < expected:
        return f"is cut off: {size:,} of {expected:,} bytes are there; download the model again"
    return None


def _kind(folder: Folder, config: dict[str, Any]) -> ModelKind:
    sentence_transformers = (
        "modules.json" in folder.sizes
        or "config_sentence_transformers.json" in folder.sizes
        or any(name.endswith("_Pooling") for name in folder.subfolders)
    )
    if sentence_transformers or _embeds(_name(config.get("model_type"))):
        return "embedding"
    return "vlm" if "vision_config" in config else "llm"


def _embeds(architecture: str) -> bool:
    """Whether every model of an architecture makes embeddings: BERT, its kin and a few more."""
    lowered = architecture.lower()
    return "bert" in lowered or lowered in _EMBEDDING_TYPES


def _quantization(config: dict[str, Any], text: dict[str, Any]) -> str | None:
    for name in ("quantization", "quantization_config"):
        scheme = config.get(name)
        if not isinstance(scheme, dict):
            continue
        bits = _size(scheme.get("bits"))
        if bits is not None:
            return f"{bits}bit"
        if isinstance(scheme.get("quant_method"), str):
            return _name(scheme["quant_method"])
    kind = _name(text.get("torch_dtype") or text.get("dtype"))
    return {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}.get(kind)


# -- GGUF -----------------------------------------------------------------------------------------


def _gguf_models(folder: Folder) -> Iterator[Model]:
    files = [name for name in folder.ending(".gguf") if _leads(name)]
    read = {name: _read_gguf(folder, name) for name in files}
    kinds: dict[str, ModelKind] = {
        name: _gguf_kind(folder, name, header) for name, (header, _) in read.items()
    }
    models = [name for name, kind in kinds.items() if kind not in ("mmproj", "drafter")]
    for name, (header, problem) in read.items():
        alone = len(models) == 1 if name in models else len(files) == 1
        kind = kinds[name]
        if kind == "llm" and "mmproj" in kinds.values():
            kind = "vlm"
        yield _gguf_model(folder, name, header, problem, kind, alone=alone)


def _leads(name: str) -> bool:
    """Whether ``name`` is a model's only or first file."""
    shard = _SHARD.search(name)
    return shard is None or int(shard[1]) == 1


def _read_gguf(folder: Folder, name: str) -> tuple[gguf.Header, str | None]:
    """The file's header, an empty one where it cannot be read, and why."""
    if folder.sizes[name] == 0:
        return gguf.Header({}, {}), f"{name} is empty; download it again"
    try:
        return gguf.read_header(folder.path / name), None
    except gguf.NotGguf as error:
        return gguf.Header({}, {}), f"{name} cannot be used: {error}; download it again"
    except OSError as error:
        return gguf.Header({}, {}), f"{name} cannot be read: {error.strerror or error}"


def _gguf_kind(folder: Folder, name: str, header: gguf.Header) -> ModelKind:
    kind = header.text("general.type")
    if "mmproj" in name.lower() or header.architecture == "clip" or kind == "mmproj":
        return "mmproj"
    if drafters.of_gguf(header, _below_repo(folder, name)):
        return "drafter"
    if kind == "adapter":
        return "adapter"
    pools = header.whole(f"{header.architecture}.pooling_type")
    return "embedding" if pools or _embeds(header.architecture) else "llm"


def _below_repo(folder: Folder, name: str) -> str:
    return "/".join((*folder.parts[2:], name))


def _gguf_model(
    folder: Folder,
    name: str,
    header: gguf.Header,
    problem: str | None,
    kind: ModelKind,
    *,
    alone: bool,
) -> Model:
    shards, absent = _shards(folder, name)
    stem = _SHARD.sub("", name) if _SHARD.search(name) else name[: -len(".gguf")]
    in_name = _GGUF_QUANTIZATION.search(stem)
    quantization = in_name[1].upper() if in_name else _file_type(header)
    if absent:
        problem = f"{absent[0]} is missing ({len(absent)} of its files are not there)"
    if problem and kind != "mmproj":
        kind = "incomplete"
    drafter = drafters.of_gguf(header, _below_repo(folder, name)) if kind == "drafter" else None
    repo = "/".join(folder.parts[1:]) or stem
    key = re.sub(r"[-_]gguf$", "", repo.partition("/")[0].lower())
    alone = alone and len(folder.parts) <= 2
    named = header.architecture
    return Model(
        key=key if alone and kind != "mmproj" else _distinct_key(key, stem, quantization, kind),
        identifier="/".join((*folder.parts, name)),
        publisher=folder.parts[0] if folder.parts else "",
        repo=repo,
        path=folder.path / name,
        format="gguf",
        kind=kind,
        architecture=named,
        vocab_size=header.vocab_size,
        quantization=quantization,
        size_bytes=sum(folder.sizes[each] for each in shards),
        problem=problem if kind == "incomplete" else None,
        mtp_heads=0 if drafter else header.whole(f"{named}.{gguf.MTP_LAYERS}") or 0,
        drafter=drafter,
        width=(drafter and header.whole(f"{named}.{gguf.WIDTH_OUT}"))
        or header.whole(f"{named}.{gguf.WIDTH}"),
    )


def _distinct_key(key: str, stem: str, quantization: str | None, kind: ModelKind) -> str:
    """A key for one of several files in a repo: the app's ``name@quantization``."""
    if kind == "drafter" and _GENERIC.match(stem):
        return f"{key}-{stem}".lower()
    if quantization is None or kind in ("mmproj", "drafter"):
        return stem.lower()
    return f"{key}@{quantization.lower()}"


def _shards(folder: Folder, name: str) -> tuple[list[str], list[str]]:
    """The files of the model that begins with ``name``, and those of them that are missing."""
    names = gguf.parts(name)
    there = [each for each in names if each in folder.sizes]
    return there, [each for each in names if each not in folder.sizes]


def _file_type(header: gguf.Header) -> str | None:
    kind = header.whole("general.file_type")
    return None if kind is None else _FILE_TYPES.get(kind)


def _name(value: object) -> str:
    return text(value, 100)


def _size(value: object) -> int | None:
    """``value`` if it is a plausible number of tokens, states or bits, else None."""
    return count(value, 1 << 31) or None


def plain_name(name: str) -> bool:
    """Whether a file or folder name is safe to show and to build paths from."""
    try:
        os.fsencode(name).decode("utf-8")
    except UnicodeError:
        return False
    return name.isprintable()

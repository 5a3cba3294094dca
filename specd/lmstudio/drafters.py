"""Drafters: files that draft for one main and are no models of their own (pure).

Prediction heads, EAGLE, DFlash and DSpark files hold a few layers and no embedding; they work on
the main's own states and usually carry a copy of its tokenizer, which makes them look like perfect
draft models. Configured as one, they keep the main from loading. They are recognised by their
architecture, and where that is the main's own, by their structure: heads without the layers of a
model, or layers without an embedding.

A drafter is paired with its main by structure too: the width of the main's states, the architecture
it was made for, the number of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

from specd.lmstudio import gguf
from specd.lmstudio.model import OWN_HEADS, Drafter, Model

_KINDS: Final[tuple[tuple[str, Drafter], ...]] = (
    ("dflash", "dflash"),
    ("dspark", "dspark"),
    ("eagle", "other"),
    ("medusa", "other"),
)
_HEADS_OF: Final = re.compile(r"[-_](assistant|mtp|nextn)$")
_EMBEDDINGS: Final = re.compile(r"embed|\bwte\b|word_emb")
_LAYERS: Final = re.compile(r"\b(layers|blocks|h)\.\d+\.")


def of_gguf(header: gguf.Header, name: str) -> Drafter | None:
    """The kind of drafter in a GGUF file; None for a model.

    ``name`` is its path below the models directory.
    """
    named = _named(header.architecture)
    heads = header.whole(f"{header.architecture}.{gguf.MTP_LAYERS}") or 0
    if named is not None or not heads:
        return named
    layers = header.whole(f"{header.architecture}.{gguf.LAYERS}")
    called = re.search(r"(^|/)mtp[-_./]", name.lower()) is not None
    few = layers is not None and (layers <= heads or 0 < header.tensors < layers)
    return "mtp" if few or called else None


def of_folder(config: dict[str, Any], tensors: Collection[str]) -> Drafter | None:
    """The kind of drafter in a folder with config.json; None for a model.

    ``tensors`` are the names of its weights.
    """
    classes = config.get("architectures")
    for name in (config.get("model_type"), *(classes if isinstance(classes, list) else ())):
        named = _named(name) if isinstance(name, str) else None
        if named is not None:
            return named
    bare = any(map(_LAYERS.search, tensors)) and not any(map(_EMBEDDINGS.search, tensors))
    if not bare:
        return None
    kinds = (kind for word, kind in _KINDS if any(word in key.lower() for key in config))
    heads = all(name.startswith("mtp.") for name in tensors)
    return next(kinds, "mtp" if heads else "other")


def _named(architecture: str) -> Drafter | None:
    lowered = architecture.lower()
    if _HEADS_OF.search(lowered):
        return "mtp"
    return next((kind for word, kind in _KINDS if word in lowered), None)


def called(identifier: str) -> Drafter:
    """The kind of drafter that the file's name shows; "other" where it shows none."""
    name = identifier.lower()
    mtp: Drafter = "mtp" if re.search(r"(^|[/_-])mtp([-_./]|$)", name) else "other"
    return next((kind for word, kind in _KINDS if word in name), mtp)


def for_main(main: Model, installed: Collection[Model]) -> tuple[Model, ...]:
    """The drafters that were made for ``main`` and that its engine can run, by identifier."""
    found = (each for each in installed if runs(each) and fits(main, each))
    return tuple(sorted(found, key=lambda each: each.identifier))


def candidates(main: Model, installed: Collection[Model]) -> tuple[str, ...]:
    """The names of the main's own heads and its drafters, without draft models."""
    heads = (OWN_HEADS,) if main.mtp_heads and main.format == "gguf" else ()
    return (*heads, *(each.key for each in for_main(main, installed)))


def runs(drafter: Model) -> bool:
    """Whether LM Studio has a switch for such a drafter: llama.cpp's sidecars have one."""
    return drafter.format == "gguf" and drafter.drafter in ("mtp", "dflash", "dspark")


def fits(main: Model, drafter: Model) -> bool:
    """Whether ``drafter`` was made for ``main``, as far as their structure shows."""
    if drafter.drafter is None or main.drafter is not None or main.format != drafter.format:
        return False
    for one, other in ((main.width, drafter.width), (main.vocab_size, drafter.vocab_size)):
        if one is not None and other is not None and one != other:
            return False
    if _HEADS_OF.sub("", drafter.architecture.lower()) == main.architecture.lower():
        return True
    # An architecture of its own fits any main: then the widths must be known, or the name fits.
    own = any(word in drafter.architecture.lower() for word, _ in _KINDS)
    known = main.width is not None and main.width == drafter.width
    return own and (known or _bare(main) in drafter.identifier.lower())


def _bare(main: Model) -> str:
    name = main.key.rpartition("/")[2].partition("@")[0].lower()
    return re.sub(r"[-_.](gguf|mlx|\d+bit|i?q\d\w*|bf16|f16|fp16)$", "", name)

"""One installed model: the type that every layer uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

OWN_HEADS: Final = "mtp"
"""Stands for a draft model where the main drafts with its own prediction heads."""

ModelFormat: TypeAlias = Literal["mlx", "gguf", "other"]
ModelKind: TypeAlias = Literal[
    "llm", "vlm", "embedding", "adapter", "mmproj", "drafter", "incomplete"
]
Drafter: TypeAlias = Literal["mtp", "dflash", "dspark", "other"]
"""How a drafter drafts: LM Studio has a switch for each, except for "other"."""


@dataclass(frozen=True, slots=True)
class Model:
    """One installed model.

    ``path`` is the folder of an MLX model and the file of a GGUF one. ``identifier`` is what LM
    Studio writes where it names a model in a config (``publisher/repo`` for MLX,
    ``publisher/repo/file.gguf`` for GGUF); ``key`` is the app's short key, usually the lower-cased
    repo name. ``size_bytes`` counts the weights. ``vocab_size`` is config.json's (or GGUF's) logit
    width. ``mtp_heads`` counts the multi-token prediction layers in the weights: a GGUF file can
    draft for itself with them. ``problem`` says why a model of the kind "incomplete" cannot be
    used. ``drafter`` is set only for the kind "drafter" (``drafters``). ``width`` is the length of
    the model's states; for a drafter, of its main's. ``catalogue`` is the ``owner/name`` that these
    files have in LM Studio's catalogue, or ""; ``aliases`` are all their names there, such as
    ``owner/name@q4_k_m``.
    """

    key: str
    identifier: str
    publisher: str
    repo: str
    path: Path
    format: ModelFormat
    kind: ModelKind
    architecture: str
    vocab_size: int | None
    quantization: str | None
    size_bytes: int
    problem: str | None = None
    mtp_heads: int = 0
    drafter: Drafter | None = None
    width: int | None = None
    catalogue: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def drafts(self) -> bool:
        """Whether it may be a draft model. An mmproj beside a GGUF file does not hinder it."""
        return self.kind == "llm" or (self.kind == "vlm" and self.format == "gguf")

    @property
    def defaults(self) -> str:
        """The name of the file of the model's defaults, without ``.json``."""
        return self.catalogue or self.identifier

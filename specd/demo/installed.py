"""What the stand-in offers: the models under a home's models directory.

Written from what LM Studio's server answers, not from ``specd.lmstudio``: the stand-in is the other
side of that interface, and the two are to check one another.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Installed:
    """One model. ``key`` is what requests name; ``path`` the MLX folder or the GGUF file.

    ``catalogue`` is its ``owner/name`` in LM Studio's catalogue, "" where it has none.
    """

    key: str
    publisher: str
    repo: str
    path: Path
    format: str
    kind: str
    architecture: str
    quantization: str
    bits: float
    context_length: int
    size_bytes: int
    vision: bool
    catalogue: str = ""

    @property
    def identifier(self) -> str:
        """How LM Studio's files of model defaults name it."""
        tail = f"/{self.path.name}" if self.format == "gguf" else ""
        return f"{self.publisher}/{self.repo}{tail}"

    @property
    def defaults(self) -> str:
        """The name of the file of its defaults, without ``.json``."""
        return self.catalogue or self.identifier


def installed(home: Path) -> list[Installed]:
    """Every model that is complete, by publisher and repo; a catalogue model by its own name."""
    found: list[Installed] = []
    catalogue = _catalogue(home)
    folder = read_object(home / "settings.json").get("downloadsFolder") or home / "models"
    for repo in sorted(Path(folder).glob("*/*/")):
        config = read_object(repo / "config.json")
        if config and any(repo.glob("*.safetensors")):
            found.append(_mlx(repo, config))
        found.extend(_gguf(repo, file) for file in sorted(repo.glob("*.gguf")))
    return [
        replace(model, key=name, catalogue=name)
        if (name := catalogue.get(model.identifier))
        else model
        for model in found
    ]


def _catalogue(home: Path) -> dict[str, str]:
    """The catalogue's names of identifiers, from LM Studio's index of models."""
    listed = read_object(home / ".internal" / "model-index-cache.json").get("models", [])
    return {
        each["virtual"]["concreteModelIndexedModelIdentifier"]: each["virtual"]["baseChain"][0]
        for each in listed
        if "virtual" in each
    }


def named(name: str, models: list[Installed]) -> Installed | None:
    """The model a request means: by key or identifier, whatever the case."""
    for model in models:
        if name.lower() in (model.key, model.identifier.lower()):
            return model
    return None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; empty when there is none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _mlx(repo: Path, config: dict[str, Any]) -> Installed:
    vision = "vision_config" in config
    text = config.get("text_config", config)
    bits = config.get("quantization", {}).get("bits")
    return Installed(
        key=repo.name.lower(),
        publisher=repo.parent.name,
        repo=repo.name,
        path=repo,
        format="mlx",
        kind="vlm" if vision else "llm",
        architecture=str(config.get("model_type", "unknown")),
        quantization=f"{bits}bit" if bits else "fp16",
        bits=float(bits or 16),
        context_length=int(text.get("max_position_embeddings", 4096)),
        size_bytes=sum(file.stat().st_size for file in repo.glob("*.safetensors")),
        vision=vision,
    )


_QUANTIZATION = re.compile(r"[-.]((?:i?q|b?f)\d\w*)$", re.IGNORECASE)


def _gguf(repo: Path, file: Path) -> Installed:
    quantization = _QUANTIZATION.search(file.stem)
    return Installed(
        key=_QUANTIZATION.sub("", file.stem).lower(),
        publisher=repo.parent.name,
        repo=repo.name,
        path=file,
        format="gguf",
        kind="embeddings" if "embed" in file.stem else "llm",
        architecture="unknown",
        quantization=quantization.group(1) if quantization else "unknown",
        bits=4.0,
        context_length=4096,
        size_bytes=file.stat().st_size,
        vision=False,
    )

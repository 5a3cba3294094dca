"""Installed models as the index describes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from specd.lmstudio.model import Model


def model(key: str, path: Path | None = None, **facts: Any) -> Model:
    told: dict[str, Any] = {
        "key": key.lower(),
        "identifier": f"someone/{key}",
        "publisher": "someone",
        "repo": key,
        "path": path or Path("/models/someone") / key,
        "format": "mlx",
        "kind": "llm",
        "architecture": "qwen3",
        "vocab_size": 151_936,
        "quantization": "4bit",
        "size_bytes": 1_000_000_000,
        **facts,
    }
    return Model(**told)

"""The recorded shapes: files and answers as LM Studio writes them, by version (see README.md)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recorded"
VERSIONS = ("0.3", "0.4")


def path(name: str) -> Path:
    return FOLDER / name


def text(name: str) -> str:
    return path(name).read_text(encoding="utf-8")


def value(name: str) -> Any:
    return json.loads(text(name))


def home(at: Path, version: str = "0.4") -> Path:
    """A home that holds everything recorded of ``version``, in the places where it belongs."""
    source = FOLDER / version
    internal = at / ".internal"
    internal.mkdir(parents=True, exist_ok=True)
    for name in ("http-server.json", "http-server-config.json", "model-index-cache.json",
                 "gguf-metadata-cache.json"):  # fmt: skip
        if (source / name).exists():
            shutil.copy(source / name, internal / name)
    for name, to in (
        ("model-defaults", internal / "user-concrete-model-default-config"),
        ("conversations", at / "conversations"),
        ("server-logs", at / "server-logs"),
        ("hub", at / "hub"),
        ("bionic", at / "apps" / "bionic"),
    ):
        if (source / name).exists():
            shutil.copytree(source / name, to, dirs_exist_ok=True)
    shutil.copy(source / "settings.json", at / "settings.json")
    return at

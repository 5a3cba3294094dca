from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from specd.demo.models import SMALL, Recipe, ensure
from specd.demo.serving import standin


def lay_out(home: Path, *recipes: Recipe) -> None:
    """Models as links into the cache, under the home's models directory."""
    for recipe in recipes:
        link = home / "models" / recipe.identifier
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ensure(recipe))


def serving(home: Path, version: str) -> Iterator[tuple[Path, str]]:
    lay_out(home, *SMALL)
    broken = home / "models" / "someone" / "Narrow-4bit"
    broken.mkdir(parents=True)
    config = {"model_type": "llama", "vocab_size": 1000}
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "model.safetensors").write_bytes(b"")
    gguf = home / "models" / "someone" / "Big-GGUF" / "big-Q4_K_M.gguf"
    gguf.parent.mkdir()
    gguf.write_bytes(b"GGUF")
    variant = gguf.with_name("hub-Q4_0.gguf")
    variant.write_bytes(b"GGUF")
    concrete = variant.relative_to(home / "models").as_posix()
    virtual = {"baseChain": ["owner/hub"], "concreteModelIndexedModelIdentifier": concrete}
    (home / ".internal").mkdir()
    (home / ".internal" / "model-index-cache.json").write_text(
        json.dumps({"models": [{"indexedModelIdentifier": "owner/hub", "virtual": virtual}]})
    )
    with standin(home, home / "standin.log", version=version) as url:
        yield home, url


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A home with the small models, and the URL of a stand-in for LM Studio 0.3 that serves it."""
    yield from serving(tmp_path_factory.mktemp("served"), "0.3")


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The same as LM Studio 0.4.24."""
    yield from serving(tmp_path_factory.mktemp("newer"), "0.4.24")

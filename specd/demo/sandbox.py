"""An LM Studio home to play in: the files of a real one, with the demo's models installed.

Everything lies under one directory: the home, specd.toml and specd's state. The home holds what an
app that has been in use for a while leaves behind: settings with speculation switched off, a
defaults of the main model without a draft, a compatibility cache that is wrong twice (it names a
model that is gone and a draft that speaks another vocabulary), a conversation, a download that was
never finished, an embedding model.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from specd.demo.models import Family, ensure
from specd.demo.place import Place

_TEMPLATES = files("specd.demo") / "home"

CONFIG = """\
[speculation]
enabled = true
visualize = true
settings_key = "configPresetInclusiveness.speculativeDecoding"

[[pair]]
main = "{main}"          # as people write it: the app's key, without the quantization
draft = "auto"           # the fastest one proven compatible
draft_tokens = "auto"    # as many as pay

[benchmark]
schedule = ""            # when asked
on_slower = "disable"    # a draft that does not help is taken out again
only_when_idle = false
only_on_ac = false
max_minutes = 2
"""


@dataclass(frozen=True)
class Sandbox(Place):
    """``family`` are the installed models that can generate."""

    root: Path
    family: Family

    @property
    def main_defaults(self) -> Path:
        """The file of the main model's defaults."""
        return self.defaults(self.family.main.identifier)


def lay_out(root: Path, family: Family) -> Sandbox:
    """Make the sandbox under ``root``, an existing directory. Builds models not yet in the cache.

    Raises:
        WeightsMissing: the models cannot be built.
    """
    sandbox = Sandbox(root, family)
    home, main = sandbox.home, family.main.identifier
    key = main.rpartition("/")[2].lower()
    for recipe in family:
        _link(home / "models" / recipe.identifier, ensure(recipe))
    _unfinished_download(home / "models" / "lmstudio-community" / "SmolLM2-1.7B-Instruct-MLX-4bit")
    _embedding_model(home / "models" / "nomic-ai" / "nomic-embed-text-v1.5-GGUF")
    _place("settings.json", sandbox.settings, home=str(home))
    internal = home / ".internal"
    _place("http-server-config.json", internal / "http-server-config.json")
    _place("model-default-config.json", sandbox.main_defaults)
    backup = sandbox.main_defaults.with_name(f"{sandbox.main_defaults.name}.bak")
    _place("model-default-config.json", backup)
    wrong = {main: [family.incompatible.identifier, "mlx-community/SmolLM2-135M-Instruct-8bit"]}
    cache = internal / "draft-model-compatibility-cache.json"
    cache.write_text(json.dumps(wrong, indent=2) + "\n", encoding="utf-8")
    _place(
        "conversation.json", home / "conversations" / "1764000000000.conversation.json", main=key
    )
    short = key.rpartition("-")[0]
    sandbox.config.write_text(CONFIG.format(main=short), encoding="utf-8")
    return sandbox


def _link(link: Path, folder: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(folder)


def _place(template: str, target: Path, **names: str) -> None:
    """Copy a template; ``<name>`` in it becomes the value, as it is written inside JSON strings."""
    text = (_TEMPLATES / template).read_text(encoding="utf-8")
    for name, value in names.items():
        text = text.replace(f"<{name}>", json.dumps(value, ensure_ascii=False)[1:-1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def _unfinished_download(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.safetensors.part").write_bytes(bytes(4096))
    (folder / "tokenizer.json").write_bytes(b"")


def _embedding_model(folder: Path) -> None:
    """A GGUF header that names an embedding architecture, with no tensors."""
    folder.mkdir(parents=True)
    key, value, string = b"general.architecture", b"nomic-bert", 8
    header = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1)
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", string, len(value)) + value
    (folder / "nomic-embed-text-v1.5.Q4_K_M.gguf").write_bytes(header + entry)

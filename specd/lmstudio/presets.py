"""LM Studio's presets, and which of them would undo a pair.

``config-presets/NAME.preset.json`` holds ``{"identifier": "@local:NAME", "name": …, "operation":
{"fields": […]}, "load": {…}}``, with the keys of a model's defaults. A preset that is chosen for a
chat wins over the model's defaults, with another draft and with an empty one alike; the key
``preset`` of a model's defaults names the one that its new chats begin with. They are read here,
and never written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from specd.files import jsonedit
from specd.lmstudio import keys, model_defaults, values
from specd.lmstudio.model import Model

_SUFFIX: Final = ".preset.json"
_MOST: Final = 500


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset. ``drafts`` holds its values for the keys that say what drafts.

    ``temperature`` is None where it sets none.
    """

    identifier: str
    name: str
    drafts: tuple[tuple[str, object], ...] = ()
    temperature: float | None = None

    def undoes(self, main: Model, draft: Model | None) -> bool:
        """Whether, once chosen, it gives ``main`` another draft than ``draft``, or none."""
        held = dict(self.drafts)
        if main.format == "mlx":
            named = held.get(keys.DRAFT_MODEL)
            return named is not None and (draft is None or named != draft.identifier)
        named = held.get(keys.LLAMA_DRAFT_MODEL)
        if named is not None and draft is not None and named != draft.identifier:
            return True
        on = model_defaults.switch_of(draft)
        return any(
            held.get(switch) is (switch != on)
            for switch in keys.LLAMA_DRAFT_SWITCHES
            if switch in held
        )


def read(home: Path) -> tuple[Preset, ...]:
    """The presets that can be read, by name; broken ones are left out."""
    try:
        files = sorted((home / keys.PRESETS).glob(f"*{_SUFFIX}"))[:_MOST]
    except OSError:
        return ()
    return tuple(found for file in files if (found := _read(file)) is not None)


def temperature(home: Path, main: Model) -> float | None:
    """The temperature of new chats with ``main``: its preset's, else its defaults', else None."""
    document = _document(model_defaults.config_path(home, main))
    if document is None:
        return None
    named = values.text(document.get(keys.PRESET[0]))
    preset = chosen(named, read(home)) if named else None
    if preset is not None and preset.temperature is not None:
        return preset.temperature
    return model_defaults.temperature(document)


def _document(file: Path) -> dict[str, Any] | None:
    try:
        if file.stat().st_size > jsonedit.MAX_BYTES:
            return None
        document = jsonedit.parse(file.read_bytes())
    except (OSError, jsonedit.NotUnderstood):
        return None
    return document if isinstance(document, dict) else None


def _read(file: Path) -> Preset | None:
    document = _document(file)
    if document is None:
        return None
    stem = file.name.removesuffix(_SUFFIX)
    held = model_defaults.drafting(document)
    identifier = values.text(document.get("identifier")) or f"@local:{stem}"
    name = values.text(document.get("name")) or stem
    heat = model_defaults.temperature(document)
    return Preset(identifier, name, tuple(held.items()), heat)


def chosen(name: str, presets: Iterable[Preset]) -> Preset | None:
    """The preset that a model's defaults name."""
    bare = name.removeprefix("@local:")
    return next((p for p in presets if name == p.identifier or bare == p.name), None)

"""LM Studio's presets, and which of them would undo a pair.

``config-presets/NAME.preset.json`` holds ``{"identifier": "@local:NAME", "name": …, "operation":
{"fields": […]}, "load": {…}}``, with the keys of a model's defaults. The preset of a chat wins over
the model's defaults, also where its draft is empty. The key ``preset`` of a model's defaults names
the preset of new chats. specd never writes presets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from specd.lmstudio import keys, model_defaults, values
from specd.lmstudio.model import Model

_SUFFIX: Final = ".preset.json"
_MOST: Final = 500


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset: its values for the keys that choose the draft, and its sampling settings."""

    identifier: str
    name: str
    drafts: tuple[tuple[str, object], ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def undoes(self, main: Model, draft: Model | None, *, by_request: bool = False) -> bool:
        """Whether a chat with this preset gives ``main`` another draft than ``draft``, or none.

        ``by_request``: an older LM Studio reads a GGUF main's draft where it reads an MLX main's.
        """
        held = dict(self.drafts)
        if main.format == "mlx" or by_request:
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


def _read(file: Path) -> Preset | None:
    held = values.object_in(file)
    if not held:
        return None
    stem = file.name.removesuffix(_SUFFIX)
    identifier = values.text(held.get("identifier")) or f"@local:{stem}"
    name = values.text(held.get("name")) or stem
    drafts = tuple(model_defaults.drafting(held).items())
    return Preset(identifier, name, drafts, model_defaults.sampling(held))


def chosen(name: str, presets: Iterable[Preset]) -> Preset | None:
    """The preset that a model's defaults name."""
    bare = name.removeprefix("@local:")
    return next((p for p in presets if name == p.identifier or bare == p.name), None)

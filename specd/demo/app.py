"""LM Studio's part in the story: how it reads and saves its files.

The app keeps its settings in memory and writes the whole file whenever one of them changes, so what
others wrote in between is gone. Depending on version and file it truncates and writes in place, or
writes another file and renames it over.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

Save: TypeAlias = Callable[[Path, dict[str, Any]], None]


def save_in_place(path: Path, document: dict[str, Any]) -> None:
    """Truncate and write: a reader may find the file empty or half written."""
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(document, ensure_ascii=False, indent=2))


def save_by_rename(path: Path, document: dict[str, Any]) -> None:
    """Write beside it and rename: the file is another one afterwards."""
    beside = path.with_name(f"{path.name}.tmp")
    save_in_place(beside, document)
    beside.replace(path)


def delete_and_save(path: Path, document: dict[str, Any]) -> None:
    """Remove the file and write it, as an update of the app does."""
    path.unlink(missing_ok=True)
    save_in_place(path, document)


def switched_on(settings: dict[str, Any]) -> bool:
    """Whether speculation is on and shown in the app's settings."""
    return (
        settings.get("configPresetInclusiveness", {}).get("speculativeDecoding") is True
        and settings.get("chat", {}).get("visualizeSpeculativeDecoding") is True
    )


def switch_off(settings: dict[str, Any]) -> None:
    """Switch speculation off, as a click or an update of the app does."""
    settings["configPresetInclusiveness"]["speculativeDecoding"] = False
    settings["chat"]["visualizeSpeculativeDecoding"] = False


def forget(settings: dict[str, Any]) -> None:
    """As ``switch_off``, by a version of the app that does not know the first key."""
    del settings["configPresetInclusiveness"]
    settings["chat"]["visualizeSpeculativeDecoding"] = False


def draft_of(defaults: dict[str, Any]) -> str | None:
    """The draft that a model's defaults name."""
    for entry in defaults.get("operation", {}).get("fields", []):
        if entry["key"] == "llm.prediction.speculativeDecoding.draftModel":
            return str(entry["value"])
    return None


def drop_draft(defaults: dict[str, Any]) -> None:
    """Remove the draft, as choosing none or switching presets does."""
    fields = defaults["operation"]["fields"]
    fields[:] = [entry for entry in fields if "speculativeDecoding" not in entry["key"]]


SPECDS_SETTINGS = frozenset(
    {"chat.visualizeSpeculativeDecoding", "configPresetInclusiveness.speculativeDecoding"}
)
"""The values in settings.json that the demo's specd.toml asks for."""

"""LM Studio's part in the story: it saves its settings, and means no harm.

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
    """Remove and write anew, as an update of the app does."""
    path.unlink(missing_ok=True)
    save_in_place(path, document)

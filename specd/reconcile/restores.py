"""How often specd put back values that another program had changed (pure)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from specd.files.pointer import Absent, Json
from specd.reconcile.entry import Entry


@dataclass(frozen=True, slots=True)
class PutBack:
    """One write that put a value back."""

    id: int
    time: datetime
    path: Path
    surface: str
    key: str
    value: Json | Absent


def put_back(entries: Iterable[Entry]) -> tuple[PutBack, ...]:
    """The writes, oldest first, that set an owned value once more, also if undone later."""
    return tuple(
        PutBack(
            entry.id,
            datetime.fromisoformat(entry.time).astimezone(),
            entry.path,
            entry.surface,
            change.key,
            change.new,
        )
        for entry in entries
        for change in entry.changes
        if change.key == entry.again
    )


def count(found: Collection[PutBack], now: datetime) -> tuple[int, int]:
    """How many were since midnight, and in the last seven days, as of ``now``, which has a zone."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    week = now - timedelta(days=7)
    return sum(each.time >= midnight for each in found), sum(each.time >= week for each in found)

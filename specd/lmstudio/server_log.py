"""Draft statistics in LM Studio's own server log, where it writes any.

``server-logs/YYYY-MM/YYYY-MM-DD.N.log`` holds what the server logged, as much or as little as the
user has set. With responses logged, an answer's ``stats`` stand there as JSON, spread over lines;
llama.cpp writes its own line (``draft acceptance rate = 0.57576 (171 accepted / 297 generated)``).
Nothing of this is promised, so only the counts are looked for, and finding none proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from specd.lmstudio import keys

_TAIL_BYTES: Final = 4 * 1024 * 1024
_NEAR: Final = 4096  # counts further apart than this are of different answers

_LOG_NAME: Final = re.compile(r"(\d{4}-\d{2}-\d{2})\.(\d+)\.log$")
_STATISTIC: Final = re.compile(
    rb'"(?P<name>draft_?model|(?:total|accepted|rejected|ignored)_?draft_?tokens_?count|used_?draft_?'
    rb'model_?key)"\s*:\s*(?:"(?P<text>[^"\\\x00-\x1f]{0,300})"|(?P<number>\d{1,15}))'
    rb"|draft acceptance(?: rate)?\s*=\s*[\d.]+\s*\(\s*(?P<accepted>\d{1,15})\s*accepted\s*/"
    rb"\s*(?P<generated>\d{1,15})\s*generated",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class LoggedDraft:
    """One answer's draft counts (tokens) as logged; ``draft`` is "" where it is not named."""

    draft: str
    total: int
    accepted: int


def newest(home: Path) -> Path | None:
    """The newest server log; None when there is none."""
    for month in sorted(_names(home / keys.SERVER_LOGS), reverse=True):
        folder = home / keys.SERVER_LOGS / month
        logs = [name for name in _names(folder) if _LOG_NAME.search(name)]
        if logs:
            return folder / max(logs, key=_day_and_number)
    return None


def read(log: Path) -> tuple[LoggedDraft, ...]:
    """The draft counts in the last few megabytes of ``log``, oldest first; never raises."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            tail = file.read(_TAIL_BYTES)
    except OSError:
        return ()
    return tuple(_logged(tail))


def _logged(tail: bytes) -> Iterator[LoggedDraft]:
    gathered: dict[str, str | int] = {}
    end = 0
    for found in _STATISTIC.finditer(tail):
        if found["generated"] is not None:
            yield LoggedDraft("", int(found["generated"]), int(found["accepted"]))
            continue
        name = found["name"].decode().lower().replace("_", "")
        if name in gathered or found.start() - end > _NEAR:
            yield from _whole(gathered)
            gathered = {}
        number = found["number"]
        gathered[name] = (
            int(number) if number is not None else found["text"].decode("utf-8", "replace")
        )
        end = found.end()
    yield from _whole(gathered)


def _whole(gathered: dict[str, str | int]) -> Iterator[LoggedDraft]:
    """What was gathered, where it counts anything: a request names a draft too, but counts none."""
    total, accepted = (
        gathered.get("totaldrafttokenscount"),
        gathered.get("accepteddrafttokenscount"),
    )
    if isinstance(total, int) and isinstance(accepted, int):
        draft = gathered.get("draftmodel") or gathered.get("useddraftmodelkey")
        yield LoggedDraft(draft if isinstance(draft, str) else "", total, accepted)


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


def _day_and_number(name: str) -> tuple[str, int]:
    found = _LOG_NAME.search(name)
    return (found[1], int(found[2])) if found else ("", 0)

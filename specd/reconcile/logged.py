"""Draft counts from LM Studio's server log, kept in a small file across restarts.

Each part of a log is read once.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from specd.bench.observed import RECENT
from specd.bench.use import DraftRequests
from specd.files import private
from specd.lmstudio.server_log import News, Place

KEPT = 200
"""How many answers are kept, the newest."""


@dataclass(frozen=True, slots=True)
class _Answer:
    main: str
    draft: str
    drafted: int
    accepted: int
    since: float


@dataclass(frozen=True, slots=True)
class _Kept:
    place: Place | None = None
    answers: tuple[_Answer, ...] = ()
    bare: dict[str, int] = field(default_factory=dict)


class LoggedStore:
    """The kept answers and how far the logs have been read. Only one daemon writes it."""

    def __init__(self, path: Path, app: str = "LM Studio") -> None:
        self._path = path
        self._app = app
        self._kept = _Kept()
        self._understood = True
        try:
            kept = private.read_json(path)
            if kept is not None:
                self._kept = msgspec.convert(kept, _Kept)
        except (OSError, private.Broken, msgspec.ValidationError):
            self._understood = False

    @property
    def place(self) -> Place | None:
        """How far the logs have been read; None before the first time."""
        return self._kept.place

    def recover(self) -> str | None:
        """Move a broken file aside; returns a message if there was one."""
        if self._understood:
            return None
        try:
            aside = private.set_aside(self._path)
        except OSError as error:
            return f"{self._path} is broken and cannot be moved aside: {error.strerror or error}"
        self._understood = True
        return f"{self._path} was broken and lies at {aside} now; the newest log is read again"

    def add(self, news: Iterable[News], place: Place | None) -> int:
        """Keep the counts; returns how many answers of a named main or draft were new."""
        new = [
            _Answer(each.main, each.draft, each.total, each.accepted, log.since)
            for log in news
            for each in log.drafts
            if each.main or each.draft
        ]
        answers = (*self._kept.answers, *new)[-KEPT:]
        bare = dict.fromkeys((each.main for each in answers), 0) | self._kept.bare
        for log in news:
            bare |= dict.fromkeys((each.main for each in log.drafts), 0)
            bare |= {main: bare[main] + n for main, n in log.bare.items() if main in bare}
        if (place, answers, bare) == (self._kept.place, self._kept.answers, self._kept.bare):
            return 0
        self._kept = _Kept(place, answers, bare)
        # Not durable: after a power cut the log is read again.
        if self._understood:
            with contextlib.suppress(OSError):
                private.write(self._path, msgspec.json.encode(self._kept), durable=False)
        return len(new) + sum(sum(log.bare.values()) for log in news)

    def asked(self) -> tuple[DraftRequests, ...]:
        """The latest answers of each main and draft, by LM Studio's names; either may be ""."""
        of: dict[tuple[str, str], list[_Answer]] = defaultdict(list)
        for answer in self._kept.answers:
            of[answer.main, answer.draft].append(answer)
        return tuple(
            DraftRequests(
                main,
                draft,
                len(recent),
                sum(each.drafted > 0 for each in recent),
                sum(each.drafted for each in recent),
                sum(each.accepted for each in recent),
                recent[-1].since,
                self._kept.bare.get(main, 0),
                self._app,
            )
            for (main, draft), answers in of.items()
            if (recent := answers[-RECENT:])
        )

"""Cron expressions: what they may say, and when they are due (APScheduler).

Weekdays count from Sunday, as in every crontab. The two day fields may not both be given:
crontab(5) joins them with "or", which surprises everybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EXAMPLE = '"30 4 * * *" (every night at half past four)'

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()

    def number(self, word: str) -> int:
        """The number of ``word``; the first name is the field's least value."""
        if word.lower() in self.names:
            return self.least + self.names.index(word.lower())
        if not word.isascii() or not word.isdigit() or not self.least <= int(word) <= self.most:
            named = f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
            raise ValueError(
                f"its {self.name} must be {self.least}-{self.most}{named}, not {word!r}"
            )
        return int(word)


FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, MONTHS),
    _Field("weekday", 0, 7, WEEKDAYS),
)

_PART = re.compile(r"(?:\*|([^-/]+)(?:-([^-/]+))?)(?:/(\d+))?")


def check(expression: str) -> None:
    """Check that ``expression`` is a cron expression of five fields.

    Raises:
        ValueError: it is not; the message says why.
    """
    _values(expression)


def following(expression: str, after: datetime) -> datetime | None:
    """The next time after ``after``, both in local time; None if there is none (30 February).

    >>> following("30 4 * * *", datetime(2026, 11, 27, 21, 15))
    datetime.datetime(2026, 11, 28, 4, 30)

    Raises:
        ValueError: it is not a cron expression.
    """
    # Imported here: reading specd.toml does not need it.
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415

    *numbers, weekdays = _values(expression)
    minute, hour, day, month = (",".join(map(str, sorted(each))) for each in numbers)
    trigger = CronTrigger(
        minute=minute,
        hour=hour,
        day=day,
        month=month,
        # By name: APScheduler counts weekdays from Monday.
        day_of_week=",".join(sorted({WEEKDAYS[each % 7] for each in weekdays})),
        timezone=UTC,
    )
    # UTC stands for the local clock here: a zone without changes leaves the hours as they are.
    found = trigger.get_next_fire_time(None, after.replace(tzinfo=UTC) + timedelta(microseconds=1))
    return None if found is None else found.replace(tzinfo=None)


def _values(expression: str) -> list[set[int]]:
    words = expression.split()
    if len(words) != len(FIELDS):
        raise ValueError(
            f"must have five fields (minute, hour, day, month, weekday) such as {EXAMPLE}; "
            f"it has {len(words)}"
        )
    values = [_field(field, word) for field, word in zip(FIELDS, words, strict=True)]
    if words[2] != "*" and words[4] != "*":
        raise ValueError("must name a day of the month or a weekday, not both")
    return values


def _field(field: _Field, word: str) -> set[int]:
    found: set[int] = set()
    for part in word.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"its {field.name} cannot be {word!r}; an example is {EXAMPLE}")
        first, last, step = match.groups()
        start = field.least if first is None else field.number(first)
        end = field.most if first is None or (step and last is None) else start
        if last is not None:
            end = field.number(last)
        if end < start or (step is not None and int(step) == 0):
            raise ValueError(f"its {field.name} {part!r} stands for no time at all")
        found.update(range(start, end + 1, int(step or 1)))
    return found

"""What the report's sections are made of (pure): headings, tables, figures, times.

Text is escaped here, except where an argument is said to hold elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from specd.cli.look.plots import SERIES, Axis, Series


def section(heading: str, content: str) -> str:
    """A part of the page under its heading."""
    return f"<section><h2>{escape(heading)}</h2>{content}</section>"


def figure(drawn: str, series: Sequence[Series]) -> str:
    """A plot with the key to its series."""
    keys = "".join(
        f'<li><span class="key s{number % SERIES}"></span>{escape(each.name)}</li>'
        for number, each in enumerate(series)
    )
    return (
        '<figure><div class="scroll" tabindex="0" role="group" aria-label="plot, scrolls sideways">'
        f"{drawn}</div><figcaption><ul>{keys}</ul></figcaption></figure>"
    )


def details(summary: str, content: str) -> str:
    """What is shown on demand."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; ``rows`` are the cells' own elements."""
    columns = "".join(f"<th scope='col'>{escape(each)}</th>" for each in head)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}, table">'
        f"<table><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def cell(text: str) -> str:
    """A table's cell with this text."""
    return f"<td>{escape(text)}</td>"


def time(moment: datetime) -> str:
    """A moment, for people and programs."""
    shown = f"{day(moment)} {moment:%H:%M:%S}"
    return f'<time datetime="{escape(moment.isoformat())}">{shown}</time>'


def since(text: str) -> str:
    """The same from RFC 3339; what is no time is shown as it stands."""
    try:
        return time(datetime.fromisoformat(text).astimezone())
    except ValueError:
        return escape(text)


def day(moment: datetime) -> str:
    """The date alone."""
    return f"{moment.day} {moment:%b %Y}"


def _day_of(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds).astimezone()
    midnight = (moment.hour, moment.minute) == (0, 0)
    return f"{moment.day} {moment:%b}" if midnight else f"{moment.day} {moment:%b %H:%M}"


HOUR, DAY = 3600.0, 86400.0
DATES = Axis(
    "date",
    _day_of,
    steps=(
        60,
        300,
        900,
        HOUR,
        3 * HOUR,
        6 * HOUR,
        DAY,
        *(n * DAY for n in (2, 7, 14, 28, 91, 365)),
    ),
)

"""``specd logs``: what specd did and why, one line per decision."""

from __future__ import annotations

import argparse
import itertools
import math
import re
import sys
from datetime import datetime, timedelta
from typing import TextIO

from specd import places
from specd.cli.look import logbook
from specd.cli.look.logbook import LogLine
from specd.cli.paint import Ink, complain, dumps, paint, safe, width, wrap
from specd.cli.parser import Parser, number

USUAL = 50

INKS: dict[str, Ink] = {"debug": "grey", "warning": "yellow", "error": "red"}
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _moment(word: str) -> datetime:
    now = datetime.now().astimezone()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if word in ("today", "yesterday"):
        return midnight - timedelta(days=word == "yesterday")
    if re.fullmatch(r"(?:\d+(?:s|min|m|h|d|w))+", word):
        parts = re.findall(r"(\d+)(s|min|m|h|d|w)", word)
        passed = timedelta(seconds=sum(int(number) * _UNITS[unit] for number, unit in parts))
        return now - min(passed, timedelta(days=36500))
    clock = re.fullmatch(r"(\d\d?):(\d\d)", word)
    try:
        if clock:
            return midnight.replace(hour=int(clock[1]), minute=int(clock[2]))
        moment = datetime.fromisoformat(word)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be such as 90s, 15m, 1h, 2d, today, 08:30 or 2026-11-24, not {word!r}"
        ) from None
    return moment if moment.tzinfo else moment.astimezone()


parser = Parser(
    prog="specd logs",
    description="Show what specd did and why, one line per decision.",
    examples=(
        "specd logs -f",
        "specd logs --since 1h --level warning",
        "specd logs --since 2026-11-24T08:00 --json",
    ),
    exit_codes={0: "shown", 1: "there is no log yet", 2: "bad input"},
)
parser.add_argument("-f", "--follow", action="store_true", help="go on showing what is added")
parser.add_argument(
    "-n", "--lines", type=number, metavar="N", help=f"the last N lines (default {USUAL})"
)
parser.add_argument(
    "--since",
    type=_moment,
    metavar="WHEN",
    help="only from then on: 90s, 15m, 1h, 2d, today, 08:30, 2026-11-24 or a full time",
)
parser.add_argument(
    "--level",
    choices=logbook.LEVELS,
    default="debug",
    help="only lines of this level and above",
)
parser.add_argument("--json", action="store_true", help="one JSON object per line")


def run(args: argparse.Namespace) -> int:
    """Print the lines; exit code 1 when there is no log."""
    log = places.log_path(places.state_dir())
    if not logbook.files(log) and not args.follow:
        complain(f"there is no log yet ({log}); is specd running?")
        return 1
    now = logbook.end(log)
    count = args.lines
    if count is None:
        count = USUAL if args.since is None else math.inf
    before = logbook.last(log, count, args.level, args.since, now)
    coming = logbook.follow(log, args.level, now) if args.follow else ()
    try:
        for entry in itertools.chain(before, coming):
            print(_shown(entry, args), flush=args.follow)
    except KeyboardInterrupt:
        return 0
    return 0


def _shown(entry: LogLine, args: argparse.Namespace) -> str:
    if args.json:
        return dumps(entry.as_json(), indent=None)
    ink = INKS.get(entry.level)
    if entry.time is not None and sys.stdout.isatty():
        return short_form(entry.time, entry.as_json(), ink)
    return paint(safe(entry.text), ink)


def short_form(
    moment: datetime, event: dict[str, object], ink: Ink | None, stream: TextIO | None = None
) -> str:
    """Local time, with the day if that is not today, and the message.

    A write is shown with its file and with the number that undoes it.
    """
    message = str(event["message"])
    if "file" in event and "journal" in event:
        file = str(event["file"]).rpartition("/")[2]
        message += f" in {file} (undo {event['journal']})"
    local = moment.astimezone()
    today = local.date() == datetime.now().astimezone().date()
    when = f"{local:%H:%M:%S}" if today else f"{local:%d %b %H:%M}"
    text = f"{when}  {wrap(message, width(), ' ' * (len(when) + 2))}"
    return paint(text, ink, stream)

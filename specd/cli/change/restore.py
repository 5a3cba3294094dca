"""``specd restore``: undo what specd wrote, one write or all of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from specd import places
from specd.agent import report
from specd.cli import alive, ask
from specd.cli.paint import complain, dumps, say, short, width, wrap
from specd.cli.parser import NO_ANSWER, Parser
from specd.reconcile import survey
from specd.reconcile.apply import describe
from specd.reconcile.journal import Journal
from specd.reconcile.trials import Trials, restore


def _entry(word: str) -> int:
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(
            f"there is no write {word!r}; `specd restore --list` lists their numbers"
        )
    return int(word)


parser = Parser(
    prog="specd restore",
    description="Undo what specd wrote into LM Studio's files. What is restored is left alone "
    "from then on, until `specd apply`, or a change of what specd.toml asks for; after --all, so "
    "is what specd has not written yet.",
    examples=("specd restore --list", "specd restore 12", "specd restore --all"),
    exit_codes={
        0: "done",
        2: "there is no such entry, or it cannot be undone",
        **NO_ANSWER,
    },
)
which = parser.add_mutually_exclusive_group()
which.add_argument("id", nargs="?", type=_entry, metavar="ID", help="the write to undo")
which.add_argument("--all", action="store_true", help="undo everything specd wrote")
which.add_argument("--list", action="store_true", help="list what was written (the default)")
parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """List or undo; exit code 2 when there is no such entry."""
    state = places.state_dir()
    journal = Journal(places.journal_dir(state))
    if args.id is None and not args.all:
        return _list(journal, as_json=args.json)
    body = {"all": True} if args.all else {"id": args.id}
    try:
        answer = alive.give("/v1/restore", body)
    except ask.NotRunning:
        answer = directly(state, journal, args.id)
    except ask.Refused as problem:
        complain(problem)
        return 2
    unread = journal.unread if args.all else None
    done = show(answer, unread, as_json=args.json) and unread is None
    if done and args.all and not answer["restored"] and not args.json:
        say("specd writes nothing from now on, until `specd apply` or a change of specd.toml")
    return 0 if done else 2


def directly(state: Path, journal: Journal, number: int | None) -> dict[str, Any]:
    """Undo write ``number``, or everything, without a daemon; its answer to the same request."""
    journal.recover()
    survey.configuration(places.config_file(), state)  # keeps it: what differs later is asked anew
    return restore(Trials(state), journal, number).as_json()


def show(answer: dict[str, Any], unread: str | None, *, as_json: bool) -> bool:
    """Print what was restored, and ``unread``; returns False if something was not restored."""
    problems = [*answer["problems"], *filter(None, [unread])]
    if as_json:
        print(dumps(answer))
    elif not answer["restored"] and not problems:
        print("nothing to undo")
    else:
        for undone in answer["restored"]:
            say(undone["message"])
    for problem in problems:
        complain(problem)
    return not answer["problems"]


def _list(journal: Journal, *, as_json: bool) -> int:
    entries = journal.entries()
    if journal.unread is not None:
        complain(journal.unread)
    if as_json:
        print(dumps([report.entry(each) for each in entries]))
        return 0
    if not entries and journal.unread is None:
        print("specd has written nothing yet")
    for entry in entries:
        undone = " (undone)" if entry.state == "restored" else ""
        when = entry.time[:19].replace("T", " ")
        what = f"{when} {short(str(entry.path))}{undone}"
        print(f"{entry.id:>5}  {wrap(what, width(), ' ' * 7)}")
        for change in entry.changes:
            print(f"       {wrap(describe(change), width(), ' ' * 9)}")
    return 0

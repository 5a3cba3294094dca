"""``specd pause``: the daemon watches and reports, but writes nothing, until ``specd resume``."""

from __future__ import annotations

import argparse

from specd.cli import ask
from specd.cli.parser import Parser

parser = Parser(
    prog="specd pause",
    description="Let the running daemon write nothing until `specd resume`.",
    examples=("specd pause",),
    exit_codes={0: "done", 3: "specd is not running"},
)


def run(_: argparse.Namespace) -> int:
    """Order it."""
    return order("/v1/pause", "paused; `specd resume` goes on")


def order(path: str, done: str) -> int:
    """Send one order without arguments, and print ``done``."""
    ask.ask("POST", path, timeout=60)
    print(done)
    return 0

"""``specd resume``: let a paused daemon write again."""

from __future__ import annotations

import argparse

from specd.cli.change.pause import order
from specd.cli.parser import Parser

parser = Parser(
    prog="specd resume",
    description="Let a paused daemon write again, starting with a look.",
    examples=("specd resume",),
    exit_codes={0: "done", 3: "specd is not running"},
)


def run(_: argparse.Namespace) -> int:
    """Order it."""
    return order("/v1/resume", "resumed")

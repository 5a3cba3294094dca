"""``specd man``: the manual page, made from the parsers (argparse-manpage)."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from argparse_manpage.manpage import Manpage

from specd import __version__
from specd.cli import complete
from specd.cli.commands import COMMANDS
from specd.cli.paint import complain
from specd.cli.parser import Parser

DESCRIPTION = (
    "specd keeps the settings with which LM Studio decodes speculatively, as specd.toml asks for "
    "them: when LM Studio forgets one, specd writes it back. It configures no draft model before "
    "it has compared the draft's tokens with the main model's one by one, and measures whether a "
    "draft is faster here. Every write can be undone. `specd install` sets it up; `specd status` "
    "shows how things stand."
)

parser = Parser(
    prog="specd man",
    description="Show the manual page; printed as troff where standard output is no terminal.",
    examples=("specd man", "specd man > ~/.local/share/man/man1/specd.1"),
    exit_codes={0: "shown", 1: "there is no man"},
)


def run(_args: argparse.Namespace) -> int:
    """Show it in the pager, or print it."""
    if not sys.stdout.isatty():
        print(page(), end="")
        return 0
    with tempfile.NamedTemporaryFile("w", prefix="specd-", suffix=".1", encoding="utf-8") as file:
        file.write(page())
        file.flush()
        try:
            return subprocess.run(["man", file.name], check=False).returncode
        except FileNotFoundError:
            complain("`man` is not installed; see `specd --help`")
            return 1


def page() -> str:
    """The manual page in man(7)'s macros."""
    made = complete.every(COMMANDS)
    made.description = DESCRIPTION
    shown = Manpage(made)
    shown.description = "keep speculative decoding in LM Studio applied, proven and measured"
    shown.date = ""
    shown.source, shown.manual = f"specd {__version__}", "User Commands"
    end = Path(__file__).with_name("end.1").read_text(encoding="utf-8")
    return f"{str(shown).rstrip()}\n{end}"

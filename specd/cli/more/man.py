"""``specd man``: the manual page, made from the parsers (argparse-manpage)."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping

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

FILES = {
    "~/.config/specd/specd.toml, on macOS ~/Library/Application Support/specd/specd.toml": (
        "the configuration; `specd config path` prints its place"
    ),
    "~/.local/state/specd/, on macOS ~/Library/Application Support/specd/": (
        "log, journal, measurements, and the socket"
    ),
    "/etc/specd/specd.toml, on macOS /Library/Application Support/specd/specd.toml": (
        "the machine-wide policy that lies under the user's configuration"
    ),
    "~/.config/systemd/user/specd.service, on macOS ~/Library/LaunchAgents/local.specd.plist": (
        "what starts specd at login; `specd install` writes it"
    ),
}

ENVIRONMENT = {
    "SPECD_CONFIG": "the configuration file, instead of the platform's usual place",
    "SPECD_STATE_DIR": "the directory of everything specd keeps: socket, log, journal, history",
    "SPECD_MANAGED_CONFIG": "the machine-wide policy that lies under the user's configuration",
    "LMSTUDIO_HOME": "LM Studio's home, instead of where LM Studio itself looks",
    "LM_API_TOKEN": "the token of LM Studio's server, where it wants one (token_env names another)",
    "NO_COLOR": "no colour, whatever the terminal",
}

EXIT_CODES = {
    "0": "done, or all is well",
    "1": "a condition is false, or something could not be done",
    "2": "bad input: an argument, a model's name, or specd.toml",
    "3": "specd is not running",
    "4": "the daemon hangs",
    "5": "the daemon is of another version",
    "6": "the socket belongs to another user",
    "74": "standard output cannot be written",
    "130": "interrupted",
    "141": "whoever read standard output has left",
}


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
            complain("there is no man here; `specd --help` says much of it")
            return 1


def page() -> str:
    """The manual page in man(7)'s macros."""
    made = complete.every(COMMANDS)
    made.description = DESCRIPTION
    shown = Manpage(made)
    shown.description = "keep speculative decoding in LM Studio applied, proven and measured"
    shown.date = ""
    shown.source, shown.manual = f"specd {__version__}", "User Commands"
    for heading, listed in (
        ("FILES", FILES),
        ("ENVIRONMENT", ENVIRONMENT),
        ("EXIT STATUS", EXIT_CODES),
    ):
        shown.add_section(heading, ">", _listed(listed))
    return str(shown)


def _listed(rows: Mapping[str, str]) -> str:
    return "\n".join(f".TP\n.B {_text(name)}\n{_text(about)}" for name, about in rows.items())


def _text(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")

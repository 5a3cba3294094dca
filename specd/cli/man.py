"""``specd man``: the manual page, made from the commands' own help."""

from __future__ import annotations

import argparse
import re

from specd import __version__
from specd.cli.commands import COMMANDS

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


def parser() -> argparse.ArgumentParser:
    """The arguments of ``specd man``."""
    return argparse.ArgumentParser(
        prog="specd man",
        description="Print the manual page.",
        epilog="examples: specd man | man -l -; specd man > ~/.local/share/man/man1/specd.1; "
        "exit code: 0 printed",
    )


def run(_args: argparse.Namespace) -> int:
    """Print it, as troff."""
    print(page(), end="")
    return 0


def page() -> str:
    """The manual page in man(7)'s macros."""
    lines = [
        f'.TH SPECD 1 "" "specd {__version__}" "User Commands"',
        ".SH NAME",
        "specd \\- keep speculative decoding in LM Studio applied, proven and measured",
        ".SH SYNOPSIS",
        ".B specd",
        ".I command",
        ".RI [ arguments ]",
        ".SH COMMANDS",
    ]
    for load in COMMANDS.values():
        lines += _command(load().parser())
    lines.append(".SH ENVIRONMENT")
    for name, about in ENVIRONMENT.items():
        lines += [".TP", f".B {_text(name)}", _text(about)]
    lines.append(".SH EXIT STATUS")
    for code, about in EXIT_CODES.items():
        lines += [".TP", f".B {code}", _text(about)]
    return "\n".join(lines) + "\n"


def _command(made: argparse.ArgumentParser) -> list[str]:
    usage = re.sub(r"\s+", " ", made.format_usage().removeprefix("usage: ")).strip()
    lines = [f".SS {_text(made.prog)}", _text(made.description or ""), ".PP", f".B {_text(usage)}"]
    for action in made._actions:  # noqa: SLF001 - argparse offers no public way to list them
        if action.help in (None, argparse.SUPPRESS) or action.dest == "help":
            continue
        if isinstance(action.choices, dict):
            for verb, inner in action.choices.items():
                lines += [".TP", f".B {_text(verb)}", _text(_about(action, verb, inner))]
            continue
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        takes = action.nargs != 0 and action.option_strings
        value = f" {action.metavar or action.dest.upper()}" if takes else ""
        lines += [".TP", f".B {_text(name + value)}", _text(action.help or "")]
    if made.epilog:
        lines += [".PP", _text(made.epilog)]
    return lines


def _about(action: argparse.Action, verb: str, inner: argparse.ArgumentParser) -> str:
    listed = getattr(action, "_choices_actions", ())
    found = next((each.help for each in listed if each.dest == verb), None)
    return found or inner.description or ""


def _text(text: str) -> str:
    """Words as troff takes them: no control lines, no escapes but ours."""
    text = text.replace("%%", "%").replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text

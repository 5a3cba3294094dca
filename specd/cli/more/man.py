"""``specd man``: the manual page, made from the commands' own help."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping

from specd import __version__
from specd.cli import arguments
from specd.cli.commands import COMMANDS

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
        ".br",
        ".B specd",
        ".I command",
        ".B \\-\\-help",
        ".br",
        ".B specd \\-\\-version",
        ".SH DESCRIPTION",
        _text(DESCRIPTION),
        ".SH COMMANDS",
    ]
    for load in COMMANDS.values():
        lines += _command(load().parser())
    lines += _listed("FILES", FILES)
    lines += _listed("ENVIRONMENT", ENVIRONMENT)
    lines += _listed("EXIT STATUS", EXIT_CODES)
    return "\n".join(lines) + "\n"


def _listed(heading: str, told: Mapping[str, str]) -> list[str]:
    lines = [f".SH {heading}"]
    for name, about in told.items():
        lines += [".TP", f".B {_text(name)}", _text(about)]
    return lines


def _command(made: argparse.ArgumentParser) -> list[str]:
    lines = [f".SS {_text(made.prog)}", _text(made.description or ""), ".PP", _usage(made)]
    for action in made._actions:  # noqa: SLF001 - argparse offers no public way to list them
        if isinstance(action.choices, dict):
            for verb, inner in action.choices.items():
                lines += [".TP", _usage(inner), _text(_about(action, verb, inner))]
                told = [line for each in inner._actions for line in _argument(each)]  # noqa: SLF001
                lines += [".RS", *told, ".RE"] if told else []
        else:
            lines += _argument(action)
    for heading, items in arguments.sections(made.epilog or ""):
        lines += [".PP", _text(f"{heading.capitalize()}:")]
        lines += [f".br\n{_text(f'  {item}')}" for item in items]
    return lines


def _usage(made: argparse.ArgumentParser) -> str:
    usage = re.sub(r"\s+", " ", made.format_usage().removeprefix("usage: ")).strip()
    return f".B {_text(usage.replace(' [-h]', '', 1))}"


def _argument(action: argparse.Action) -> list[str]:
    if action.help in (None, argparse.SUPPRESS) or action.dest == "help":
        return []
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    takes = action.nargs != 0 and action.option_strings
    value = f" {action.metavar or action.dest.upper()}" if takes else ""
    return [".TP", f".B {_text(name + value)}", _text(action.help or "")]


def _about(action: argparse.Action, verb: str, inner: argparse.ArgumentParser) -> str:
    listed = getattr(action, "_choices_actions", ())
    found = next((each.help for each in listed if each.dest == verb), None)
    return found or inner.description or ""


def _text(text: str) -> str:
    """Words as troff takes them: no control lines, no escapes but ours."""
    text = text.replace("%%", "%").replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text

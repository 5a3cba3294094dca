"""``specd completion SHELL``: a script with which a shell asks specd (argcomplete)."""

from __future__ import annotations

import argparse

from argcomplete.shell_integration import shellcode

from specd.cli.parser import Parser

SHELLS = ("bash", "zsh", "fish")


parser = Parser(
    prog="specd completion",
    description="Print a script that lets a shell complete commands, options, models, keys of "
    "specd.toml and conditions.",
    examples=(
        "specd completion bash > ~/.local/share/bash-completion/completions/specd",
        "specd completion zsh > ~/.zfunc/_specd (with ~/.zfunc in fpath)",
        "specd completion fish > ~/.config/fish/completions/specd.fish",
    ),
    exit_codes={0: "printed", 2: "bad input"},
)
parser.add_argument("shell", choices=SHELLS)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    print(shellcode(["specd"], shell=args.shell))
    return 0

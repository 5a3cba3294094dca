"""``specd completion SHELL``: completions made from the commands' own parsers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from specd.cli.commands import COMMANDS

HEADER = "# specd's completions for {}; made by `specd completion`"


@dataclass(frozen=True, slots=True)
class _Word:
    """A command, or one of a command's flags or verbs."""

    text: str
    about: str
    choices: tuple[str, ...] = ()
    takes: str = ""


def parser() -> argparse.ArgumentParser:
    """The arguments of ``specd completion``."""
    made = argparse.ArgumentParser(
        prog="specd completion",
        description="Print a script that lets a shell complete specd's commands and flags.",
        epilog="examples: "
        "specd completion bash > ~/.local/share/bash-completion/completions/specd; "
        "specd completion zsh > ~/.zfunc/_specd (with ~/.zfunc in fpath); "
        "specd completion fish > ~/.config/fish/completions/specd.fish; "
        "exit code: 0 printed, 2 bad input",
    )
    made.add_argument("shell", choices=tuple(SHELLS), metavar="{bash,zsh,fish}")
    return made


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    print(SHELLS[args.shell](_commands()), end="")
    return 0


def _commands() -> dict[_Word, tuple[_Word, ...]]:
    found: dict[_Word, tuple[_Word, ...]] = {}
    for name, load in COMMANDS.items():
        made = load().parser()
        about = (made.description or "").split(". ")[0].split(": ")[0].rstrip(".")
        found[_Word(name, about)] = tuple(_words(made))
    return found


def _words(made: argparse.ArgumentParser) -> Iterator[_Word]:
    for action in made._actions:  # noqa: SLF001 - argparse offers no public way to list them
        about = "" if action.help in (None, argparse.SUPPRESS) else (action.help or "")
        choices = tuple(str(each) for each in action.choices or ())
        takes = "" if action.nargs == 0 else _takes(action)
        for flag in action.option_strings:
            yield _Word(flag, about, choices, takes)
        if not action.option_strings:
            for choice in choices:
                yield _Word(choice, "")


def _takes(action: argparse.Action) -> str:
    return "file" if action.metavar in ("FILE", "DIR") else "word"


def _bash(commands: dict[_Word, tuple[_Word, ...]]) -> str:
    cases = []
    for command, words in commands.items():
        cases.append(f"    {command.text}) words='{' '.join(word.text for word in words)}' ;;")
    values = {
        (command.text, word.text): word.choices
        for command, words in commands.items()
        for word in words
        if word.choices and word.text.startswith("-")
    }
    chosen = [
        f"    {name}\\ {flag}) words='{' '.join(choices)}' ;;"
        for (name, flag), choices in values.items()
    ]
    files = sorted({w.text for words in commands.values() for w in words if w.takes == "file"})
    names = " ".join(command.text for command in commands)
    return f"""{HEADER.format("bash")}
_specd() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{names} --help --version' -- "$current"))
    return
  fi
  case "$previous" in
    {"|".join(files)}) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  case "${{COMP_WORDS[1]}} $previous" in
{chr(10).join(chosen)}
  esac
  [ -n "$words" ] || case "${{COMP_WORDS[1]}}" in
{chr(10).join(cases)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _specd specd
"""


def _zsh(commands: dict[_Word, tuple[_Word, ...]]) -> str:
    listed = "\n".join(f"    {_zsh_word(command)}" for command in commands)
    cases = []
    for command, words in commands.items():
        flags = " ".join(_zsh_flag(word) for word in words if word.text.startswith("-"))
        verbs = " ".join(word.text for word in words if not word.text.startswith("-"))
        rest = f" '1:what:({verbs})'" if verbs else " '*:argument:_files'"
        cases.append(f"    {command.text}) _arguments {flags}{rest} ;;")
    return f"""#compdef specd
{HEADER.format("zsh")}
_specd() {{
  local -a commands
  commands=(
{listed}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
{chr(10).join(cases)}
  esac
}}
if [ "$funcstack[1]" = _specd ]; then _specd "$@"; else compdef _specd specd; fi
"""


def _zsh_word(word: _Word) -> str:
    return _quoted(f"{word.text}:{word.about}")


def _zsh_flag(word: _Word) -> str:
    about = word.about.replace("[", "(").replace("]", ")").replace(":", "")
    spec = f"{word.text}[{about}]"
    if word.choices:
        spec += f":value:({' '.join(word.choices)})"
    elif word.takes:
        spec += ":file:_files" if word.takes == "file" else ":value:"
    return _quoted(spec)


def _fish(commands: dict[_Word, tuple[_Word, ...]]) -> str:
    lines = [HEADER.format("fish"), "complete -c specd -f"]
    for command, words in commands.items():
        lines.append(
            f"complete -c specd -n __fish_use_subcommand -a {command.text} "
            f"-d {_quoted(command.about)}"
        )
        seen = f"-n '__fish_seen_subcommand_from {command.text}'"
        for word in words:
            about = f" -d {_quoted(word.about)}" if word.about else ""
            if word.text.startswith("--"):
                value = f" -x -a '{' '.join(word.choices)}'" if word.choices else ""
                value = value or {"file": " -r -F", "word": " -x", "": ""}[word.takes]
                lines.append(f"complete -c specd {seen} -l {word.text[2:]}{value}{about}")
            elif word.text.startswith("-"):
                lines.append(f"complete -c specd {seen} -s {word.text[1:]}{about}")
            else:
                lines.append(f"complete -c specd {seen} -a {word.text}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "\u2019") + "'"


SHELLS: dict[str, Callable[[dict[_Word, tuple[_Word, ...]]], str]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}

"""The parser of every command: help that people can read, and the nearest word for a wrong one."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from specd.cli.paint import say, width

NO_ANSWER = {
    4: "the daemon hangs",
    5: "it is of another version",
    6: "its socket is another user's",
}
"""Exit codes of a command that got no answer from the daemon."""


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose help ends with ``examples`` and ``exit_codes``, one per line."""

    def __init__(
        self,
        *,
        examples: Sequence[str] = (),
        exit_codes: Mapping[int, str] | None = None,
        **options: Any,
    ) -> None:
        lines = ["examples:", *(f"  {each}" for each in examples)] if examples else []
        if exit_codes:
            lines += ["", "exit code:", *(f"  {n}  {what}" for n, what in exit_codes.items())]
        options.setdefault("formatter_class", _Lines)
        super().__init__(epilog="\n".join(lines), **options)

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """The parsed arguments; exit code 2 with the nearest option where one is unknown."""
        try:  # words may stand behind options, as in `trial start --yes MAIN`
            found, unknown = self.parse_known_intermixed_args(words)
        except TypeError:  # argparse cannot where there are verbs, or words that exclude each other
            found, unknown = self.parse_known_args(words)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._nearest(unknown[0])}")
        return found

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        say(f"{self.prog}: {message}", sys.stderr)
        say(f"`{self.prog} --help` explains its arguments", sys.stderr)
        raise SystemExit(2)

    def _nearest(self, word: str) -> str:
        import difflib  # noqa: PLC0415 - nothing is wrong, as a rule

        flags = [flag for parser in inner(self) for flag in parser._option_string_actions]  # noqa: SLF001 - argparse offers no public way to list them
        near = difflib.get_close_matches(word.partition("=")[0], flags, n=1, cutoff=0.6)
        return f"; did you mean {near[0]}?" if word.startswith("-") and near else ""


class Bare(NamedTuple):
    """A command without arguments; ``act`` carries it out and returns the exit code."""

    name: str
    about: str
    exit_codes: Mapping[int, str]
    act: Callable[[], int]

    @property
    def parser(self) -> Parser:
        """Its help."""
        name = f"specd {self.name}"
        return Parser(
            prog=name, description=self.about, examples=(name,), exit_codes=self.exit_codes
        )

    def run(self, _: argparse.Namespace) -> int:
        """Do it."""
        return self.act()


def number(word: str) -> int:
    """A whole number of up to 18 digits (SQLite holds no more), for ``type=``."""
    if not word.isdecimal() or len(word) > 18:
        raise argparse.ArgumentTypeError(f"must be a number of up to 18 digits, not {word!r}")
    return int(word)


def between(least: float, most: float) -> Callable[[str], float]:
    """A number from ``least`` to ``most``, for ``type=``."""

    def read(word: str) -> float:
        with contextlib.suppress(ValueError):
            if least <= float(word) <= most:
                return float(word)
        raise argparse.ArgumentTypeError(f"must be from {least:g} to {most:g}, not {word}")

    return read


def inner(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parser, and those of its verbs."""
    found = [parser]
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action.choices, dict):
            found += [each for verb in action.choices.values() for each in inner(verb)]
    return found


class _Lines(argparse.HelpFormatter):
    """Wraps every line of a text separately, so that line breaks stay."""

    def __init__(self, prog: str) -> None:
        # Without a width argparse imports shutil, which costs `specd status` 5 % of its time.
        super().__init__(prog, width=width() - 2)

    def _format_usage(self, *parts: Any) -> str:
        usage = super()._format_usage(*parts)
        if max(map(len, usage.split("\n"))) <= self._width:
            return usage
        line = f"  {' '.join(usage.split())}"
        return f"{self._fill_text(line, self._width, '').strip()}\n\n"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        import textwrap  # noqa: PLC0415 - only help needs it, and `specd status` starts fast

        return "\n".join(
            textwrap.fill(
                line,
                width,
                initial_indent=indent,
                subsequent_indent=f"{indent}    " if line.startswith("  ") else indent,
                break_on_hyphens=False,
                break_long_words=False,
            )
            for line in text.split("\n")
        )

"""The exception for a specd.toml that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """One error: the line (from 1) or None, the dotted key or "", and the message."""

    line: int | None
    key: str
    message: str


class ConfigError(Exception):
    """A configuration that cannot be used; ``problems`` lists all errors of ``path``."""

    def __init__(self, path: Path, problems: tuple[Problem, ...]) -> None:
        super().__init__(path, problems)
        self.path = path
        self.problems = problems

    def lines(self) -> list[str]:
        """One line per problem: ``file:line: key: message``."""
        return [
            ": ".join(
                part
                for part in (
                    f"{self.path}:{problem.line}" if problem.line else str(self.path),
                    problem.key,
                    problem.message,
                )
                if part
            )
            for problem in self.problems
        ]

    def __str__(self) -> str:
        return "; ".join(self.lines())

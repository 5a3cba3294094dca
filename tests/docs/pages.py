"""The documents, and what they show of the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "launchd" / "README.md")


@dataclass(frozen=True)
class Shown:
    """A command as a page shows it, and where."""

    page: Path
    line: int
    command: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line} {self.command}"


def blocks(*kinds: str) -> list[Shown]:
    """Every line of the fenced blocks of these kinds, in reading order."""
    found: list[Shown] = []
    for page in PAGES:
        kind: str | None = None
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("```"):
                kind = None if kind is not None else line[3:].strip()
            elif kind in kinds and line.strip():
                found.append(Shown(page, number, line.strip()))
    return found


def inline() -> list[Shown]:
    """Every command of specd's between backticks, outside fenced blocks."""
    found: list[Shown] = []
    for page in PAGES:
        text = re.sub(
            r"(?ms)^```.*?^```", lambda block: "\n" * block[0].count("\n"), page.read_text()
        )
        for match in re.finditer(r"`(specd [^`]+)`", text):
            number = text.count("\n", 0, match.start()) + 1
            found.append(Shown(page, number, " ".join(match[1].split())))
    return found

"""Telling the story as it happens: a line per step, and a record of it all for ``--json``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape

from specd.demo.daemon import NotHeldError


@dataclass(slots=True)
class Step:
    """One promise: what it was, whether it held, how long it took in seconds, and the facts."""

    name: str
    ok: bool = False
    seconds: float = 0.0
    says: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class Narrator:
    """Prints steps as they are done and remembers them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.steps: list[Step] = []

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Do one step; inside, ``says`` and ``facts`` are filled in.

        Raises:
            NotHeldError: passed on, after it is told.
        """
        step = Step(name)
        self.steps.append(step)
        began = time.perf_counter()
        try:
            with self.console.status(f"{escape(name)} …"):
                yield step
            step.ok = True
        except NotHeldError as problem:
            step.says = str(problem)
            raise
        finally:
            step.seconds = round(time.perf_counter() - began, 2)
            mark = "[green]✓[/]" if step.ok else "[red]✗[/]"
            took = f"[dim]{step.seconds:5.1f} s[/]"
            told = f"{mark} {took}  [bold]{escape(name)}[/]  {escape(step.says)}"
            self.console.print(told, soft_wrap=True)

    def note(self, text: str) -> None:
        """An indented line below the last step."""
        self.console.print(f"           {escape(text)}", soft_wrap=True)

    def show(self, text: str) -> None:
        """A screen of somebody else's, set apart."""
        self.console.print()
        for line in text.rstrip().splitlines():
            self.console.print(f"    {line}", markup=False, soft_wrap=True)
        self.console.print()

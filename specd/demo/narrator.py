"""Prints a line for each step of the demo, and keeps the steps for ``--json``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from specd.demo.daemon import NotHeldError

LEAD = 9  # columns of the mark and the seconds


@dataclass(slots=True)
class Step:
    """One promise: ``ok`` if it held, ``says``: the result in words, ``facts``: for the JSON."""

    name: str
    ok: bool = False
    seconds: float = 0.0
    says: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class Narrator:
    """Prints each step when it ends; ``steps`` holds them all."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.steps: list[Step] = []

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time and print one step; the body sets its ``says`` and ``facts``.

        Raises:
            NotHeldError: the body raised it; the step is printed as failed.
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
            self._print(f"{mark} {took}", f"[bold]{escape(name)}[/]  {escape(step.says)}")

    def note(self, text: str) -> None:
        """An indented line below the last step."""
        self._print(" " * LEAD, escape(text))

    def _print(self, lead: str, text: str) -> None:
        """Print ``lead`` and ``text``; on a terminal, indent all lines of ``text`` alike."""
        if not self.console.is_terminal:
            self.console.print(f"{lead}  {text}", soft_wrap=True)
            return
        columns = Table.grid(padding=(0, 2, 0, 0))
        columns.add_column(no_wrap=True, min_width=LEAD)
        columns.add_column()
        columns.add_row(lead, text)
        self.console.print(columns)

    def show(self, text: str) -> None:
        """The output of another program, indented."""
        self.console.print()
        for line in text.rstrip().splitlines():
            self.console.print(f"    {line}", markup=False, soft_wrap=True)
        self.console.print()

"""Telling the story as it happens: a line per step, and a record of it all for ``--json``."""

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

LEAD = 9
"""Columns of a mark and the seconds a step took."""


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
            self._tell(f"{mark} {took}", f"[bold]{escape(name)}[/]  {escape(step.says)}")

    def note(self, text: str) -> None:
        """An indented line below the last step."""
        self._tell(" " * LEAD, escape(text))

    def _tell(self, lead: str, text: str) -> None:
        """``text`` behind ``lead``; on a terminal its later lines stay behind it too."""
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

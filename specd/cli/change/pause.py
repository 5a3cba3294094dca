"""``specd pause`` and ``specd resume``: let the running daemon write nothing for a while."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from specd.cli import ask
from specd.cli.parser import Parser


@dataclass(frozen=True, slots=True)
class Order:
    """One of the two commands; ``done`` is printed at the end."""

    name: str
    about: str
    done: str

    @property
    def parser(self) -> Parser:
        """The command takes no arguments."""
        return Parser(
            prog=f"specd {self.name}",
            description=self.about,
            examples=(f"specd {self.name}",),
            exit_codes={0: "done", 3: "specd is not running"},
        )

    def run(self, _: argparse.Namespace) -> int:
        """Send the order to the daemon."""
        ask.ask("POST", f"/v1/{self.name}", timeout=60)
        print(self.done)
        return 0


ORDERS = {
    order.name: order
    for order in (
        Order(
            "pause",
            "Let the running daemon write nothing until `specd resume` or until it is restarted.",
            "paused until `specd resume` or a restart; `specd stop` lasts longer",
        ),
        Order("resume", "Let a paused daemon write again, starting with a look.", "resumed"),
    )
}

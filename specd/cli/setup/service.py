"""``specd start``, ``specd stop``, ``specd restart``: the login service, by hand."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from specd.cli import alive
from specd.cli.paint import complain, say
from specd.cli.parser import Parser
from specd.service.command import Order
from specd.service.platforms import here


@dataclass(frozen=True, slots=True)
class Verb:
    """One of the three commands; they differ in their order."""

    name: Order
    about: str

    @property
    def parser(self) -> Parser:
        """The command takes no arguments."""
        return Parser(
            prog=f"specd {self.name}",
            description=self.about,
            examples=(f"specd {self.name}",),
            exit_codes={0: "done", 1: "the service manager refused or the daemon did not answer"},
        )

    def run(self, _args: argparse.Namespace) -> int:
        """Do it, and verify that it worked."""
        platform = here()
        other = alive.started_otherwise(platform)
        if other is not None:
            complain(other)
            return 1
        ran = platform.pid() is not None
        platform.order(self.name)
        if self.name != "stop":
            return alive.report_start()
        say("stopped; `specd start` starts it" if ran else "specd was not running")
        return 0


VERBS: dict[str, Verb] = {
    "start": Verb("start", "Start the specd service."),
    "stop": Verb("stop", "Stop the specd service until it is started or you log in again."),
    "restart": Verb("restart", "Stop and start the specd service."),
}

"""``specd start``, ``specd stop``, ``specd restart``: the login service, by hand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

from specd.cli import alive
from specd.cli.parser import Parser
from specd.service.command import ServiceError
from specd.service.platforms import Platform, here


@dataclass(frozen=True, slots=True)
class Verb:
    """One of the three commands; they differ in one call."""

    name: str
    about: str
    act: Callable[[Platform], None]
    runs_after: bool

    def parser(self) -> Parser:
        """The command takes no arguments."""
        return Parser(
            prog=f"specd {self.name}",
            description=self.about,
            examples=(f"specd {self.name}",),
            exit_codes={0: "done", 1: "the service manager refused or the daemon did not answer"},
        )

    def run(self, _args: argparse.Namespace) -> int:
        """Do it, and see that it worked."""
        try:
            self.act(here())
        except ServiceError as problem:
            print(f"specd: {problem}", file=sys.stderr)
            return 1
        if not self.runs_after:
            print("stopped")
            return 0
        return alive.wait_and_tell()


START = Verb(
    "start", "Start the specd service.", lambda platform: platform.start(), runs_after=True
)
STOP = Verb(
    "stop",
    "Stop the specd service until it is started or you log in again.",
    lambda platform: platform.stop(),
    runs_after=False,
)
RESTART = Verb(
    "restart",
    "Stop and start the specd service.",
    lambda platform: platform.restart(),
    runs_after=True,
)

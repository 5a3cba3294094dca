"""``specd start``, ``specd stop``, ``specd restart``: the login service, by hand."""

from __future__ import annotations

from functools import partial

from specd.cli import alive
from specd.cli.paint import complain, say
from specd.cli.parser import Bare
from specd.service.command import Order
from specd.service.platforms import here


def _give(order: Order) -> int:
    """Give the order to the service manager, and verify that it worked."""
    platform = here()
    other = alive.started_otherwise(platform)
    if other is not None:
        complain(other)
        return 1
    ran = platform.pid() is not None
    platform.order(order)
    if order != "stop":
        return alive.report_start()
    say("stopped; `specd start` starts it" if ran else "specd was not running")
    return 0


_ABOUT: dict[Order, str] = {
    "start": "Start the specd service.",
    "stop": "Stop the specd service until it is started or you log in again.",
    "restart": "Stop and start the specd service.",
}
_EXIT_CODES = {0: "done", 1: "the service manager refused or the daemon did not answer"}

VERBS: dict[str, Bare] = {
    order: Bare(order, about, _EXIT_CODES, partial(_give, order)) for order, about in _ABOUT.items()
}

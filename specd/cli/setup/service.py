"""``specd start``, ``specd stop``, ``specd restart``: the login service, by hand."""

from __future__ import annotations

from functools import partial

from specd.cli import alive
from specd.cli.paint import complain, say
from specd.cli.parser import Bare
from specd.service.command import Order
from specd.service.platforms import Platform, here


def _give(order: Order) -> int:
    """Give the order to the service manager, and verify that it worked."""
    platform = here()
    other = alive.started_otherwise(platform)
    if order == "stop":
        return _stop(platform, other)
    if other is not None:
        complain(alive.is_at_work(other))
        return 1
    platform.order(order)
    return alive.report_start()


def _stop(platform: Platform, other: int | None) -> int:
    """Stop the service, and the process ``other`` that it has not started."""
    if other is None:
        ran = platform.pid() is not None
        platform.order("stop")
        say("stopped; `specd start` starts it" if ran else "specd was not running")
        return 0
    ended = alive.end(other)
    if platform.file().is_file():
        platform.order("stop")  # it would take the other's place
    if not ended:
        complain(
            f"process {other or 'unknown'} did not end, or is no process of yours here; "
            "one in a container is stopped in it"
        )
        return 1
    say(f"stopped process {other}")
    return 0


_ABOUT: dict[Order, str] = {
    "start": "Start the specd service.",
    "stop": "Stop specd, however it was started, until it is started or you log in again.",
    "restart": "Stop and start the specd service.",
}
_EXIT_CODES = {0: "done", 1: "the service manager refused or the daemon did not answer"}

VERBS: dict[str, Bare] = {
    order: Bare(order, about, _EXIT_CODES, partial(_give, order)) for order, about in _ABOUT.items()
}

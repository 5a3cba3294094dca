"""``specd pause`` and ``specd resume``: let the running daemon write nothing for a while."""

from __future__ import annotations

from specd.cli import ask
from specd.cli.paint import say
from specd.cli.parser import Bare

_EXIT_CODES = {0: "done", 3: "specd is not running"}


def _pause() -> int:
    ask.ask("POST", "/v1/pause", timeout=60)
    say("paused until `specd resume` or a restart; `specd stop` stops it until `specd start`")
    return 0


def _resume() -> int:
    ask.ask("POST", "/v1/resume", timeout=60)
    say("resumed")
    return 0


pause = Bare(
    "pause",
    "Let the running daemon write nothing until `specd resume` or until it is restarted.",
    _EXIT_CODES,
    _pause,
)
resume = Bare(
    "resume", "Let a paused daemon write again, starting with a look.", _EXIT_CODES, _resume
)

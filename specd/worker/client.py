"""Run one worker task to its end, from the daemon or the command line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class WorkerError(Exception):
    """The worker ended without a result; the message says why in words."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``seconds`` of wall time; ``memory_bytes`` of resident memory, None for no limit."""

    seconds: float
    memory_bytes: int | None = None


def run_task(
    task: str,
    request: dict[str, Any],
    *,
    limits: Limits,
    on_progress: Callable[[dict[str, Any]], None] = lambda _: None,
    cancelled: threading.Event | None = None,
) -> dict[str, Any]:
    """Start ``python -m specd.worker TASK``, feed it ``request``, and return its result.

    Raises:
        WorkerError: it failed, exceeded a limit, was cancelled, printed garbage, or ended without
            a result. Its whole process group is dead when this returns or raises.
    """
    raise NotImplementedError

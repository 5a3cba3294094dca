"""The daemon's state as a value, and the common arguments of its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from specd.agent.events import Say
from specd.agent.jobs import Jobs
from specd.agent.timers import Timers
from specd.config import SpecdConfig
from specd.lmstudio.home import Home
from specd.lmstudio.model import Model
from specd.reconcile.desired import DesiredPair
from specd.reconcile.facts import ServerSeen
from specd.reconcile.stores import Stores


@dataclass(frozen=True, slots=True)
class Sight:
    """The daemon's state at one moment; frozen, for any thread."""

    config: SpecdConfig
    home: Home | None
    models: tuple[Model, ...]
    pairs: tuple[DesiredPair, ...]
    server: ServerSeen | None
    engine_version: str | None
    memory_bytes: int
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """For the daemon's loop alone.

    A part calls ``learnt`` when the desired values may have changed, ``publish`` when only the
    status has.
    """

    jobs: Jobs
    stores: Stores
    timers: Timers
    look: Callable[[], Sight]
    say: Say
    learnt: Callable[[], object]
    publish: Callable[[], None]

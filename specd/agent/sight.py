"""What the daemon knows, for the work it has done beside its loop: frozen, for any thread."""

from __future__ import annotations

from dataclasses import dataclass

from specd.config import SpecdConfig
from specd.lmstudio.home import Home
from specd.lmstudio.model import Model
from specd.reconcile.desired import DesiredPair
from specd.reconcile.facts import ServerSeen


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at all of it, at the moment something is thought about."""

    config: SpecdConfig
    home: Home | None
    models: tuple[Model, ...]
    pairs: tuple[DesiredPair, ...]
    server: ServerSeen | None
    engine_version: str | None
    memory_bytes: int
    paused: bool = False

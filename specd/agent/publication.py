"""What others may see of the daemon: one immutable snapshot, and a word on what changed in it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from specd.agent import notify
from specd.agent.events import Level, Say
from specd.agent.jobs import Jobs
from specd.config import SpecdConfig
from specd.reconcile.conditions import Condition, judge
from specd.reconcile.entry import Entry
from specd.reconcile.facts import Facts
from specd.reconcile.stores import Stores

QUIET_S = 3600.0
"""A condition that turns false again and again is notified of once in so long."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the socket may show: published whole, never changed. ``writes`` are oldest first."""

    facts: Facts
    conditions: tuple[Condition, ...]
    writes: tuple[Entry, ...]


class Publication:
    """Judges facts into conditions; ``snapshot`` is the last one, None before the first."""

    def __init__(self, jobs: Jobs, stores: Stores, *, say: Say) -> None:
        self._jobs = jobs
        self._stores = stores
        self._say = say
        self._notified: dict[str, float] = {}
        self.snapshot: Snapshot | None = None

    def publish(self, facts: Facts, writes: tuple[Entry, ...], config: SpecdConfig) -> None:
        """Replace the snapshot; say, keep and notify of whichever conditions became others."""
        before = self.snapshot.conditions if self.snapshot else self._stores.last_conditions()
        now = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
        judged = judge(facts, config, before, now)
        self.snapshot = Snapshot(facts, judged, writes)
        if [(c.type, c.status) for c in judged] != [(c.type, c.status) for c in before]:
            self._stores.keep_conditions(judged)
            known = {each.type: each.status for each in before}
            for condition in judged:
                if known.get(condition.type, "unknown") != condition.status:
                    self._announce(condition, aloud=config.agent.notify)

    def _announce(self, condition: Condition, *, aloud: bool) -> None:
        level: Level = "warning" if condition.degraded else "info"
        self._say(
            level,
            f"{condition.type} is {condition.status}: {condition.message}",
            reason=condition.reason,
        )
        last = self._notified.get(condition.type, -math.inf)
        if condition.degraded and aloud and time.monotonic() - last > QUIET_S:
            self._notified[condition.type] = time.monotonic()
            title, text = f"specd: {condition.type}", f"{condition.message}: {condition.remedy}"
            self._jobs.scout(f"notify {title}", lambda: notify.desktop(title, text), lambda _: None)

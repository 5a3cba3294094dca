"""The daemon's published state: one immutable snapshot; changes are logged and notified."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from specd.agent import notify
from specd.agent.events import Level
from specd.agent.sight import Given
from specd.config import SpecdConfig
from specd.reconcile import restores
from specd.reconcile.conditions import Condition, judge
from specd.reconcile.entry import Entry
from specd.reconcile.facts import Facts
from specd.reconcile.restores import PutBack

QUIET_S = 3600.0
"""The same notification is shown once in this time."""

AT_EACH_START = ("ConfigValid", "HomeFound")
"""Logged by every start while they are false: specd can do little then."""


@dataclass(frozen=True)
class Snapshot:
    """The published state: replaced as a whole, never changed. ``writes`` are oldest first."""

    facts: Facts
    conditions: tuple[Condition, ...]
    writes: tuple[Entry, ...]

    @cached_property
    def put_back(self) -> tuple[PutBack, ...]:
        """The writes that put a value back; found on first use, as it takes milliseconds."""
        return restores.put_back(self.writes)


class Publication:
    """Judges facts into conditions; ``snapshot`` is the last one, None before the first."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._notified: dict[str, float] = {}
        self._newest = 0
        self.snapshot: Snapshot | None = None

    def publish(self, facts: Facts, writes: tuple[Entry, ...], config: SpecdConfig) -> None:
        """Replace the snapshot; log, keep and notify of the conditions that changed."""
        before = self.snapshot.conditions if self.snapshot else self._given.stores.last_conditions()
        now = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
        judged = judge(facts, config, before, now)
        first, self.snapshot = self.snapshot is None, Snapshot(facts, judged, writes)
        newest, self._newest = self._newest, writes[-1].id if writes else 0
        if config.agent.notify and self._newest > newest and not first:
            drafts = [e for e in self.snapshot.put_back if e.surface == "model-defaults"]
            if drafts and drafts[-1].id > newest:
                text = f"LM Studio had removed it from {drafts[-1].path.name}: load the model again"
                self._notify("draft", "specd put a draft back", text)
        if [(c.type, c.status) for c in judged] != [(c.type, c.status) for c in before]:
            self._given.stores.keep_conditions(judged)
        known = {each.type: each.status for each in before}
        for condition in judged:
            changed = known.get(condition.type, "unknown") != condition.status
            if changed or (first and condition.degraded and condition.type in AT_EACH_START):
                self._announce(condition, aloud=changed and config.agent.notify)

    def _announce(self, condition: Condition, *, aloud: bool) -> None:
        level: Level = "warning" if condition.degraded else "info"
        self._given.say(
            level,
            f"{condition.type} is {condition.status}: {condition.message}",
            reason=condition.reason,
        )
        if condition.degraded and aloud:
            text = f"{condition.message} → {condition.remedy}"
            self._notify(condition.type, "Something needs your attention", text)

    def _notify(self, about: str, title: str, text: str) -> None:
        """Once in ``QUIET_S`` for each ``about``."""
        if time.monotonic() - self._notified.get(about, -math.inf) > QUIET_S:
            self._notified[about] = time.monotonic()
            self._given.jobs.scout(f"notify {about}", lambda: notify.desktop(title, text))

"""How patient to be with a program that keeps undoing specd's writes (pure).

Two things must both hold. A value the app overwrote is put back at once, also the thousandth time:
an app that saves often is no enemy. And two programs must not fight over a file for ever. So every
file has a budget of immediate restores that refills slowly; within it specd answers at once, and
says ``Contended`` as soon as the same value was undone a few times in a row. With the budget spent
it backs off: 1 s, 2 s, … 5 min between writes, until a write survives.

A storm is something else: a file being written so fast that it changes while specd works on it.
Then specd waits for a short quiet spell, or for a bounded while, instead of joining in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

BUDGET = 1_200.0
"""Restores of one file that are made at once before back-off begins."""

REFILL_PER_S = 0.5
"""A writer slower than this may be answered at once for ever: that costs nobody anything."""

UNDONE_WITHIN_S = 60.0
"""A drift this soon after specd's write counts as undoing it."""

CONTENDED_AFTER = 5
"""Undone this many times in a row is no coincidence."""

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 300.0

QUIET_S = 0.010
"""How long a stormed file must be quiet before specd writes."""

STORM_AT_MOST_S = 1.0
"""How long a storm may hold off a write."""


@dataclass(frozen=True, slots=True)
class Patience:
    """What is remembered of one file. Times are seconds of a clock that never goes back."""

    budget: float = BUDGET
    counted_at: float = 0.0
    undone: int = 0
    wrote_at: float | None = None
    delay_s: float = 0.0
    not_before: float = 0.0
    storm_since: float | None = None
    settled: bool = True

    @property
    def contended(self) -> bool:
        """Whether somebody keeps undoing specd's writes to this file."""
        return self.undone >= CONTENDED_AFTER

    @property
    def backing_off(self) -> bool:
        """Whether writes are being spaced out."""
        return self.delay_s > 0


def drifted(known: Patience, now: float) -> Patience:
    """The file was found to differ from what is wanted. Seeing the same drift again counts once."""
    if not known.settled:
        return known
    undone = known.wrote_at is not None and now - known.wrote_at < max(
        UNDONE_WITHIN_S, 2 * known.delay_s
    )
    known = replace(known, settled=False, undone=known.undone + 1 if undone else 0)
    return known if undone else replace(known, delay_s=0.0, not_before=0.0)


def wait(known: Patience, now: float) -> float:
    """Seconds to wait before writing; 0.0 means now."""
    if known.storm_since is not None and now >= known.storm_since + STORM_AT_MOST_S:
        return 0.0
    return max(0.0, known.not_before - now)


def wrote(known: Patience, now: float) -> Patience:
    """Specd has written its values; the next drift will tell whether they lasted."""
    known = replace(known, wrote_at=now, settled=True, storm_since=None, not_before=0.0)
    if not known.backing_off:
        spent_since = now - known.counted_at if known.counted_at else 0.0
        budget = min(BUDGET, known.budget + spent_since * REFILL_PER_S) - 1.0
        known = replace(known, budget=budget, counted_at=now)
        if budget >= 1.0:
            return known
    # Only a write that lasts ends the back-off: a budget refilled by waiting would end it too soon.
    delay = min(LONGEST_DELAY_S, known.delay_s * 2 or FIRST_DELAY_S)
    return replace(known, delay_s=delay, not_before=now + delay)


def stormed(known: Patience, now: float) -> Patience:
    """The file changed while specd was working on it, or was caught half-written."""
    since = known.storm_since if known.storm_since is not None else now
    return replace(
        known,
        storm_since=since,
        not_before=max(known.not_before, min(now + QUIET_S, since + STORM_AT_MOST_S)),
    )


def suspected_until(known: Patience) -> float | None:
    """When a write that lasts will have outlived its suspicion; None when nothing is suspected."""
    if known.wrote_at is None or not (known.contended or known.backing_off):
        return None
    return known.wrote_at + max(UNDONE_WITHIN_S, 2 * known.delay_s)


def lasted(known: Patience, now: float) -> Patience:
    """The file holds what is wanted: forgive, once the last write has outlived its suspicion."""
    if known.wrote_at is None:
        return known
    if now - known.wrote_at < max(UNDONE_WITHIN_S, 2 * known.delay_s):
        return replace(known, settled=True, storm_since=None)
    return Patience()

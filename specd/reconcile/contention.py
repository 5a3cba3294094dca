"""How long to wait before writing a file that another program keeps changing (pure).

specd puts an overwritten value back immediately. When another program undoes five writes in a row,
each within a minute, specd reports ``Contended``, names the keys, and waits longer before each
further write: 1 s, 2 s, … 5 min, until a write lasts.

A storm is something else: a program writes the file so fast that it changes while specd works on
it. Then specd waits until the file is quiet for a moment. If a storm does not end, specd backs off
as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

UNDONE_WITHIN_S = 60.0
"""A drift this soon after specd's write counts as undoing it."""

CONTENDED_AFTER = 5
"""This many writes undone in a row count as contention."""

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 300.0

QUIET_S = 0.010
"""How long a file in a storm must be quiet before specd writes."""

STORM_AT_MOST_S = 1.0
"""A storm delays a write by at most this. After twice as long without a write, specd backs off."""

RESTED_S = 1.0
"""A storm of at least this length is over once the file rests for this long. (A program that undoes
each write rests in between.)"""


@dataclass(frozen=True, slots=True)
class Contender:
    """The processes (name and id) that may be undoing specd's writes, and what points to them."""

    processes: tuple[tuple[str, int], ...]
    sign: str

    @property
    def names(self) -> str:
        """The programs' names, for people and for a metric's label."""
        return " or ".join(dict.fromkeys(name for name, _ in self.processes))

    def __str__(self) -> str:
        named = (f"{name} (process {number})" for name, number in self.processes)
        return f"{' or '.join(named)}, {self.sign}"


@dataclass(frozen=True, slots=True)
class Patience:
    """The history of one file. Times are seconds of a monotonic clock."""

    undone: int = 0
    wrote_at: float | None = None
    delay_s: float = 0.0
    not_before: float = 0.0
    storm_since: float | None = None
    busy_since: float = -math.inf
    touched_at: float = -math.inf
    settled: bool = True
    keys: tuple[str, ...] = ()
    """The values in the last drift: their names, and why specd wants them."""

    @property
    def contended(self) -> bool:
        """Whether another program keeps undoing specd's writes to this file."""
        return self.undone >= CONTENDED_AFTER

    @property
    def backing_off(self) -> bool:
        """Whether specd waits before each write."""
        return self.delay_s > 0


def drifted(known: Patience, now: float, keys: tuple[str, ...] = ()) -> Patience:
    """The state after a drift was found; the same drift, seen again, counts once."""
    if not known.settled:
        return known
    undone = known.wrote_at is not None and now - known.wrote_at < _suspicion_s(known)
    known = replace(known, settled=False, keys=keys, undone=known.undone + 1 if undone else 0)
    return known if undone else replace(known, delay_s=0.0, not_before=0.0)


def wait(known: Patience, now: float) -> float:
    """Seconds to wait before writing; 0.0 means now."""
    if known.storm_since is not None and now >= known.storm_since + STORM_AT_MOST_S:
        return 0.0
    stormed = known.touched_at - known.busy_since >= RESTED_S
    rested = known.touched_at + RESTED_S if stormed else math.inf
    return max(0.0, min(known.not_before, rested) - now)


def touched(known: Patience, now: float) -> Patience:
    """The state after any event of the file."""
    busy = now - known.touched_at < RESTED_S
    return replace(known, touched_at=now, busy_since=known.busy_since if busy else now)


def wrote(known: Patience, now: float) -> Patience:
    """The state after specd wrote its values; the next drift shows whether they lasted."""
    known = replace(known, wrote_at=now, settled=True, storm_since=None, not_before=0.0)
    return _backed_off(known, now) if known.contended else known


def stormed(known: Patience, now: float) -> Patience:
    """The state after the file changed while specd was about to write it."""
    since = known.storm_since if known.storm_since is not None else now
    if known.backing_off or now >= since + 2 * STORM_AT_MOST_S:
        return _backed_off(replace(known, storm_since=None, undone=known.undone + 1), now)
    return replace(
        known,
        storm_since=since,
        not_before=max(known.not_before, min(now + QUIET_S, since + STORM_AT_MOST_S)),
    )


def _backed_off(known: Patience, now: float) -> Patience:
    delay = min(LONGEST_DELAY_S, known.delay_s * 2 or FIRST_DELAY_S)
    return replace(known, delay_s=delay, not_before=now + delay)


def _suspicion_s(known: Patience) -> float:
    """How long a write must last to count as accepted."""
    return max(UNDONE_WITHIN_S, 2 * known.delay_s)


def suspected_until(known: Patience) -> float | None:
    """When the last write counts as accepted if it lasts; None when no write is in doubt."""
    if known.wrote_at is None or not (known.contended or known.backing_off):
        return None
    return known.wrote_at + _suspicion_s(known)


def lasted(known: Patience, now: float) -> Patience:
    """The state while the file holds the desired values; a fresh one once they have lasted."""
    if known.wrote_at is None:
        return known
    if now - known.wrote_at < _suspicion_s(known):
        return replace(known, settled=True, storm_since=None)
    return Patience()

"""One pass: observe, plan, apply. The same function for the daemon and for ``specd apply``.

Level-triggered: a pass depends on the files' content, not on events. Run twice, the second pass
writes nothing. A pass over some paths reads only those; the state of the others stays.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from specd import config
from specd.lmstudio import model_defaults, settings
from specd.lmstudio.home import App, bionic, lm_studio
from specd.lmstudio.model import Model
from specd.lmstudio.model_defaults import DraftDefaults
from specd.lmstudio.surface import Desired, DesiredDraft, Target
from specd.lmstudio.surfaces import SURFACES
from specd.reconcile import contention, users
from specd.reconcile.apply import Applied, apply
from specd.reconcile.contention import Patience
from specd.reconcile.desired import DesiredPair
from specd.reconcile.journal import Change, Journal
from specd.reconcile.observe import FileSeen, look
from specd.reconcile.plan import Blocked, FileEdit, Plan, plan
from specd.tokenizer.engines.mlx import PARALLEL_ONE_COSTS

UNSETTLED_S = 2.0
"""A half-written or unreadable file is read again after so many seconds without an event."""

RETRY_S = 0.02
"""A write that failed (another specd writes, a full disk) is tried again after this, then after
twice as long, …"""

RETRY_AT_MOST_S = 60.0
"""… up to this. A read-only file is tried at this interval too: a remount may send no event."""


@dataclass(frozen=True, slots=True)
class DesiredState:
    """The desired state of the files under one home."""

    home: Path
    speculation: config.Speculation
    pairs: tuple[DesiredPair, ...]
    apps: tuple[App, ...] = ()

    @property
    def kept(self) -> tuple[App, ...]:
        """The apps whose files specd keeps; LM Studio itself where ``apps`` is empty."""
        return self.apps or (lm_studio(self.home),)


@dataclass(frozen=True, slots=True)
class Pass:
    """The result of one pass. ``again_in``: seconds until the ``pending`` files are due.

    ``overtaken``: the user chose another draft in LM Studio after the desired state was resolved,
    so nothing was written.
    """

    applied: tuple[Applied, ...] = ()
    changed: bool = False
    again_in: float | None = None
    overtaken: bool = False


class Reconciler:
    """Runs passes, and keeps the state between them."""

    def __init__(
        self,
        journal: Journal,
        *,
        by: str,
        heeds_held: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.journal = journal
        self._heeds_held = heeds_held
        self._by = by
        self._clock = clock
        self._seen: dict[Path, FileSeen] = {}
        self._desired: DesiredState | None = None
        self._targets: dict[Path, Target] = {}
        self._left_open: dict[Path, tuple[Model, DraftDefaults]] = {}
        self._again: dict[Path, float] = {}
        self._chosen: dict[Path, DraftDefaults] = {}
        self.blocked: dict[Path, Blocked] = {}
        self.failed: dict[Path, Applied] = {}
        self.held: dict[Path, tuple[Change, ...]] = {}
        self.patience: dict[Path, Patience] = {}

    @property
    def apps(self) -> tuple[App, ...]:
        """The apps whose files specd keeps; none before a home is known."""
        return self._desired.kept if self._desired else ()

    @property
    def paths(self) -> frozenset[Path]:
        """Every file with a desired or owned value."""
        return frozenset(self._targets)

    @property
    def pending(self) -> tuple[Path, ...]:
        """Files that differ from the desired state and are not due yet."""
        return tuple(self._again)

    def set_desired(self, desired: DesiredState | None) -> None:
        """Set the desired state; None while there is no home."""
        if desired == self._desired:
            return
        if desired is None or self._desired is None or desired.home != self._desired.home:
            self._seen.clear()
            self.patience.clear()
        self._desired = desired
        self._targets = _targets(desired, self.journal) if desired else {}
        self._left_open = _left_open(desired) if desired else {}
        for known in (self.blocked, self.failed, self.held, self.patience, self._again):
            for path in set(known) - self.paths:
                known.pop(path)

    def run(
        self, dirty: AbstractSet[Path] | None, *, force: bool = False, write: bool = True
    ) -> Pass:
        """One pass over ``dirty`` files, or all when None; ``force`` ends all waiting.

        Without ``write`` nothing is written: files that differ become ``pending``.
        """
        if self._desired is None:
            return Pass()
        if force:
            self.patience.clear()
        now = self._clock()
        if dirty is not None:
            for path in dirty & self.patience.keys():
                self.patience[path] = contention.touched(self.patience[path], now)
            dirty = dirty | {path for path, at in self._times() if at <= now}
        paths = self.paths if dirty is None else self.paths & dirty
        seen = look(self._seen, paths, dirty)
        chosen = self._chosen_since(paths)
        # Each choice stops one pass: if it is not adopted by then, the desired state counts.
        stopped = any(self._chosen.get(path) != found for path, found in chosen.items())
        self._chosen = chosen
        if stopped:
            self._again.update(dict.fromkeys(chosen, now + RETRY_S))
            return Pass(again_in=RETRY_S, overtaken=True)
        made = self.plan(seen)
        before = (dict(self.blocked), dict(self.held), set(self._again), dict(self.failed))
        self._remember(paths, made, now)
        if not write:
            self._again.update((edit.path, math.inf) for edit in made.edits)
        due = [edit for edit in made.edits if write and self._is_due(edit, now)]
        applied = apply(due, self.journal, by=self._by)
        if write and (made.freed or self.journal.owes):
            self.journal.hand_over(freed=made.freed)
        for each in applied:
            self._learn(each, self._clock())
        after = (self.blocked, self.held, set(self._again), self.failed)
        return Pass(
            applied=applied,
            changed=bool(applied) or before != after,
            again_in=self._next(self._clock()),
        )

    def plan(self, seen: Mapping[Path, FileSeen] | None = None) -> Plan:
        """The plan for the files as ``seen``, by default as they are now."""
        if seen is None:
            seen = look(self._seen, self.paths, None)
        held = self.journal.held() if self._heeds_held else frozenset()
        targets = [self._targets[path] for path in sorted(seen)]
        return plan(targets, seen, self.journal.owned, held)

    def _chosen_since(self, paths: AbstractSet[Path]) -> dict[Path, DraftDefaults]:
        """What the user chose in LM Studio since the desired state was resolved, by file."""
        return {
            path: found
            for path in paths & self._left_open.keys()
            for main, resolved in (self._left_open[path],)
            if (found := users.drafting(main, self.apps, self.journal, self._seen)) != resolved
        }

    def _remember(self, paths: Iterable[Path], made: Plan, now: float) -> None:
        held: dict[Path, tuple[Change, ...]] = {}
        for path, change in made.held:
            held[path] = (*held.get(path, ()), change)
        for path in paths:
            self.blocked.pop(path, None)
            self._again.pop(path, None)
            if _keys(held.get(path)) != _keys(self.held.pop(path, None)):
                self.patience.pop(path, None)  # the user restored a value: that ends a fight
        self.held |= held
        for blocked in made.blocked:
            self.blocked[blocked.path] = blocked
            if blocked.unsettled:
                self._again[blocked.path] = now + UNSETTLED_S
        drifted = {
            edit.path: tuple(f"{each.key} ({each.why})" for each in edit.changes)
            for edit in made.edits
        }
        for path in paths:
            if path not in drifted and path not in self.blocked:
                self.failed.pop(path, None)
                if path in self.patience:
                    self.patience[path] = contention.lasted(self.patience[path], now)
        for path, keys in drifted.items():
            patience = self.patience.get(path, Patience())
            self.patience[path] = contention.drifted(patience, now, keys)

    def _is_due(self, edit: FileEdit, now: float) -> bool:
        wait = contention.wait(self.patience[edit.path], now)
        if wait > 0:
            self._again[edit.path] = now + wait
        return wait <= 0

    def _learn(self, applied: Applied, now: float) -> None:
        path = applied.edit.path
        if applied.problem is None:
            self.failed.pop(path, None)
        if applied.journal_id is not None:
            self.patience[path] = contention.wrote(self.patience[path], now)
        elif applied.conflict:
            self.patience[path] = contention.stormed(self.patience[path], now)
            self._again[path] = now + max(
                contention.QUIET_S, contention.wait(self.patience[path], now)
            )
        elif applied.problem is not None:
            known = self.failed.get(path)
            times = 1 if known is None else known.times + 1
            self.failed[path] = replace(applied, times=times)
            wait = min(RETRY_AT_MOST_S, RETRY_S * 2.0 ** min(times - 1, 20))
            self._again[path] = now + (RETRY_AT_MOST_S if applied.permanent else wait)

    def _next(self, now: float) -> float | None:
        times = [at for _, at in self._times() if at < math.inf]
        return max(0.0, min(times) - now) if times else None

    def _times(self) -> Iterator[tuple[Path, float]]:
        """Each file to read again without an event, and when."""
        yield from self._again.items()
        for path, known in self.patience.items():
            until = contention.suspected_until(known)
            if until is not None and path not in self._again:
                yield path, until


def _keys(changes: Iterable[Change] | None) -> set[str]:
    return {change.key for change in changes or ()}


def _targets(state: DesiredState, journal: Journal) -> dict[Path, Target]:
    desired = Desired(
        state.home,
        state.speculation,
        tuple(
            _draft(pair.main, pair)
            for pair in state.pairs
            if pair.main is not None
            and pair.state not in ("waiting", "missing")
            and pair.reason != "SameFile"
        ),
        state.kept,
    )
    targets = {target.path: target for surface in SURFACES for target in surface.targets(desired)}
    return _left_over(state, journal) | targets


def _left_over(state: DesiredState, journal: Journal) -> dict[Path, Target]:
    """The files with owned values that specd.toml is not about: settings, and a main's of no pair.

    None of mains while any main is missing.
    """
    mains = [pair.main for pair in state.pairs if pair.main is not None]
    paired = {model_defaults.file_in(app, main) for app in state.kept for main in mains}
    of_apps = {settings.path(state.home), bionic(state.home).settings}
    left: dict[Path, Target] = {}
    for path in journal.owned_files():
        within = {each.within for each in journal.owned(path).values()}
        if path in of_apps:
            why = "specd.toml leaves out the app: apps"
            left[path] = Target(settings.NAME, path, lambda *_: (), why)
        elif len(mains) == len(state.pairs) and path not in paired and state.home in within:
            why = "no [[pair]] of specd.toml is about it"
            left[path] = Target(model_defaults.NAME, path, lambda *_: (), why, state.home)
    return left


def _left_open(state: DesiredState) -> dict[Path, tuple[Model, DraftDefaults]]:
    """By file, each main whose draft specd.toml leaves open, and what the user had set for it."""
    return {
        model_defaults.file_in(app, pair.main): (pair.main, pair.users)
        for pair in state.pairs
        if pair.main is not None and pair.configured.draft == "auto"
        for app in state.kept
    }


def _draft(main: Model, pair: DesiredPair) -> DesiredDraft:
    if not pair.speculates:
        return DesiredDraft(main, None, why=f"nothing drafts for {main.key}: {pair.why}")
    drafts = f"{pair.draft.key} drafts" if pair.draft else "its own heads draft"
    length = pair.draft_tokens
    if pair.state == "adopted" and pair.configured.draft_tokens == "auto":
        length = None  # the user's own
    return DesiredDraft(
        main,
        pair.draft,
        length,
        mtp=pair.mtp,
        adopted=pair.state == "adopted",
        why=f"{drafts} for {main.key}",
        parallel_costs=PARALLEL_ONE_COSTS,
    )

"""The trial in real use on disk, and its effect on the pairs of specd.toml."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from specd.bench import trial
from specd.bench.observed import ObservedStore
from specd.bench.trial import Ending, Estimate, Trial
from specd.files import private
from specd.lmstudio import names
from specd.lmstudio.home import apps
from specd.lmstudio.model import Model
from specd.lmstudio.model_defaults import file_in
from specd.reconcile import restore as undo
from specd.reconcile.desired import DesiredPair, PairState
from specd.reconcile.facts import ServerSeen
from specd.reconcile.journal import Journal
from specd.reconcile.restore import Undone


class Trials:
    """The last trial, in one file of the state directory; an unreadable one counts as none."""

    def __init__(self, state: Path) -> None:
        self._path = state / "trial.json"

    def read(self) -> Trial | None:
        """The last trial, running or ended; one whose days are over counts as ended."""
        try:
            listed = private.read_json(self._path)
            kept = None if listed is None else msgspec.convert(listed, Trial)
            if kept is None or not kept.arms:
                return None
            if time.time() < kept.until:
                return kept
            return trial.stop(kept, kept.until, "time")
        except (OSError, private.Broken, msgspec.ValidationError):
            return None

    def change(self, by: Callable[[Trial | None], Trial | None]) -> Trial | None:
        """Replace the trial by the result of ``by``, while no other process changes it.

        Raises:
            OSError: it cannot be written.
        """
        with self._path.with_name("trial.json.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self.read()
            after = by(before)
            if after is not None and after != before:
                private.write(self._path, json.dumps(asdict(after)).encode())
            return after

    def end(self, why: Ending) -> None:
        """End the trial if one is running.

        Raises:
            OSError: it cannot be written.
        """
        running = self.read()
        if running is not None and running.ended is None:
            self.change(lambda before: before and trial.stop(before, time.time(), why))


def restore(kept: Trials, journal: Journal, number: int | None) -> Undone:
    """Undo as ``restore.restore``, and end a running trial.

    The values that the trial has removed from LM Studio's files are held as well.

    Raises:
        CannotRestore, SwapError: as ``restore.restore``.
        OSError: the trial's end cannot be written.
    """
    running = kept.read()
    if running is not None and running.with_draft is False:
        began = datetime.fromtimestamp(running.started, UTC)
        out = {
            (each.path, change.key)
            for each in journal.entries()
            if datetime.fromisoformat(each.time) >= began
            for change in each.changes
            if change.key not in journal.owned(each.path)
        }
        failed = journal.hand_over(held=out)
        if failed is not None:
            raise failed
    kept.end("restored")
    return undo.restore(journal, number)


def applied(pairs: Sequence[DesiredPair], running: Trial | None) -> tuple[DesiredPair, ...]:
    """The pairs; the trial's pair with or without its draft, as drawn for the next load."""
    if running is None or running.with_draft is None:
        return tuple(pairs)
    how = "with" if running.with_draft else "without"
    why = f"a trial runs this load {how} the draft; `specd trial` shows how far it is"
    state: PairState = "wanted" if running.with_draft else "withdrawn"
    return tuple(
        replace(pair, state=state, reason="InTrial", why=why)
        if _is_its_pair(pair, running)
        else pair
        for pair in pairs
    )


def _is_its_pair(pair: DesiredPair, running: Trial) -> bool:
    return (
        pair.state == "wanted"
        and pair.main is not None
        and (pair.main.key, pair.drafts_with) == (running.main, running.draft)
    )


def loaded(running: Trial, installed: Sequence[Model], server: ServerSeen | None) -> bool | None:
    """Whether the trial's main is in the server's memory; None where that cannot be seen."""
    main = next((each for each in installed if each.key == running.main), None)
    if main is None or server is None or server.problem is not None:
        return None
    served = server.served(main, installed)
    return None if served is None else served.loaded


def estimate(running: Trial, installed: Sequence[Model], observed: ObservedStore) -> Estimate:
    """The estimate from the user's answers since the trial's start."""

    def is_main(name: str) -> bool:
        model = names.lookup(name, installed)
        return model is not None and model.key == running.main

    answers = observed.answers_since(running.started)
    return trial.estimate(running, [figures for main, figures in answers if is_main(main)])


def _is_there(pair: DesiredPair, running: Trial) -> bool:
    """Whether specd configures the trial's pair, or will once its tokenizers are compared."""
    return (
        pair.main is not None
        and pair.main.key == running.main
        and pair.drafts_with in (None, running.draft)
        and (pair.state in ("wanted", "waiting") or pair.reason == "InTrial")
    )


def look(
    trials: Trials,
    pairs: Sequence[DesiredPair],
    installed: Sequence[Model],
    server: ServerSeen | None,
    observed: ObservedStore,
    home: Path,
    stuck: Collection[Path],
) -> bool:
    """Continue a running trial; returns whether its main should have no draft now.

    ``stuck``: files in ``home`` that cannot be written. While the main's is one of them, the trial
    waits.

    Raises:
        OSError: the trial cannot be written.
    """
    running = trials.read()
    if running is None or running.ended is not None:
        return False
    now = time.time()
    seen = loaded(running, installed, server)
    main = next((each for each in installed if each.key == running.main), None)
    if main is not None and any(file_in(app, main) in stuck for app in apps(home)):
        return running.with_draft is False
    found = estimate(running, installed, observed)

    def go_on(before: Trial | None) -> Trial | None:
        if before is None:
            return None
        if not any(_is_there(pair, running) for pair in pairs):
            return trial.stop(before, now, "gone")
        return trial.judged(trial.step(before, loaded=seen, now=now), found, now)

    after = trials.change(go_on)
    return after is not None and after.with_draft is False

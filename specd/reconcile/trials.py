"""The trial in real use as it stands on disk, and what it makes of the pairs of specd.toml."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import msgspec

from specd.bench import trial
from specd.bench.observed import ObservedStore
from specd.bench.trial import Estimate, Trial
from specd.files import private
from specd.lmstudio import names
from specd.lmstudio.model import Model
from specd.reconcile.desired import DesiredPair
from specd.reconcile.facts import ServerSeen


class Trials:
    """The last trial, in one file of the state directory; an unreadable one counts as none."""

    def __init__(self, state: Path) -> None:
        self._path = state / "trial.json"

    def read(self) -> Trial | None:
        """The last trial, which may have ended."""
        try:
            told = private.read_json(self._path)
            return None if told is None else msgspec.convert(told, Trial)
        except (OSError, private.Broken, msgspec.ValidationError):
            return None

    def change(self, by: Callable[[Trial | None], Trial | None]) -> Trial | None:
        """Keep what ``by`` makes of the trial, while no other process changes it.

        Raises:
            OSError: it cannot be written.
        """
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self.read()
            after = by(before)
            if after is not None and after != before:
                private.write(self._path, json.dumps(asdict(after)).encode())
            return after


def applied(pairs: Sequence[DesiredPair], running: Trial | None) -> tuple[DesiredPair, ...]:
    """The pairs, the trial's without its draft where that was drawn for the next load."""
    return tuple(
        replace(
            pair,
            state="withdrawn",
            reason="InTrial",
            why="the trial has this load without the draft; `specd trial` shows how far it is",
        )
        if running is not None and running.with_draft is False and _is_its_pair(pair, running)
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
    key = names.served_as(main, [each.key for each in server.models], installed)
    served = next((each for each in server.models if each.key == key), None)
    return None if served is None else served.loaded


def estimate(running: Trial, installed: Sequence[Model], observed: ObservedStore) -> Estimate:
    """What the user's answers since its start say."""
    meant: dict[str, bool] = {}

    def is_main(name: str) -> bool:
        if name not in meant:
            try:
                meant[name] = names.resolve(name, installed).key == running.main
            except names.NameProblem:
                meant[name] = False
        return meant[name]

    answers = observed.answers_since(running.started)
    return trial.estimate(running, [figures for main, figures in answers if is_main(main)])


def look(
    trials: Trials,
    installed: Sequence[Model],
    server: ServerSeen | None,
    observed: ObservedStore,
) -> bool:
    """Go on with a running trial; whether that changed what the main's file is to hold.

    Raises:
        OSError: it cannot be kept.
    """
    running = trials.read()
    if running is None or running.ended is not None:
        return False
    now = time.time()
    seen = loaded(running, installed, server)
    found = estimate(running, installed, observed)

    def go_on(before: Trial | None) -> Trial | None:
        if before is None:
            return None
        return trial.judged(trial.step(before, loaded=seen, now=now), found, now)

    after = trials.change(go_on)
    return after is not None and after.with_draft != running.with_draft

"""The daemon's proofs: when which tokenizers are compared, and which pairs an engine proves.

Workers do both. Their results come back to the daemon's loop, on which everything here runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from specd.agent.events import Level
from specd.agent.sight import Given
from specd.bench import preconditions
from specd.lmstudio.model import Model
from specd.reconcile.stores import COMPARING, proof_limits

PROVE_AGAIN_S = 24 * 3600.0
"""A proof that failed, or was partial for want of memory, is tried again after this."""


class Proofs:
    """See the module's docstring."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._compared: set[tuple[str, str]] = set()
        self._tried: set[str] = set()

    def compare_again(self) -> None:
        """Allow pairs without a verdict to be compared again."""
        self._compared.clear()

    def forget(self) -> None:
        """Allow every comparison and proof again, since the models have changed."""
        self._compared.clear()
        self._given.timers.clear(*self._tried)
        self._tried.clear()

    # -- tokenizers ---------------------------------------------------------------------------

    def compare(self) -> None:
        """Have a worker compare the tokenizers of desired pairs without a verdict."""
        fresh = [
            (pair.main, draft)
            for pair in self._given.look().pairs
            if pair.main is not None
            for draft in pair.undecided
            if (pair.main.identifier, draft.identifier) not in self._compared
        ]
        if not fresh or self._given.jobs.running("verdicts"):
            return
        self._compared.update((main.identifier, draft.identifier) for main, draft in fresh)
        self._given.say("info", "comparing tokenizers", pairs=len(fresh))
        self._given.jobs.worker(
            "verdicts",
            self._given.stores.verdict_request(fresh),
            limits=COMPARING,
            then=lambda _: self._learn_verdicts(fresh),
            failed=lambda why: self._given.say(
                "error", f"the tokenizers could not be compared: {why}"
            ),
        )

    def _learn_verdicts(self, compared: Sequence[tuple[Model, Model]]) -> None:
        for main, draft in compared:
            verdict = self._given.stores.verdicts.lookup(main, draft)
            if verdict is not None:
                message = f"{main.key} ← {draft.key}: {verdict.kind}"
                self._given.say("info", message, reason=next(iter(verdict.reasons), None))
        self._given.learnt()
        self.prove()

    # -- by running the engine ----------------------------------------------------------------

    def prove(self) -> None:
        """Have the engine prove a pair that needs it, while the machine is idle."""
        sight = self._given.look()
        if sight.paused or self._given.stores.unread or self._given.jobs.running("validate"):
            return
        home = None if sight.home is None else sight.home.path
        for main, draft in self._given.stores.unproven(sight.pairs, sight.models, home):
            request = self._given.stores.proof_request(main, draft, home)
            if not self._given.timers.pending(json.dumps(request)):
                # Part of the proof needs no weights, so it does not wait for free memory.
                self._given.jobs.scout(
                    "prove",
                    lambda: preconditions.read(home, needed_bytes=0),
                    partial(self._prove, main, draft, request),
                )
                return

    def _prove(
        self, main: Model, draft: Model, request: dict[str, Any], readings: preconditions.Readings
    ) -> None:
        name = f"{main.key} ← {draft.key}"
        why = preconditions.postponed(readings, self._given.look().config.benchmark)
        if why is not None:
            self._given.say("debug", f"{name} is not proven yet: {why}")
            return
        self._tried.add(json.dumps(request))
        self._given.timers.after(json.dumps(request), PROVE_AGAIN_S)
        self._given.say("info", f"proving {name} by running its engine")
        self._given.jobs.worker(
            "validate",
            request,
            limits=proof_limits(main, draft),
            then=self._learn_proofs,
            failed=partial(self._proof_failed, main, draft, request["context"]),
        )

    def _learn_proofs(self, result: dict[str, Any]) -> None:
        for proof in result["proofs"]:
            level: Level = "error" if proof["kind"] else "info"
            self._given.say(level, f"{proof['main']} ← {proof['draft']}: {proof['words']}")
        self._given.learnt()
        self.prove()

    def _proof_failed(self, main: Model, draft: Model, context: dict[str, Any], why: str) -> None:
        self._given.say("warning", f"{main.key} ← {draft.key} could not be proven: {why}")
        self._given.stores.keep_unproven(main, draft, context, why)
        self._given.learnt()
        self.prove()

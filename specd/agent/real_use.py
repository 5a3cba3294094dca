"""The user's own answers: the figures in conversations and the server's log, never the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from specd.agent.sight import Given
from specd.lmstudio import conversations, server_log
from specd.lmstudio.home import bionic
from specd.reconcile.desired import PairName
from specd.reconcile.logged import LoggedStore
from specd.reconcile.real_use import PairUse
from specd.reconcile.stores import WORKER_MEMORY
from specd.worker.client import Limits

READING = Limits(seconds=300.0, memory_bytes=WORKER_MEMORY)

READING_SHARE = 0.8
"""The part of that time for reading conversations; the rest is for adding up."""


class RealUse:
    """``uses`` has the figures of each desired pair, by name."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self.uses: dict[PairName, PairUse] = {}

    def read(self) -> None:
        """Have a worker read the conversations that changed since the last time."""
        sight = self._given.look()
        if not sight.config.benchmark.observe_conversations or sight.home is None:
            return
        directory = conversations.directory(sight.home.path)
        self._given.jobs.worker(
            "observe",
            self._given.stores.observe_request(directory, READING.seconds * READING_SHARE),
            limits=READING,
            then=self._learn,
            failed=lambda why: self._given.say(
                "warning", f"conversations could not be read: {why}"
            ),
        )

    def read_log(self) -> None:
        """Read new lines of the apps' server logs on threads; a few megabytes at most."""
        sight = self._given.look()
        if not sight.config.benchmark.observe_conversations or sight.home is None:
            return
        home = sight.home.path
        self._read_on("server log", home, self._given.stores.logged)
        self._read_on(
            "Bionic's server log", bionic(home).internal.parent, self._given.stores.bionic_logged
        )

    def _read_on(self, name: str, root: Path, store: LoggedStore) -> None:
        place = store.place
        self._given.jobs.scout(
            name,
            lambda: server_log.read_on(root, place),
            lambda read: self._learn_from_log(name, store.add(*read)),
        )

    def look(self) -> None:
        """Read the figures of the desired pairs from the stores."""
        sight = self._given.look()
        self.uses = self._given.stores.uses(
            sight.pairs,
            sight.models,
            conversations=sight.config.benchmark.observe_conversations,
        )

    def _learn_from_log(self, name: str, new: int) -> None:
        if new:
            self._given.say("debug", f"{name} read: figures only", new_answers=new)
            self.look()
            self._given.publish()

    def _learn(self, result: dict[str, Any]) -> None:
        self._given.say(
            "info" if result["answers"] else "debug",
            "conversations read: figures only",
            files=result["files"],
            new_answers=result["answers"],
            unreadable=result["unreadable"],
        )
        self.look()
        self._given.publish()
        if not result["done"]:
            self.read()

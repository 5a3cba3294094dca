"""What real use shows: conversations and the server's log, read for figures, never for a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from specd.agent.events import Say
from specd.agent.jobs import Jobs
from specd.agent.sight import Sight
from specd.lmstudio import conversations, server_log
from specd.lmstudio.home import bionic
from specd.reconcile.logged import LoggedStore
from specd.reconcile.proving import PairUse
from specd.reconcile.stores import WORKER_MEMORY, Stores
from specd.worker.client import Limits

READING = Limits(seconds=300.0, memory_bytes=WORKER_MEMORY)

READING_SHARE = 0.8
"""Of that time, what reading conversations plans with; the rest is for adding everything up."""


class RealUse:
    """``uses`` says what is known of each wanted pair; ``learnt`` is called when it may be more."""

    def __init__(
        self,
        jobs: Jobs,
        stores: Stores,
        *,
        look: Callable[[], Sight],
        say: Say,
        learnt: Callable[[], None],
    ) -> None:
        self._jobs = jobs
        self._stores = stores
        self._look = look
        self._say = say
        self._learnt = learnt
        self.uses: dict[str, PairUse] = {}

    def read(self) -> None:
        """Have a worker read what is new since the last time."""
        sight = self._look()
        if not sight.config.benchmark.observe_conversations or sight.home is None:
            return
        directory = conversations.directory(sight.home.path)
        self._jobs.worker(
            "observe",
            self._stores.observe_request(directory, READING.seconds * READING_SHARE),
            limits=READING,
            then=self._learn,
            failed=lambda why: self._say("warning", f"conversations could not be read: {why}"),
        )

    def read_log(self) -> None:
        """Read on, on threads, in what the apps' servers have logged; a few megabytes at most."""
        sight = self._look()
        if not sight.config.benchmark.observe_conversations or sight.home is None:
            return
        home = sight.home.path
        self._read_on("server log", home, self._stores.logged)
        self._read_on(
            "Bionic's server log", bionic(home).internal.parent, self._stores.bionic_logged
        )

    def _read_on(self, name: str, root: Path, store: LoggedStore) -> None:
        place = store.place
        self._jobs.scout(
            name,
            lambda: server_log.read_on(root, place),
            lambda read: self._learn_from_log(name, store.add(*read)),
        )

    def look(self) -> None:
        """Look up what is known of the pairs that are wanted now."""
        sight = self._look()
        self.uses = self._stores.uses(
            sight.pairs,
            sight.models,
            conversations=sight.config.benchmark.observe_conversations,
        )

    def _learn_from_log(self, name: str, new: int) -> None:
        if new:
            self._say("debug", f"{name} read: figures only", new_answers=new)
            self.look()
            self._learnt()

    def _learn(self, result: dict[str, Any]) -> None:
        self._say(
            "info" if result["answers"] else "debug",
            "conversations read: figures only",
            files=result["files"],
            new_answers=result["answers"],
            unreadable=result["unreadable"],
        )
        self.look()
        self._learnt()
        if not result["done"]:
            self.read()

"""What real use shows: conversations and the server's log, read for figures, never for a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from specd.agent.events import Say
from specd.agent.jobs import Jobs
from specd.agent.sight import Sight
from specd.lmstudio import conversations, server_log
from specd.lmstudio.server_log import News, Place
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
        """Read on, on a thread, in what LM Studio's server has logged; a few megabytes at most."""
        sight = self._look()
        if not sight.config.benchmark.observe_conversations or sight.home is None:
            return
        home, place = sight.home.path, self._stores.logged.place
        self._jobs.scout(
            "server log", lambda: server_log.read_on(home, place), self._learn_from_log
        )

    def look(self) -> None:
        """Look up what is known of the pairs that are wanted now."""
        sight = self._look()
        self.uses = self._stores.uses(
            sight.pairs,
            sight.models,
            conversations=sight.config.benchmark.observe_conversations,
        )

    def _learn_from_log(self, read: tuple[tuple[News, ...], Place | None]) -> None:
        new = self._stores.logged.add(*read)
        if new:
            self._say("debug", "server log read: figures only", new_answers=new)
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

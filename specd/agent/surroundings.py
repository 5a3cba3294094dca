"""Everything around specd: LM Studio's home and models, its server, its process.

The daemon's loop reads the home; background jobs look at the server and the process, and return
frozen values.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime

from specd import config
from specd.agent.sight import Given
from specd.lmstudio import activity, app
from specd.lmstudio import home as homes
from specd.lmstudio.answers import Instance
from specd.lmstudio.home import App, Home, NoHome
from specd.reconcile import survey
from specd.reconcile.facts import AppSeen, ServerSeen


class Surroundings:
    """The last state of each; calls ``changed`` after a background job has seen a change."""

    def __init__(self, given: Given, changed: Callable[[], None]) -> None:
        self._given = given
        self._changed = changed
        self._processes = app.Look()
        self._waiting: list[Future[None]] = []
        self.found: Home | NoHome = NoHome("not looked for yet", ())
        self.world = survey.World()
        self.server: ServerSeen | None = None
        self.asked_at: float | None = None
        self.loaded_at: dict[Instance, datetime] = {}
        self.app: AppSeen | None = None

    @property
    def home(self) -> Home | None:
        """The home, None while there is none."""
        return self.found if isinstance(self.found, Home) else None

    def apps(self, wanted: config.LmStudio) -> tuple[App, ...]:
        """The apps whose files are kept."""
        return () if self.home is None else homes.apps(self.home.path, wanted.apps)

    def look(self, wanted: config.LmStudio) -> bool:
        """Find the home again and read it; returns whether the models changed."""
        found = homes.find_home(wanted.home)
        if isinstance(found, Home) and found != self.found:
            self._given.say("info", "LM Studio home found", home=str(found.path), how=found.how)
        self.found = found
        return self.look_into_home()

    def look_into_home(self) -> bool:
        """Read the home, besides the files specd edits; returns whether the models changed."""
        before = self.world.models
        self.world = survey.look(self.found, self._given.stores.state)
        if self.world.models == before:
            return False
        self._given.say("info", "models changed", installed=len(self.world.models))
        return True

    def look_at_cache(self) -> None:
        """Read LM Studio's compatibility cache again."""
        if self.home is not None:
            opinion = survey.opinion(self.home, self.world.models)
            self.world = replace(self.world, opinion=opinion)

    def ask(self, wanted: config.LmStudio) -> None:
        """Query the server and look at every process, without waiting for either."""
        if self.home is not None:
            self.ask_server(wanted)
            self._processes = app.Look()
            self.look_for_app()

    def ask_server(self, wanted: config.LmStudio) -> None:
        """Query what the server has loaded, without waiting for it."""
        if (home := self.home) is not None:
            self._given.jobs.scout(
                "server", lambda: survey.ask_server(home, wanted), self._learn_server
            )

    def look_at_log(self, wanted: config.LmStudio) -> None:
        """Query the server if the server log has grown since: a main may have been loaded."""
        home, asked_at = self.home, self.asked_at
        if home is None or asked_at is None:
            return

        def learn(at: float | None) -> None:
            if at is not None and asked_at < at <= time.time():
                self.ask_server(wanted)

        self._given.jobs.scout("log", lambda: activity.last_logged(home.path, asked_at), learn)

    @property
    def app_runs(self) -> bool:
        """Whether LM Studio or Bionic was running at the last look, or its server answered."""
        seen = self.app is not None and (self.app.running or self.app.bionic_started is not None)
        return seen or (self.server is not None and self.server.problem is None)

    def look_for_app(self, done: Future[None] | None = None) -> None:
        """Look whether LM Studio runs, which takes a millisecond; ``done`` ends with the look."""
        if done is not None:
            self._waiting.append(done)
        if (home := self.home) is None:
            self._answer("")
            return
        last = self._processes
        self._given.jobs.scout(
            "app", lambda: app.look(home.path, last), self._learn_app, self._answer
        )

    def _learn_server(self, seen: ServerSeen) -> None:
        self.server, self.asked_at = seen, time.time()
        # An instance with another configuration counts as a new load.
        now = datetime.now().astimezone()
        loaded = [each for model in seen.models for each in model.loaded_instances]
        self.loaded_at = {each: self.loaded_at.get(each, now) for each in loaded}
        self._changed()

    def _learn_app(self, seen: app.Look) -> None:
        self._processes = seen
        before, self.app = self.app, survey.app_seen(seen.found)
        if self.app != before:
            self._changed()
        self._answer("")

    def _answer(self, _why: str) -> None:
        for done in self._waiting:
            done.set_result(None)
        self._waiting.clear()

"""The daemon: one loop that looks, decides, writes and reports.

Only this loop's thread changes the daemon's state. File events, requests on the socket and results
of workers reach it through the inbox. After every change it publishes one immutable snapshot.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from specd import __version__, config, places
from specd.agent import lock, notify, private, process
from specd.agent.benchmarks import BENCHMARK_AGAIN, GIVE_WAY, Benchmarks
from specd.agent.events import Events
from specd.agent.faults import Faults
from specd.agent.inbox import Inbox
from specd.agent.jobs import Jobs
from specd.agent.proofs import Proofs
from specd.agent.publication import Publication, Snapshot
from specd.agent.real_use import RealUse
from specd.agent.reload import LoadAgain
from specd.agent.sight import Given, Sight
from specd.agent.stopping import Stopping
from specd.agent.surroundings import Surroundings
from specd.agent.timers import Timers
from specd.agent.watch import Watch
from specd.agent.writer import AFTER_FAULT_S, AGAIN, Writer
from specd.bench import preconditions
from specd.bench.result import BenchResult
from specd.files.attributes import stands
from specd.lmstudio import home as homes
from specd.lmstudio import model_defaults
from specd.lmstudio.home import App, NoHome, WatchedDir
from specd.reconcile import in_force, real_use, survey, trials
from specd.reconcile.desired import DesiredPair, PairName
from specd.reconcile.facts import Facts
from specd.reconcile.in_force import NotInForce
from specd.reconcile.reconciler import DesiredState, Pass
from specd.reconcile.stores import Stores

Result = TypeVar("Result")

if TYPE_CHECKING:
    from specd.agent.api import Api

ANEW = -1
"""In place of an exit code: start again in the same process."""

LOOP = "daemon"
"""The name of faults in the loop's own work; a full look without a fault ends them."""

UNFINISHED_S = 0.015
"""A file that was modified and not closed is read after this anyway."""

CONFIG_UNFINISHED_S = 1.0
"""The same for specd.toml: half of it is often valid TOML, and asks for less.

An editor that saves may also remove it for a moment, or leave it empty.
"""

MODELS_SETTLE_S = 1.0
"""A download touches a models directory many times a second; one look after it pauses is enough."""

POLL_S = 2.0
"""Seconds between reads of the files that specd edits, where not all of them can be watched."""

POLL_MODELS_S = 30.0

CONVERSATIONS_FIRST_S = 180.0
"""Conversations are read this long after the start, then every ``CONVERSATIONS_S``."""

CONVERSATIONS_S = 4 * 3600.0

LOCK_S = 0.1
"""How long the start and an order wait for another specd that writes; a pass never waits."""

LOG_S = 10.0
"""While LM Studio runs: how often its server log's time stamp shows whether it was used."""

ASKED_S = 2.0
"""The server is queried again for a status if its last answer is older than this."""

# The timers' names. The timer of a file that was modified and not closed has its path as a name.
EVERYTHING, MODELS, POLL, LOG = "everything", "models", "poll", "log"
BENCHMARK, CONVERSATIONS = "benchmark", "conversations"


class Daemon:
    """See the module's docstring. ``run`` returns after SIGTERM or a stop command."""

    def __init__(self, config_path: Path, state: Path) -> None:
        self._born = time.monotonic()
        self.config_path = config_path
        self.directory = state
        self.inbox = Inbox()
        self._changed: set[Path] = set()
        self._stopped = False
        self._timers = Timers()
        opened = tuple(private.enforce(state))
        self._own = (places.lock_path(state), places.socket_path(state))
        self._held_lock = lock.hold(places.lock_path(state))
        before = survey.last_good(state)
        self._config, self._config_problem = survey.configuration(config_path, state)
        # Since when there is nothing to read in them, as monotonic seconds.
        self._blank_since = dict.fromkeys((config_path, config.managed_file()), -math.inf)
        self.events = Events(places.log_path(state), self._config.agent.log_level)
        self._say = self.events.say
        for line in opened:
            self._say("warning", line)
        self.stores = Stores.open(state)
        self.stores.journal.lock_s = LOCK_S
        self.stores.release_if_asked(before, self._config)
        self._faults = Faults(self._say, lambda: self.inbox.do(self._publish))
        self._jobs = Jobs(self.inbox, self._faults)
        given = Given(
            self._jobs,
            self.stores,
            self._timers,
            self._sight,
            self._say,
            self._learn,
            self._publish,
        )
        self._load_again = LoadAgain(given)
        self._publication = Publication(given)
        self.around = Surroundings(given, self._learn_around)
        self._proofs = Proofs(given)
        self._real_use = RealUse(given)
        self.bench = Benchmarks(given)
        self._watch = Watch(self._on_change, self._look_again, self._on_lost, self._on_remount)
        self.writer = Writer(given, self._watch.held_back)
        self._api: Api | None = None
        self._pairs: tuple[DesiredPair, ...] = ()
        self._listed_unusable: tuple[tuple[PairName, str], ...] = ()
        self._benchmarks: dict[PairName, BenchResult] = {}
        self._memory_bytes = preconditions.machine_memory()

    # -- life ---------------------------------------------------------------------------------

    def run(self) -> int:
        """Work until stopped; returns the exit code, or ``ANEW`` if the daemon must start again."""
        process.share_one_heap()
        process.open_files()  # the first look may open one for every folder of models
        Stopping(self._stop, self._look_again, self._say)
        self._say(
            "info", f"specd {__version__} started", pid=os.getpid(), state=str(self.directory)
        )
        try:
            for line in self.stores.recover():
                self._say("warning", line)
            self.stores.journal.lock_s = 0.0
            self._guard(self._look_at_everything)
            self._open()
            while True:
                tasks = self.inbox.take(self._timers.wait_s())
                if self._stopped:
                    return 0
                for task in tasks:
                    self._guard(task)
                changed, self._changed = self._changed, set()
                if self._lost_its_place(changed):
                    lock.pass_on(self._own[0], self._held_lock)
                    return ANEW
                self._guard(partial(self._look, changed))
        finally:
            self._close()

    def _stop(self) -> None:
        self._stopped = True
        self.inbox.do(lambda: None)

    def _lost_its_place(self, changed: set[Path]) -> bool:
        """Whether the lock or the socket was removed, so that commands would not find specd."""
        if not (changed & {*self._own} or self._timers.is_due(EVERYTHING)):
            return False
        if stands(self._own[0], self._held_lock) and (self._api is None or self._api.stands()):
            return False
        self._say("warning", f"{self._own[0].parent} was removed or replaced; specd starts anew")
        return True

    def _guard(self, work: Callable[[], object], name: str = LOOP) -> None:
        """Do ``work``; an exception is logged and does not end the daemon.

        The next event or the next resync starts from what the files hold, as always.
        """
        try:
            work()
        except Exception as error:  # noqa: BLE001 - see above
            self._faults.met(name, error)
            self._timers.sooner(EVERYTHING, AFTER_FAULT_S)
        else:
            if name != LOOP:
                self._faults.over(name)

    def _open(self) -> None:
        # Imported after the first pass, because the user waits for the settings, not the socket.
        from specd.agent.api import Api  # noqa: PLC0415

        self._api = Api(self)
        notify.service_manager("READY=1")
        self._timers.cron(BENCHMARK, self._config.benchmark.schedule)
        self._timers.after(CONVERSATIONS, CONVERSATIONS_FIRST_S)
        self._say("info", "ready", after_ms=round((time.monotonic() - self._born) * 1000))
        self._guard(self._scout)

    def _close(self) -> None:
        notify.service_manager("STOPPING=1")
        # Each is guarded, so that a fault in one does not keep the others open.
        self._guard(self._watch.close)
        self._guard(self._jobs.close)
        if self._api is not None:
            self._guard(self._api.close)
        self._guard(self.stores.close)
        self._say("info", "specd stopped")
        self.events.close()
        # The lock goes with the process, or on to the program that it becomes.

    # -- what happened ------------------------------------------------------------------------

    def _on_change(self, path: Path, settled: bool) -> None:  # noqa: FBT001 - watch's signature
        self.inbox.do(lambda: self._changed.add(path) if settled else self._look_soon(path))

    def _look_again(self) -> None:
        self.inbox.do(lambda: self._timers.after(EVERYTHING, 0))

    def _on_lost(self, why: str) -> None:
        self._say("warning", f"file events were lost ({why}); looking at everything")
        self._look_again()

    def _on_remount(self) -> None:
        def again() -> None:
            if self.writer.files.failed:
                self._timers.after(EVERYTHING, 0)

        self.inbox.do(again)

    def _look_soon(self, path: Path) -> None:
        own = path in (self.config_path, config.managed_file())
        self._timers.sooner(path, CONFIG_UNFINISHED_S if own else UNFINISHED_S)

    def _look(self, changed: set[Path]) -> None:
        due = self._timers.take()
        self._timers.clear(*changed)
        dirty = {*changed, *(name for name in due if isinstance(name, Path))}
        if POLL in due:
            self._poll()
        if MODELS in due:
            self._look_at_models()
        if dirty & {self.config_path, config.managed_file()}:
            self._reload_what_is_whole(changed)
        if EVERYTHING in due:
            self._look_at_everything()
            self._scout()
        elif dirty or AGAIN in due:
            self.write(dirty)
            self._sort_out(dirty)
        if LOG in due:
            self.around.look_at_log(self._config.lmstudio)
            self._load_again_when_idle()
        if not due.isdisjoint((BENCHMARK, BENCHMARK_AGAIN)):
            self.bench.due()
        if GIVE_WAY in due:
            self.bench.look_in_the_way()
        if CONVERSATIONS in due:
            self._timers.after(CONVERSATIONS, CONVERSATIONS_S)
            self._real_use.read()

    def _look_at_everything(self) -> None:
        # First, so that a fault below does not repeat without a pause.
        self._timers.after(EVERYTHING, self._config.agent.resync_seconds)
        self._timers.look_at_clock()
        self._reload_what_is_whole()
        self._proofs.compare_again()
        self.survey_all()
        self._faults.over(LOOP)

    def _poll(self) -> None:
        """Look for changes without events."""
        self._timers.after(POLL, POLL_S)
        self._timers.sooner(MODELS, POLL_MODELS_S)
        self._reload_what_is_whole()
        if self._leads_to_another_home():
            self.survey_all()
        else:
            self.write(None)

    def _leads_to_another_home(self) -> bool:
        return homes.find_home(self._config.lmstudio.home) != self.around.found

    def _look_for_home(self, dirty: set[Path]) -> None:
        """React to a home pointer, or a possible home directory, that appeared or changed."""
        home, world = self.around.home, self.around.world
        other = home is None or any(survey.meaning(home, world, at) == "other" for at in dirty)
        if other and self._leads_to_another_home():
            self._timers.after(EVERYTHING, 0)

    def _sort_out(self, dirty: set[Path]) -> None:
        """React to changes of files that specd only reads; after the pass, which is urgent."""
        self._look_for_home(dirty)
        if (home := self.around.home) is None:
            return
        for path in dirty:
            meaning = survey.meaning(home, self.around.world, path)
            if meaning == "models":
                self._timers.sooner(MODELS, MODELS_SETTLE_S)
            elif meaning == "apps":
                if survey.models_folder(home) != self.around.world.models_dir:
                    self._timers.after(MODELS, 0)
                if self._apps() != self.writer.files.apps:
                    self._learn()
            elif meaning == "defaults" and self._resolved() != self._pairs:
                self._learn()
            elif meaning == "cache":
                self.around.look_at_cache()
                self._look_at_listed()
                self._publish()
            elif meaning == "server":
                self._scout()

    # -- looking ------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read specd.toml again; a broken one leaves the last good one in force."""
        read, problem = self._to_adopt()
        if problem is not None and self._config_problem not in (None, problem):
            self._say("error", problem, file=str(self.config_path))
        elif problem is None and (read != self._config or self._config_problem is not None):
            self._say("info", "configuration read", file=str(self.config_path))
        before = self._config
        self._config, self._config_problem = read, problem
        if read != before:
            self.events.set_level(read.agent.log_level)
            self._timers.cron(BENCHMARK, read.benchmark.schedule)
            self._timers.sooner(EVERYTHING, read.agent.resync_seconds)
            self.survey_all()
        if not before.benchmark.observe_conversations:
            self._real_use.read()
        self._publish()

    def _reload_what_is_whole(self, closed: AbstractSet[Path] = frozenset()) -> None:
        """Read specd.toml and the policy again, or later if one may be in the middle of a save.

        It may if it vanished or became empty a moment ago, or was written then and is not among the
        ``closed``.
        """
        for path in (self.config_path, config.managed_file()):
            if survey.is_blank(path):
                now = time.monotonic()
                unfinished = now - self._blank_since.setdefault(path, now) < CONFIG_UNFINISHED_S
            else:
                self._blank_since.pop(path, None)
                unfinished = path not in closed and survey.written_within(path, CONFIG_UNFINISHED_S)
            if unfinished:
                self._look_soon(path)
                return
        self.reload()

    def _to_adopt(self) -> tuple[config.SpecdConfig, str | None]:
        """The configuration in force from now on, and the error if that is not specd.toml's."""
        read, problem = survey.configuration(self.config_path, self.directory, self._config)
        try:
            self.stores.release_if_asked(self._config, read)
        except OSError as error:
            # Without the release, specd would not write the values that it asks for.
            self._look_soon(self.config_path)
            return self._config, f"specd.toml was changed; specd cannot follow it yet: {error}"
        return read, problem

    def survey_all(self, *, force: bool = False) -> Pass:
        """Find and read the home again, decide again, watch the right directories, write."""
        if self.around.look(self._config.lmstudio):
            self._proofs.forget()
        self._guard(self._follow_home, "keeping track of a moved home")
        return self._learn(force=force)

    def _follow_home(self) -> None:
        home = self.around.home
        old = None if home is None else self.stores.journal.follow_home(home.path)
        if old is not None:
            self._say("info", f"{old} was moved; specd still owns what it wrote there")

    def _look_at_models(self) -> None:
        if self.around.look_into_home():
            self._proofs.forget()
        self._learn()

    def _follow(self) -> None:
        directories = (
            *survey.directories(self.around.found, self.around.world, self.config_path),
            WatchedDir(self._own[0].parent, names=frozenset(each.name for each in self._own)),
        )
        before = self._watch.polling
        files = [*self.writer.files.paths, self.config_path, config.managed_file()]
        if self._watch.follow(directories, files):
            # A change between the last look and the new watch was not reported.
            self._timers.after(EVERYTHING, 0)
        polling = self._watch.polling
        if polling is not None and polling != before:
            self._say("warning", polling)
        if polling is None:
            self._timers.clear(POLL)
        else:
            self._timers.after(POLL, POLL_S)

    def _decide(self) -> None:
        """Work out the desired state."""
        for line in self.stores.set_aside():
            self._say("warning", line)
        self._guard(self._look_up, "reading proofs and benchmarks")
        home, speculation = self.around.home, self._config.speculation
        if home is None:
            self.writer.set_desired(None)
        else:
            self.writer.set_desired(DesiredState(home.path, speculation, self._pairs, self._apps()))
        self._proofs.compare()

    def _look_at_listed(self) -> None:
        self._listed_unusable = self.stores.listed_unusable(self.around.world, self._pairs)

    def _look_up(self) -> None:
        """Read the stores again; if that fails, the last values stay."""
        self._pairs = self._resolved()
        if self.stores.unread:
            return
        self._look_at_listed()
        self._benchmarks = self.stores.benchmarks(self._pairs)
        self._real_use.look()

    def _resolved(self) -> tuple[DesiredPair, ...]:
        home = self.around.home
        self.stores.see(self.around.world, None if home is None else home.path)
        return self.stores.resolve(self._config, self.around.world.models, self._apps())

    def _apps(self) -> tuple[App, ...]:
        return self.around.apps(self._config.lmstudio)

    def look_again(self, done: Future[None]) -> None:
        """Look whether LM Studio runs, then end ``done``; query the server if that is due."""
        self.around.look_for_app(done)
        last = self.around.asked_at
        if last is not None and abs(time.time() - last) > ASKED_S:
            self.around.ask_server(self._config.lmstudio)

    def _scout(self) -> None:
        """Start the background work that is too slow for a pass."""
        self.around.ask(self._config.lmstudio)
        if not self.stores.unread:
            self._guard(self.bench.look_for_changes, "looking for outdated benchmarks")
        self._real_use.read_log()
        self._proofs.prove()
        process.give_memory_back()

    def _learn_around(self) -> None:
        """React to a change of the server or the app."""
        self._go_on_with_trial()
        self._publish()
        self._load_again_when_idle()

    def _load_again_when_idle(self) -> None:
        if self.around.app_runs:
            self._timers.sooner(LOG, LOG_S)
        home, snapshot = self.around.home, self.snapshot
        wanted = self._config.agent.reload == "when-idle" and not self.writer.paused
        if wanted and home is not None and snapshot is not None:
            waiting = snapshot.facts.not_in_force
            self._load_again.look(home.path, waiting, self.around.asked_at)

    def _go_on_with_trial(self) -> None:
        # While paused, specd cannot write the drawn state; without a home, it sees no load.
        if self.writer.paused or self.around.home is None:
            return
        try:
            without = trials.look(
                self.stores.trials,
                self._pairs,
                self.around.world.models,
                self.around.server,
                self.stores.observed,
                self.around.home.path,
                stuck={*self.writer.files.blocked, *self.writer.files.failed},
            )
        except OSError as error:
            self._say("warning", f"the trial cannot be kept: {error.strerror or error}")
        else:
            if without is not any(
                each.reason == "InTrial" and each.state == "withdrawn" for each in self._pairs
            ):
                self._learn()

    def write(self, dirty: set[Path] | None, *, force: bool = False) -> Pass:
        """One pass (see ``Writer.write``), published where anything changed."""
        done = self.writer.write(dirty, force=force)
        if done.overtaken:  # what the user chose is adopted, and no drift
            self._decide()
            self._follow()
            done = self.writer.write(None, force=force)
        if done.applied:
            self.around.look_for_app()
        if done.changed or dirty is None:
            self._publish()
        return done

    # -- workers ------------------------------------------------------------------------------

    def _sight(self) -> Sight:
        return Sight(
            config=self._config,
            home=self.around.home,
            models=self.around.world.models,
            pairs=self._pairs,
            server=self.around.server,
            engine_version=self.around.app.version if self.around.app is not None else None,
            memory_bytes=self._memory_bytes,
            paused=self.writer.paused,
        )

    def _learn(self, *, force: bool = False) -> Pass:
        """New knowledge: decide again, watch the desired files, write them."""
        self._decide()
        self._follow()
        return self.write(None, force=force)

    # -- what others may see ------------------------------------------------------------------

    def _publish(self) -> None:
        around = self.around
        if isinstance(around.found, NoHome) and not around.found.looked:
            return  # nothing was looked at yet: the last run's conditions still stand
        rec, writes = self.writer.files, self.stores.journal.entries()
        written = self.stores.journal.last_written(rec.paths)
        facts = Facts(
            config_problem=self._config_problem,
            config_path=self.config_path,
            config_there=survey.is_there(self.config_path),
            home=around.found,
            model_problems=around.world.problems,
            pairs=self._pairs,
            applied=tuple(each for each in rec.failed.values() if each.lasts),
            blocked=tuple(rec.blocked.values()),
            held=dict(rec.held),
            pending=rec.pending,
            patience=dict(rec.patience),
            contender=self.writer.contender,
            apps=rec.apps,
            opinion=around.world.opinion,
            listed_unusable=self._listed_unusable,
            presets=around.world.presets,
            server=around.server,
            app=around.app,
            settings_written={
                app.name: written[app.settings]
                for app in rec.apps
                if app.settings in written
                # If the user restored all values in a file, the app needs no restart because of it.
                and (app.settings not in rec.held or self.stores.journal.owned(app.settings))
            },
            not_in_force=self._not_in_force(written),
            benchmarks=self._benchmarks,
            stale=dict(self.bench.stale),
            drafts_seen=real_use.drafts_seen(
                self._pairs,
                self._real_use.uses,
                around.world.models,
                around.server,
                self._memory_bytes,
            ),
            in_use={
                name: use.in_use
                for name, use in self._real_use.uses.items()
                if use.in_use.answers or use.in_use.baseline_answers
            },
            paused=self.writer.paused,
            faults=(
                *self._faults.known(),
                *filter(None, [self.events.problem, self.stores.journal.problem]),
                *self.stores.unread.values(),
            ),
        )
        self._publication.publish(facts, writes, self._config)

    def _not_in_force(self, written: Mapping[Path, datetime]) -> tuple[NotInForce, ...]:
        around, home = self.around, self.around.home
        if around.server is None or home is None:
            return ()
        defaults = model_defaults.folders(home.path)[0]
        return in_force.find(
            self._pairs,
            around.server.models,
            around.world.models,
            around.loaded_at,
            {
                str(path.relative_to(defaults).with_suffix("")): time
                for path, time in written.items()
                if path.is_relative_to(defaults)
            },
        )

    # -- for the socket, whose thread reads `snapshot` and `state` --------------------------------

    @property
    def snapshot(self) -> Snapshot | None:
        """The last published snapshot."""
        return self._publication.snapshot

    def state(self) -> dict[str, Any]:
        """The daemon's own part of the status, as in its JSON."""
        due = self._timers.when(BENCHMARK)
        return {
            "uptime_s": round(time.monotonic() - self._born, 3),
            "watching": self._watch.polling or "events",
            "next_benchmark": due.isoformat(timespec="seconds") if due else None,
            "benchmark": self.bench.note,
        }

    def obey(self, order: Callable[[], Result]) -> Result:
        """Carry out a user's order; unlike a pass, it waits for another specd that writes."""
        self.stores.journal.lock_s = LOCK_S
        try:
            return order()
        finally:
            self.stores.journal.lock_s = 0.0

    def pause(self, *, paused: bool) -> None:
        """Pause all writes, or resume them."""
        self.writer.paused = paused
        what = "paused on request: nothing is written until `specd resume` or a restart"
        self._say("info", what if paused else "resumed on request")
        if paused:
            self._publish()
        else:
            self.survey_all()

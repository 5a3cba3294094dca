"""The daemon: one loop that looks, decides, writes and reports, woken by whatever happened.

All that the daemon knows is changed on this loop's thread alone. File events, timers, requests on
the socket and finished workers come in through the inbox. What others may see of it is published as
one immutable snapshot after every change.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from specd import __version__, config, places
from specd.agent import contender, lock, memory, notify, private, report
from specd.agent.benchmarks import Benchmarks, Order
from specd.agent.events import Events, Level
from specd.agent.faults import Faults
from specd.agent.inbox import Batch, Inbox
from specd.agent.jobs import Jobs
from specd.agent.proofs import Proofs
from specd.agent.publication import Publication, Snapshot
from specd.agent.real_use import RealUse
from specd.agent.sight import Sight
from specd.agent.stopping import Stopping
from specd.agent.timers import Name, Timers
from specd.agent.watch import Watch
from specd.bench import preconditions
from specd.bench.result import BenchResult
from specd.lmstudio import app, model_defaults, names
from specd.lmstudio import home as homes
from specd.lmstudio.answers import Instance
from specd.lmstudio.home import App, Home, NoHome, WatchedDir
from specd.reconcile import in_force, proving, restores, survey, trials
from specd.reconcile.apply import Applied, describe
from specd.reconcile.desired import WantedPair
from specd.reconcile.entry import Entry
from specd.reconcile.facts import AppSeen, Facts, ServerSeen
from specd.reconcile.in_force import NotInForce
from specd.reconcile.plan import unified_diff
from specd.reconcile.reconciler import Pass, Reconciler, Want
from specd.reconcile.restore import restore
from specd.reconcile.stores import Stores
from specd.tokenizer.report import to_json
from specd.tokenizer.verdict import with_cache

if TYPE_CHECKING:
    from specd.agent.api import Api

ANEW = -1
"""Instead of an exit code: start again, in this process."""

LOOP = "daemon"
"""Under this name faults of the loop's own work are kept, until all was looked at without one."""

AFTER_FAULT_S = 60.0
"""When to look again after a pass that ended in a fault of specd's own."""

UNFINISHED_S = 0.015
"""A file that was modified and not yet closed is looked at after this all the same."""

CONFIG_UNFINISHED_S = 1.0
"""The same of specd.toml: half of one, or none of it, often reads as one that wants less."""

MODELS_SETTLE_S = 1.0
"""A download touches a models directory many times a second; one look after it pauses is enough."""

AFTER_BURST_S = 0.25
"""After a burst of events everything is looked at once more: the kernel may have dropped some."""

BURST = 2_000

POLL_S = 2.0
"""Where not everything can be watched: how often the files specd edits are looked at."""

POLL_MODELS_S = 30.0

CONTENDER_S = 30.0
"""How often to look for the process that keeps undoing specd's writes."""

CONVERSATIONS_FIRST = timedelta(minutes=3)
"""After the start, and after that every so often, what conversations show is read."""

CONVERSATIONS_EVERY = timedelta(hours=4)

# What the timers are called by; a file that was modified and not closed is called by its path.
EVERYTHING, MODELS, AGAIN, POLL, CONTENDER = "everything", "models", "again", "poll", "contender"
BENCHMARK, BENCHMARK_AGAIN, CONVERSATIONS = "benchmark", "benchmark again", "conversations"


class Daemon:
    """See the module's docstring. ``run`` returns when the daemon was told to stop.

    ``serve`` opens the socket on which others may ask it, once the first pass is over.
    """

    def __init__(self, config_path: Path, state: Path, *, serve: Callable[[Daemon], Api]) -> None:
        self._serve = serve
        self._born = time.monotonic()
        self._config_path = config_path
        self._state = state
        self._inbox = Inbox()
        self._timers = Timers()
        opened = tuple(private.enforce(state))
        self._own = (places.lock_path(state), places.socket_path(state))
        self._held_lock = lock.hold(places.lock_path(state))
        before = survey.last_good(state)
        self._config, self._config_problem = survey.configuration(config_path, state)
        self._events = Events(places.log_path(state), self._config.agent.log_level)
        for line in opened:
            self._say("warning", line)
        self._stores = Stores.open(state)
        self._stores.release_if_asked(before, self._config)
        self._reconciler = Reconciler(self._stores.journal, by="daemon")
        self._faults = Faults(self._say, lambda: self._inbox.do(self._publish))
        self._jobs = Jobs(self._inbox, self._faults)
        self._publication = Publication(self._jobs, self._stores, say=self._say)
        self._proofs = Proofs(
            self._jobs,
            self._stores,
            look=self._sight,
            say=self._say,
            learnt=self._learn_proofs,
        )
        self._real_use = RealUse(
            self._jobs, self._stores, look=self._sight, say=self._say, learnt=self._publish
        )
        self._bench = Benchmarks(
            self._jobs,
            self._stores,
            look=self._sight,
            say=self._say,
            again=lambda delay: self._timers.at(BENCHMARK_AGAIN, delay),
            changed=self._learn_bench,
        )
        self._watch = Watch(
            self._on_change,
            self._inbox.look_again,
            self._on_lost,
            self._on_remount,
        )
        self._api: Api | None = None
        self._home: Home | NoHome = NoHome("not looked for yet", ())
        self._world = survey.World()
        self._server: ServerSeen | None = None
        self._loaded_at: dict[Instance, datetime] = {}
        self._app: AppSeen | None = None
        self._processes = app.Look()
        self._asked_for_app: list[Future[None]] = []
        self._pairs: tuple[WantedPair, ...] = ()
        self._benchmarks: dict[str, BenchResult] = {}
        self._memory_bytes = preconditions.machine_memory()
        self._paused = False
        self.writes: tuple[Entry, ...] = ()
        self._heard = 0
        self._contender: str | None = None
        self._cleared: set[Path] = set()

    # -- life ---------------------------------------------------------------------------------

    def run(self) -> int:
        """Work until told to stop; returns the exit code, or ``ANEW`` when it is to be run anew."""
        memory.share_one_heap()
        Stopping(self._inbox.stop, self._inbox.look_again, self._on_late)
        self._say("info", f"specd {__version__} started", pid=os.getpid(), state=str(self._state))
        if self._config_problem is not None:
            self._say("error", self._config_problem, file=str(self._config_path))
        try:
            self._recover()
            self._watch.start()
            self._guard(self._look_at_everything)
            self._open()
            while True:
                batch = self._inbox.take(self._timers.wait_s())
                if batch.stop:
                    return 0
                if self._lost_its_place(batch):
                    return ANEW
                self._handle(batch)
        finally:
            self._close()

    def _lost_its_place(self, batch: Batch) -> bool:
        """Whether the lock or the socket was removed: nobody could tell that specd runs."""
        if not (batch.everything or batch.paths & {*self._own} or self._timers.is_due(EVERYTHING)):
            return False
        if lock.stands(self._own[0], self._held_lock) and (self._api is None or self._api.stands()):
            return False
        self._say("warning", f"{self._own[0].parent} was removed or replaced; specd starts anew")
        return True

    def _guard(self, work: Callable[[], object], name: str = LOOP) -> None:
        """Do ``work``; a fault of specd's own is said, and does not end the daemon.

        The next event or the next resync starts from what the files hold, as always.
        """
        try:
            work()
        except Exception as error:  # noqa: BLE001 - see above
            self._faults.met(name, error)
        else:
            if name != LOOP:
                self._faults.over(name)

    def _open(self) -> None:
        self._api = self._serve(self)
        notify.service_manager("READY=1")
        self._timers.cron(BENCHMARK, self._config.benchmark.schedule)
        self._timers.at(CONVERSATIONS, CONVERSATIONS_FIRST)
        self._say("info", "ready", after_ms=round((time.monotonic() - self._born) * 1000))
        self._scout()
        self._proofs.prove()
        memory.give_back()

    def _close(self) -> None:
        notify.service_manager("STOPPING=1")
        # A fault in one of them keeps nobody from closing the others.
        self._guard(self._watch.close)
        self._guard(self._jobs.close)
        if self._api is not None:
            self._guard(self._api.close)
        self._guard(self._stores.close)
        self._say("info", "specd stopped")
        self._events.close()
        os.close(self._held_lock)

    def _on_late(self) -> None:
        self._say("warning", "specd stopped without waiting for what was under way")

    def _recover(self) -> None:
        for line in self._stores.recover():
            self._say("warning", line)

    # -- what happened ------------------------------------------------------------------------

    def _on_change(self, path: Path, settled: bool) -> None:  # noqa: FBT001 - watch's signature
        if settled:
            self._inbox.changed(path)
        else:
            self._inbox.do(lambda: self._look_soon(path))

    def _on_lost(self, why: str) -> None:
        def lost() -> None:
            self._say("warning", f"file events were lost ({why}); looking at everything")
            self._timers.after(EVERYTHING, 0)

        self._inbox.do(lost)

    def _on_remount(self) -> None:
        def again() -> None:
            if self._reconciler.failed:
                self._timers.after(EVERYTHING, 0)

        self._inbox.do(again)

    def _look_soon(self, path: Path) -> None:
        wait = CONFIG_UNFINISHED_S if path == self._config_path else UNFINISHED_S
        self._timers.sooner(path, wait)

    def _handle(self, batch: Batch) -> None:
        for task in batch.tasks:
            self._guard(task)
        self._guard(lambda: self._look(batch))

    def _look(self, batch: Batch) -> None:
        due = self._timers.take()
        dirty = self._ripe(batch.paths, due)
        everything = EVERYTHING in due or batch.everything
        if POLL in due:
            self._poll()
        if MODELS in due:
            self._look_at_models()
        if dirty & {self._config_path, config.managed_file()}:
            self.reload()
        if everything:
            self._look_at_everything()
            self._scout()
            self._proofs.prove()
            memory.give_back()
        elif dirty or AGAIN in due:
            self._pass(dirty)
            self._sort_out(dirty)
        if not due.isdisjoint((BENCHMARK, BENCHMARK_AGAIN)):
            self._bench.due()
        if CONVERSATIONS in due:
            self._timers.at(CONVERSATIONS, CONVERSATIONS_EVERY)
            self._real_use.read()

    def _ripe(self, changed: Iterable[Path], due: Iterable[Name]) -> set[Path]:
        """What changed, with what was being written and has had its time."""
        dirty = set(changed)
        self._heard = self._heard + len(dirty)
        if self._heard > BURST:
            self._heard = 0
            self._timers.sooner(EVERYTHING, AFTER_BURST_S)
        self._timers.clear(*dirty)
        return dirty | {name for name in due if isinstance(name, Path)}

    def _look_at_everything(self) -> None:
        # At once, so that a fault in what follows is not met again and again without a pause.
        self._timers.after(EVERYTHING, self._config.agent.resync_seconds)
        self._timers.look_at_clock()
        self._reload_what_is_whole()
        self._timers.after(EVERYTHING, self._config.agent.resync_seconds)
        self._proofs.compare_again()
        self._survey_all()
        self._pass(None)
        self._faults.over(LOOP)

    def _poll(self) -> None:
        """Look for what events would have told."""
        self._timers.after(POLL, POLL_S)
        self._timers.sooner(MODELS, POLL_MODELS_S)
        self._reload_what_is_whole()
        if homes.find_home(self._config.lmstudio.home) != self._home:
            self._survey_all()
        self._pass(None)

    def _sort_out(self, dirty: set[Path]) -> None:
        """Changes to what specd reads rather than writes; after the pass, which is in a hurry."""
        if not isinstance(self._home, Home):
            return
        for path in dirty:
            meaning = survey.meaning(self._home, self._world, path)
            if meaning == "models":
                self._timers.sooner(MODELS, MODELS_SETTLE_S)
            elif meaning == "settings":
                self._look_at_models_folder()
            elif meaning == "defaults" and self._resolved() != self._pairs:
                self._decide()  # what the user set is adopted
                self._pass(None)
            elif meaning == "apps" and self._apps() != self._reconciler.apps:
                self._decide()
                self._follow()
                self._pass(None)
            elif meaning == "cache":
                self._world = replace(
                    self._world, opinion=survey.opinion(self._home, self._world.models)
                )
                self._publish()
            elif meaning == "server":
                self._scout()

    # -- looking ------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read specd.toml again; a broken one leaves the last good one in force."""
        read, problem = self._to_adopt()
        if problem is not None and problem != self._config_problem:
            self._say("error", problem, file=str(self._config_path))
        elif problem is None and (read != self._config or self._config_problem is not None):
            self._say("info", "configuration read", file=str(self._config_path))
        changed = read != self._config
        wants_to_observe = (
            read.benchmark.observe_conversations
            and not self._config.benchmark.observe_conversations
        )
        self._config, self._config_problem = read, problem
        if changed:
            self._events.set_level(read.agent.log_level)
            self._timers.cron(BENCHMARK, read.benchmark.schedule)
            self._survey_all()
            self._pass(None)
        if wants_to_observe:
            self._real_use.read()
        self._publish()

    def _reload_what_is_whole(self) -> None:
        """Read specd.toml again for no reason of its own; later, if it may still be written."""
        if survey.written_within(self._config_path, CONFIG_UNFINISHED_S):
            self._look_soon(self._config_path)
        else:
            self.reload()

    def _to_adopt(self) -> tuple[config.SpecdConfig, str | None]:
        """The configuration to be in force from now on, and why it is not specd.toml's."""
        read, problem = survey.configuration(self._config_path, self._state, self._config)
        try:
            self._stores.release_if_asked(self._config, read)
        except OSError as error:
            # Adopted without it, what it asks for would stay held for good.
            return self._config, f"specd.toml was changed; specd cannot follow it yet: {error}"
        return read, problem

    def _survey_all(self) -> None:
        """Find the home again and everything in it, and watch what there is."""
        found = homes.find_home(self._config.lmstudio.home)
        if found != self._home:
            if isinstance(found, Home):
                self._say("info", "LM Studio home found", home=str(found.path), how=found.how)
            else:
                self._say("warning", str(found))
        self._home = found
        self._look_into_home()
        self._decide()
        self._follow()

    def _look_at_models(self) -> None:
        if self._look_into_home():
            self._follow()
        self._decide()
        self._pass(None)

    def _look_into_home(self) -> bool:
        """See what stands there besides the files specd edits; whether other models do."""
        before = self._world.models
        self._world = survey.look(self._home, self._state)
        self._stores.verdicts.mlx_types = self._world.mlx_types
        if self._world.models == before:
            return False
        self._say("info", "models changed", installed=len(self._world.models))
        self._proofs.forget()
        return True

    def _look_at_models_folder(self) -> None:
        if isinstance(self._home, Home):
            folder = survey.models_folder(self._home)
            if folder != self._world.models_dir:
                self._timers.after(MODELS, 0)

    def _follow(self) -> None:
        directories = (
            *survey.directories(self._home, self._world, self._config_path),
            WatchedDir(self._own[0].parent, names=frozenset(each.name for each in self._own)),
        )
        before = self._watch.polling
        files = [*self._reconciler.paths, self._config_path, config.managed_file()]
        if self._watch.follow(directories, files):
            # All of it was looked at before it was watched.
            self._inbox.look_again()
        polling = self._watch.polling
        if polling is not None and polling != before:
            self._say("warning", polling)
        if polling is None:
            self._timers.clear(POLL)
        else:
            self._timers.after(POLL, POLL_S)

    def _decide(self) -> None:
        """Work out from all that is known what the files are to hold."""
        for line in self._stores.set_aside():
            self._say("warning", line)
        self._guard(self._look_up, "what is known of the pairs")
        if isinstance(self._home, Home):
            self._reconciler.want(
                Want(self._home.path, self._config.speculation, self._pairs, self._apps())
            )
        else:
            self._reconciler.want(None)
        self._clear_up()
        self._proofs.compare()

    def _look_up(self) -> None:
        """Where it cannot be looked up, what was known before stays."""
        self._pairs = self._resolved()
        self._benchmarks = self._stores.benchmarks(self._pairs)
        self._real_use.look()

    def _resolved(self) -> tuple[WantedPair, ...]:
        return self._stores.resolve(self._config, self._world.models, self._apps())

    def _apps(self) -> tuple[App, ...]:
        """The apps whose files are kept."""
        if not isinstance(self._home, Home):
            return ()
        return homes.apps(self._home.path, self._config.lmstudio.apps)

    def _clear_up(self) -> None:
        """Remove what interrupted writes left wherever specd writes; once for each file."""
        files = self._reconciler.paths - self._cleared
        self._cleared |= files
        for line in self._stores.clear(files):
            self._say("warning", line)

    def _scout(self) -> None:
        """Ask the server and look for LM Studio's process, without waiting for either."""
        if not isinstance(self._home, Home):
            return
        home, asked = self._home, self._config.lmstudio
        self._jobs.scout("server", lambda: survey.ask_server(home, asked), self._learn_server)
        self._processes = app.Look()
        self._look_for_app()
        self._bench.look_for_changes()
        self._real_use.read_log()

    def _learn_server(self, seen: ServerSeen) -> None:
        self._server = seen
        # One that runs with something else now was loaded again.
        now = datetime.now().astimezone()
        loaded = [each for model in seen.models for each in model.loaded_instances]
        self._loaded_at = {each: self._loaded_at.get(each, now) for each in loaded}
        self._go_on_with_trial()
        self._publish()

    def _go_on_with_trial(self) -> None:
        try:
            moved = trials.look(
                self._stores.trials, self._world.models, self._server, self._stores.observed
            )
        except OSError as error:
            self._say("warning", f"the trial cannot be kept: {error.strerror or error}")
        else:
            if moved:
                self._decide()
                self._pass(None)

    def _look_for_app(self) -> None:
        """Look whether LM Studio runs: with every write and every question, for a millisecond."""
        if isinstance(self._home, Home):
            home, last = self._home.path, self._processes
            self._jobs.scout("app", lambda: app.look(home, last), self._learn_app, self._no_app)
        else:
            self._learn_app(app.Look())

    def _learn_app(self, seen: app.Look) -> None:
        self._processes = seen
        before, self._app = self._app, survey.app_seen(seen.found)
        if self._app != before:
            self._publish()
        self._no_app("")

    def _no_app(self, _why: str) -> None:
        for asked in self._asked_for_app:
            asked.set_result(None)
        self._asked_for_app.clear()

    # -- writing ------------------------------------------------------------------------------

    def _pass(self, dirty: set[Path] | None, *, force: bool = False) -> Pass:
        started = time.perf_counter()
        self._timers.after(AGAIN, AFTER_FAULT_S)
        known = {path: failed.problem for path, failed in self._reconciler.failed.items()}
        with self._watch.held_back():
            done = self._reconciler.run(dirty, force=force, write=force or not self._paused)
        took_ms = (time.perf_counter() - started) * 1000
        if done.again_in is None:
            self._timers.clear(AGAIN)
        else:
            self._timers.after(AGAIN, done.again_in)
        for applied in done.applied:
            if applied.problem is None or applied.problem != known.get(applied.edit.path):
                self._tell(applied, took_ms)
        if done.applied:
            self._look_for_app()
        self._seek_contender()
        if done.changed or dirty is None:
            self._publish()
        return done

    def _tell(self, applied: Applied, took_ms: float) -> None:
        file = str(applied.edit.path)
        if applied.journal_id is not None:
            for deed, change in zip(applied.deeds, applied.edit.changes, strict=True):
                self._say(
                    "info",
                    f"{deed} {describe(change)}",
                    file=file,
                    key=change.key,
                    journal=applied.journal_id,
                    ms=round(took_ms, 2),
                    why=change.why,
                )
        elif applied.problem is not None and not applied.conflict:
            self._say("error", applied.problem, file=file)

    def _seek_contender(self) -> None:
        """Once a fight is on, look who it is with; forget it when it is over."""
        fights = [path for path, known in self._reconciler.patience.items() if known.contended]
        if not fights:
            self._contender = None
        elif not self._timers.pending(CONTENDER):
            self._timers.after(CONTENDER, CONTENDER_S)
            self._jobs.scout("contender", lambda: contender.find(fights[0]), self._learn_contender)

    def _learn_contender(self, found: str | None) -> None:
        if found is not None and found != self._contender:
            self._say("warning", f"likely undone by {found}")
            self._contender = found
            self._publish()

    # -- workers ------------------------------------------------------------------------------

    def _sight(self) -> Sight:
        return Sight(
            config=self._config,
            home=self._home if isinstance(self._home, Home) else None,
            models=self._world.models,
            pairs=self._pairs,
            server=self._server,
            engine_version=self._app.version if self._app is not None else None,
            memory_bytes=self._memory_bytes,
            paused=self._paused,
        )

    def _learn_proofs(self) -> None:
        self._decide()
        self._follow()
        self._pass(None)

    def _learn_bench(self) -> None:
        self._decide()
        self._pass(None)

    # -- what others may see ------------------------------------------------------------------

    def _publish(self) -> None:
        if isinstance(self._home, NoHome) and not self._home.looked:
            return  # nothing has been seen yet, and what was known at the last stop still is
        rec = self._reconciler
        written = self._stores.journal.last_written(rec.paths)
        self.writes = self._stores.journal.entries()
        facts = Facts(
            config_problem=self._config_problem,
            config_path=self._config_path,
            config_there=survey.is_there(self._config_path),
            home=self._home,
            models=self._world.models,
            model_problems=self._world.problems,
            pairs=self._pairs,
            applied=tuple(rec.failed.values()),
            blocked=tuple(rec.blocked.values()),
            held=dict(rec.held),
            pending=rec.pending,
            patience=dict(rec.patience),
            contender=self._contender,
            apps=rec.apps,
            opinion=self._world.opinion,
            presets=self._world.presets,
            server=self._server,
            app=self._app,
            settings_written={
                app.name: written[app.settings] for app in rec.apps if app.settings in written
            },
            not_in_force=self._not_in_force(written),
            benchmarks=self._benchmarks,
            stale=dict(self._bench.stale),
            proofs=proving.proofs(
                self._pairs,
                self._real_use.uses,
                self._world.models,
                self._server,
                self._memory_bytes,
            ),
            in_use={
                name: use.in_use
                for name, use in self._real_use.uses.items()
                if use.in_use.answers or use.in_use.baseline_answers
            },
            paused=self._paused,
            faults=(*self._faults.known(), *self._events.problems()),
        )
        self._publication.publish(facts, self._config)

    def _not_in_force(self, written: Mapping[Path, datetime]) -> tuple[NotInForce, ...]:
        if self._server is None or not isinstance(self._home, Home):
            return ()
        defaults = model_defaults.folders(self._home.path)[0]
        return in_force.find(
            self._pairs,
            self._server.models,
            self._world.models,
            self._loaded_at,
            {
                str(path.relative_to(defaults).with_suffix("")): time
                for path, time in written.items()
                if path.is_relative_to(defaults)
            },
        )

    def _say(self, level: Level, message: str, **fields: str | float | bool | None) -> None:
        self._events.say(level, message, **fields)

    # Asked by the backend, on other threads: snapshots only.

    @property
    def snapshot(self) -> Snapshot | None:
        """The last published facts and conditions."""
        return self._publication.snapshot

    @property
    def directory(self) -> Path:
        """Where everything lies that specd keeps."""
        return self._state

    @property
    def stores(self) -> Stores:
        """What specd keeps on disk."""
        return self._stores

    @property
    def events(self) -> Events:
        """What the daemon says."""
        return self._events

    def state(self) -> report.DaemonState:
        """What the daemon knows of itself."""
        due = self._timers.when(BENCHMARK)
        return report.DaemonState(
            uptime_s=time.monotonic() - self._born,
            next_benchmark=due.isoformat(timespec="seconds") if due else None,
            benchmark=self._bench.note,
            last_writes=tuple(
                itertools.islice(
                    (each for each in reversed(self.writes) if each.state == "written"),
                    report.LAST_WRITES,
                )
            ),
            watching=self._watch.polling or "events",
            restores=restores.count(restores.put_back(self.writes), datetime.now().astimezone()),
        )

    def look_for_app(self) -> Future[None]:
        """Look whether LM Studio runs now; done when it is known."""
        done: Future[None] = Future()

        def look() -> None:
            self._asked_for_app.append(done)
            self._look_for_app()

        self._inbox.do(look)
        return done

    def on_loop(self, task: Callable[[], dict[str, Any]]) -> Future[dict[str, Any]]:
        """Run ``task`` on the daemon's own loop."""
        return self._inbox.ask(task)

    # Orders: run on the loop through ``on_loop``.

    def apply_now(self) -> dict[str, Any]:
        """Write what differs, without waiting for anybody's turn; what was restored counts again.

        "written" holds the numbers of the writes in the journal.
        """
        newest = self._stores.journal.newest()
        self._stores.journal.hand_over(released=True)
        self.reload()
        self._survey_all()
        done = self._pass(None, force=True)
        entries = self._stores.journal.entries()
        written = [each.id for each in entries if each.id > newest]
        self._say("info", "applied on request", files=len(written))
        return {
            "written": written,
            "problems": [each.problem for each in done.applied if each.problem is not None],
        }

    def plan_now(self) -> dict[str, Any]:
        """What would be written, as unified diffs; writes nothing."""
        made = self._reconciler.plan()
        return {
            "edits": [
                {
                    "path": str(edit.path),
                    "changes": [report.change(change) for change in edit.changes],
                    "diff": unified_diff(edit),
                }
                for edit in made.edits
            ],
            "blocked": [{"path": str(each.path), "why": each.why} for each in made.blocked],
            "held": [change.key for _, change in made.held],
        }

    def verdict_now(self, main: str, draft: str) -> dict[str, Any]:
        """What is known of two models named as people do; compares nothing itself."""
        verdict = None
        with contextlib.suppress(names.NameProblem):
            pair = [names.resolve(each, self._world.models) for each in (main, draft)]
            verdict = self._stores.verdicts.lookup(*pair)
            if verdict is not None:
                verdict = with_cache(verdict, pair[0], pair[1], self._world.opinion)
        return {
            "config": str(self._config_path),
            "home": str(self._home.path) if isinstance(self._home, Home) else None,
            "verdict": None if verdict is None else to_json(verdict),
        }

    def start_bench(self, order: Order) -> str:
        """Measure now the models that the order names as people do; what comes of it, in words.

        Raises:
            names.NameProblem: there is no such model, or it may be several.
            NoPair: there is nothing to measure.
        """
        installed = self._world.models
        main = order.main and names.key_of(order.main, installed)
        drafts = tuple(names.key_of(each, installed) for each in order.drafts)
        return self._bench.start(msgspec.structs.replace(order, main=main, drafts=drafts))

    def pause(self) -> dict[str, Any]:
        """Watch and report, but write nothing until ``resume``."""
        self._paused = True
        self._say("info", "paused on request: nothing is written until `specd resume`")
        self._publish()
        return {"paused": True}

    def resume(self) -> dict[str, Any]:
        """Write again, starting with a full look."""
        self._paused = False
        self._say("info", "resumed on request")
        self._survey_all()
        self._pass(None)
        return {"paused": False}

    def restore(self, asked: int | None) -> dict[str, Any]:
        """Undo one journal entry, or all when None, and leave those values alone from now on."""
        try:
            outcome = restore(self._stores.journal, asked)
            for each in outcome.restored:
                self._say("info", f"restored on request: {each}", journal=each.id)
            for problem in outcome.problems:
                self._say("error", problem)
        finally:
            self._pass(None)
        return outcome.as_json()

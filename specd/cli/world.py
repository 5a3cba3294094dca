"""Everything that a command needs without the daemon: configuration, home, models, stores."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from specd import config, places
from specd.bench.result import BenchResult
from specd.cli.paint import complain, plural
from specd.config import ConfigError, SpecdConfig
from specd.lmstudio import home as homes
from specd.lmstudio import names
from specd.lmstudio.home import App, Home, NoHome
from specd.lmstudio.model import Model
from specd.reconcile import survey
from specd.reconcile.desired import DesiredPair
from specd.reconcile.reconciler import DesiredState, Reconciler
from specd.reconcile.stores import COMPARING, Stores, asks_anew
from specd.reconcile.survey import World
from specd.worker.client import WorkerError, run_task


class Unusable(Exception):
    """The command cannot go on; the message names the problem and the remedy. Exit code 2."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything one command needs to know."""

    config: SpecdConfig
    state: Path
    home: Home
    world: World
    stores: Stores

    @property
    def apps(self) -> tuple[App, ...]:
        """The apps whose files specd keeps."""
        return homes.apps(self.home.path, self.config.lmstudio.apps)

    def measured(self, main: str, draft: str) -> BenchResult | None:
        """The latest benchmark of a pair, whatever its models are called here."""
        try:
            both = [names.key_of(each, self.world.models) for each in (main, draft)]
        except names.NameProblem:
            return None
        return self.stores.history.latest(both[0], both[1])


def see() -> Seen:
    """Look at configuration, home and models, and open the stores.

    Raises:
        ConfigError: specd.toml is broken.
        Unusable: there is no home, or the state directory cannot be used.
    """
    read = configuration()
    found = homes.find_home(read.lmstudio.home)
    if isinstance(found, NoHome):
        raise Unusable(str(found))
    return look(read, found)


def configuration() -> SpecdConfig:
    """What specd.toml asks for; raises ConfigError where it is broken."""
    return config.read(places.config_file()).config


def configuration_or_default() -> SpecdConfig:
    """As ``configuration``; the defaults where it is broken, which other commands report."""
    try:
        return configuration()
    except ConfigError:
        return SpecdConfig()


def look(wanted: SpecdConfig, found: Home) -> Seen:
    """As ``see``, for a configuration and a home that are known.

    Raises:
        Unusable: the state directory cannot be used.
    """
    stores = open_stores()
    world = survey.look(found, stores.state)
    stores.see(world, found.path)
    return Seen(wanted, stores.state, found, world, stores)


def open_stores() -> Stores:
    """The stores alone, for commands that need neither a configuration nor a home.

    Raises:
        Unusable: the state directory cannot be used.
    """
    state = places.state_dir()
    try:
        return Stores.open(state)
    except OSError as error:
        raise Unusable(f"{error.filename or state} cannot be used: {error.strerror}") from error


def decide(seen: Seen) -> tuple[DesiredPair, ...]:
    """Resolve the pairs, comparing tokenizers that have not been compared yet (in a worker)."""
    pairs = seen.stores.resolve(seen.config, seen.world.models, seen.apps)
    undecided = [(pair.main, draft) for pair in pairs if pair.main for draft in pair.undecided]
    if not undecided:
        return pairs
    compare(seen, undecided)
    return seen.stores.resolve(seen.config, seen.world.models, seen.apps)


def compare(seen: Seen, pairs: Sequence[tuple[Model, Model]]) -> None:
    """Compare the tokenizers of mains and drafts in a worker, and keep the verdicts."""
    print(f"comparing tokenizers of {plural(len(pairs), 'pair')} …", file=sys.stderr)
    try:
        run_task("verdicts", seen.stores.verdict_request(pairs), limits=COMPARING)
    except WorkerError as error:
        complain(f"the tokenizers could not be compared: {error}")


def reconciler(
    seen: Seen, pairs: tuple[DesiredPair, ...], *, by: str, heeds_held: bool = True
) -> Reconciler:
    """A reconciler with specd.toml's desired state; ``heeds_held``: held values stay alone.

    They do until specd.toml asks anew: the daemon releases them when it reads that.
    """
    anew = asks_anew(survey.last_good(seen.stores.state), seen.config)
    made = Reconciler(seen.stores.journal, by=by, heeds_held=heeds_held and not anew)
    made.set_desired(DesiredState(seen.home.path, seen.config.speculation, pairs, seen.apps))
    return made

"""The results of one pass, as plain data: conditions and status are made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from specd.bench.result import BenchResult
from specd.bench.use import InUse
from specd.lmstudio import names
from specd.lmstudio.answers import ServedModel
from specd.lmstudio.draft_cache import CacheOpinion
from specd.lmstudio.home import App, Home, NoHome
from specd.lmstudio.model import Model
from specd.lmstudio.presets import Preset
from specd.reconcile.apply import Applied
from specd.reconcile.contention import Contender, Patience
from specd.reconcile.desired import DesiredPair, PairName
from specd.reconcile.in_force import NotInForce
from specd.reconcile.journal import Change
from specd.reconcile.plan import Blocked


@dataclass(frozen=True, slots=True)
class ServerSeen:
    """The last look at the server. ``problem`` is None when it answered.

    ``url``: None where no address is known. ``remedy``: what to do where it refused because of the
    token, else "". ``configured``: its address stands in specd.toml.
    """

    url: str | None
    problem: str | None
    models: tuple[ServedModel, ...] = ()
    remedy: str = ""
    configured: bool = False

    def served(self, model: Model, installed: Sequence[Model]) -> ServedModel | None:
        """The server's entry for ``model``; None where it lists none."""
        key = names.served_as(model, [each.key for each in self.models], installed)
        return next((each for each in self.models if each.key == key), None)


@dataclass(frozen=True, slots=True)
class AppSeen:
    """LM Studio's process; ``started`` and ``version`` are None where they are not known.

    ``bionic_started`` is when LM Studio Bionic was started, None where it does not run.
    """

    running: bool
    started: datetime | None = None
    version: str | None = None
    bionic_started: datetime | None = None


@dataclass(frozen=True, slots=True)
class DraftsSeen:
    """The draft tokens seen for a pair, or, in ``finding``, why there are none.

    ``silent``: the newer answers without figures are more than the answers with figures.
    """

    main: str
    draft: str
    drafted: int
    accepted: int
    where: str
    finding: str | None = None
    silent: bool = False

    @property
    def pair(self) -> PairName:
        """The pair's name."""
        return PairName(self.main, self.draft)


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of one pass. What is not known is None or empty, never guessed.

    ``listed_unusable``: the pairs that LM Studio's cache lists for the mains of ``pairs`` though
    their verdict forbids them, with the verdict's kind.
    """

    config_problem: str | None
    config_path: Path
    home: Home | NoHome
    config_there: bool = True
    model_problems: tuple[str, ...] = ()
    pairs: tuple[DesiredPair, ...] = ()
    applied: tuple[Applied, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    held: dict[Path, tuple[Change, ...]] = field(default_factory=dict)
    pending: tuple[Path, ...] = ()
    patience: dict[Path, Patience] = field(default_factory=dict)
    contender: Contender | None = None
    apps: tuple[App, ...] = ()
    opinion: CacheOpinion | None = None
    listed_unusable: tuple[tuple[PairName, str], ...] = ()
    presets: tuple[Preset, ...] = ()
    server: ServerSeen | None = None
    app: AppSeen | None = None
    settings_written: Mapping[str, datetime] = field(default_factory=dict)
    not_in_force: tuple[NotInForce, ...] = ()
    benchmarks: dict[PairName, BenchResult] = field(default_factory=dict)
    stale: dict[PairName, tuple[str, ...]] = field(default_factory=dict)
    drafts_seen: tuple[DraftsSeen, ...] = ()
    in_use: dict[PairName, InUse] = field(default_factory=dict)
    paused: bool = False
    faults: tuple[str, ...] = ()

    @property
    def models_left_out(self) -> tuple[str, ...]:
        """The first sentences about what is left out of the models folder, for a message."""
        return self.model_problems[:3]

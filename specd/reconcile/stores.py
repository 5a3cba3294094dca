"""specd's own files, opened once: journal, verdicts, benchmarks, real use, the trial.

Also resolves the pairs of specd.toml with verdicts from the tokenizer store and choices from the
benchmark history.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import msgspec

from specd import places
from specd.bench import choice, database
from specd.bench.choice import Choice
from specd.bench.history import History
from specd.bench.observed import ObservedStore
from specd.bench.result import BenchResult
from specd.bench.use import Observed
from specd.config import SpecdConfig
from specd.files import private, swap
from specd.lmstudio import chat_settings, drafters
from specd.lmstudio.home import App
from specd.lmstudio.model import OWN_HEADS, Model
from specd.reconcile import desired, real_use, trials, users
from specd.reconcile.conditions import Condition
from specd.reconcile.desired import DesiredPair, Known, PairName
from specd.reconcile.engine import Candidate
from specd.reconcile.journal import Journal
from specd.reconcile.logged import LoggedStore
from specd.reconcile.real_use import PairUse
from specd.reconcile.survey import World
from specd.reconcile.trials import Trials
from specd.tokenizer import suggest
from specd.tokenizer.proof import Proof
from specd.tokenizer.store import FILE as TOKENIZERS
from specd.tokenizer.store import VerdictStore
from specd.worker.client import Limits

_Asked = ParamSpec("_Asked")
_Found = TypeVar("_Found")

DRAFTS_MEASURED = 3
"""How many drafts a benchmark tries for a main whose draft is "auto"."""

WORKER_MEMORY = 4 << 30
"""Bytes for a worker that loads no weights."""

COMPARING = Limits(900.0, WORKER_MEMORY)
"""The limits of a worker that compares tokenizers, however many."""

PROOF_S = 900.0
PROOF_OVERHEAD = 2
PROOF_BYTES = 4 << 30
"""Memory MLX may take to prove a pair: twice the weights, and this beside them."""


def asks_anew(before: SpecdConfig | None, now: SpecdConfig) -> bool:
    """Whether ``now`` asks for other values or files; ``before`` is None where it is not known."""
    return before is not None and _asked(before) != _asked(now)


def _asked(wanted: SpecdConfig) -> tuple[object, ...]:
    return wanted.speculation, wanted.pair, wanted.lmstudio.home, wanted.lmstudio.apps


def proof_limits(main: Model, draft: Model) -> Limits:
    """The limits of a worker that proves a pair."""
    weights = main.size_bytes + draft.size_bytes
    return Limits(PROOF_S, PROOF_OVERHEAD * weights + PROOF_BYTES)


@dataclass(frozen=True, slots=True)
class Stores:
    """Every store under one state directory; only one thread may use it."""

    state: Path
    journal: Journal
    verdicts: VerdictStore
    history: History
    observed: ObservedStore
    logged: LoggedStore
    bionic_logged: LoggedStore
    trials: Trials
    unread: dict[Path, str] = field(default_factory=dict)
    """The stores that could not be read when the pairs were resolved last, each with the reason."""

    @classmethod
    def open(cls, state: Path) -> Stores:
        """Open them all; missing ones are created.

        Raises:
            OSError: the state directory cannot be used.
            journal.NewerJournal, database.NewerHistory: a newer specd wrote it.
        """
        return cls(
            state,
            Journal(places.journal_dir(state)),
            VerdictStore(places.tokenizer_cache_dir(state)),
            History(places.history_path(state)),
            ObservedStore(places.history_path(state)),
            LoggedStore(state / "server-log.json"),
            LoggedStore(state / "bionic-log.json", "Bionic"),
            Trials(state),
        )

    def close(self) -> None:
        """Close the open files."""
        self.journal.close()
        self.history.close()
        self.observed.close()
        self.verdicts.close()

    def see(self, world: World, home: Path | None) -> None:
        """Read the facts in LM Studio's home on which verdicts depend."""
        self.verdicts.mlx_types = world.mlx_types
        self.verdicts.llama_servers = world.llama_servers
        self.verdicts.kv_quantized = cache(partial(chat_settings.kv_quantized, home))

    def resolve(
        self, wanted: SpecdConfig, models: Sequence[Model], apps: Sequence[App]
    ) -> tuple[DesiredPair, ...]:
        """The pairs of specd.toml, resolved; the files of ``apps`` hold the user's own drafts."""

        def choose(main: Model, drafts: Sequence[str]) -> Choice | None:
            return choice.decide(self.history.nights(main.key, drafts), wanted.benchmark)

        def rank(main: Model, installed: Sequence[Model]) -> Sequence[Model]:
            return suggest.rank(main, installed, self.verdicts)

        history_file = places.history_path(self.state)
        verdict_file = places.tokenizer_cache_dir(self.state) / TOKENIZERS
        self.unread.clear()
        known = Known(
            self._unless_unread(verdict_file, self.verdicts.lookup, None),
            self._unless_unread(verdict_file, rank, ()),
            self._unless_unread(history_file, choose, None),
            lambda main: users.drafting(main, apps, self.journal),
            self._unless_unread(verdict_file, self.verdicts.refuses_main, None),
            self._proves,
            lambda: next(iter(self.unread.values()), None),
        )
        return trials.applied(desired.resolve(wanted, models, known), self.trials.read())

    def listed_unusable(
        self, world: World, pairs: Sequence[DesiredPair]
    ) -> tuple[tuple[PairName, str], ...]:
        """What LM Studio's cache lists for the mains of ``pairs`` though its verdict forbids it."""
        listed = world.opinion.pairs if world.opinion is not None else {}
        models = {model.identifier: model for model in world.models}
        return tuple(
            (PairName(pair.main.key, draft.key), verdict.kind)
            for pair in pairs
            if pair.main is not None
            for name in listed.get(pair.main.identifier, ())
            if (draft := models.get(name)) is not None
            and (verdict := self.verdicts.lookup(pair.main, draft)) is not None
            and verdict.kind in ("incompatible", "unsupported")
        )

    def _unless_unread(
        self, path: Path, read: Callable[_Asked, _Found], empty: _Found
    ) -> Callable[_Asked, _Found]:
        """What ``read`` returns; ``empty`` once the store at ``path`` has failed."""

        def found(*asked: _Asked.args, **named: _Asked.kwargs) -> _Found:
            if path not in self.unread:
                try:
                    return read(*asked, **named)
                except (sqlite3.Error, OSError) as error:
                    self.unread[path] = f"{path} cannot be read: {error}"
            return empty

        return found

    def release_if_asked(self, before: SpecdConfig | None, now: SpecdConfig) -> None:
        """Release all held values if ``now`` asks for others.

        Raises:
            OSError: the journal cannot be written.
        """
        if asks_anew(before, now):
            failed = self.journal.hand_over(released=True)
            if failed is not None:
                raise failed

    def recover(self) -> list[str]:
        """Clean up after a crash; returns a line for each thing found.

        Raises:
            OSError: the state directory cannot be used.
            NewerHistory: a newer specd wrote the history; a daemon without it would be worse.
        """
        for directory in (self.state, places.tokenizer_cache_dir(self.state)):
            private.sweep(directory)
        aside = self.set_aside()
        damaged = self.history.recover()
        if places.history_path(self.state).exists():
            with contextlib.suppress(sqlite3.Error):
                self.history.recent(1)
        logs = (self.logged.recover(), self.bionic_logged.recover())
        lines = [*aside, *filter(None, (damaged, *logs, self.journal.unread))]
        lines += self.clear(self.journal.paths())
        for entry in self.journal.recover():
            outcome = {"written": "had been made", "intended": "may have been made"}.get(
                entry.state, "had not been made"
            )
            lines.append(f"a write of {entry.path} was interrupted; it {outcome}")
        return lines

    def set_aside(self) -> list[str]:
        """Move unusable caches aside; returns a line for each.

        A cache can be filled again, so a broken one must not stop specd.
        """
        lines: list[str] = []
        directory = places.tokenizer_cache_dir(self.state)
        caches = [places.history_path(self.state), directory / TOKENIZERS]
        if directory.exists() and not (directory.is_dir() and os.access(directory, os.W_OK)):
            caches[-1] = directory
        for path in caches:
            if path == caches[0] and path.is_file():
                continue  # measurements that may not be read now may be whole
            beside = [path.with_name(f"{path.name}{end}") for end in ("", "-wal", "-shm")]
            if path == directory or not all(map(private.usable, beside)):
                with contextlib.suppress(OSError):  # opening it reports that
                    aside = database.set_aside(path)
                    lines.append(f"{path} could not be used; it begins anew and lies at {aside}")
        return lines

    def clear(self, files: Iterable[Path]) -> list[str]:
        """Clean up interrupted writes of these files; returns a line for each."""
        lines: list[str] = []
        for directory in sorted({Path(os.path.realpath(file)).parent for file in files}):
            try:
                found = swap.recover(directory)
            except swap.SwapError as error:
                lines.append(f"what an interrupted write left cannot be cleared up: {error}")
            else:
                lines += [f"a write of {e.path} was interrupted; {e.result}" for e in found]
        return lines

    # -- conditions -----------------------------------------------------------------------------

    def last_conditions(self) -> tuple[Condition, ...]:
        """The conditions of the last run, so that ``since`` survives a restart."""
        try:
            kept = private.read_json(self.state / "conditions.json")
            return msgspec.convert(kept, tuple[Condition, ...])
        except (OSError, private.Broken, msgspec.ValidationError):
            return ()

    def keep_conditions(self, conditions: Sequence[Condition]) -> None:
        """Keep them for the next start; without them only the ``since`` times are lost."""
        # By json, as a message may name a path that is not UTF-8.
        kept = json.dumps(msgspec.to_builtins(conditions))
        with contextlib.suppress(OSError):
            private.write(self.state / "conditions.json", kept.encode(), durable=False)

    # -- verdicts -------------------------------------------------------------------------------

    def proof_request(self, main: Model, draft: Model, home: Path | None) -> dict[str, Any]:
        """The request of the worker task "validate"."""
        return {**self.verdict_request([(main, draft)]), "context": self._context(main, home)}

    def _context(self, main: Model, home: Path | None) -> dict[str, Any]:
        """A proof depends on these beside the files: settings of new chats, installed engines."""
        servers = self.verdicts.llama_servers if main.format == "gguf" else ()
        return {
            "settings": asdict(chat_settings.read(home, main)),
            "llama_servers": [str(path) for path in servers],
        }

    def verdict_request(self, pairs: Sequence[tuple[Model, Model]]) -> dict[str, Any]:
        """The request of the worker task "verdicts" for these (main, draft) pairs."""
        return {
            "cache": str(places.tokenizer_cache_dir(self.state)),
            "pairs": [[str(main.path), str(draft.path)] for main, draft in pairs],
            "engine": True,
        }

    def proven(self, main: Model, draft: Model, home: Path | None) -> bool:
        """Whether a pair's proof is complete and was made with the present settings and engines."""
        proof = self.verdicts.proven(main, draft)
        return proof is not None and proof.whole and proof.context == self._context(main, home)

    def keep_unproven(self, main: Model, draft: Model, context: dict[str, Any], why: str) -> None:
        """Store that the engine could not run a pair, for ``why``; an earlier proof stands."""
        one, other = self.verdicts.known(main.path), self.verdicts.known(draft.path)
        if one is not None and other is not None and self.verdicts.proof(one, other) is None:
            proof = Proof(f"not proven: {why}", whole=False, context=context)
            self.verdicts.keep_proof(one, other, proof)

    def unproven(
        self, pairs: Sequence[DesiredPair], installed: Sequence[Model], home: Path | None
    ) -> list[tuple[Model, Model]]:
        """The mains and drafts for which the engine still has something to prove.

        Pairs in use or waiting for it, and drafts that a proof with other settings or engines
        refused.
        """
        found: list[tuple[Model, Model]] = []
        disproven = self.verdicts.disproven()
        for pair in pairs:
            main = pair.main
            if main is None or pair.reason == "SwitchedOff":
                continue
            if not self._proves(main):
                continue
            asked = pair.speculates or pair.reason == "NotProven"
            in_use = (pair.draft,) if pair.draft is not None and asked else ()
            refused = self._refused(pair, installed) if disproven else ()
            found += [
                (main, draft)
                for draft in dict.fromkeys((*in_use, *refused))
                if draft.drafter is None and not self.proven(main, draft, home)
            ]
        return found

    def _proves(self, main: Model) -> bool:
        """Whether specd proves a main's pairs unasked: GGUF only with LM Studio's llama-server."""
        return main.format != "gguf" or bool(self.verdicts.llama_servers)

    def _refused(self, pair: DesiredPair, installed: Sequence[Model]) -> Iterator[Model]:
        """The drafts that specd.toml allows for a pair and a proof refused."""
        if pair.main is None:
            return
        auto = pair.configured.draft == "auto"
        drafts = suggest.rank(pair.main, installed, self.verdicts) if auto else (pair.draft,)
        for draft in drafts:
            proof = draft and self.verdicts.proven(pair.main, draft)
            if draft is not None and proof is not None and proof.kind is not None:
                yield draft

    # -- benchmarks -----------------------------------------------------------------------------

    def benchmarks(self, pairs: Sequence[DesiredPair]) -> dict[PairName, BenchResult]:
        """The latest benchmark of each pair, by the pair's name."""
        return {
            pair.name: latest
            for pair in pairs
            if pair.main is not None and pair.drafts_with is not None
            if (latest := self.history.latest(pair.main.key, pair.drafts_with)) is not None
        }

    def worth_measuring(
        self, pairs: Sequence[DesiredPair], installed: Sequence[Model]
    ) -> tuple[Candidate, ...]:
        """The candidates that a benchmark of these pairs measures.

        The draft that specd.toml names, or the best few proven drafts and every sidecar. A main's
        own heads are measured with any of these; without one they are the only candidate.
        """
        found: list[Candidate] = []
        for pair in pairs:
            if pair.main is None:
                continue
            auto = pair.configured.draft == "auto"
            ranked = suggest.rank(pair.main, installed, self.verdicts) if auto else ()
            sidecars = drafters.for_main(pair.main, installed)
            in_use = (pair.draft,) if pair.draft is not None else ()
            usable = [
                Candidate(
                    pair.main, draft, verdict, pair.draft_tokens if draft == pair.draft else None
                )
                for draft in dict.fromkeys((*in_use, *ranked))
                if (verdict := self.verdicts.lookup(pair.main, draft))
                and (verdict.worth_trying if auto else verdict.usable)
            ]
            usable[DRAFTS_MEASURED:] = [
                Candidate(pair.main, each) for each in sidecars if auto or each == pair.draft
            ]
            if not usable and OWN_HEADS in pair.candidates:
                usable = [Candidate(pair.main, None)]
            found.extend(usable)
        return tuple(found)

    # -- real use -------------------------------------------------------------------------------

    def observe_request(self, conversations: Path, seconds: float) -> dict[str, Any]:
        """The request of the worker task "observe"."""
        return {
            "conversations": str(conversations),
            "history": str(places.history_path(self.state)),
            "seconds": seconds,
        }

    def uses(
        self, pairs: Sequence[DesiredPair], installed: Sequence[Model], *, conversations: bool
    ) -> dict[PairName, PairUse]:
        """The use of each pair, by the pair's name: from the last probes.

        With ``conversations`` also from the user's answers in conversations and the server log.
        """
        seen = self.observed.sums() if conversations else Observed()
        both = (*self.logged.asked(), *self.bionic_logged.asked())
        logged = both if conversations else ()
        return real_use.uses(pairs, installed, seen, self.observed.probes(), logged)

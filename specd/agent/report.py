"""The socket's answers: facts and conditions as the stable JSON of ``specd status --json``."""

from __future__ import annotations

import itertools
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from specd import __version__
from specd.agent.publication import Snapshot
from specd.bench.outcome import outcome
from specd.files.pointer import ABSENT
from specd.lmstudio import home as homes
from specd.lmstudio import model_defaults
from specd.lmstudio.home import Home
from specd.reconcile import restores
from specd.reconcile.desired import DesiredPair
from specd.reconcile.facts import Facts
from specd.reconcile.journal import Change, Entry
from specd.reconcile.restores import Restores

LAST_WRITES = 20
"""So many that, while a program keeps changing one value, other writes are still among them."""


@dataclass(frozen=True, slots=True)
class DaemonState:
    """The daemon's own part of status; ``next_benchmark`` is RFC 3339 with zone."""

    uptime_s: float
    next_benchmark: str | None
    benchmark: str | None
    watching: str


def status(seen: Snapshot, daemon: DaemonState) -> dict[str, Any]:
    """The whole answer of ``GET /v1/status``."""
    facts, listed = seen.facts, seen.conditions
    standing = (each for each in reversed(seen.writes) if each.state == "written")
    writes = [entry(each) for each in itertools.islice(standing, LAST_WRITES)]
    done = restores.count(restores.put_back(seen.writes), datetime.now().astimezone())
    return {
        "version": __version__,
        "state": "degraded" if any(each.degraded for each in listed) else "healthy",
        "home": str(facts.home.path) if isinstance(facts.home, Home) else None,
        "config": str(facts.config_path),
        "pid": os.getpid(),
        "uptime_s": round(daemon.uptime_s, 3),
        "paused": facts.paused,
        "watching": daemon.watching,
        "conditions": [asdict(condition) for condition in listed],
        "pairs": [pair(facts, each) for each in facts.pairs],
        "held": [change.key for changes in facts.held.values() for change in changes],
        "last_write": writes[0] if writes else None,
        "last_writes": writes,
        "restores": _restores(done, facts.contender),
        "next_benchmark": daemon.next_benchmark,
        "benchmark": daemon.benchmark,
    }


def _restores(done: Restores, program: str | None) -> dict[str, Any]:
    """``program`` is the program that keeps undoing specd's writes, if known."""
    last = None
    if done.last is not None:
        last = {
            "time": done.last.time.isoformat(timespec="seconds"),
            "path": str(done.last.path),
            "key": done.last.key,
            "value": None if done.last.value is ABSENT else done.last.value,
            "program": program,
        }
    return {"today": done.today, "week": done.week, "last": last}


def pair(facts: Facts, wanted: DesiredPair) -> dict[str, Any]:
    """One pair as status shows it; ``speedup`` is the measured one, None where there is none.

    ``gain`` is the last benchmark's result as a sentence, None before the first; ``stale`` holds
    the reasons why it is outdated; ``observed`` is the proof that draft tokens ran, ``in_use`` the
    figures of the user's own answers.
    """
    measured = facts.benchmarks.get(wanted.name)
    proof = next((p for p in facts.proofs if f"{p.main} ← {p.draft}" == wanted.name), None)
    return {
        "main": wanted.main.key if wanted.main else wanted.configured.main,
        "draft": wanted.drafts_with,
        "draft_tokens": wanted.draft_tokens,
        "verdict": wanted.verdict.kind if wanted.verdict else None,
        "speedup": measured.best.measured_speedup if measured else None,
        "interval": list(measured.best.interval) if measured and measured.best.interval else None,
        "gain": outcome(measured).words if measured else None,
        "measured_at": measured.started_at if measured else None,
        "stale": list(facts.stale.get(wanted.name, ())),
        "state": wanted.state,
        "reason": wanted.reason,
        "candidates": list(wanted.candidates),
        "why": wanted.why,
        "held": _is_held(facts, wanted),
        "ignored": _is_ignored(facts, wanted),
        "set_by_user": wanted.users.drafts_with if wanted.users.drafts else None,
        "observed": asdict(proof) if proof else None,
        "in_use": asdict(used) if (used := facts.in_use.get(wanted.name)) else None,
    }


def _is_held(facts: Facts, wanted: DesiredPair) -> bool:
    """Whether the user took the pair's draft back, so that LM Studio's files are without it."""
    if not isinstance(facts.home, Home) or wanted.main is None:
        return False
    path = model_defaults.config_path(facts.home.path, wanted.main)
    return any(model_defaults.drafts(each.key) for each in facts.held.get(path, ()))


def _is_ignored(facts: Facts, wanted: DesiredPair) -> bool:
    """Whether LM Studio ignores the file that should name the pair's draft."""
    if not isinstance(facts.home, Home) or wanted.main is None:
        return False
    path = model_defaults.config_path(facts.home.path, wanted.main)
    return any(each.path == path and each.ignored for each in facts.blocked)


def entry(written: Entry) -> dict[str, Any]:
    """One journal entry; values only of keys that specd owns."""
    return {
        "id": written.id,
        "time": written.time,
        "path": str(written.path),
        "app": homes.app_of(written.path),
        "surface": written.surface,
        "state": written.state,
        "changes": [change(each) for each in written.changes],
    }


def change(made: Change) -> dict[str, Any]:
    """One value, old and new; None: ``null``, or there is no value."""
    return {
        "key": made.key,
        "old": None if made.shown_old is ABSENT else made.shown_old,
        "new": None if made.new is ABSENT else made.new,
        "why": made.why,
    }

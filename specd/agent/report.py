"""The socket's answers: facts and conditions as the stable JSON of ``specd status --json``."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from specd import __version__
from specd.agent.publication import Snapshot
from specd.bench.outcome import outcome
from specd.files.pointer import ABSENT
from specd.lmstudio import home as homes
from specd.lmstudio.home import Home
from specd.lmstudio.model import OWN_HEADS
from specd.lmstudio.model_defaults import config_path, drafts
from specd.reconcile import restores
from specd.reconcile.contention import Contender
from specd.reconcile.desired import DesiredPair
from specd.reconcile.facts import Facts
from specd.reconcile.journal import Change, Entry
from specd.reconcile.plan import Plan, unified_diff
from specd.reconcile.restores import PutBack

LAST_WRITES = 20
"""Enough to show other writes too while a program keeps changing one value."""

_OFF = (ABSENT, None, False, "")


def status(seen: Snapshot, daemon: dict[str, Any]) -> dict[str, Any]:
    """The whole answer of ``GET /v1/status``; ``daemon`` is the daemon's own part of it."""
    facts, listed = seen.facts, seen.conditions
    standing = (each for each in reversed(seen.writes) if each.state == "written")
    writes = [entry(each) for each in itertools.islice(standing, LAST_WRITES)]
    return {
        "version": __version__,
        "state": "degraded" if any(each.degraded for each in listed) else "healthy",
        "home": str(facts.home.path) if isinstance(facts.home, Home) else None,
        "config": str(facts.config_path),
        "pid": os.getpid(),
        **daemon,
        "paused": facts.paused,
        "conditions": [asdict(condition) for condition in listed],
        "pairs": [pair(facts, each, seen.writes) for each in facts.pairs],
        "held": [change.key for changes in facts.held.values() for change in changes],
        "last_write": writes[0] if writes else None,
        "last_writes": writes,
        "restores": _restores(seen.put_back, facts.contender),
    }


def _restores(found: Sequence[PutBack], contender: Contender | None) -> dict[str, Any]:
    today, week = restores.count(found, datetime.now().astimezone())
    last = None
    if found:
        newest = max(found, key=lambda each: each.time)
        last = {
            "time": newest.time.isoformat(timespec="seconds"),
            "path": str(newest.path),
            "key": newest.key,
            "value": None if newest.value is ABSENT else newest.value,
            "program": contender.names if contender else None,
        }
    return {"today": today, "week": week, "last": last}


def pair(facts: Facts, wanted: DesiredPair, writes: Sequence[Entry]) -> dict[str, Any]:
    """One pair as status shows it; ``speedup`` is the measured one, None where there is none.

    ``gain`` is the last benchmark's result as a sentence, None before the first; ``stale`` holds
    the reasons why it is outdated; ``observed`` is the proof that draft tokens ran, ``in_use`` the
    figures of the user's own answers.
    """
    path = None
    if isinstance(facts.home, Home) and wanted.main is not None:
        path = config_path(facts.home.path, wanted.main)
    unwritten = {each.path for each in facts.blocked} | {each.edit.path for each in facts.applied}
    measured = facts.benchmarks.get(wanted.name)
    observed = next((each for each in facts.drafts_seen if each.pair == wanted.name), None)
    return {
        "main": wanted.main.key if wanted.main else wanted.configured.main,
        "draft": wanted.drafts_with,
        "draft_tokens": wanted.draft_tokens,
        "verdict": wanted.verdict.kind if wanted.verdict else None,
        "speedup": measured.used.measured_speedup if measured else None,
        "interval": list(measured.used.interval) if measured and measured.used.interval else None,
        "gain": outcome(measured).words if measured else None,
        "measured_at": measured.started_at if measured else None,
        "stale": list(facts.stale.get(wanted.name, ())),
        "state": wanted.state,
        "reason": wanted.reason,
        "candidates": list(wanted.candidates),
        "why": wanted.why,
        "held": any(drafts(each.key) for each in facts.held.get(path, ())) if path else False,
        "ignored": any(each.path == path and each.ignored for each in facts.blocked),
        "unwritten": path in unwritten,
        "left": None if wanted.drafts_with else _left(path, writes),
        "set_by_user": wanted.users.drafts_with if wanted.users.drafts else None,
        "observed": asdict(observed) if observed else None,
        "in_use": asdict(used) if (used := facts.in_use.get(wanted.name)) else None,
    }


def _left(path: Path | None, writes: Sequence[Entry]) -> str | None:
    """The draft in the last write of a main's file that was not undone; None if there is none."""
    standing = (each for each in reversed(writes) if each.path == path and each.state == "written")
    chosen = (each.shown_new for entry in standing for each in entry.changes if drafts(each.key))
    names = (each if isinstance(each, str) else OWN_HEADS for each in chosen if each not in _OFF)
    return next(names, None)


def entry(written: Entry) -> dict[str, Any]:
    """One journal entry; values only of keys that specd owns."""
    return {
        "id": written.id,
        "time": written.time,
        "path": str(written.path),
        "app": homes.app_of(written.path),
        "surface": written.surface,
        "state": written.state,
        "changes": [_change(each) for each in written.changes],
    }


def plan(made: Plan) -> dict[str, Any]:
    """What would be written, as unified diffs, and what stands in the way."""
    return {
        "edits": [
            {
                "path": str(edit.path),
                "changes": [_change(each) for each in edit.changes],
                "diff": unified_diff(edit),
            }
            for edit in made.edits
        ],
        "blocked": [{"path": str(each.path), "why": each.why} for each in made.blocked],
        "held": [change.key for _, change in made.held],
    }


def _change(made: Change) -> dict[str, Any]:
    """One value, old and new; None: ``null``, or there is no value."""
    return {
        "key": made.key,
        "old": None if made.shown_old is ABSENT else made.shown_old,
        "new": None if made.shown_new is ABSENT else made.shown_new,
        "why": made.why,
    }

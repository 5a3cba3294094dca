"""The worker tasks of one benchmark, for the daemon and for ``specd bench``.

Every pair of a plan gets an equal part of the time. A worker plans with ``SHARE`` of its part; the
rest is for loading models and ending cleanly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from specd.bench.observed import ObservedStore
from specd.bench.prompts import CONTEXTS, STANDARD
from specd.lmstudio import chat_settings
from specd.lmstudio.model import Model
from specd.reconcile.engine import BenchmarkPlan, LocalPair, ServedPair
from specd.reconcile.facts import ServerSeen

SHARE = 0.9
"""The part of its minutes that a measurement plans with."""

MORE_MINUTES = (
    "`specd bench --minutes N` gives it more, and so does max_minutes of [benchmark] in specd.toml"
)

ENOUGH = 50
"""From this many answers in the user's chats on, their prompt lengths set the weights."""

BOUNDS = (1_000, 4_000, 16_000)
"""Tokens of a prompt between a short one and the suite's contexts of 2k, 8k and 32k."""


def weights(mix: Mapping[str, float], observed: ObservedStore) -> dict[str, float]:
    """The weights of the prompt classes, from the prompt lengths in the user's chats and ``mix``.

    ``mix`` overrides the others. The short classes have equal weights, together those of the user's
    short prompts.
    """
    answers, tokens = observed.by_context(BOUNDS)
    short, *contexts = tokens
    if answers < ENOUGH or not any(tokens):
        return dict(mix)
    kinds = [each.kind for each in STANDARD if not each.context]
    unit = short or sum(contexts)
    own = {
        kind: len(kinds) * of_kind / unit for kind, of_kind in zip(CONTEXTS, contexts, strict=True)
    }
    return {**({} if short else dict.fromkeys(kinds, 0.0)), **own, **mix}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """How to measure: which prompts, for how many ``minutes`` in all.

    ``weights`` are the classes' shares of the user's tokens. ``temperature`` is for every main;
    None: the user's own settings in ``home``. ``history`` is the file of results, ``token_env`` the
    variable with the server's token, ``engine_version`` LM Studio's version, ``llama_servers`` are
    its llama.cpp servers.
    """

    history: Path
    minutes: float
    suite: str = "standard"
    quick: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)
    temperature: float | None = None
    home: Path | None = None
    token_env: str = ""
    engine_version: str | None = None
    llama_servers: Sequence[Path] = ()

    def at(self, main: Model) -> float:
        """The temperature to measure a main at, beside 0."""
        if self.temperature is not None:
            return self.temperature
        return chat_settings.read(self.home, main).temperature


@dataclass(frozen=True, slots=True)
class Task:
    """One worker task: its name, its request, and the seconds it may take."""

    name: str
    request: dict[str, Any]
    seconds: float


def tasks(plan: BenchmarkPlan, server: ServerSeen | None, wanted: Benchmark) -> tuple[Task, ...]:
    """One task for each engine that has something to measure."""
    each_s = wanted.minutes * 60 / max(1, plan.pairs)
    common = {
        "suite": wanted.suite,
        "quick": wanted.quick,
        "weights": dict(wanted.weights),
        "history": str(wanted.history),
    }
    found: list[Task] = []
    if plan.mlx:
        seconds = each_s * len(plan.mlx)
        request = {**common, "seconds": seconds * SHARE, "mains": _by_main(plan.mlx, wanted)}
        found.append(Task("bench", request, seconds))
    if plan.gguf:
        seconds = each_s * len(plan.gguf)
        request = {
            **common,
            "seconds": seconds * SHARE,
            "servers": [str(each) for each in wanted.llama_servers],
            "pairs": [_local_pair(pair, wanted) for pair in plan.gguf],
        }
        found.append(Task("bench-gguf", request, seconds))
    if plan.server and server is not None:
        seconds = each_s * len(plan.server)
        request = {
            **common,
            "seconds": seconds * SHARE,
            "url": server.url,
            "configured": server.configured,
            "token_env": wanted.token_env,
            "engine_version": wanted.engine_version,
            "pairs": [_served_pair(pair, wanted) for pair in plan.server],
        }
        found.append(Task("bench-server", request, seconds))
    return tuple(found)


def _by_main(pairs: Iterable[tuple[Model, Model]], wanted: Benchmark) -> Sequence[dict[str, Any]]:
    mains: dict[str, dict[str, Any]] = {}
    for main, draft in pairs:
        of_main = mains.setdefault(
            main.key,
            {
                "main": _named(main),
                "temperature": wanted.at(main),
                "narrowed": chat_settings.read(wanted.home, main).narrowed,
                "drafts": [],
            },
        )
        of_main["drafts"].append(_named(draft))
    return list(mains.values())


def _served_pair(pair: ServedPair, wanted: Benchmark) -> dict[str, Any]:
    main, draft = pair.served
    return {
        "main": {**_named(pair.main), "served": main},
        "draft": {**_named(pair.draft), "served": draft},
        "known": asdict(pair.known),
        "draft_tokens": pair.draft_tokens,
        "temperature": wanted.at(pair.main),
    }


def _local_pair(pair: LocalPair, wanted: Benchmark) -> dict[str, Any]:
    settings = chat_settings.read(wanted.home, pair.main)
    return {
        "main": _named(pair.main),
        "name": pair.name,
        "speculation": pair.speculation,
        "draft": None if pair.draft is None else str(pair.draft.path),
        "temperature": wanted.at(pair.main),
        "narrowed": settings.narrowed,
        "kv_types": settings.kv_types,
    }


def _named(model: Model) -> dict[str, str]:
    return {"name": model.key, "path": str(model.path)}

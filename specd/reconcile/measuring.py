"""The worker tasks of one benchmark, for the daemon and for ``specd bench``.

Every pair of a plan gets an equal part of the time. A worker plans with ``SHARE`` of its part; the
rest is for loading models and ending cleanly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from specd import config
from specd.bench.observed import ObservedStore
from specd.bench.prompts import CONTEXTS, KINDS, STANDARD
from specd.config import mix
from specd.lmstudio import chat_settings, names
from specd.lmstudio.chat_settings import ChatSettings
from specd.lmstudio.model import Model
from specd.reconcile.engine import BenchmarkPlan, LocalPair, ServedPair
from specd.reconcile.facts import ServerSeen

SHARE = 0.9
"""The part of its minutes that a measurement plans with."""

MORE_MINUTES = (
    "`specd bench --minutes N` gives it more, and so does max_minutes of [benchmark] in specd.toml"
)

ENOUGH = 50
"""From this many answers in the user's chats on, their prompt lengths and kinds set the weights."""

SHORT = tuple(each.kind for each in STANDARD if not each.context)
"""The classes of short prompts."""

BOUNDS = (1_000, 4_000, 16_000)
"""Tokens of a prompt between a short one and the suite's contexts of 2k, 8k and 32k."""


def of_chats(
    wanted: config.Benchmark, observed: ObservedStore, installed: Sequence[Model]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """``weights``, and ``sampling`` if specd may observe the user's chats."""
    own_mix = mix.read(wanted.mix)
    if not wanted.observe_conversations:
        return own_mix, {}
    return weights(own_mix, observed), sampling(observed, installed)


def weights(own_mix: Mapping[str, float], observed: ObservedStore) -> dict[str, float]:
    """The weights of the prompt classes, from the figures of the user's chats and ``own_mix``.

    ``own_mix`` overrides the others. Figures show three kinds: tool calls, thinking, and the rest,
    whose classes have equal weights. Half of the tokens of a tool call or of thinking at a long
    context count for that context, half for the kind. The mean weight of short classes is 1.
    """
    sorts = observed.sorts(BOUNDS)
    if sum(each.answers for each in sorts) < ENOUGH:
        return dict(own_mix)
    tokens: dict[str, float] = defaultdict(float)
    short = 0.0
    for each in sorts:
        of_context = each.tokens / (2 if each.kind in KINDS else 1) if each.context else 0.0
        if each.context:
            tokens[CONTEXTS[each.context - 1]] += of_context
        short += each.tokens - of_context
        tokens[each.kind or "unknown"] += each.tokens - of_context
    plain = [kind for kind in SHORT if kind not in KINDS]
    known = sum(tokens[kind] for kind in (*KINDS, "plain"))
    enough = sum(each.answers for each in sorts if each.kind) >= ENOUGH
    unit = short or sum(tokens[kind] for kind in CONTEXTS)
    own = {kind: len(SHORT) * tokens[kind] / unit for kind in CONTEXTS}
    if not short:
        own |= dict.fromkeys(SHORT, 0.0)
    elif enough and known:
        own |= {kind: len(SHORT) * tokens[kind] / known for kind in KINDS}
        own |= dict.fromkeys(plain, len(SHORT) * tokens["plain"] / known / len(plain))
    return {**own, **own_mix}


def sampling(observed: ObservedStore, installed: Sequence[Model]) -> dict[str, dict[str, float]]:
    """The sampling settings of the latest chats, by the keys of their mains."""
    called: dict[str, list[str]] = defaultdict(list)
    for name in {use.main for use in observed.sums().uses}:
        if (main := names.lookup(name, installed)) is not None:
            called[main.key].append(name)
    found = {key: observed.sampling(of_main) for key, of_main in called.items()}
    return {key: settings for key, settings in found.items() if settings is not None}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """How to measure: which prompts, for how many ``minutes`` in all.

    ``weights`` are the classes' shares of the user's tokens. ``temperature`` is for every main;
    None: that of the user's latest chats (``sampling``), else of new chats (the files in ``home``).
    ``history`` is the file of results, ``token_env`` the variable with the server's token,
    ``engine_version`` LM Studio's version, ``llama_servers`` are its llama.cpp servers.
    """

    history: Path
    minutes: float
    suite: str = "standard"
    quick: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)
    temperature: float | None = None
    sampling: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    home: Path | None = None
    token_env: str = ""
    engine_version: str | None = None
    llama_servers: Sequence[Path] = ()

    def settings(self, main: Model) -> ChatSettings:
        """The settings to measure a main with, beside temperature 0."""
        own: Mapping[str, Any] = self.sampling.get(main.key, {})
        found = replace(chat_settings.read(self.home, main), **own)
        return found if self.temperature is None else replace(found, temperature=self.temperature)


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
    servers = [str(each) for each in wanted.llama_servers]
    local = [_local_pair(pair, wanted) for pair in plan.gguf]
    served = [_served_pair(pair, wanted) for pair in plan.server]
    at: dict[str, Any] = {"token_env": wanted.token_env, "engine_version": wanted.engine_version}
    if server is not None:
        at |= {"url": server.url, "configured": server.configured}
    engines: tuple[tuple[str, int, dict[str, Any]], ...] = (
        ("bench", len(plan.mlx), {"mains": _by_main(plan.mlx, wanted)}),
        ("bench-gguf", len(local), {"servers": servers, "pairs": local}),
        ("bench-server", len(served), {**at, "pairs": served}),
    )
    return tuple(
        Task(name, {**common, "seconds": each_s * pairs * SHARE, **request}, each_s * pairs)
        for name, pairs, request in engines
        if pairs
    )


def _by_main(pairs: Iterable[tuple[Model, Model]], wanted: Benchmark) -> Sequence[dict[str, Any]]:
    mains: dict[str, dict[str, Any]] = {}
    for main, draft in pairs:
        if main.key not in mains:
            mains[main.key] = {**_main(main, wanted), "drafts": []}
        mains[main.key]["drafts"].append(_named(draft))
    return list(mains.values())


def _served_pair(pair: ServedPair, wanted: Benchmark) -> dict[str, Any]:
    main, draft = pair.served
    return {
        **_main(pair.main, wanted),
        "main": {**_named(pair.main), "served": main},
        "draft": {**_named(pair.draft), "served": draft},
        "known": asdict(pair.known),
        "draft_tokens": pair.draft_tokens,
    }


def _local_pair(pair: LocalPair, wanted: Benchmark) -> dict[str, Any]:
    return {
        **_main(pair.main, wanted),
        "name": pair.name,
        "speculation": pair.speculation,
        "draft": None if pair.draft is None else str(pair.draft.path),
    }


def _main(main: Model, wanted: Benchmark) -> dict[str, Any]:
    return {"main": _named(main), "settings": asdict(wanted.settings(main))}


def _named(model: Model) -> dict[str, str]:
    return {"name": model.key, "path": str(model.path)}

"""Propose the pairs of a first specd.toml (pure).

First come the mains whose draft the user has set in LM Studio, then those that LM Studio has
loaded, else the largest main with a proven draft. A draft that the user has set is named, and so is
its length, so that specd puts both back when LM Studio loses them; otherwise "auto" lets benchmarks
choose. A main whose own draft a pair would replace is not proposed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from specd.config import LONGEST_DRAFT, Pair, SpecdConfig
from specd.lmstudio import names
from specd.lmstudio.model import Model
from specd.reconcile.desired import DesiredPair

LOOKED_AT = 8
"""Main models whose drafts are compared for the first proposal."""


def candidates(
    models: Sequence[Model], loaded: Collection[str], drafted: Collection[Model] = ()
) -> SpecdConfig:
    """A configuration with a pair for every main model worth comparing.

    ``loaded``: keys of the models that LM Studio has loaded. ``drafted``: mains for which the user
    has set a draft in LM Studio.
    """
    mains = [model for model in models if model.kind == "llm" and model.problem is None]
    mains.sort(key=lambda model: (model not in drafted, model.key not in loaded, -model.size_bytes))
    return SpecdConfig(pair=tuple(Pair(main=name(model, models)) for model in mains[:LOOKED_AT]))


def propose(resolved: Sequence[DesiredPair], loaded: Collection[str]) -> tuple[DesiredPair, ...]:
    """The pairs to propose, from the resolved ``candidates``.

    Every main with a draft that the user has set, and every loaded main; else the first one.
    """
    usable = [pair for pair in resolved if pair.speculates and pair.main is not None]
    chosen = [
        pair
        for pair in usable
        if pair.state == "adopted" or (pair.main is not None and pair.main.key in loaded)
    ]
    return tuple(sorted(chosen, key=lambda pair: pair.state != "adopted") or usable[:1])


def replaces(pair: DesiredPair, models: Sequence[Model]) -> bool:
    """Whether the pair would replace a draft that the user has set in one of the apps."""
    users = pair.users
    same = pair.state == "adopted" or names.lookup(users.drafts_with, models) == pair.draft
    return users.drafts and (not same or bool(users.also))


def kept(pair: DesiredPair, models: Sequence[Model]) -> DesiredPair:
    """``pair`` with the draft and the length that the user has set, in place of "auto"."""
    if pair.state != "adopted" or pair.drafts_with is None:
        return pair
    draft = pair.drafts_with if pair.draft is None else name(pair.draft, models)
    configured = replace(pair.configured, draft=draft)
    length = pair.draft_tokens
    if not length or length > LONGEST_DRAFT:
        return replace(pair, configured=configured)
    why = f"{pair.why}, {length} draft token{'s' if length > 1 else ''}"
    return replace(pair, why=why, configured=replace(configured, draft_tokens=length))


def name(model: Model, models: Sequence[Model]) -> str:
    """The short name if it is unambiguous, else the long one."""
    return model.key if names.lookup(model.key, models) == model else model.identifier

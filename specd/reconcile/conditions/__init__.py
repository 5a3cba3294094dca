"""Conditions in the shape of Kubernetes' own, from facts alone (pure).

Everything about one condition stands in one ``Definition``: when it is true, what specd looks at,
what specd does, the judgement with its remedy and severity. To add one, add its name to
``ConditionType`` and its definition to ``CONDITIONS``.

A judgement is "unknown" where the facts are missing, and "true" also where the condition does not
apply. "false" always comes with a remedy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from specd.config import SpecdConfig
from specd.reconcile.conditions import files, lmstudio, pairs, places
from specd.reconcile.conditions.condition import Complaint, Condition, ConditionType, Definition
from specd.reconcile.facts import Facts

__all__ = ["CONDITIONS", "Complaint", "Condition", "ConditionType", "Definition", "judge"]

CONDITIONS: tuple[Definition, ...] = (
    places.CONFIG_VALID,
    places.HOME_FOUND,
    files.SETTINGS_APPLIED,
    files.PAIRS_CONFIGURED,
    pairs.TOKENIZERS_COMPATIBLE,
    pairs.ENGINE_WILL_SPECULATE,
    lmstudio.SERVER_REACHABLE,
    pairs.SPECULATION_OBSERVED,
    pairs.FASTER,
    lmstudio.CACHE_AGREES,
    lmstudio.APP_UP_TO_DATE,
    files.UNCONTENDED,
    places.SPECD_WORKS,
)
"""Every condition, in the order in which they are shown."""


def judge(
    facts: Facts, wanted: SpecdConfig, previous: Iterable[Condition], now: str
) -> tuple[Condition, ...]:
    """Every condition, in the order of ``CONDITIONS``; ``since`` is kept while the status is.

    ``now`` is RFC 3339 with zone.
    """
    before = {condition.type: condition for condition in previous}
    judged: list[Condition] = []
    for definition in CONDITIONS:
        found = definition.judge(facts, wanted)
        last = before.get(definition.type)
        since = last.since if last is not None and last.status == found.status else now
        judged.append(Condition(type=definition.type, since=since, **asdict(found)))
    return tuple(judged)

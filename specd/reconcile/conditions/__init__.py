"""Conditions in the shape of Kubernetes' own, from facts alone (pure).

Everything about one condition stands in one ``Definition``: when it is true, what specd looks at,
what specd does, the judgement with its remedy and severity. To add one, add its name to
``ConditionType`` and its definition to ``CONDITIONS``.

A judgement is "unknown" where the facts are missing, and "true" also where the condition does not
apply. "false" always comes with a remedy.
"""

from __future__ import annotations

from collections.abc import Iterable

from specd.config import SpecdConfig
from specd.reconcile.conditions.condition import (
    Complaint,
    Condition,
    ConditionType,
    Definition,
    Severity,
    Status,
)
from specd.reconcile.conditions.files import PAIRS_CONFIGURED, SETTINGS_APPLIED, UNCONTENDED
from specd.reconcile.conditions.lmstudio import APP_UP_TO_DATE, CACHE_AGREES, SERVER_REACHABLE
from specd.reconcile.conditions.pairs import (
    ENGINE_WILL_SPECULATE,
    FASTER,
    SPECULATION_OBSERVED,
    TOKENIZERS_COMPATIBLE,
)
from specd.reconcile.conditions.places import CONFIG_VALID, HOME_FOUND, SPECD_WORKS
from specd.reconcile.facts import Facts

__all__ = [
    "CONDITIONS",
    "Complaint",
    "Condition",
    "ConditionType",
    "Definition",
    "Severity",
    "Status",
    "judge",
]

CONDITIONS: tuple[Definition, ...] = (
    CONFIG_VALID,
    HOME_FOUND,
    SETTINGS_APPLIED,
    PAIRS_CONFIGURED,
    TOKENIZERS_COMPATIBLE,
    ENGINE_WILL_SPECULATE,
    SERVER_REACHABLE,
    SPECULATION_OBSERVED,
    FASTER,
    CACHE_AGREES,
    APP_UP_TO_DATE,
    UNCONTENDED,
    SPECD_WORKS,
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
        judged.append(
            Condition(
                definition.type,
                found.status,
                found.reason,
                found.message,
                since,
                found.remedy,
                found.severity,
            )
        )
    return tuple(judged)

"""Conditions: how things stand, one line each, in a Kubernetes-like shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["true", "false", "unknown"]
ConditionType: TypeAlias = Literal[
    "ConfigValid",
    "HomeFound",
    "SettingsApplied",
    "PairsConfigured",
    "TokenizersCompatible",
    "EngineWillSpeculate",
    "ServerReachable",
    "SpeculationObserved",
    "Faster",
    "CacheAgrees",
    "AppUpToDate",
    "Uncontended",
]


@dataclass(frozen=True, slots=True)
class Condition:
    """``reason`` is CamelCase for programs, ``message`` says what is so and what to do about it.

    ``since`` is RFC 3339 with zone: when ``status`` last changed, not when it was last looked at.
    """

    type: ConditionType
    status: Status
    reason: str
    message: str
    since: str

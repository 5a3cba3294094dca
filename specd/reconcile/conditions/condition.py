"""A condition's state and its definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from specd.config import SpecdConfig
from specd.reconcile.facts import Facts

Status: TypeAlias = Literal["true", "false", "unknown"]
Severity: TypeAlias = Literal["state", "detail", "advice"]
Complaint: TypeAlias = Literal[
    "", "option missing", "draft called incompatible", "no faster", "settings do not stick"
]
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
    "SpecdWorks",
]


@dataclass(frozen=True, slots=True)
class Condition:
    """``reason`` is CamelCase for programs; ``message`` is the fact, ``remedy`` what to do.

    ``since`` is when ``status`` last changed, in RFC 3339 with zone. ``severity`` is "state" for
    what specd.toml asks for, "detail" for more about a fault that another condition reports,
    "advice" for what is worth knowing and never a fault.
    """

    type: ConditionType
    status: Status
    reason: str
    message: str
    since: str
    remedy: str = ""
    severity: Severity = "state"

    @property
    def degraded(self) -> bool:
        """Whether something that specd.toml asks for is not so."""
        return self.status == "false" and self.severity == "state"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A ``Condition`` before its type and time are known."""

    status: Status
    reason: str
    message: str
    remedy: str = ""
    severity: Severity = "state"


def true(reason: str, message: str) -> Judgement:
    """The condition holds, or does not apply."""
    return Judgement("true", reason, message)


def false(reason: str, message: str, remedy: str) -> Judgement:
    """Something that specd.toml asks for is not so; ``remedy`` is what to do about it."""
    return Judgement("false", reason, message, remedy)


def detail(reason: str, message: str, remedy: str) -> Judgement:
    """More about a fault that another condition reports."""
    return Judgement("false", reason, message, remedy, "detail")


def unknown(reason: str, message: str, remedy: str = "") -> Judgement:
    """The facts are not known yet."""
    return Judgement("unknown", reason, message, remedy)


def advice(status: Status, reason: str, message: str, remedy: str) -> Judgement:
    """Worth knowing, and no fault."""
    return Judgement(status, reason, message, remedy, "advice")


@dataclass(frozen=True, slots=True)
class Definition:
    """One condition: what it means, what specd looks at, what specd does, and the judgement.

    ``complaint``: what a user with this condition complains about; "" where another check of the
    doctor's covers it. ``judge`` is a pure function.
    """

    type: ConditionType
    true_when: str
    looks_at: str
    what_specd_does: str
    judge: Callable[[Facts, SpecdConfig], Judgement]
    complaint: Complaint = ""

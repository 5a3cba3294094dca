"""Status as Prometheus metrics (text exposition format 0.0.4): numbers and names, nothing private.

Paths and messages are left out, so that the same text may be written where others can read it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias

Samples: TypeAlias = list[tuple[dict[str, str], float]]

_VALUES = {"true": 1, "false": 0, "unknown": -1}


def render(status: dict[str, Any]) -> str:
    """The metrics of one ``GET /v1/status`` answer."""
    pairs, newest = status["pairs"], status["last_write"]
    families: dict[str, tuple[str, Samples]] = {
        "specd_info": ("The running version", [({"version": status["version"]}, 1)]),
        "specd_healthy": (
            "1 when everything is as specd.toml asks",
            [({}, int(status["state"] == "healthy"))],
        ),
        "specd_uptime_seconds": ("Since the daemon started", [({}, status["uptime_s"])]),
        "specd_paused": ("1 while writing is paused", [({}, int(status["paused"]))]),
        "specd_condition": (
            "1 true, 0 false, -1 unknown",
            [({"type": each["type"]}, _VALUES[each["status"]]) for each in status["conditions"]],
        ),
        "specd_pair_draft_tokens": ("Draft length in force", _of_pairs(pairs, "draft_tokens")),
        "specd_pair_speedup_ratio": (
            "Measured speed-up of the last benchmark",
            _of_pairs(pairs, "speedup"),
        ),
        "specd_restores": (
            "Writes that put back what another program had changed: since midnight, in 7 days",
            [({"period": each}, status["restores"][each]) for each in ("today", "week")],
        ),
        "specd_last_restore_seconds": (
            "When a value was last put back (seconds since 1970), and the program that undoes it",
            _last_restore(status["restores"]["last"]),
        ),
        "specd_last_write_id": (
            "Journal number of the last write",
            [({}, newest["id"] if newest else 0)],
        ),
    }
    lines = (line for name, family in families.items() for line in _lines(name, *family))
    return "\n".join(lines) + "\n"


def _last_restore(last: dict[str, Any] | None) -> Samples:
    if last is None:
        return []
    when = datetime.fromisoformat(last["time"]).timestamp()
    return [({"key": last["key"], "program": last["program"] or ""}, when)]


def _of_pairs(pairs: list[dict[str, Any]], key: str) -> Samples:
    return [
        ({"main": each["main"], "draft": each["draft"] or ""}, each[key])
        for each in pairs
        if each[key] is not None
    ]


def _lines(name: str, about: str, samples: Samples) -> list[str]:
    lines = [f"# HELP {name} {about}", f"# TYPE {name} gauge"]
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inner}}} {value}" if inner else f"{name} {value}")
    return lines if samples else []


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

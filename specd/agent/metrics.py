"""Status as Prometheus metrics (text exposition format 0.0.4): numbers and names, nothing private.

Paths and messages are left out, so that the same text may be written where others can read it.
"""

from __future__ import annotations

from typing import Any

_VALUES = {"true": 1, "false": 0, "unknown": -1}


def render(status: dict[str, Any]) -> str:
    """The metrics of one ``GET /v1/status`` answer."""
    lines = [
        *_family("specd_info", "The running version", [({"version": status["version"]}, 1)]),
        *_family(
            "specd_healthy",
            "1 when the user has everything that they asked for",
            [({}, int(status["state"] == "healthy"))],
        ),
        *_family("specd_uptime_seconds", "Since the daemon started", [({}, status["uptime_s"])]),
        *_family("specd_paused", "1 while writing is paused", [({}, int(status["paused"]))]),
        *_family(
            "specd_condition",
            "1 true, 0 false, -1 unknown",
            [({"type": each["type"]}, _VALUES[each["status"]]) for each in status["conditions"]],
        ),
        *_family(
            "specd_pair_draft_tokens",
            "Draft length in force",
            [
                (_pair(each), each["draft_tokens"])
                for each in status["pairs"]
                if each["draft_tokens"] is not None
            ],
        ),
        *_family(
            "specd_pair_speedup_ratio",
            "Measured speed-up of the last benchmark",
            [
                (_pair(each), each["speedup"])
                for each in status["pairs"]
                if each["speedup"] is not None
            ],
        ),
        *_family(
            "specd_restores",
            "Writes that put back what another program had changed: since midnight, in 7 days",
            [({"period": each}, status["restores"][each]) for each in ("today", "week")],
        ),
        *_family(
            "specd_last_write_id",
            "Journal number of the last write",
            [({}, status["last_write"]["id"] if status["last_write"] else 0)],
        ),
    ]
    return "\n".join(lines) + "\n"


def _pair(pair: dict[str, Any]) -> dict[str, str]:
    return {"main": pair["main"], "draft": pair["draft"] or ""}


def _family(name: str, about: str, samples: list[tuple[dict[str, str], float]]) -> list[str]:
    lines = [f"# HELP {name} {about}", f"# TYPE {name} gauge"]
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inner}}} {value}" if inner else f"{name} {value}")
    return lines if samples else []


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

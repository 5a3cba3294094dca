"""A verdict as the stable JSON of ``specd check --json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from specd.tokenizer.verdict import Verdict, from_record


def to_json(verdict: Verdict) -> dict[str, Any]:
    """All fields; ``kind`` is called "verdict" outside."""
    fields = asdict(verdict)
    kind = fields.pop("kind")
    return {"main": fields.pop("main"), "draft": fields.pop("draft"), "verdict": kind, **fields}


def from_json(said: dict[str, Any]) -> Verdict:
    """The verdict of ``to_json``.

    Raises:
        KeyError, TypeError: it is none.
    """
    kind = said["verdict"]
    return from_record(
        {"kind": kind, **{name: value for name, value in said.items() if name != "verdict"}}
    )

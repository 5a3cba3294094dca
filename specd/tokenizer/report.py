"""A verdict as the stable JSON of ``specd check --json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from specd.tokenizer.verdict import Verdict


def to_json(verdict: Verdict) -> dict[str, Any]:
    """All fields; ``kind`` is called "verdict" outside."""
    fields = asdict(verdict)
    kind = fields.pop("kind")
    return {"main": fields.pop("main"), "draft": fields.pop("draft"), "verdict": kind, **fields}

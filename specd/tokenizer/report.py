"""A verdict as the stable JSON of ``specd check --json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from specd.tokenizer.verdict import Verdict, from_record


def to_json(verdict: Verdict) -> dict[str, Any]:
    """All fields, with ``kind`` as "verdict" and the engine that runs the pair as "engine"."""
    fields = asdict(verdict)
    return {
        "main": fields.pop("main"),
        "draft": fields.pop("draft"),
        "verdict": fields.pop("kind"),
        "engine": None if verdict.engine is None else asdict(verdict.engine),
        **fields,
    }


def from_json(said: dict[str, Any]) -> Verdict:
    """The verdict of ``to_json``.

    Raises:
        KeyError, TypeError: it is not a verdict.
    """
    fields = {name: value for name, value in said.items() if name not in ("verdict", "engine")}
    return from_record({**fields, "kind": said["verdict"]})

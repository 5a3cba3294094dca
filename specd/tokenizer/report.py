"""A verdict as the stable JSON of ``specd check --json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from specd.tokenizer.verdict import Verdict, from_record


def to_json(verdict: Verdict) -> dict[str, Any]:
    """All fields; ``kind`` is called "verdict" outside, and "engine" is the one that runs it."""
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
        KeyError, TypeError: it is none.
    """
    fields = {name: value for name, value in said.items() if name not in ("verdict", "engine")}
    return from_record({**fields, "kind": said["verdict"]})

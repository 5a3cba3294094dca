"""Conversation files as LM Studio keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PRIVATE = "PRIVATE-the-users-own-words"
DRAFT = "llm.prediction.speculativeDecoding.draftModel"
EXACT = "llm.prediction.speculativeDecoding.numDraftTokensExact"


def answer(at_ms: int = 1764000001000, *, draft: bool = True) -> dict[str, Any]:
    drafted = {
        "usedDraftModelKey": "qwen3-0.6b",
        "totalDraftTokensCount": 40,
        "acceptedDraftTokensCount": 25,
        "rejectedDraftTokensCount": 13,
        "ignoredDraftTokensCount": 2,
    }
    return {
        "type": "contentBlock",
        "stepIdentifier": f"{at_ms}-0.2573",
        "content": [
            {"type": "text", "text": PRIVATE, "fromDraftModel": False, "tokensCount": 1},
            {"type": "text", "text": PRIVATE, "fromDraftModel": True, "tokensCount": 3},
            {"type": "text", "text": "<think>", "isStructural": True, "tokensCount": 2},
            {"type": "text", "text": PRIVATE, "fromDraftModel": False, "tokensCount": 1},
        ],
        "genInfo": {
            "indexedModelIdentifier": "mlx-community/Qwen3-8B-4bit",
            "identifier": "qwen3-8b",
            "loadModelConfig": {"fields": []},
            "predictionConfig": {
                "fields": [
                    {"key": "llm.prediction.systemPrompt", "value": PRIVATE},
                    {"key": DRAFT, "value": "mlx-community/Qwen3-0.6B-4bit"},
                    {"key": EXACT, "value": 3},
                ]
            },
            "stats": {
                "stopReason": "eosFound",
                "tokensPerSecond": 18.2,
                "timeToFirstTokenSec": 0.31,
                "totalTimeSec": 5.6,
                "promptTokensCount": 35,
                "predictedTokensCount": 102,
                "totalTokensCount": 137,
                **(drafted if draft else {}),
            },
        },
    }


def chat(*steps: dict[str, Any]) -> dict[str, Any]:
    user = {"versions": [{"type": "singleStep", "role": "user", "content": [{"text": PRIVATE}]}]}
    debug = {"type": "debugInfoBlock", "stepIdentifier": "1764000000500-0.1", "debugInfo": PRIVATE}
    messages: list[dict[str, Any]] = []
    for step in steps:
        messages += [user, {"versions": [{"type": "multiStep", "steps": [debug, step]}]}]
    return {"name": PRIVATE, "systemPrompt": PRIVATE, "messages": messages}


def keep(folder: Path, name: str, document: Any) -> Path:
    path = folder / f"{name}.conversation.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path

"""The restore that the Python contenders share: json, fsync, os.replace, and nothing else.

No journal, no look at what somebody wrote in between, no other file, no configuration: what
anything that does more has to be compared with.
"""

from __future__ import annotations

import json
import os


def restore(settings: str) -> None:
    """Put both values back into ``settings`` unless they stand there."""
    try:
        with open(settings, "rb") as file:
            document = json.load(file)
    except (OSError, ValueError):
        return
    chat = document.setdefault("chat", {})
    presets = document.setdefault("configPresetInclusiveness", {})
    if presets.get("speculativeDecoding") is chat.get("visualizeSpeculativeDecoding") is True:
        return
    presets["speculativeDecoding"] = True
    chat["visualizeSpeculativeDecoding"] = True
    with open(f"{settings}.new", "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{settings}.new", settings)

"""The next step for each way in which a condition can be false: what a person does about it.

Where a message carries its own advice, behind a dash, that is the step; the rest stands here.
"""

from __future__ import annotations

from typing import Any

STEPS: dict[tuple[str, str], str] = {
    ("ConfigValid", "Invalid"): "mend specd.toml; `specd config validate` names each mistake",
    ("HomeFound", "NoHome"): "start LM Studio once, or `specd config set lmstudio.home PATH`",
    ("SettingsApplied", "Unreadable"): "open and save LM Studio's settings: it writes them anew",
    ("SettingsApplied", "ReadOnly"): "make it writable, or set the values where it is made",
    ("SettingsApplied", "WriteFailed"): "specd tries again; `specd doctor` looks at the disk",
    ("SettingsApplied", "BackingOff"): "stop the program that changes it; see Uncontended",
    ("SettingsApplied", "Drifted"): "nothing: specd writes it at once; `specd diff` shows what",
    ("PairsConfigured", "ModelMissing"): "download it in LM Studio, or name another in specd.toml",
    ("PairsConfigured", "PairRefused"): 'draft = "auto" takes a proven one; `specd check` says why',
    ("PairsConfigured", "Unreadable"): "set the model's defaults in LM Studio: it writes them anew",
    ("PairsConfigured", "ReadOnly"): "make it writable, or set the values where it is made",
    ("PairsConfigured", "WriteFailed"): "specd tries again; `specd doctor` looks at the disk",
    ("PairsConfigured", "BackingOff"): "stop the program that changes it; see Uncontended",
    ("PairsConfigured", "Drifted"): "nothing: specd writes it at once; `specd diff` shows what",
    ("TokenizersCompatible", "Incompatible"): 'draft = "auto" takes a proven one instead',
    ("TokenizersCompatible", "FilesUnreadable"): "download that model again",
    ("EngineWillSpeculate", "EngineRefuses"): "take another main or draft; `specd check` says why",
    ("EngineWillSpeculate", "DraftDropped"): 'draft = "auto" takes one that the engine accepts',
    ("EngineWillSpeculate", "Parallel"): "load the model again with parallel = 1",
    ("ServerReachable", "Refused"): "put the token where specd runs ([lmstudio] token_env)",
    ("ServerReachable", "NoAnswer"): "`lms server start`",
    ("SpeculationObserved", "NoDraftTokens"): "restart LM Studio, load the model and ask again",
    ("AppUpToDate", "RestartNeeded"): "restart LM Studio",
    ("Uncontended", "Contended"): "stop that program, or `specd pause`",
}


def next_step(condition: dict[str, Any]) -> str:
    """What to do about a condition (as the socket answers it) that is false."""
    step = STEPS.get((condition["type"], condition["reason"]))
    if step is not None:
        return step
    _, dash, advice = condition["message"].rpartition(" — ")
    return advice if dash else f"`specd explain {condition['type']}` says more"


def fact(condition: dict[str, Any]) -> str:
    """The condition's message without the advice that ``next_step`` gives."""
    told: str = condition["message"]
    before, dash, _ = told.rpartition(" — ")
    return before if dash and condition["status"] == "false" else told

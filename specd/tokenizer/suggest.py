"""Which installed models are worth trying, before any benchmark (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from specd.lmstudio import names
from specd.lmstudio.model import Model
from specd.tokenizer.store import VerdictStore

LARGEST_SHARE = 0.5
"""A draft of more than half the main's size is never faster."""


def rank(main: Model, installed: Sequence[Model], store: VerdictStore) -> tuple[Model, ...]:
    """Drafts worth trying for ``main``, best first: those that fit, then by ``promise``.

    Without the main itself, other formats, models that are not plain language models, and models
    that are too large to be faster.
    """
    candidates = [
        model
        for model in installed
        if model.drafts
        and model.format == main.format
        and model.identifier != main.identifier
        and 0 < model.size_bytes <= main.size_bytes * LARGEST_SHARE
    ]

    def refused(model: Model) -> bool:
        found = store.lookup(main, model)
        return found is not None and not found.worth_trying

    return tuple(sorted(candidates, key=lambda model: (refused(model), promise(main, model))))


def promise(main: Model, draft: Model) -> tuple[bool, int, str]:
    """Sort key of drafts, best first: the main's own family, then the smallest."""
    return draft.architecture != main.architecture, draft.size_bytes, draft.identifier


def instead_of(main: Model, installed: Sequence[Model]) -> str:
    """A sentence with other models for a main that mlx-engine cannot draft for."""
    builds = [
        each.identifier
        for each in installed
        if each.format == "gguf" and each.drafts and names.same_model(main, each)
    ]
    if builds:
        return f"llama.cpp can draft for the GGUF file of it that is installed: {min(builds)}"
    return (
        "llama.cpp may draft for a GGUF file of it, with prediction heads where the file has some; "
        "mlx-engine for a model of the family that is text-only and has full attention"
    )

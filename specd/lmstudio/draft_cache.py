"""LM Studio's own list of which drafts fit which main.

``.internal/draft-model-compatibility-cache.json`` lists drafts by main model. No description or
published example of it exists, so no shape is assumed: an installed model's name as an object's key
or as a member's value is read as a main, and other models' names below or beside it as its drafts.
specd never writes the file; it only moves it aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from specd.files import jsonedit
from specd.files.pointer import Json
from specd.lmstudio import keys
from specd.lmstudio.model import Model
from specd.lmstudio.names import called

_REFUSING: Final = ("incompatible", "not-compatible", "notcompatible", "false", "no", "refused")
_ABOUT_THE_DRAFT: Final = "draft"


@dataclass(frozen=True, slots=True)
class CacheOpinion:
    """The cache's content: main's identifier → identifiers of the drafts it lists as compatible.

    A main that is listed without a draft has an empty entry. Models that are not installed are left
    out. ``problem`` is why nothing could be read, else None.
    """

    pairs: Mapping[str, tuple[str, ...]]
    problem: str | None = None


def path(home: Path) -> Path:
    """Where LM Studio keeps its compatibility cache."""
    return home / keys.INTERNAL / keys.DRAFT_CACHE


def read(content: bytes, models: Sequence[Model]) -> CacheOpinion:
    """The opinion in ``content`` on the installed ``models``; never raises."""
    try:
        document = jsonedit.parse(content)
    except jsonedit.NotUnderstood as error:
        return CacheOpinion({}, f"LM Studio's compatibility cache cannot be read: {error}")
    names = _names(models)
    drafts: dict[str, dict[str, None]] = {}
    for main, draft in _relations(document, names, None):
        listed = drafts.setdefault(main, {})
        if draft is not None and draft != main:
            listed[draft] = None
    if not drafts and document and models:
        return CacheOpinion(
            {}, "LM Studio's compatibility cache names no installed model that specd recognises"
        )
    return CacheOpinion({main: tuple(listed) for main, listed in drafts.items()})


def _names(models: Sequence[Model]) -> dict[str, str]:
    """Every unambiguous name of every model, folded, to its identifier."""
    names: dict[str, str | None] = {}
    for model in models:
        for name in called(model) | {str(model.path).casefold()}:
            known = names.setdefault(name, model.identifier)
            if known != model.identifier:
                names[name] = None
    return {name: identifier for name, identifier in names.items() if identifier is not None}


def _relations(
    node: Json, names: Mapping[str, str], main: str | None
) -> Iterator[tuple[str, str | None]]:
    """(main, draft) for every relation in ``node``; ``main`` is the main it lies below, if any."""
    if isinstance(node, str) and main is not None:
        draft = names.get(node.casefold())
        if draft is not None:
            yield main, draft
    elif isinstance(node, dict) and main is None:
        main = _named_main(node, names)
        if main is not None:
            yield main, None
    elif isinstance(node, dict) and _refuses(node):
        return
    for key, value in _members(node, names):
        named = names.get(key.casefold())
        if named is None:
            yield from _relations(value, names, main)
        elif main is None:
            yield named, None
            yield from _relations(value, names, named)
        elif not _refuses(value):
            yield main, named


def _members(node: Json, names: Mapping[str, str]) -> Iterable[tuple[str, Json]]:
    """The members of an object, or of a list, where they have no keys."""
    if isinstance(node, dict):
        return node.items()
    listed = node if isinstance(node, list) else []
    # LM Studio writes maps in other files of its own as lists of pairs (superjson).
    first = listed[0] if len(listed) == 2 and not isinstance(listed[1], str) else None
    if isinstance(first, str) and first.casefold() in names:
        return [(first, listed[1])]
    return [("", each) for each in listed]


def _named_main(node: dict[str, Json], names: Mapping[str, str]) -> str | None:
    """The main of an object that names it in a member, as ``{"model": …, "drafts": […]}``."""
    about_drafts = any(_ABOUT_THE_DRAFT in key.casefold() for key in node)
    if not about_drafts or (_refuses(node) and len(node) > 2):
        return None
    for key, value in node.items():
        if isinstance(value, str) and _ABOUT_THE_DRAFT not in key.casefold():
            named = names.get(value.casefold())
            if named is not None:
                return named
    return None


def _refuses(value: Json) -> bool:
    """Whether the value beside a draft means that it does not fit."""
    if isinstance(value, dict):
        return any(
            _refuses(verdict) for key, verdict in value.items() if "compat" in key.casefold()
        )
    if isinstance(value, str):
        return value.casefold() in _REFUSING
    return value is False or value is None

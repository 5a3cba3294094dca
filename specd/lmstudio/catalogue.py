"""The names that installed models have in LM Studio's catalogue.

A catalogue ("hub", "virtual") model such as ``qwen/qwen3.8-27b`` stands for files that lie under
``models/`` by another name, and LM Studio reads its defaults by its own name, not by theirs. Two
places say which files it means: LM Studio's index of models, a cache that may be missing, old or
damaged, and ``manifest.json`` or ``model.yaml`` in ``hub/models/<owner>/<name>/``. The index is
read first, because it also has each variant's name and marks drafters. Only installed files count.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from specd.files import private
from specd.lmstudio import drafters, keys
from specd.lmstudio.home import bionic, lm_studio
from specd.lmstudio.model import Model
from specd.lmstudio.values import items, members, object_in, text

_MAX_HUB_BYTES: Final = 256 * 1024
_MAX_HUB_MODELS: Final = 5_000
_MAX_CHAIN: Final = 4  # a catalogue model may stand for another one

_NAME: Final = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")  # it becomes a path, so never ".."


class _Index(msgspec.Struct):
    models: list[msgspec.Raw] = []


def index_paths(home: Path) -> tuple[Path, ...]:
    """The index of models of LM Studio, and of Bionic."""
    return tuple(app.internal / keys.MODEL_INDEX for app in (lm_studio(home), bionic(home)))


def hub_path(home: Path) -> Path:
    """Where the catalogue's models are described, in a folder each."""
    return home.joinpath(*keys.HUB_MODELS)


def named(home: Path, installed: Sequence[Model]) -> tuple[Model, ...]:
    """``installed`` in order, each with its names in the catalogue; never raises."""
    first: dict[str, str] = {}  # identifier → the first catalogue model of these files
    aliases: dict[str, set[str]] = defaultdict(set)
    entries = list(_index_entries(home))
    drafting = {
        text(each.get("indexedModelIdentifier"))
        for each in entries
        if each.get("domain") == "drafter"
    }
    installed = [
        replace(model, kind="drafter", drafter=drafters.called(model.identifier), mtp_heads=0)
        if model.identifier in drafting and model.drafts
        else model
        for model in installed
    ]
    for catalogue, alias, identifier in _in_index(entries, installed):
        first.setdefault(identifier, catalogue)
        aliases[identifier].add(alias)
    for catalogue, found in _in_hub(home, installed):
        for model in found:
            first.setdefault(model.identifier, catalogue)
            known = aliases[model.identifier]
            if catalogue not in {alias.partition("@")[0] for alias in known}:
                known.add(catalogue)
            known.add(f"{catalogue}@{model.identifier}")
            if model.quantization:
                known.add(f"{catalogue}@{model.quantization.lower()}")
    return tuple(
        replace(model, catalogue=first[identifier], aliases=tuple(sorted(aliases[identifier])))
        if (identifier := model.identifier) in first
        else model
        for model in installed
    )


# -- LM Studio's index ----------------------------------------------------------------------------


def _in_index(
    entries: list[dict[str, Any]], installed: Sequence[Model]
) -> Iterator[tuple[str, str, str]]:
    """(catalogue model, a name of it, the identifier of the installed model it means)."""
    identifiers = {model.identifier.casefold(): model.identifier for model in installed}
    variants: dict[str, set[str]] = defaultdict(set)
    selected: dict[str, str] = {}
    for entry in sorted(entries, key=lambda entry: len(_chain(entry))):
        virtual, links = members(entry.get("virtual")), _chain(entry)
        concrete = text(virtual.get("concreteModelIndexedModelIdentifier")) or "".join(links[-1:])
        identifier = identifiers.get(concrete.casefold())
        own = text(entry.get("indexedModelIdentifier"))
        catalogue = own.partition("@")[0] if _is_name(own.partition("@")[0]) else "".join(links[:1])
        if identifier is None or not _is_name(catalogue):
            continue
        variants[catalogue].add(identifier)
        if own == catalogue:  # the variant that the name alone means
            selected[catalogue] = identifier
        for alias in (own, text(entry.get("defaultIdentifier"))):
            if alias.startswith(f"{catalogue}@"):
                yield catalogue, alias, identifier
    for catalogue, identifiers_ in variants.items():
        meant = {selected[catalogue]} if catalogue in selected else identifiers_
        for identifier in meant:
            yield catalogue, catalogue, identifier


def _chain(entry: dict[str, Any]) -> list[str]:
    """The names on the way from a catalogue model to its files, through other catalogue models."""
    return [text(each) for each in items(members(entry.get("virtual")).get("baseChain"))]


def _index_entries(home: Path) -> Iterator[dict[str, Any]]:
    """The entries of catalogue models and of drafters; the others are stepped over."""
    for path in index_paths(home):
        try:
            entries = msgspec.json.decode(private.read(path), type=_Index).models
        except (OSError, ValueError, RecursionError):
            continue
        for raw in map(bytes, entries):
            if b'"virtual"' in raw or b'"drafter"' in raw:
                with contextlib.suppress(ValueError, RecursionError):
                    yield members(json.loads(raw))


# -- the hub's folders ----------------------------------------------------------------------------


def _in_hub(home: Path, installed: Sequence[Model]) -> Iterator[tuple[str, list[Model]]]:
    """(catalogue model, the installed models it may mean)."""
    by_repo: dict[str, list[Model]] = defaultdict(list)
    for model in installed:
        if model.kind not in ("mmproj", "drafter"):
            by_repo[f"{model.publisher}/{model.repo}".casefold()].append(model)
            by_repo[model.identifier.casefold()].append(model)
    bases = dict(_hub_bases(hub_path(home)))
    all_of_them = {catalogue.casefold() for catalogue in bases}
    for catalogue in sorted(bases, key=lambda each: bool(bases[each] & all_of_them)):
        repos = _concrete(catalogue, bases, _MAX_CHAIN)
        found = {m.identifier: m for repo in repos for m in by_repo.get(repo, ())}
        if found:
            yield catalogue, list(found.values())


def _concrete(catalogue: str, bases: dict[str, set[str]], left: int) -> set[str]:
    found: set[str] = set()
    for base in bases[catalogue]:
        further = next((each for each in bases if each.casefold() == base), None)
        if further is not None and further != catalogue and left:
            found |= _concrete(further, bases, left - 1)
        found.add(base)
    return found


def _hub_bases(hub: Path) -> Iterator[tuple[str, set[str]]]:
    """(``owner/name``, the lower-cased repositories or catalogue models that it stands for)."""
    for folder in _folders(hub):
        catalogue = f"{folder.parent.name}/{folder.name}"
        if not _is_name(catalogue):
            continue
        bases = set(_manifest(folder / "manifest.json")) or set(_model_yaml(folder / "model.yaml"))
        if bases:
            yield catalogue, {base.casefold() for base in bases}


def _folders(hub: Path) -> list[Path]:
    try:
        owners = sorted(each for each in hub.iterdir() if each.is_dir())
        found = [each for owner in owners for each in sorted(owner.iterdir()) if each.is_dir()]
    except OSError:
        return []
    return found[:_MAX_HUB_MODELS]


def _manifest(path: Path) -> Iterator[str]:
    """``{"dependencies": [{"type": "model", "modelKeys": […], "sources": […]}]}``."""
    for each in map(members, items(object_in(path, _MAX_HUB_BYTES).get("dependencies"))):
        if each.get("type", "model") == "model":
            yield from filter(None, map(text, items(each.get("modelKeys"))))
            yield from _sources(each)


def _model_yaml(path: Path) -> Iterator[str]:
    """``base: owner/name``, or ``base: [{key: …, sources: […]}]``."""
    try:
        content = private.read(path, _MAX_HUB_BYTES)
    except OSError:
        return
    import yaml  # noqa: PLC0415 - 10 ms that only a folder without a manifest costs

    try:
        base = members(yaml.safe_load(content)).get("base")
    except (yaml.YAMLError, ValueError, RecursionError):
        return
    if isinstance(base, str):
        yield text(base)
    for each in map(members, items(base)):
        yield text(each.get("key"))
        yield from _sources(each)


def _sources(entry: dict[str, Any]) -> Iterator[str]:
    for source in map(members, items(entry.get("sources"))):
        user, repo = text(source.get("user")), text(source.get("repo"))
        if user and repo:
            yield f"{user}/{repo}"


def _is_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name))

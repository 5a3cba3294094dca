"""The verdicts on all pairs of installed models, at a cost linear in the models (pure).

Models with equal fingerprints form one class. Verdicts on tokens are made between classes; each
pair then adds its models' formats, kinds and sizes. So a thousand models with twenty tokenizers
need four hundred verdicts instead of a million.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from specd.lmstudio import drafters
from specd.lmstudio.model import Model
from specd.tokenizer import eligible
from specd.tokenizer.engines import mlx
from specd.tokenizer.engines.mlx import Built
from specd.tokenizer.store import Kinds, Known
from specd.tokenizer.suggest import LARGEST_SHARE
from specd.tokenizer.verdict import FITTING, VerdictKind

SUGGESTED: Final = 3

Compared: TypeAlias = Mapping[tuple[str, str], Kinds]
"""Verdicts by the digests of main and draft."""


@dataclass(frozen=True, slots=True)
class Class:
    """Models with equal tokenizers: ``digest`` is the fingerprint's, ``name`` is for people."""

    digest: str
    name: str
    family: str
    tokens: int
    models: tuple[Model, ...]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Drafts of a main that are worth a benchmark, best first, or why there is none.

    ``usable`` counts all installed drafts that fit; ``wanted`` describes a draft to install.
    ``candidates`` are its own heads and the drafters made for it.
    """

    main: Model
    drafts: tuple[tuple[Model, VerdictKind], ...]
    usable: int
    why_none: str = ""
    wanted: str = ""
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Overview:
    """Every class, the verdicts between them, every main's drafts, and the unreadable models.

    ``content`` maps a model's identifier to the digest of its files, ``built`` to the record of
    what mlx-lm builds for it, if known. ``disproven``: the contents of mains and drafts whose proof
    failed.
    """

    classes: tuple[Class, ...]
    kinds: Compared
    suggestions: tuple[Suggestion, ...]
    unknown: tuple[tuple[Model, str], ...]
    content: Mapping[str, str]
    built: Mapping[str, Built]
    disproven: frozenset[tuple[str, str]]
    mlx_types: frozenset[str] | None


def overview(
    models: Sequence[Model],
    known: Mapping[str, Known],
    kinds: Compared,
    built: Mapping[str, Built],
    mlx_types: frozenset[str] | None = None,
    disproven: frozenset[tuple[str, str]] = frozenset(),
) -> Overview:
    """The overview of all models.

    ``known`` maps a model's identifier to the facts read from its files, ``built`` to the record of
    what mlx-lm builds for it, if known; ``mlx_types`` are the types that LM Studio's mlx-lm loads;
    ``disproven`` are the contents of mains and drafts whose proof failed.
    """
    told = {model.identifier: known.get(model.identifier) for model in models}
    unknown = [(model, why) for model in models if (why := _why_unknown(model, told))]
    left_out = {model.identifier for model, _ in unknown}
    special = [model for model in models if model.kind == "drafter"]
    made_for = {each for model in models for each in drafters.for_main(model, special)}
    unknown = [(model, why) for model, why in unknown if model not in made_for]
    readable = [model for model in models if model.identifier not in left_out]
    classes = _classes(readable, told)
    content = {name: each.content for name, each in known.items()}
    found = Overview(classes, kinds, (), tuple(unknown), content, built, disproven, mlx_types)
    drafts = _drafts(found)
    suggestions = tuple(
        replace(
            _suggest(model, each, drafts, found), candidates=drafters.candidates(model, special)
        )
        for each in classes
        for model in each.models
        if model.kind in ("llm", "vlm")
    )
    ordered = sorted(suggestions, key=lambda s: (not s.drafts, -s.main.size_bytes, s.main.key))
    return replace(found, suggestions=tuple(ordered))


def _kind(kinds: Compared, main: str, draft: str, of: Model) -> VerdictKind:
    """The verdict on two tokenizers in the engine that runs ``of``."""
    known = kinds.get((main, draft))
    if known is None:
        return "unknown"
    return known.mlx if of.format == "mlx" else known.gguf


def _refuses_main(main: Model, found: Overview) -> str | None:
    if main.format != "mlx":
        return None
    return mlx.refuses_main(main, found.built.get(main.identifier), found.mlx_types)


def _never_drafts(draft: Model, found: Overview) -> bool:
    if draft.format != "mlx":
        return False
    return mlx.never_drafts(draft, found.built.get(draft.identifier), found.mlx_types) is not None


def _disproven(main: Model, draft: Model, found: Overview) -> bool:
    both = found.content.get(main.identifier, ""), found.content.get(draft.identifier, "")
    return both in found.disproven


def _why_unknown(model: Model, told: Mapping[str, Known | None]) -> str | None:
    why = eligible.unusable(model)
    if why is not None or model.kind in eligible.NEVER:
        return why or f"it {eligible.NEVER[model.kind]}"
    known = told[model.identifier]
    if known is None:
        return "its files changed while they were being read"
    return known.problem if known.digest is None else None


def _classes(models: Iterable[Model], told: Mapping[str, Known | None]) -> tuple[Class, ...]:
    found: dict[str, list[Model]] = defaultdict(list)
    for model in models:
        known = told[model.identifier]
        if known is not None and known.digest is not None:
            found[known.digest].append(model)
    made: list[Class] = []
    for digest, members in found.items():
        members.sort(key=lambda model: (-model.size_bytes, model.identifier))
        known = told[members[0].identifier]
        family, tokens = (known.family, known.tokens) if known else ("", 0)
        made.append(Class(digest, "", family, tokens, tuple(members)))
    made.sort(key=lambda each: (-len(each.models), each.models[0].identifier))
    return tuple(
        Class(each.digest, _letters(number), each.family, each.tokens, each.models)
        for number, each in enumerate(made)
    )


def _letters(number: int) -> str:
    """Count in letters: A to Z, then AA and so on."""
    name = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(65 + rest) + name
    return name


_Drafts: TypeAlias = Mapping[tuple[str, str], Sequence[Model]]
"""Possible drafts by class and format, the smallest first."""


def _drafts(seen: Overview) -> _Drafts:
    found: dict[tuple[str, str], list[Model]] = defaultdict(list)
    for each in seen.classes:
        for model in each.models:
            if model.drafts and model.size_bytes > 0 and not _never_drafts(model, seen):
                found[each.digest, model.format].append(model)
    for members in found.values():
        members.sort(key=lambda model: (model.size_bytes, model.identifier))
    return found


def _suggest(main: Model, mine: Class, drafts: _Drafts, seen: Overview) -> Suggestion:
    why = _refuses_main(main, seen)
    if why is not None:
        return Suggestion(main, (), 0, why)
    usable = 0
    found: list[tuple[Model, VerdictKind]] = []
    largest = main.size_bytes * LARGEST_SHARE
    for each in seen.classes:
        kind = _kind(seen.kinds, mine.digest, each.digest, main)
        there = drafts.get((each.digest, main.format), ())
        if kind not in FITTING:
            continue
        fitting = there[: bisect_right(there, largest, key=lambda model: model.size_bytes)]
        if seen.disproven:
            fitting = [model for model in fitting if not _disproven(main, model, seen)]
        usable += len(fitting)
        found += [(model, kind) for model in fitting[:SUGGESTED]]
    found.sort(key=lambda pair: _promise(main, *pair))
    if found:
        return Suggestion(main, tuple(found[:SUGGESTED]), usable)
    if eligible.worth_drafting(main) == 0:
        why = "no installed model fits, and at this size LM Studio's docs see no gain in a draft"
        return Suggestion(main, (), 0, why)
    return Suggestion(main, (), 0, "no installed model fits", _wanted(main, mine))


def _promise(main: Model, draft: Model, kind: VerdictKind) -> tuple[bool, bool, int, str]:
    """Sort key of drafts, best first: same family, then no missing tokens, then the smallest."""
    kin = draft.architecture == main.architecture
    return not kin, kind != "identical", draft.size_bytes, draft.identifier


def _wanted(main: Model, mine: Class) -> str:
    size = eligible.worth_drafting(main)
    up_to = f" of up to {size:g}B" if size is not None else ", of less than half its size"
    family = main.architecture or "the same"
    form = "a GGUF" if main.format == "gguf" else "an MLX"
    public = _PUBLIC.get(_line(main, mine))
    named = f", such as {public[main.format == 'gguf']}" if public else ""
    return (
        f"{form} model of the {family} family{up_to} with the same tokenizer ({mine.tokens:,} "
        f"tokens){named}"
    )


_PUBLIC: Final = {
    "qwen3": ("mlx-community/Qwen3-0.6B-4bit", "Qwen/Qwen3-0.6B-GGUF"),
    "qwen2": ("mlx-community/Qwen2.5-0.5B-Instruct-4bit", "Qwen/Qwen2.5-0.5B-Instruct-GGUF"),
    "llama 128": (
        "mlx-community/Llama-3.2-1B-Instruct-4bit",
        "bartowski/Llama-3.2-1B-Instruct-GGUF",
    ),
    "gemma3": ("mlx-community/gemma-3-1b-it-4bit", "ggml-org/gemma-3-1b-it-GGUF"),
}
"""Small public models of a family on Hugging Face: for MLX, for llama.cpp."""


def _line(main: Model, mine: Class) -> str:
    """The key of ``_PUBLIC``; of one architecture, Llama 3 is known by its 128,256 tokens."""
    family = main.architecture.replace("_", "").removesuffix("moe").removesuffix("text")
    return f"{family} {mine.tokens // 1000}" if family == "llama" else family

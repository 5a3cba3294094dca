"""The verdicts on all pairs of installed models, at a cost linear in the models.

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
from specd.tokenizer.store import Kinds, Known, VerdictStore
from specd.tokenizer.suggest import LARGEST_SHARE, promise
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
    """Every class, the verdicts between them, every main's drafts, and the unreadable models."""

    classes: tuple[Class, ...]
    kinds: Compared
    suggestions: tuple[Suggestion, ...]
    unknown: tuple[tuple[Model, str], ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is stored about the installed models.

    ``known`` holds the facts from a model's files by its identifier, ``built`` what mlx-lm builds
    for it by its ``Known.config``, ``disproven`` the contents of mains and drafts whose proof
    failed. ``mlx_types`` are the types that LM Studio's mlx-lm loads. ``kv_quantized``: numbers
    that share a scale in the KV caches of the mains that quantize them, and tokens after which they
    do, by identifier.
    """

    models: tuple[Model, ...]
    known: Mapping[str, Known]
    kinds: Compared
    built: Mapping[str, Built | None]
    disproven: frozenset[tuple[str, str]]
    mlx_types: frozenset[str] | None
    kv_quantized: Mapping[str, tuple[int, int]]

    @classmethod
    def read(cls, models: tuple[Model, ...], store: VerdictStore) -> Facts:
        """The facts in the store."""
        store.all_known()
        rows = ((each.identifier, store.known(each.path)) for each in readable(models))
        known = {name: found for name, found in rows if found is not None}
        configs = {each.config: each for each in known.values() if each.config}
        built = {config: store.built(each) for config, each in configs.items()}
        mains = [each for each in models if each.format == "mlx" and each.identifier in known]
        quantized = {each.identifier: how for each in mains if (how := store.kv_quantized(each))}
        kinds, disproven = store.kinds(), store.disproven()
        return cls(models, known, kinds, built, disproven, store.mlx_types, quantized)

    @property
    def complete(self) -> bool:
        """Whether every verdict can be given."""
        digests = {each.digest for each in self.known.values() if each.digest is not None}
        return (
            not self.unread
            and None not in self.built.values()
            and all((one, other) in self.kinds for one in digests for other in digests)
        )

    @property
    def unread(self) -> list[Model]:
        """The models whose files are still to be read."""
        return [each for each in readable(self.models) if each.identifier not in self.known]

    def refuses_main(self, main: Model) -> str | None:
        """Why mlx-engine speculates for no such main; None if it does, or llama.cpp runs it."""
        if main.format != "mlx":
            return None
        return mlx.refuses_main(main, self._built(main), self.mlx_types)

    def never_drafts(self, draft: Model) -> bool:
        """Whether mlx-lm cannot load a draft."""
        return (
            draft.format == "mlx"
            and mlx.never_drafts(draft, self._built(draft), self.mlx_types) is not None
        )

    def refuses(self, main: Model, draft: Model) -> bool:
        """Whether a pair's proof failed, or its quantized KV caches do not go with drafts."""
        both = self.known[main.identifier].content, self.known[draft.identifier].content
        quantized = self.kv_quantized.get(main.identifier)
        if both in self.disproven or quantized is None:
            return both in self.disproven
        built = self._built(main), self._built(draft)
        pair = mlx.Pair(main, draft, *built, None, *quantized)
        return (mlx.not_quantized(pair) or mlx.quantized_late(pair)) is not None

    def _built(self, model: Model) -> Built | None:
        return self.built.get(self.known[model.identifier].config)


def readable(models: Iterable[Model]) -> list[Model]:
    """The models whose tokenizers can be read."""
    return [each for each in models if each.kind in ("llm", "vlm") and each.format != "other"]


def overview(facts: Facts) -> Overview:
    """The overview of all models."""
    models = facts.models
    unknown = [(model, why) for model in models if (why := _why_unknown(model, facts))]
    left_out = {model.identifier for model, _ in unknown}
    special = [model for model in models if model.kind == "drafter"]
    made_for = {each for model in models for each in drafters.for_main(model, special)}
    unknown = [(model, why) for model, why in unknown if model not in made_for]
    classes = _classes([model for model in models if model.identifier not in left_out], facts)
    drafts = _drafts(classes, facts)
    suggestions = [
        replace(
            _suggest(model, each, classes, drafts, facts),
            candidates=drafters.candidates(model, special),
        )
        for each in classes
        for model in each.models
    ]
    suggestions.sort(key=lambda s: (not s.drafts, -s.main.size_bytes, s.main.key))
    return Overview(classes, facts.kinds, tuple(suggestions), tuple(unknown))


def _kind(kinds: Compared, main: str, draft: str, of: Model) -> VerdictKind:
    """The verdict on two tokenizers in the engine that runs ``of``."""
    known = kinds.get((main, draft))
    if known is None:
        return "unknown"
    return known.mlx if of.format == "mlx" else known.gguf


def _why_unknown(model: Model, facts: Facts) -> str | None:
    why = eligible.unusable(model)
    if why is not None or model.kind in eligible.NEVER:
        return why or f"it {eligible.NEVER[model.kind]}"
    known = facts.known.get(model.identifier)
    if known is None:
        return "its files changed while they were being read"
    return known.problem if known.digest is None else None


def _classes(models: Iterable[Model], facts: Facts) -> tuple[Class, ...]:
    found: dict[str, list[Model]] = defaultdict(list)
    for model in models:
        found[facts.known[model.identifier].digest or ""].append(model)
    for members in found.values():
        members.sort(key=lambda model: (-model.size_bytes, model.identifier))
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[1][0].identifier))
    made: list[Class] = []
    for number, (digest, members) in enumerate(ordered):
        known = facts.known[members[0].identifier]
        name = _letters(number)
        made.append(Class(digest, name, known.family, known.tokens, tuple(members)))
    return tuple(made)


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


def _drafts(classes: Iterable[Class], facts: Facts) -> _Drafts:
    found: dict[tuple[str, str], list[Model]] = defaultdict(list)
    for each in classes:
        for model in each.models:
            if model.drafts and model.size_bytes > 0 and not facts.never_drafts(model):
                found[each.digest, model.format].append(model)
    for members in found.values():
        members.sort(key=lambda model: (model.size_bytes, model.identifier))
    return found


def _suggest(
    main: Model, mine: Class, classes: Iterable[Class], drafts: _Drafts, facts: Facts
) -> Suggestion:
    why = facts.refuses_main(main)
    if why is not None:
        return Suggestion(main, (), 0, why)
    usable = 0
    found: list[tuple[Model, VerdictKind]] = []
    largest = main.size_bytes * LARGEST_SHARE
    for each in classes:
        kind = _kind(facts.kinds, mine.digest, each.digest, main)
        there = drafts.get((each.digest, main.format), ())
        if kind not in FITTING:
            continue
        fitting = there[: bisect_right(there, largest, key=lambda model: model.size_bytes)]
        if facts.disproven or main.identifier in facts.kv_quantized:
            fitting = [model for model in fitting if not facts.refuses(main, model)]
        usable += len(fitting)
        found += [(model, kind) for model in fitting[:SUGGESTED]]
    found.sort(key=lambda pair: promise(main, pair[0]))
    if found:
        return Suggestion(main, tuple(found[:SUGGESTED]), usable)
    if eligible.worth_drafting(main) == 0:
        why = "no installed model fits, and at this size LM Studio's docs see no gain in a draft"
        return Suggestion(main, (), 0, why)
    same = drafts.get((mine.digest, main.format), ())
    installed = frozenset(model.identifier for model in same)
    return Suggestion(main, (), 0, "no installed model fits", _wanted(main, mine, installed))


def _wanted(main: Model, mine: Class, installed: frozenset[str]) -> str:
    size = eligible.worth_drafting(main)
    up_to = f" of up to {size:g}B" if size is not None else ", of less than half its size"
    family = main.architecture or "the same"
    form = "a GGUF" if main.format == "gguf" else "an MLX"
    public = _PUBLIC.get(_line(main, mine))
    name = public[main.format == "gguf"] if public else ""
    named = f", such as {name}" if name and name not in installed else ""
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

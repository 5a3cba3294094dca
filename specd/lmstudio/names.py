"""Find the installed model that a name means.

People write a key, ``publisher/repo``, a name of LM Studio's catalogue, a folder, a file, in any
case, with or without the quantization the repository carries in its name (``-4bit``, ``-bf16``,
``-MLX-4bit``, ``-GGUF``, ``@q4_k_m``), or just a part of it. The ways are tried from the most
literal to the loosest; the first that fits any model decides, and must then fit exactly one.

A name without a quantization fits any; one with a quantization fits only that, so ``…-8bit`` never
means the installed ``…-4bit``.

Names are looked up in an index that is made once for a tuple of models, so that a thousand look-ups
take milliseconds. Only a name that fits nothing is compared by spelling, for a suggestion.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final, TypeAlias

from specd.lmstudio.model import OWN_HEADS, Model

_LISTED: Final = 3
_KEPT_INDEXES: Final = 4
_REMEMBERED: Final = 10_000  # names looked up
_SUGGESTED: Final = 32  # unknown names per index that get a suggestion: milliseconds each
_ALIKE: Final = 0.7  # a word at least this like a known one counts as misspelled
_LOOKED_AT: Final = 12  # names whose spelling is compared for one suggestion
_COMMON: Final = 64  # a word in more names than this distinguishes little

_FORMATS: Final = {"mlx": "mlx", "gguf": "gguf", "safetensors": "mlx"}
_QUANTIZATION: Final = re.compile(
    r"""
    \d{1,2}[-_]?bits?(?:[-_]?(?:dwq|awq|gptq|g\d+))?   # 4bit, 8-bit, 4bit-dwq
    | int[48] | fp(?:4|8|16|32) | bf16 | f16 | f32 | mxfp\d | nvfp\d | dwq | awq | gptq
    | (?:ud-)?i?q\d(?:_[0-9a-z]+)*                       # q4_k_m, iq2_xxs, q8_0
    """,
    re.VERBOSE,
)
_INSTANCE: Final = re.compile(r":\d{1,3}$")  # LM Studio's number of a model loaded twice
_LAST_WORD: Final = re.compile(r"[-_.@ ]([^-_.@ ]+)$")


class NameProblem(LookupError):
    """A name does not lead to one model. ``candidates`` are identifiers, the likeliest first."""

    def __init__(self, candidates: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.candidates = candidates


class NoSuchModel(NameProblem):
    """No installed model fits the name; ``candidates`` are up to three with a similar spelling."""

    def __init__(self, name: str, candidates: tuple[str, ...], installed: int) -> None:
        hint = f"the nearest: {', '.join(candidates)}" if candidates else "`specd pairs` lists them"
        if not installed:
            hint = "none is installed"
        super().__init__(candidates, f"no installed model is called {_shown(name)}; {hint}")


class Ambiguous(NameProblem):
    """Several installed models fit the name equally well: ``candidates``."""

    def __init__(self, name: str, candidates: tuple[str, ...]) -> None:
        super().__init__(
            candidates,
            f"{_shown(name)} may mean {_listed(candidates)}; write one of these in full",
        )


@dataclass(frozen=True, slots=True)
class _Spelling:
    """A name without quantization and format, and these where the name has them."""

    base: str
    quantization: str | None = None
    format: str | None = None


def resolve(name: str, models: Sequence[Model]) -> Model:
    """The one model that ``name`` means.

    Raises:
        NoSuchModel: none fits.
        Ambiguous: several fit equally well. A model that cannot be used alone (half downloaded, a
            projector, a drafter) never stands in the way of one that can.
    """
    index = _index_of(models)
    found = index.find(name)
    if (one := _one_of(found, name)) is not None:
        return one
    if found:
        raise Ambiguous(name, tuple(each.identifier for each in found))
    raise NoSuchModel(name, index.nearest(name), len(models))


def lookup(name: str, models: Sequence[Model]) -> Model | None:
    """As ``resolve``; None where it raises."""
    return _one_of(_index_of(models).find(name), name)


def key_of(name: str, models: Sequence[Model]) -> str:
    """The key of the model that ``name`` means; ``OWN_HEADS`` stays as it is.

    Raises:
        NoSuchModel, Ambiguous: as ``resolve``.
    """
    return name if name == OWN_HEADS else resolve(name, models).key


def served_as(model: Model, keys: Iterable[str], models: Sequence[Model]) -> str | None:
    """Which of a server's model ``keys`` means ``model``, among the installed ``models``.

    The app's keys leave quantization and publisher out where that is unambiguous, so a key is
    looked up like any other name. A catalogue model's own name may stand for several variants; it
    counts where no key names just this variant.
    """
    index = _index_of(models)
    family: str | None = None
    for key in keys:
        found = index.find(key)
        if not any(each.identifier == model.identifier for each in found):
            continue
        if len(found) == 1 and _called(found[0], key).defaults == model.defaults:
            return key
        if key == model.catalogue:
            family = key
    return family


def _one_of(found: Sequence[Model], name: str) -> Model | None:
    """The one model in ``found``; None where they are several, or none.

    Variants of a catalogue model share one file of defaults, so the smallest stands for all of
    them: what may draft for it may draft for the others.
    """
    called = [_called(each, name) for each in found]
    if len({(each.defaults, each.format) for each in called}) != 1:
        return None
    return min(called, key=lambda each: (each.size_bytes, each.identifier))


def _called(model: Model, name: str) -> Model:
    """``model`` under the catalogue name that ``name`` means: each has its own defaults."""
    wanted = _INSTANCE.sub("", name.strip()).partition("@")[0].casefold()
    for alias in model.aliases:
        catalogue = alias.partition("@")[0]
        if wanted in (catalogue.casefold(), catalogue.casefold().rpartition("/")[2]):
            return replace(model, catalogue=catalogue)
    return model


_Named: TypeAlias = "tuple[Model, _Spelling]"
_Place: TypeAlias = "tuple[Model, _Spelling, tuple[str, ...], int]"


class _Index:
    """The names of some models. Everything is looked up in a dictionary."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = models
        self._found: dict[str, tuple[Model, ...]] = {}
        self._nearest: dict[str, tuple[str, ...]] = {}
        self._literal: dict[str, list[Model]] = defaultdict(list)
        self._full: dict[str, list[Model]] = defaultdict(list)
        self._short: dict[str, list[Model]] = defaultdict(list)
        self._full_bases: dict[str, list[_Named]] = defaultdict(list)
        self._short_bases: dict[str, list[_Named]] = defaultdict(list)
        for model in models:
            self._literal[model.identifier].append(model)
            self._literal[str(model.path)].append(model)
            for names, bases, name in (
                *((self._full, self._full_bases, name) for name in _full(model)),
                *((self._short, self._short_bases, name) for name in _short(model)),
            ):
                names[name].append(model)
                spelled = _spelling(name)
                bases[spelled.base].append((model, spelled))

    def find(self, name: str) -> tuple[Model, ...]:
        """The models that ``name`` fits best; several fit equally well."""
        if name not in self._found:
            if len(self._found) > _REMEMBERED:
                self._found.clear()
            written = _INSTANCE.sub("", name.strip().rstrip("/"))
            found = next(filter(None, self._ways(written)), ())
            alone = [each for each in found if each.kind not in _NEVER_ALONE] or found
            self._found[name] = tuple({each.identifier: each for each in alone}.values())
        return self._found[name]

    def _ways(self, name: str) -> Iterator[list[Model]]:
        folded = name.casefold()
        wanted = _spelling(folded)
        yield self._literal.get(name, [])
        yield self._full.get(folded, [])
        yield self._short.get(folded, [])
        if "/" in folded:
            yield _agreeing(wanted, self._full_bases.get(wanted.base, ()))
        yield _agreeing(wanted, self._short_bases.get(wanted.base, ()))
        words = tuple(_words(wanted.base))
        if words and not all(_QUANTIZATION.fullmatch(w) or w in _FORMATS for w in words):
            places = list(self._holding(words))
            yield _agreeing(wanted, (p[:2] for p in places if p[3] + len(words) == len(p[2])))
            yield _agreeing(wanted, (p[:2] for p in places))
            parts = list(self._parts(wanted.base))
            yield _agreeing(wanted, (named for at, named in parts if not at))
            yield _agreeing(wanted, (named for _, named in parts))

    def _holding(self, words: tuple[str, ...]) -> Iterator[_Place]:
        """Every place where a name has these words in a row."""
        rarest = min(range(len(words)), key=lambda n: len(self._places.get(words[n], ())))
        for model, spelled, its, at in self._places.get(words[rarest], ()):
            first = at - rarest
            if first >= 0 and its[first : first + len(words)] == words:
                yield model, spelled, its, first

    def _parts(self, base: str) -> Iterator[tuple[int, _Named]]:
        """Each short name with ``base`` at a word or a word's number, and its offset there.

        A number at the end of ``base`` must be a whole one: ``2.5-3`` is no part of
        ``qwen2.5-32b``.
        """
        lines, at = self._lines, self._lines.find(base)
        while at > 0:
            cut = base[-1].isdigit() and lines[at + len(base)].isdigit()
            inside = lines[at - 1].isdigit() or (lines[at - 1].isalpha() and base[0].isalpha())
            if not (cut or inside):
                start = lines.rfind("\n", 0, at) + 1
                name = lines[start : lines.index("\n", start)]
                for model in self._short[name]:
                    yield at - start, (model, _spelling(name))
            at = lines.find(base, at + 1)

    @cached_property
    def _lines(self) -> str:
        return "\n" + "\n".join(self._short) + "\n"

    @cached_property
    def _places(self) -> dict[str, list[_Place]]:
        """Every place of each word in a name."""
        places: dict[str, list[_Place]] = defaultdict(list)
        for bases in (self._full_bases, self._short_bases):
            for base, named in bases.items():
                words = tuple(_words(base))
                for model, spelled in named:
                    for at, word in enumerate(words):
                        places[word].append((model, spelled, words, at))
        return places

    def _misspelled(self, word: str) -> list[str]:
        """The words of all names that are spelled most like ``word``."""
        long_enough = len(word) > 2
        near = (each for each in self._places if abs(len(each) - len(word)) <= 2)
        return difflib.get_close_matches(word, near, _LISTED, _ALIKE) if long_enough else []

    def nearest(self, name: str) -> tuple[str, ...]:
        """The identifiers spelled most like ``name``, the nearest first."""
        if name not in self._nearest:
            if len(self._nearest) >= _SUGGESTED:
                return ()
            self._nearest[name] = self._spelled_like(_spelling(name.strip().casefold()[:200]).base)
        return self._nearest[name]

    def _spelled_like(self, base: str) -> tuple[str, ...]:
        scores: dict[str, float] = defaultdict(float)
        models: dict[str, Model] = {}
        for word in dict.fromkeys(_words(base)):
            known = word in self._places
            for each in (word,) if known else self._misspelled(word):
                places = self._places[each]
                for model, *_ in places[:_COMMON]:
                    models[model.identifier] = model
                    scores[model.identifier] += (1.0 if each == word else 0.5) / len(places)
        best = sorted(scores, key=lambda each: (-scores[each], each))[:_LOOKED_AT]
        short = base.rpartition("/")[2]

        def likeness(identifier: str) -> float:
            names = {_spelling(each).base for each in _short(models[identifier])}
            return max(difflib.SequenceMatcher(None, short, each).ratio() for each in names)

        return tuple(sorted(best, key=lambda each: (-likeness(each), each))[:_LISTED])


_NEVER_ALONE: Final = frozenset({"incomplete", "mmproj", "drafter"})

_indexes: tuple[tuple[tuple[Model, ...], _Index], ...] = ()


def _index_of(models: Sequence[Model]) -> _Index:
    """The index of ``models``, kept for the last few tuples, which cannot change."""
    global _indexes  # noqa: PLW0603 - a cache; replaced as a whole, so that threads may share it
    for known, index in _indexes:
        if known is models:
            return index
    made = _Index(models)
    if isinstance(models, tuple):
        _indexes = ((models, made), *_indexes)[:_KEPT_INDEXES]
    return made


def called(model: Model) -> set[str]:
    """All names of the model, case-folded."""
    return {*_full(model), *_short(model)}


def same_model(one: Model, other: Model) -> bool:
    """Whether two models share a name, leaving out quantization and format."""
    bases = [{_spelling(name).base for name in _short(each)} for each in (one, other)]
    return not bases[0].isdisjoint(bases[1])


def _full(model: Model) -> tuple[str, ...]:
    names = {model.identifier, f"{model.publisher}/{model.repo}", *model.aliases}
    return tuple(sorted(name.casefold() for name in names))


def _short(model: Model) -> tuple[str, ...]:
    names = {
        model.key,
        model.repo,
        model.path.name,
        model.path.stem if model.format == "gguf" else "",
    }
    names |= {alias.rpartition("/")[2] for alias in model.aliases}
    return tuple(sorted({name.casefold() for name in names if name}))


def _agreeing(wanted: _Spelling, named: Iterable[_Named]) -> list[Model]:
    """The models among ``named`` with the quantization and format that ``wanted`` has, if any.

    The quantization in the name counts, else the files', else the beginning of either.
    """
    fitting = [each for each in named if wanted.base and wanted.format in (None, each[0].format)]
    quantization = wanted.quantization
    if quantization is None:
        return [model for model, _ in fitting]
    known = [(m, mine.quantization or "", _plain(m.quantization or "")) for m, mine in fitting]
    return (
        [model for model, written, _ in known if written == quantization]
        or [model for model, _, held in known if held == quantization]
        or [model for model, *both in known if any(q.startswith(quantization) for q in both)]
    )


def _words(base: str) -> Iterator[str]:
    return (word for word in re.split(r"[-_./@ ]+", base) if word)


@lru_cache(maxsize=8192)
def _spelling(folded: str) -> _Spelling:
    head, slash, base = folded.rpartition("/")
    base = base.removesuffix(".gguf")
    format_: str | None = "gguf" if folded.endswith(".gguf") else None
    quantization: str | None = None
    while True:
        shorter, word = _cut(base)
        if word in _FORMATS and format_ is None:
            format_ = _FORMATS[word]
        elif _QUANTIZATION.fullmatch(word) and quantization is None:
            quantization = _plain(word)
        elif word not in _FORMATS:
            return _Spelling(head + slash + base, quantization, format_)
        base = shorter


def _cut(base: str) -> tuple[str, str]:
    """``base`` without its last word, and that word; a quantization may hold ``_`` or ``-``."""
    for separator in re.finditer(r"[-_.@ ]", base):
        word = base[separator.end() :]
        if separator.start() and _QUANTIZATION.fullmatch(word):
            return base[: separator.start()], word
    last = _LAST_WORD.search(base)
    if last is None or not last.start():
        return base, ""
    return base[: last.start()], last[1]


def _plain(quantization: str) -> str:
    """One spelling for each quantization: ``8-bit`` becomes ``8bit``, ``fp16`` ``f16``."""
    plain = re.sub(r"[-_ ]", "", quantization.casefold()).replace("bits", "bit")
    return {"fp16": "f16", "fp32": "f32"}.get(plain, plain)


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _LISTED
    if more > 0:
        return f"{', '.join(names[:_LISTED])} or {more} more"
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _shown(name: str) -> str:
    """The name in quotes, with anything unprintable escaped."""
    return repr(name[:200])

"""Find the model a person means.

People write a key, ``publisher/repo``, a folder, a file, in any case, with or without the
quantization the repository carries in its name (``-4bit``, ``-bf16``, ``-MLX-4bit``, ``-GGUF``,
``@q4_k_m``), or just the end of it. The ways are tried from the most literal to the loosest; the
first that fits any model decides, and must then fit exactly one.

A quantization left out fits any; one written must be the model's own, so ``…-8bit`` never means the
installed ``…-4bit``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from specd.lmstudio.model import OWN_HEADS, Model

_CANDIDATES: Final = 8

_FORMATS: Final = {"mlx": "mlx", "gguf": "gguf", "safetensors": "mlx"}
_QUANTIZATION: Final = re.compile(
    r"""
    \d{1,2}[-_]?bits?(?:[-_]?(?:dwq|awq|gptq|g\d+))?   # 4bit, 8-bit, 4bit-dwq
    | int[48] | fp(?:4|8|16|32) | bf16 | f16 | f32 | mxfp\d | nvfp\d | dwq | awq | gptq
    | (?:ud-)?i?q\d(?:_[0-9a-z]+)*                       # q4_k_m, iq2_xxs, q8_0
    """,
    re.VERBOSE,
)
_LAST_WORD: Final = re.compile(r"[-_.@ ]([^-_.@ ]+)$")


class NameProblem(LookupError):
    """A name does not lead to one model. ``candidates`` are identifiers, the likeliest first."""

    def __init__(self, name: str, candidates: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.name = name
        self.candidates = candidates


class NoSuchModel(NameProblem):
    """No installed model fits the name; ``candidates`` are those spelled most like it."""

    def __init__(self, name: str, candidates: tuple[str, ...]) -> None:
        hint = f"the nearest: {', '.join(candidates)}" if candidates else "none is installed"
        super().__init__(name, candidates, f"no installed model is called {_shown(name)}; {hint}")


class Ambiguous(NameProblem):
    """Several installed models fit the name equally well: ``candidates``."""

    def __init__(self, name: str, candidates: tuple[str, ...]) -> None:
        super().__init__(
            name,
            candidates,
            f"{_shown(name)} may mean {_listed(candidates)}; write one of these in full",
        )


@dataclass(frozen=True, slots=True)
class _Spelling:
    """A name taken apart: what it is called, and how it is quantized and stored, where it says."""

    base: str
    quantization: str | None = None
    format: str | None = None


def resolve(name: str, models: Sequence[Model]) -> Model:
    """The one model that ``name`` means.

    Raises:
        NoSuchModel: none fits.
        Ambiguous: several fit equally well. A model that cannot be used (half downloaded, a
            projector) never stands in the way of one that can.
    """
    for fits in _ways(name.strip().rstrip("/")):
        found = [model for model in models if fits(model)]
        if len(found) > 1:
            found = [
                model for model in found if model.kind not in ("incomplete", "mmproj", "drafter")
            ] or found
        if len(found) == 1:
            return found[0]
        if found:
            raise Ambiguous(name, _identifiers(found))
    raise NoSuchModel(name, _closest(name, models))


def key_of(name: str, models: Sequence[Model]) -> str:
    """The key of the model that ``name`` means; ``OWN_HEADS`` stays as it is.

    Raises:
        NoSuchModel, Ambiguous: as ``resolve``.
    """
    return name if name == OWN_HEADS else resolve(name, models).key


def served_as(model: Model, keys: Iterable[str], models: Sequence[Model]) -> str | None:
    """Which of a server's model ``keys`` is ``model``, among the installed ``models``.

    The app's keys leave quantization and publisher out where that is unambiguous, so a key is
    looked up like any other name.
    """
    for key in keys:
        try:
            if resolve(key, models) == model:
                return key
        except NameProblem:
            continue
    return None


def _ways(name: str) -> tuple[Callable[[Model], bool], ...]:
    folded = name.casefold()
    wanted = _spelling(folded)
    is_path = name.startswith("/")
    return (
        lambda model: name == (str(model.path) if is_path else model.identifier),
        lambda model: folded in _full(model),
        lambda model: folded in _short(model),
        lambda model: "/" in folded and any(_agrees(wanted, model, n) for n in _full(model)),
        lambda model: any(_agrees(wanted, model, n) for n in _short(model)),
        lambda model: any(_ends(n, folded) for n in _full(model)),
        lambda model: any(_agrees(wanted, model, n, end=True) for n in _full(model)),
    )


@lru_cache(maxsize=8192)
def _full(model: Model) -> tuple[str, ...]:
    names = {model.identifier.casefold(), f"{model.publisher}/{model.repo}".casefold()}
    return tuple(sorted(names))


@lru_cache(maxsize=8192)
def _short(model: Model) -> tuple[str, ...]:
    names = {model.key, model.repo, model.path.name, model.path.stem if _is_file(model) else ""}
    return tuple(sorted({name.casefold() for name in names if name}))


def _is_file(model: Model) -> bool:
    return model.format == "gguf"


def _agrees(wanted: _Spelling, model: Model, name: str, *, end: bool = False) -> bool:
    """Whether ``name``, one of the model's, is ``wanted`` once both are taken apart."""
    mine = _spelling(name)
    if not wanted.base or not (_ends(mine.base, wanted.base) if end else mine.base == wanted.base):
        return False
    if wanted.format is not None and wanted.format != model.format:
        return False
    if wanted.quantization is None:
        return True
    own = {mine.quantization, _plain(model.quantization or "")}
    return wanted.quantization in own


def _ends(name: str, end: str) -> bool:
    """Whether ``end`` is ``name``, or its last words."""
    if not end or not name.endswith(end):
        return False
    before = name[: -len(end)]
    return not before or before[-1] in "/-_. " or end[0] in "/-_. "


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
    """One spelling for the same thing: ``8-bit`` and ``8bit``, ``fp16`` and ``f16``."""
    plain = re.sub(r"[-_ ]", "", quantization.casefold()).replace("bits", "bit")
    return {"fp16": "f16", "fp32": "f32"}.get(plain, plain)


def _closest(name: str, models: Sequence[Model]) -> tuple[str, ...]:
    spelled = {short: model for model in models for short in _short(model)}
    base = _spelling(name.casefold()).base.rpartition("/")[2]
    near = difflib.get_close_matches(base, spelled, n=_CANDIDATES, cutoff=0.5)
    found = [spelled[short] for short in near] or list(models)
    return _identifiers(found)


def _identifiers(models: Iterable[Model]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(model.identifier for model in models))[:_CANDIDATES]


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _shown(name: str) -> str:
    """The name in quotes, with anything unprintable escaped."""
    return repr(name[:200])

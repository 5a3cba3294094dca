"""The surface of per-model defaults: which draft every new chat with a main model starts with.

LM Studio keeps one file per model under ``.internal/user-concrete-model-default-config/``:

    {"preset": "", "operation": {"fields": [{"key": …, "value": …}]}, "load": {"fields": []}}

``operation`` holds what applies to a prediction, ``load`` what applies when a model is loaded. Each
list is ordered and has at most one entry per key; what is not specd's stays where it is.

- **MLX**: ``draftModel`` and ``numDraftTokensExact`` under ``operation``, and one parallel session
  under ``load``. LM Studio's default is four, for which the engine uses its batching path; that one
  not only does not speculate, it refuses every request that names a draft (mlx-engine:
  ``load_model``, ``load_draft_model``). So a draft without it would break the user's chats.
- **GGUF**: ``draftSimple`` with ``draftModel``, or the model's own ``draftMtp``, under ``load``;
  exactly one way may be on. Before LM Studio ran llama.cpp as a server of its own, the draft stood
  under ``operation`` as for MLX; the newer engine refuses it there, so specd does not write it
  there, and takes it out when nothing is to draft.

A draft is taken out by taking specd's keys out; the file and everything else in it stay. The number
of sessions goes back to what it was, for those who answer several requests at once. Whose wish it
is the file does not tell, so that has to be said (``WantedDraft.sessions_before``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from specd.files.pointer import ABSENT, Absent, Edit, Json, Match, Pointer
from specd.lmstudio import keys
from specd.lmstudio.model import Model
from specd.lmstudio.surface import Content, Problem, Target, Wanted, WantedDraft, Wish, mismatch

NAME: Final = "model-defaults"
SESSIONS: Final = keys.PARALLEL_SESSIONS
"""What the number of requests that a main is loaded for is called in the journal."""

ONE_AT_A_TIME: Final = 1


def config_path(home: Path, model: Model) -> Path:
    """Where the defaults of ``model`` are: its identifier with ``.json`` appended."""
    return home.joinpath(keys.INTERNAL, keys.MODEL_DEFAULTS, *f"{model.identifier}.json".split("/"))


def targets(wanted: Wanted) -> Iterator[Target]:
    """The file of every wanted main."""
    for each in wanted.drafts:
        yield _target(wanted.home, each)


def _target(home: Path, wanted: WantedDraft) -> Target:
    return Target(
        NAME,
        config_path(home, wanted.main),
        lambda current: wishes(
            home,
            wanted.main,
            wanted.draft,
            wanted.draft_tokens,
            current,
            mtp=wanted.mtp,
            why_none=wanted.why_none,
            sessions_before=wanted.sessions_before,
        ),
        within=home,
    )


def wishes(
    home: Path,
    main: Model,
    draft: Model | None,
    draft_tokens: int | None,
    current: Content,
    *,
    mtp: bool = False,
    why_none: str = "",
    sessions_before: Json | Absent | None = None,
) -> tuple[Wish, ...] | Problem:
    """What the defaults of ``main`` should hold, given what they hold (``ABSENT``: no file).

    ``draft`` None takes specd's entries out, unless ``mtp`` asks a GGUF main to draft with its own
    heads. ``draft_tokens`` None leaves the length as it stands. ``sessions_before`` takes the place
    of specd's one session once nothing drafts.
    """
    file = config_path(home, main)
    fields = list(_fields(main, draft, draft_tokens, mtp=mtp))
    if draft is None and sessions_before is not None and read(current).parallel == ONE_AT_A_TIME:
        fields.append((keys.LOAD_FIELDS, keys.PARALLEL_SESSIONS, sessions_before))
    problem = _misfit(file, current, [(section, key) for section, key, _ in fields])
    if problem is not None:
        return problem
    why = _why(main, draft, mtp=mtp, why_none=why_none)
    made = [
        Wish(NAME, file, key, _edit(section, key, value), why) for section, key, value in fields
    ]
    if current is ABSENT and any(wish.edit.value is not ABSENT for wish in made):
        return (*_scaffold(file), *made)
    return tuple(made)


def _fields(
    main: Model, draft: Model | None, draft_tokens: int | None, *, mtp: bool
) -> Iterable[tuple[tuple[str, ...], str, Json | Absent]]:
    """(section, key, value) of everything specd keeps in the file."""
    drafting = draft is not None
    name: str | Absent = draft.identifier if draft is not None else ABSENT
    # None means "as it is" while something drafts, and "out with it" once nothing does.
    length: int | Absent | None = draft_tokens if drafting or mtp else ABSENT
    if main.format == "gguf":
        yield from _llama_fields(name, length, mtp=mtp)
        return
    yield keys.OPERATION_FIELDS, keys.DRAFT_MODEL, name
    if length is not None:
        yield keys.OPERATION_FIELDS, keys.DRAFT_TOKENS_EXACT, length
    if drafting:
        yield keys.LOAD_FIELDS, keys.PARALLEL_SESSIONS, ONE_AT_A_TIME


def _llama_fields(
    name: str | Absent, length: int | Absent | None, *, mtp: bool
) -> Iterable[tuple[tuple[str, ...], str, Json | Absent]]:
    drafting = name is not ABSENT
    load = keys.LOAD_FIELDS
    yield load, keys.LLAMA_DRAFT_MODEL, name
    yield load, keys.LLAMA_DRAFT_SIMPLE, True if drafting else ABSENT
    yield load, keys.LLAMA_DRAFT_MTP, True if mtp and not drafting else ABSENT
    for sidecar in keys.LLAMA_DRAFT_SIDECARS:
        yield load, sidecar, ABSENT
    if length is not None:
        yield load, keys.LLAMA_DRAFT_MAX_TOKENS, length
    if not drafting and not mtp:
        yield keys.OPERATION_FIELDS, keys.DRAFT_MODEL, ABSENT
        yield keys.OPERATION_FIELDS, keys.MAX_TOKENS_TO_DRAFT, ABSENT


def _edit(section: tuple[str, ...], key: str, value: Json | Absent) -> Edit:
    entry: Pointer = (*section, Match("key", key))
    return Edit(entry, ABSENT) if value is ABSENT else Edit((*entry, "value"), value)


def _scaffold(file: Path) -> Iterator[Wish]:
    """What LM Studio writes into such a file even when nothing is set."""
    empty: tuple[tuple[tuple[str, ...], Json], ...] = (
        (keys.PRESET, ""),
        (keys.OPERATION_FIELDS, []),
        (keys.LOAD_FIELDS, []),
    )
    for at, value in empty:
        key = ".".join(at)
        yield Wish(NAME, file, key, Edit(at, value), "a new file of LM Studio's shape")


def _why(main: Model, draft: Model | None, *, mtp: bool, why_none: str) -> str:
    if draft is not None:
        return f"{draft.key} drafts for {main.key}"
    if mtp:
        return f"{main.key} drafts with its own prediction heads"
    return f"nothing drafts for {main.key}" + (f": {why_none}" if why_none else "")


def _misfit(
    file: Path, current: Content, wanted: Iterable[tuple[tuple[str, ...], str]]
) -> Problem | None:
    if current is ABSENT:
        return None
    if not isinstance(current, dict):
        return mismatch(file, "", current, "an object")
    for section in (keys.OPERATION_FIELDS, keys.LOAD_FIELDS):
        mine = {key for at, key in wanted if at == section}
        problem = _misfit_in(file, current, section, mine) if mine else None
        if problem is not None:
            return problem
    return None


def _misfit_in(
    file: Path, document: dict[str, Json], section: tuple[str, ...], mine: set[str]
) -> Problem | None:
    value: Content = document
    for depth, (step, kind) in enumerate(zip(section, (dict, list), strict=True), start=1):
        value = value.get(step, ABSENT) if isinstance(value, dict) else ABSENT
        if value is ABSENT:
            return None
        if not isinstance(value, kind):
            expected = "a list" if kind is list else "an object"
            return mismatch(file, ".".join(section[:depth]), value, expected)
    return _misfit_entry(file, value, ".".join(section), mine) if isinstance(value, list) else None


def _misfit_entry(file: Path, fields: list[Json], name: str, mine: set[str]) -> Problem | None:
    """One of specd's keys that stands there twice, or holds a list or an object."""
    seen: set[str] = set()
    for entry in fields:
        key = entry.get("key") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(key, str) or key not in mine:
            continue
        if key in seen:
            return Problem(
                file,
                f"{file}: {name} has {key} twice, and LM Studio allows one; specd leaves the file "
                "alone until one of them is removed",
            )
        seen.add(key)
        value = entry.get("value", ABSENT)
        if isinstance(value, dict | list):
            return mismatch(file, key, value, "a single value")
    return None


@dataclass(frozen=True, slots=True)
class DraftDefaults:
    """What a file of defaults says about drafting; None where it says nothing.

    ``parallel`` is the number of requests the model is loaded for: more than one switches the MLX
    engine's speculation off.
    """

    draft_model: str | None = None
    draft_tokens: int | None = None
    mtp: bool = False
    parallel: int | None = None


def read(document: Content) -> DraftDefaults:
    """What ``document`` says about drafting, whatever else is in it; never raises.

    For GGUF both the newer and the older keys are looked at, the newer first.
    """
    operation = _entries(document, keys.OPERATION_FIELDS)
    load = _entries(document, keys.LOAD_FIELDS)
    simple = load.get(keys.LLAMA_DRAFT_SIMPLE) is True
    newer = _text(load.get(keys.LLAMA_DRAFT_MODEL)) if simple else None
    mtp = load.get(keys.LLAMA_DRAFT_MTP) is True
    draft = newer or _text(operation.get(keys.DRAFT_MODEL))
    lengths = (
        load.get(keys.LLAMA_DRAFT_MAX_TOKENS) if newer or mtp else None,
        operation.get(keys.DRAFT_TOKENS_EXACT),
        operation.get(keys.MAX_TOKENS_TO_DRAFT),
    )
    length = next((found for each in lengths if (found := _whole(each)) is not None), None)
    return DraftDefaults(draft, length, mtp, _whole(load.get(keys.PARALLEL_SESSIONS)))


def _entries(document: Content, section: tuple[str, ...]) -> dict[str, Json]:
    value: Content = document
    for step in section:
        value = value.get(step, ABSENT) if isinstance(value, dict) else ABSENT
    if not isinstance(value, list):
        return {}
    entries: dict[str, Json] = {}
    for entry in value:
        if isinstance(entry, dict) and isinstance(key := entry.get("key"), str):
            entries.setdefault(key, entry.get("value"))
    return entries


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None

"""The figures LM Studio keeps with the user's own conversations: speed, drafts, acceptance.

``conversations/**/*.conversation.json`` hold every chat; each answer is a step of a version of a
message, with ``genInfo.stats`` beside the text, and the text is cut into runs that say whether the
draft wrote them. The decoder is told which members to build and steps over all others, so the text
is never turned into a value, let alone kept.

A file is rewritten as its chat grows. It is read again when its identity, size or time stamp moved;
what was counted before is known by its step's identifier, which begins with the time it was made
and goes along when a chat is copied. A file caught half-written is left for the next time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec

from specd.lmstudio import keys

_MAX_FILE_BYTES: Final = 512 * 1024 * 1024
_MAX_FILES: Final = 200_000
_MAX_DEPTH: Final = 12
_MAX_RUNS: Final = 100_000
_RACY_NS: Final = 2_000_000_000
_EARLIEST_MS: Final = 1_600_000_000_000  # an identifier that begins with less holds no time


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive tokens of an answer by one author."""

    from_draft: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class AnswerStats:
    """What LM Studio measured of one answer. None: it does not say. Times are seconds.

    ``id`` stays the same for the same answer, in whatever file it turns up again. ``at`` is when it
    was made, in seconds since 1970. ``asked_draft`` is the draft configured for the answer,
    ``draft`` the one that ran: a draft asked for that never ran is a finding. ``runs`` is the
    pattern of acceptance, without structural text.
    """

    id: str
    file: Path
    at: float | None
    model: str
    asked_draft: str | None = None
    draft: str | None = None
    draft_tokens: int | None = None
    tokens: int | None = None
    prompt_tokens: int | None = None
    seconds: float | None = None
    time_to_first_token: float | None = None
    tokens_per_second: float | None = None
    stop_reason: str = ""
    drafted: int | None = None
    accepted: int | None = None
    rejected: int | None = None
    ignored: int | None = None
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """The answers of one file that were not counted before; ``problem`` when it was not read."""

    file: Path
    answers: tuple[AnswerStats, ...] = ()
    problem: str | None = None


@dataclass(slots=True)
class Cursor:
    """How far reading has come: each file as it was read, and which answers were counted.

    Files go by a digest of their names, for the folders they lie in are named by the user.
    """

    files: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # inode, size, modified
    counted: set[str] = field(default_factory=set)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "files": {name: list(stamp) for name, stamp in self.files.items()},
            "counted": sorted(self.counted),
        }

    @classmethod
    def from_json(cls, value: object) -> Cursor:
        """The cursor ``to_json`` made; an empty one from anything else."""
        try:
            kept = msgspec.convert(value, _KeptCursor)
        except msgspec.ValidationError:
            return cls()
        return cls(kept.files, kept.counted)


class _KeptCursor(msgspec.Struct):
    files: dict[str, tuple[int, int, int]]
    counted: set[str]


def directory(home: Path) -> Path:
    """Where LM Studio keeps the conversations."""
    return home / keys.CONVERSATIONS


def read(conversations: Path, since: Cursor) -> Iterator[Batch]:
    """A batch for every file that changed ``since``, which moves on as batches are taken.

    A batch counts as taken when the next one is asked for, so nothing is lost when the reader is
    stopped in the middle. Memory is bounded by the largest file.
    """
    there: set[str] = set()
    for path in _files(conversations):
        name = _digest(str(path.relative_to(conversations)))
        there.add(name)
        try:
            facts = path.stat()
        except OSError:
            continue
        stamp = _stamp(facts)
        if since.files.get(name) == stamp:
            continue
        settled = time.time_ns() - facts.st_mtime_ns > _RACY_NS
        answers, problem = _read_file(path, name, facts.st_size)
        fresh = tuple(each for each in answers if each.id not in since.counted)
        yield Batch(path, fresh, problem)
        since.counted.update(each.id for each in fresh)
        if settled:
            since.files[name] = stamp
    for gone in since.files.keys() - there:
        del since.files[gone]


def changed(conversations: Path, since: Cursor) -> int:
    """How many files ``read`` will open, without opening any."""
    count = 0
    for path in _files(conversations):
        with contextlib.suppress(OSError):
            name = _digest(str(path.relative_to(conversations)))
            count += since.files.get(name) != _stamp(path.stat())
    return count


def _stamp(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _files(directory: Path) -> Iterator[Path]:
    """Every conversation file, oldest folders first; symlinks are not followed."""
    waiting = [(directory, 0)]
    found = 0
    while waiting:
        folder, depth = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if depth < _MAX_DEPTH:
                    waiting.append((Path(entry.path), depth + 1))
            elif entry.name.endswith(keys.CONVERSATION_SUFFIX) and entry.is_file(
                follow_symlinks=False
            ):
                found += 1
                if found > _MAX_FILES:
                    return
                yield Path(entry.path)


# -- what is decoded; every other member is stepped over ------------------------------------------


class _Conversation(msgspec.Struct):
    messages: list[msgspec.Raw] = []


class _Version(msgspec.Struct):
    steps: list[msgspec.Raw] = []


class _Message(msgspec.Struct):
    versions: list[_Version] = []


class _Step(msgspec.Struct, rename="camel"):
    type: Any = None
    step_identifier: Any = None
    gen_info: msgspec.Raw = msgspec.Raw(b"null")
    content: msgspec.Raw = msgspec.Raw(b"null")


class _GenInfo(msgspec.Struct, rename="camel"):
    indexed_model_identifier: Any = None
    identifier: Any = None
    prediction_config: msgspec.Raw = msgspec.Raw(b"null")
    stats: dict[str, Any] = {}


class _Fields(msgspec.Struct):
    fields: list[msgspec.Raw] = []


class _FieldKey(msgspec.Struct):
    key: str


class _FieldValue(msgspec.Struct):
    value: Any = None


class _Piece(msgspec.Struct, rename="camel"):
    from_draft_model: Any = None
    tokens_count: Any = None
    is_structural: Any = None


def _read_file(path: Path, name: str, size: int) -> tuple[list[AnswerStats], str | None]:
    if size > _MAX_FILE_BYTES:
        return [], f"{path} is {size:,} bytes long; specd reads up to {_MAX_FILE_BYTES:,}"
    try:
        messages = msgspec.json.decode(path.read_bytes(), type=_Conversation).messages
    except OSError as error:
        return [], f"{path} cannot be read: {error.strerror or error}"
    except (ValueError, RecursionError):
        return [], f"{path} is not a conversation that can be read; perhaps it is being written"
    return list(_answers(path, name, messages)), None


def _answers(path: Path, name: str, messages: list[msgspec.Raw]) -> Iterator[AnswerStats]:
    for m, message in enumerate(messages):
        decoded = _decoded(message, _Message)
        for v, version in enumerate(decoded.versions if decoded else ()):
            for s, step in enumerate(version.steps):
                answer = _answer(path, f"{name}/{m}/{v}/{s}", step)
                if answer is not None:
                    yield answer


def _answer(path: Path, place: str, raw: msgspec.Raw) -> AnswerStats | None:
    """The statistics of one step; None when it is no answer, or not a finished one."""
    step = _decoded(raw, _Step)
    if step is None or step.type != "contentBlock":
        return None
    info = _decoded(step.gen_info, _GenInfo)
    if info is None or not info.stats:
        return None
    stats = info.stats
    made_at = _made_at(step.step_identifier)
    named = step.step_identifier if made_at is not None else place
    asked = _asked(info.prediction_config)
    return AnswerStats(
        id=_digest(str(named)),
        file=path,
        at=made_at,
        model=_text(info.indexed_model_identifier) or _text(info.identifier),
        asked_draft=_text(asked.get(keys.DRAFT_MODEL)) or None,
        draft=_text(stats.get("usedDraftModelKey")) or None,
        draft_tokens=_count(asked.get(keys.DRAFT_TOKENS_EXACT)),
        tokens=_count(stats.get("predictedTokensCount")),
        prompt_tokens=_count(stats.get("promptTokensCount")),
        seconds=_seconds(stats.get("totalTimeSec")),
        time_to_first_token=_seconds(stats.get("timeToFirstTokenSec")),
        tokens_per_second=_seconds(stats.get("tokensPerSecond")),
        stop_reason=_text(stats.get("stopReason")),
        drafted=_count(stats.get("totalDraftTokensCount")),
        accepted=_count(stats.get("acceptedDraftTokensCount")),
        rejected=_count(stats.get("rejectedDraftTokensCount")),
        ignored=_count(stats.get("ignoredDraftTokensCount")),
        runs=_runs(step.content),
    )


def _digest(name: str) -> str:
    return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


def _asked(config: msgspec.Raw) -> dict[str, Any]:
    """The fields on speculative decoding; the others, the system prompt among them, stay raw."""
    wanted = (keys.DRAFT_MODEL, keys.DRAFT_TOKENS_EXACT)
    decoded = _decoded(config, _Fields)
    asked: dict[str, Any] = {}
    for field_ in decoded.fields if decoded else ():
        named = _decoded(field_, _FieldKey)
        if named is not None and named.key in wanted:
            value = _decoded(field_, _FieldValue)
            asked[named.key] = value.value if value else None
    return asked


def _runs(content: msgspec.Raw) -> tuple[Run, ...]:
    pieces = _decoded(content, list[_Piece]) or []
    runs: list[Run] = []
    for piece in pieces[:_MAX_RUNS]:
        tokens = _count(piece.tokens_count)
        if tokens and piece.is_structural is not True and isinstance(piece.from_draft_model, bool):
            runs.append(Run(piece.from_draft_model, tokens))
    return tuple(runs)


def _decoded(raw: msgspec.Raw, kind: Any) -> Any:
    """``raw`` as ``kind``; None where it is something else."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (ValueError, RecursionError):
        return None


def _made_at(identifier: object) -> float | None:
    """When a step was made: its identifier begins with milliseconds since 1970."""
    if not isinstance(identifier, str) or len(identifier) > 200:
        return None
    digits = identifier.partition("-")[0]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 14):
        return None
    return int(digits) / 1000 if int(digits) >= _EARLIEST_MS else None


def _text(value: object) -> str:
    short = isinstance(value, str) and len(value) <= 500 and value.isprintable()
    return str(value) if short else ""


def _count(value: object) -> int | None:
    whole = isinstance(value, int | float) and not isinstance(value, bool)
    if not whole or not isinstance(value, int | float) or not 0 <= value < 1 << 53:
        return None
    return int(value) if value == int(value) else None


def _seconds(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value < 1e12 else None

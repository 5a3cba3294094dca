"""The figures LM Studio keeps with the user's own conversations: speed, drafts, acceptance.

``conversations/**/*.conversation.json`` hold every chat. Each answer is a step of a version of a
message, with ``genInfo.stats`` beside the text, and a flag on each piece of the text says whether
the draft wrote it. A reasoning model's thoughts are a step of their own before the answer. The
decoder skips all members but these, so the text is never decoded or kept.

LM Studio rewrites a file as its chat grows. It is read again when its inode, size or time stamp
changed. A step's identifier begins with the time of the answer and stays the same in a copy of the
chat. A half-written file is left for the next time.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from specd.files import private
from specd.lmstudio import keys, model_defaults
from specd.lmstudio.model import OWN_HEADS
from specd.lmstudio.presets import Preset, chosen
from specd.lmstudio.values import number, rate, text, tokens

_MAX_FILE_BYTES: Final = 512 * 1024 * 1024
_MAX_FILES: Final = 200_000
_MAX_RUNS: Final = 100_000
_RACY_NS: Final = 2_000_000_000
_EARLIEST_MS: Final = 1_600_000_000_000  # an identifier with a smaller number holds no time


Kind: TypeAlias = Literal["thinking", "tools", "plain"]
"""Of an answer: with thoughts before it; a tool call or structured output; another one."""


@dataclass(frozen=True, slots=True)
class TokenRun:
    """Consecutive tokens of an answer, all by the draft or all by the main."""

    from_draft: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class AnswerStats:
    """LM Studio's figures of one answer; None where it has none. Times are seconds.

    ``id`` stays the same when the answer is copied into another file. ``at`` is its time, in
    seconds since 1970. ``configured_draft`` is the draft configured for the answer, ``draft`` the
    one that ran. Either may be ``OWN_HEADS``: draft tokens were counted and no draft model was
    named or configured. ``runs`` is the pattern of acceptance, without structural text.
    ``sampling`` are the answer's settings, or the chat's where it has none, by their names in
    ``ChatSettings``.
    """

    id: str
    at: float | None
    model: str
    configured_draft: str | None = None
    draft: str | None = None
    draft_tokens: int | None = None
    tokens: int | None = None
    prompt_tokens: int | None = None
    seconds: float | None = None
    time_to_first_token: float | None = None
    tokens_per_second: float | None = None
    drafted: int | None = None
    accepted: int | None = None
    runs: tuple[TokenRun, ...] = ()
    kind: Kind | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)


Read: TypeAlias = dict[str, str]
"""The files that were read: a digest of each path → inode, size and time stamp at that time.

Digests, because the user's words are in folder names.
"""


def directory(home: Path) -> Path:
    """Where LM Studio keeps the conversations."""
    return home / keys.CONVERSATIONS


def read(
    conversations: Path, done: Read, presets: Sequence[Preset] = ()
) -> Iterator[tuple[AnswerStats, ...] | None]:
    """The answers of each file that changed since it was read, None where it cannot be read.

    ``presets`` are those that a chat may name. ``done`` is updated when the caller takes the next
    batch, so nothing is lost when the caller stops in between. Memory is bounded by the largest
    file.
    """
    there: set[str] = set()
    for path, facts in files(conversations):
        name = _digest(str(path.relative_to(conversations)))
        stamp = f"{facts.st_ino}:{facts.st_size}:{facts.st_mtime_ns}"
        there.add(name)
        if done.get(name) == stamp:
            continue
        settled = time.time_ns() - facts.st_mtime_ns > _RACY_NS
        yield _read_file(path, name, presets)
        if settled:
            done[name] = stamp
    for gone in done.keys() - there:
        del done[gone]


def files(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every conversation file with its facts; symlinks are not followed."""
    found = 0
    for folder, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            if not name.endswith(keys.CONVERSATION_SUFFIX):
                continue
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode):
                    yield path, facts
                    found += 1
            if found >= _MAX_FILES:
                return


# -- the members that are decoded; all others are skipped -----------------------------------------


class _Conversation(msgspec.Struct, rename="camel"):
    messages: list[msgspec.Raw] = []
    last_used_model: msgspec.Raw = msgspec.Raw(b"null")
    preset: Any = None
    per_chat_prediction_config: msgspec.Raw = msgspec.Raw(b"null")
    use_per_chat_prediction_config: Any = None

    def sampling(self, presets: Sequence[Preset]) -> dict[str, Any]:
        """The settings of the chat itself, else of its preset."""
        named = text(self.preset)
        preset = chosen(named, presets) if named else None
        found = dict(preset.sampling) if preset is not None else {}
        if self.use_per_chat_prediction_config is not False:
            found |= model_defaults.sampling_of(_fields(self.per_chat_prediction_config))
        return found


class _Named(msgspec.Struct, rename="camel"):
    """How a model is named. ``identifier`` may be one that the user chose at load."""

    identifier: Any = None
    indexed_model_identifier: Any = None

    def model(self, last: _Named) -> str:
        """The model's own name, also where only ``last``, the chat's model, has it; "" for none."""
        own = text(self.indexed_model_identifier)
        given = text(self.identifier)
        if own or (given and given != text(last.identifier)):
            return own or given
        return text(last.indexed_model_identifier) or text(last.identifier)


class _LastUsed(_Named, rename="camel"):
    instance_operation_time_config: msgspec.Raw = msgspec.Raw(b"null")


class _Version(msgspec.Struct):
    steps: list[msgspec.Raw] = []


class _Message(msgspec.Struct):
    versions: list[_Version] = []


class _Step(msgspec.Struct, rename="camel"):
    type: Any = None
    step_identifier: Any = None
    style: msgspec.Raw = msgspec.Raw(b"null")
    gen_info: msgspec.Raw = msgspec.Raw(b"null")
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Typed(msgspec.Struct):
    type: Any = None


class _GenInfo(_Named, rename="camel"):
    load_model_config: msgspec.Raw = msgspec.Raw(b"null")
    prediction_config: msgspec.Raw = msgspec.Raw(b"null")
    stats: dict[str, Any] = {}


class _FieldList(msgspec.Struct):
    fields: list[msgspec.Raw] = []


class _Field(msgspec.Struct):
    key: str
    value: msgspec.Raw = msgspec.Raw(b"null")


class _Piece(msgspec.Struct, rename="camel"):
    from_draft_model: Any = None
    tokens_count: Any = None
    is_structural: Any = None


@dataclass(frozen=True, slots=True)
class _Chat:
    """What counts where an answer names no model or no settings.

    ``last``: the chat's model. ``sampling``: the chat's settings; ``with_last``: with that model.
    """

    last: _Named
    sampling: Mapping[str, Any]
    with_last: Mapping[str, Any]

    def sampling_with(self, model: str) -> Mapping[str, Any]:
        last = self.last.model(self.last)
        return self.sampling if last and last != model else self.with_last


def _read_file(path: Path, name: str, presets: Sequence[Preset]) -> tuple[AnswerStats, ...] | None:
    try:
        chat = msgspec.json.decode(private.read(path, _MAX_FILE_BYTES), type=_Conversation)
    except (OSError, ValueError, RecursionError):
        return None
    last = _decoded(chat.last_used_model, _LastUsed) or _LastUsed()
    loaded = model_defaults.sampling_of(_fields(last.instance_operation_time_config))
    own = chat.sampling(presets)
    return tuple(_answers(name, chat.messages, _Chat(last, own, {**loaded, **own})))


def _answers(name: str, messages: list[msgspec.Raw], chat: _Chat) -> Iterator[AnswerStats]:
    """The answers of every version of every message: a regenerated one really ran."""
    for m, message in enumerate(messages):
        decoded = _decoded(message, _Message)
        for v, version in enumerate(decoded.versions if decoded else ()):
            thought = False
            for s, raw in enumerate(version.steps):
                step = _decoded(raw, _Step)
                if step is None or step.type != "contentBlock":
                    continue
                thought |= _type(step.style) == "thinking"
                answer = _answer(f"{name}/{m}/{v}/{s}", step, chat, thought=thought)
                if answer is not None:
                    yield answer
                    thought = False


def _answer(place: str, step: _Step, chat: _Chat, *, thought: bool) -> AnswerStats | None:
    """The statistics of one step; None when it is not a finished answer."""
    info = _decoded(step.gen_info, _GenInfo)
    if info is None or not info.stats:
        return None
    stats = info.stats
    made_at = _made_at(step.step_identifier)
    named = step.step_identifier if made_at is not None else place
    fields = _fields(info.prediction_config) | _fields(info.load_model_config)
    drafting = model_defaults.from_fields(fields, fields)
    heads = drafting.mtp and (drafting.of_request or drafting.draft_model is None)
    configured = OWN_HEADS if heads else drafting.draft_model
    drafted = tokens(stats.get("totalDraftTokensCount"))
    accepted = tokens(stats.get("acceptedDraftTokensCount"))
    unnamed = (configured or OWN_HEADS) if drafted or accepted else None
    model = info.model(chat.last)
    return AnswerStats(
        id=_digest(str(named)),
        at=made_at,
        model=model,
        configured_draft=configured,
        draft=text(stats.get("usedDraftModelKey")) or unnamed,
        draft_tokens=drafting.draft_tokens or None,
        tokens=tokens(stats.get("predictedTokensCount")),
        prompt_tokens=tokens(stats.get("promptTokensCount")),
        seconds=number(stats.get("totalTimeSec")),
        time_to_first_token=number(stats.get("timeToFirstTokenSec")),
        tokens_per_second=rate(stats.get("tokensPerSecond")),
        drafted=drafted,
        accepted=accepted,
        runs=_runs(step.content),
        kind=_kind(stats.get("stopReason"), fields.get(keys.STRUCTURED), thought=thought),
        sampling=model_defaults.sampling_of(fields) or chat.sampling_with(model),
    )


def _kind(stop_reason: object, structured: object, *, thought: bool) -> Kind | None:
    if thought:
        return "thinking"
    if stop_reason == "toolCalls" or structured not in (None, "none"):
        return "tools"
    return "plain" if text(stop_reason) else None


def _type(raw: msgspec.Raw) -> str:
    return text((_decoded(raw, _Typed) or _Typed()).type)


def _digest(name: str) -> str:
    return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


def _fields(config: msgspec.Raw) -> dict[str, Any]:
    """The fields that are used; others, such as the system prompt, are not decoded.

    Of a grammar only its type, without its text.
    """
    decoded = _decoded(config, _FieldList)
    found: dict[str, Any] = {}
    for field_ in decoded.fields if decoded else ():
        named = _decoded(field_, _Field)
        if named is not None and named.key == keys.STRUCTURED:
            found[named.key] = _type(named.value) or None
        elif named is not None and named.key in keys.SPECULATION | model_defaults.SAMPLING:
            found[named.key] = _decoded(named.value, Any)
    return found


def _runs(content: msgspec.Raw) -> tuple[TokenRun, ...]:
    pieces = _decoded(content, list[_Piece]) or []
    runs: list[TokenRun] = []
    for piece in pieces[:_MAX_RUNS]:
        length = tokens(piece.tokens_count)
        if length and piece.is_structural is not True and isinstance(piece.from_draft_model, bool):
            runs.append(TokenRun(piece.from_draft_model, length))
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

"""What LM Studio's server says, as types: its models, and its answers with their statistics.

Shapes: LM Studio's REST documentation (``/api/v1/models``; ``/api/v0/models`` and
``/api/v0/chat/completions`` with ``stats``) and OpenAI's. Members may be missing or of another type
in older and newer servers; each is then simply unknown.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final, Literal


@dataclass(frozen=True, slots=True)
class Instance:
    """A model in memory. ``parallel`` is how many requests it serves at once; None: not told."""

    id: str
    context_length: int | None = None
    parallel: int | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model as the server lists it; None and "" where it does not say.

    ``key`` is what requests name it by. ``loaded_instances`` has an entry, of unknown
    configuration, also where an older server says just "loaded".
    """

    key: str
    type: Literal["llm", "vlm", "embedding"] = "llm"
    publisher: str = ""
    architecture: str = ""
    format: str = ""
    quantization: str = ""
    size_bytes: int | None = None
    max_context_length: int | None = None
    loaded_instances: tuple[Instance, ...] = ()

    @property
    def loaded(self) -> bool:
        """Whether it is in memory."""
        return bool(self.loaded_instances)


@dataclass(frozen=True, slots=True)
class DraftStats:
    """What a draft did in one answer; counts are tokens.

    ``model`` is "" where the server does not name it. No counts and no model although a draft was
    asked for means that it never ran.
    """

    model: str
    total: int
    accepted: int
    rejected: int
    ignored: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion. Times are seconds; ``seconds`` is the whole call, as seen from here.

    ``time_to_first_token`` is measured when streaming, else the server's. ``generation_seconds``
    and ``tokens_per_second`` are the server's, None where it does not tell. ``draft`` is None when
    nothing in the answer speaks of a draft.
    """

    text: str
    tokens: int
    prompt_tokens: int
    seconds: float
    time_to_first_token: float | None = None
    generation_seconds: float | None = None
    tokens_per_second: float | None = None
    stop_reason: str = ""
    runtime: str = ""
    draft: DraftStats | None = None


def said(told: dict[str, Any], member: str = "message") -> str:
    """The text of the first choice, with what a reasoning model thought before it."""
    message = _first(told.get("choices")).get(member)
    if not isinstance(message, dict):
        return ""
    thought = message.get("reasoning_content") or message.get("reasoning")
    return text_of(thought) + text_of(message.get("content"))


def read_answer(told: dict[str, Any], text: str, seconds: float, first: float | None) -> Answer:
    """The answer in ``told``, a whole one or the last words of a stream."""
    usage = _members(told.get("usage"))
    stats = _members(told.get("stats"))
    runtime = _members(told.get("runtime"))
    reason = text_of(stats.get("stop_reason")) or text_of(
        _first(told.get("choices")).get("finish_reason")
    )
    return Answer(
        text=text,
        tokens=_count(usage.get("completion_tokens")) or 0,
        prompt_tokens=_count(usage.get("prompt_tokens")) or 0,
        seconds=seconds,
        time_to_first_token=first
        if first is not None
        else _number(stats.get("time_to_first_token")),
        generation_seconds=_number(stats.get("generation_time")),
        tokens_per_second=_number(stats.get("tokens_per_second")),
        stop_reason=reason,
        runtime=" ".join(
            filter(None, (text_of(runtime.get("name")), text_of(runtime.get("version"))))
        ),
        draft=_draft_stats(stats),
    )


def _draft_stats(stats: dict[str, Any]) -> DraftStats | None:
    model = text_of(stats.get("draft_model"))
    counts = [
        _count(stats.get(f"{name}_draft_tokens_count"))
        for name in ("total", "accepted", "rejected", "ignored")
    ]
    if not model and all(count is None for count in counts):
        return None
    total, accepted, rejected, ignored = (count or 0 for count in counts)
    return DraftStats(model, total, accepted, rejected, ignored)


@dataclass(slots=True)
class Spoken:
    """What a stream has said so far."""

    text: list[str] = field(default_factory=list)
    pieces: int = 0
    first_at: float | None = None
    last: dict[str, Any] = field(default_factory=dict)


def listen(spoken: Spoken, event: dict[str, Any]) -> None:
    """Add what ``event`` says to ``spoken``."""
    piece = said(event, "delta")
    if piece:
        spoken.first_at = spoken.first_at or time.perf_counter()
        spoken.text.append(piece)
        spoken.pieces += 1
    for name in ("usage", "stats", "runtime"):
        if isinstance(event.get(name), dict):
            spoken.last[name] = event[name]
    spoken.last["choices"] = event.get("choices") or spoken.last.get("choices")


# -- model lists ----------------------------------------------------------------------------------


def _v1_model(told: dict[str, Any]) -> ServedModel:
    instances = told.get("loaded_instances")
    capabilities = _members(told.get("capabilities"))
    kind: Literal["llm", "vlm", "embedding"] = "llm"
    if text_of(told.get("type")).startswith("embedding"):
        kind = "embedding"
    elif capabilities.get("vision") is True or told.get("type") == "vlm":
        kind = "vlm"
    return ServedModel(
        key=text_of(told.get("key")),
        type=kind,
        publisher=text_of(told.get("publisher")),
        architecture=text_of(told.get("architecture")),
        format=text_of(told.get("format")),
        quantization=text_of(_members(told.get("quantization")).get("name")),
        size_bytes=_count(told.get("size_bytes")),
        max_context_length=_count(told.get("max_context_length")),
        loaded_instances=tuple(_instance(each) for each in instances if isinstance(each, dict))
        if isinstance(instances, list)
        else (),
    )


def _instance(told: dict[str, Any]) -> Instance:
    config = _members(told.get("config"))
    return Instance(
        text_of(told.get("id")),
        _count(config.get("context_length")),
        _count(config.get("parallel")),
    )


def _v0_model(told: dict[str, Any]) -> ServedModel:
    key = text_of(told.get("id"))
    types: dict[str, Literal["llm", "vlm", "embedding"]] = {"vlm": "vlm", "embeddings": "embedding"}
    loaded = told.get("state") == "loaded"
    return ServedModel(
        key=key,
        type=types.get(text_of(told.get("type")), "llm"),
        publisher=text_of(told.get("publisher")),
        architecture=text_of(told.get("arch")),
        format=text_of(told.get("compatibility_type")),
        quantization=text_of(told.get("quantization")),
        max_context_length=_count(told.get("max_context_length")),
        loaded_instances=(Instance(key, _count(told.get("loaded_context_length"))),)
        if loaded
        else (),
    )


LISTINGS: Final = (
    ("/api/v1/models", "models", _v1_model),
    ("/api/v0/models", "data", _v0_model),
    ("/v1/models", "data", _v0_model),
)


def is_named(told: object) -> bool:
    """Whether an item of a list of models names one."""
    return isinstance(told, dict) and bool(text_of(told.get("key")) or text_of(told.get("id")))


# -- values that are not trusted ------------------------------------------------------------------


def _members(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(value: object) -> dict[str, Any]:
    return _members(value[0]) if isinstance(value, list) and value else {}


def text_of(value: object) -> str:
    """``value`` where it is a string, else ""."""
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

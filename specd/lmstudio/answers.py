"""The server's answers as types: its models, and completions with their statistics.

Answers have OpenAI's shape, with ``stats`` added. The counts of draft tokens have moved between
versions, so they are read from ``stats`` and from ``usage`` alike. Members may be missing or of
another type; each is then unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from specd.lmstudio.values import count, flag, items, members, number, rate, text, tokens


@dataclass(frozen=True, slots=True)
class Instance:
    """A model in memory, with what it runs with; None where the server does not say.

    ``parallel`` is how many requests it serves at once. The others are llama.cpp's speculation as
    it is in force: own heads, a draft model, its name, the draft length. A sidecar shows in none of
    them.
    """

    id: str
    context_length: int | None = None
    parallel: int | None = None
    draft_mtp: bool | None = None
    draft_simple: bool | None = None
    draft_model: str | None = None
    draft_max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model as the server lists it: ``key`` is what requests name it by.

    ``format`` is "" where the server does not say. ``loaded_instances`` has an entry, of unknown
    configuration, also where an older server says just "loaded".
    """

    key: str
    format: str = ""
    loaded_instances: tuple[Instance, ...] = ()

    @property
    def loaded(self) -> bool:
        """Whether it is in memory."""
        return bool(self.loaded_instances)


@dataclass(frozen=True, slots=True)
class DraftStats:
    """What a draft did in one answer; counts are tokens.

    ``model`` is "" where the server does not name it, as since 0.4. ``total`` is None where only
    the accepted tokens are counted, as MLX's are. If a request named a draft and its answer has no
    counts and no model, the draft did not run, or (where only accepted tokens are counted) nothing
    was accepted.
    """

    model: str
    total: int | None
    accepted: int


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion. Times are seconds; ``seconds`` is the whole call, as seen from here.

    ``time_to_first_token`` is measured when streaming, else the server's. ``tokens_per_second`` is
    the server's, None where it sends none. ``draft`` is None when the answer mentions no draft.
    """

    text: str
    tokens: int
    prompt_tokens: int
    seconds: float
    time_to_first_token: float | None = None
    tokens_per_second: float | None = None
    draft: DraftStats | None = None


def text_in(body: dict[str, Any], member: str = "message") -> str:
    """The text of an answer, with what a reasoning model thought before it.

    ``member`` of the first choice holds it: "message", or "delta" in a stream.
    """
    first = next(iter(items(body.get("choices"))), None)
    message = members(members(first).get(member))
    thought = message.get("reasoning_content") or message.get("reasoning")
    texts = (thought, message.get("content"))
    return "".join(each for each in texts if isinstance(each, str))


def read_answer(
    body: dict[str, Any], spoken: str, seconds: float, first: float | None
) -> Completion:
    """The answer in ``body``: a whole one, or a stream's last members; ``spoken`` is its text."""
    usage = members(body.get("usage"))
    stats = members(body.get("stats"))
    return Completion(
        text=spoken,
        tokens=tokens(usage.get("completion_tokens")) or 0,
        prompt_tokens=tokens(usage.get("prompt_tokens")) or 0,
        seconds=seconds,
        time_to_first_token=number(stats.get("time_to_first_token")) if first is None else first,
        tokens_per_second=rate(stats.get("tokens_per_second")),
        draft=_draft_stats({**usage, **stats}),
    )


def _draft_stats(stats: dict[str, Any]) -> DraftStats | None:
    model = text(stats.get("draft_model"))
    counts = [
        tokens(stats.get(f"{name}_draft_tokens_count"))
        for name in ("total", "accepted", "rejected", "ignored")
    ]
    if not model and counts == [None] * 4:
        return None
    total, accepted, rejected, ignored = counts
    if total is None and rejected is not None:
        total = (accepted or 0) + rejected + (ignored or 0)
    return DraftStats(model, total, accepted or 0)


# -- model lists ----------------------------------------------------------------------------------


def _v1_model(body: dict[str, Any]) -> ServedModel:
    listed = (each for each in items(body.get("loaded_instances")) if isinstance(each, dict))
    key, format_ = text(body.get("key")), text(body.get("format"))
    return ServedModel(key, format_, tuple(map(_instance, listed)))


def _instance(body: dict[str, Any]) -> Instance:
    config = members(body.get("config"))
    return Instance(
        text(body.get("id")),
        count(config.get("context_length")),
        count(config.get("parallel")),
        flag(config.get("speculative_draft_mtp")),
        flag(config.get("speculative_draft_simple")),
        text(config.get("speculative_draft_model")) or None,
        count(config.get("speculative_draft_max_tokens")),
    )


def _v0_model(body: dict[str, Any]) -> ServedModel:
    key = text(body.get("id"))
    instance = Instance(key, count(body.get("loaded_context_length")))
    loaded = body.get("state") == "loaded"
    return ServedModel(key, text(body.get("compatibility_type")), (instance,) if loaded else ())


LISTINGS: Final = (
    ("/api/v1/models", "models", _v1_model),
    ("/api/v0/models", "data", _v0_model),
    ("/v1/models", "data", _v0_model),
)


def is_named(body: object) -> bool:
    """Whether an item of a list of models names one."""
    return isinstance(body, dict) and bool(text(body.get("key")) or text(body.get("id")))

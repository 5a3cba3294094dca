"""The keys of specd.toml. Each key's description is also its comment in a new specd.toml.

Every key has a default, so an empty file is a valid one. ``allowed`` makes pydantic's models of
these classes, and reads their annotations only then: a start with the configuration of the last
one does not import pydantic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from specd.config import cron, mix

if TYPE_CHECKING:
    from pydantic import AfterValidator, Field


LONGEST_DRAFT: Final = 64
"""Tokens drafted at a time."""


def _key(default: object, about: str) -> Any:
    return field(default=default, metadata={"description": about})


def _home(value: str) -> str:
    if value == "auto" or value.startswith(("/", "~")):
        return value
    raise ValueError('must be "auto" or a full path, starting with / or ~')


def _server(value: str) -> str:
    if value == "auto":
        return value
    try:
        url = urlsplit(value)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError('must be "auto" or a URL such as "http://localhost:1234"')
    return value


def _variable(value: str) -> str:
    # The message does not repeat the value: the user has most likely pasted the token itself.
    if value and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError(
            "must be the name of an environment variable that holds the token, not the token itself"
        )
    return value


def _switch(value: str) -> str:
    if value and not all(value.split(".")):
        raise ValueError('must be names joined by single dots, or "" to leave the key out')
    if value in _KEPT_ALREADY:
        raise ValueError(f"must not be {value}: {_KEPT_ALREADY[value]} under [speculation] sets it")
    return value


_KEPT_ALREADY = {
    "chat.visualizeSpeculativeDecoding": "visualize",
    "developerMode": "ui_level",
    "userInterfaceComplexityLevel": "ui_level",
}
"""Keys of settings.json that another key of specd.toml sets."""


def _schedule(value: str) -> str:
    if value:
        cron.check(value)
    return value


def _mix(value: str) -> str:
    mix.read(value)
    return value


@dataclass(frozen=True, slots=True)
class LmStudio:
    """Where LM Studio is."""

    home: Annotated[str, AfterValidator(_home)] = _key("auto", '"auto" finds it; or its full path')
    server: Annotated[str, AfterValidator(_server)] = _key(
        "auto", '"auto": LM Studio\'s own; or http://localhost:1234'
    )
    apps: Literal["all", "lmstudio", "bionic"] = _key(
        "all", "whose files to keep; all: those that are there"
    )
    token_env: Annotated[str, AfterValidator(_variable)] = _key(
        "LM_API_TOKEN", "the environment variable with the server's token"
    )


@dataclass(frozen=True, slots=True)
class Speculation:
    """The desired settings of LM Studio."""

    enabled: bool = _key(default=True, about="false takes specd's drafts out again")
    visualize: bool = _key(default=True, about="colour the drafted tokens in LM Studio")
    ui_level: Literal["keep"] | Annotated[int, Field(ge=0, le=10)] = _key(
        "keep", '"keep", or the lowest interface level wanted'
    )
    settings_key: Annotated[str, AfterValidator(_switch)] = _key(
        "configPresetInclusiveness.speculativeDecoding", 'true while enabled; "" leaves it'
    )


@dataclass(frozen=True, slots=True)
class Pair:
    """One desired pair: a main model and its draft, with the user's names."""

    main: Annotated[str, Field(min_length=1)] = field(
        metadata={"description": "the main model, as LM Studio lists it"}
    )
    draft: Annotated[str, Field(min_length=1)] = _key(
        "auto", "auto: the fastest proven one; mtp: the main's own"
    )
    draft_tokens: Literal["auto"] | Annotated[int, Field(ge=1, le=LONGEST_DRAFT)] = _key(
        "auto", "tokens drafted at a time; auto: the measured best"
    )


@dataclass(frozen=True, slots=True)
class Benchmark:
    """When and how to measure."""

    schedule: Annotated[str, AfterValidator(_schedule)] = _key(
        "30 4 * * *", 'cron, in local time; "" never'
    )
    engine: Literal["auto", "mlx", "server"] = _key(
        "auto", "server where the main model is loaded, else mlx"
    )
    mix: Annotated[str, AfterValidator(_mix)] = _key(
        "", "weight of kinds of prompts: code=3; others 1"
    )
    min_speedup: Annotated[float, Field(ge=1.0, le=10.0)] = _key(
        1.05, "a draft must be this much faster to be chosen"
    )
    on_slower: Literal["warn", "disable"] = _key(
        "warn", "disable: take out a draft without a sure gain"
    )
    only_when_idle: bool = _key(default=True, about="wait until nobody uses the machine")
    only_on_ac: bool = _key(default=True, about="wait until it is not on battery")
    observe_conversations: bool = _key(
        default=True, about="read speeds kept with chats, never their text"
    )
    max_minutes: Annotated[int, Field(ge=1, le=240)] = _key(10, "how long one benchmark may take")


@dataclass(frozen=True, slots=True)
class Agent:
    """The daemon's own settings."""

    resync_seconds: Annotated[int, Field(ge=1, le=86400)] = _key(
        300, "look at everything again, event or not"
    )
    reload: Literal["never", "when-idle"] = _key(
        "never", "when-idle: load a model again to put a change in force"
    )
    log_level: Literal["debug", "info", "warning", "error"] = _key(
        "info", "the lowest level that is logged"
    )
    notify: bool = _key(
        default=False, about="show a desktop notification when a condition turns false"
    )


@dataclass(frozen=True, slots=True)
class SpecdConfig:
    """The whole of specd.toml; every key is optional."""

    lmstudio: LmStudio = LmStudio()
    speculation: Speculation = Speculation()
    pair: tuple[Pair, ...] = ()
    benchmark: Benchmark = Benchmark()
    agent: Agent = Agent()


DEFAULTS: Final = SpecdConfig()


def built(values: Mapping[str, Any]) -> SpecdConfig:
    """The configuration of ``values`` that are valid: {section: {key: value}, "pair": [...]}."""
    sections = {
        name: replace(getattr(DEFAULTS, name), **keys)
        for name, keys in values.items()
        if name != "pair"
    }
    return SpecdConfig(pair=tuple(Pair(**keys) for keys in values.get("pair", ())), **sections)


def keys() -> tuple[str, ...]:
    """Every dotted key of specd.toml; "pair" stands for the list of pairs."""
    held = ((each.name, getattr(DEFAULTS, each.name)) for each in fields(SpecdConfig))
    return tuple(
        key
        for name, section in held
        for key in ([name] if name == "pair" else [f"{name}.{k.name}" for k in fields(section)])
    )

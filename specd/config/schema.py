"""The models of specd.toml. Each key's description is also its comment in a new specd.toml.

Every key has a default, so an empty file is a valid one.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from specd.config import cron, mix


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


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


class LmStudio(_Section):
    """Where LM Studio is."""

    home: Annotated[str, AfterValidator(_home)] = Field(
        default="auto", description='"auto" finds it; or its full path'
    )
    server: Annotated[str, AfterValidator(_server)] = Field(
        default="auto", description='"auto": LM Studio\'s own; or http://localhost:1234'
    )
    apps: Literal["all", "lmstudio", "bionic"] = Field(
        default="all", description="whose files to keep; all: those that are there"
    )
    token_env: Annotated[str, AfterValidator(_variable)] = Field(
        default="LM_API_TOKEN",
        description="the environment variable with the server's token",
    )


class Speculation(_Section):
    """The desired settings of LM Studio."""

    enabled: bool = Field(default=True, description="false takes specd's drafts out again")
    visualize: bool = Field(default=True, description="colour the drafted tokens in LM Studio")
    ui_level: Literal["keep"] | Annotated[int, Field(ge=0, le=10)] = Field(
        default="keep",
        description='"keep", or the lowest interface level wanted',
    )
    settings_key: Annotated[str, AfterValidator(_switch)] = Field(
        default="configPresetInclusiveness.speculativeDecoding",
        description='true while enabled; "" leaves it',
    )


class Pair(_Section):
    """One desired pair: a main model and its draft, with the user's names."""

    main: str = Field(min_length=1, description="the main model, as LM Studio lists it")
    draft: str = Field(
        default="auto",
        min_length=1,
        description="auto: the fastest proven one; mtp: the main's own",
    )
    draft_tokens: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = Field(
        default="auto", description="tokens drafted at a time; auto: the measured best"
    )


class Benchmark(_Section):
    """When and how to measure."""

    schedule: Annotated[str, AfterValidator(_schedule)] = Field(
        default="30 4 * * *", description='cron, in local time; "" never'
    )
    engine: Literal["auto", "mlx", "server"] = Field(
        default="auto",
        description="server where the main model is loaded, else mlx",
    )
    mix: Annotated[str, AfterValidator(_mix)] = Field(
        default="", description="weight of kinds of prompts: code=3; others 1"
    )
    min_speedup: Annotated[float, Field(ge=1.0, le=10.0)] = Field(
        default=1.05, description="a draft must be this much faster to be chosen"
    )
    on_slower: Literal["warn", "disable"] = Field(
        default="warn", description="disable: take out a draft without a sure gain"
    )
    only_when_idle: bool = Field(default=True, description="wait until nobody uses the machine")
    only_on_ac: bool = Field(default=True, description="wait until it is not on battery")
    observe_conversations: bool = Field(
        default=True,
        description="read speeds kept with chats, never their text",
    )
    max_minutes: Annotated[int, Field(ge=1, le=240)] = Field(
        default=10, description="how long one benchmark may take"
    )


class Agent(_Section):
    """The daemon's own settings."""

    resync_seconds: Annotated[int, Field(ge=1, le=86400)] = Field(
        default=300, description="look at everything again, event or not"
    )
    reload: Literal["never", "when-idle"] = Field(
        default="never", description="when-idle: load a model again to put a change in force"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the lowest level that is logged"
    )
    notify: bool = Field(
        default=False, description="show a desktop notification when a condition turns false"
    )


class SpecdConfig(_Section):
    """The whole of specd.toml; every key is optional."""

    lmstudio: LmStudio = LmStudio()
    speculation: Speculation = Speculation()
    pair: tuple[Pair, ...] = ()
    benchmark: Benchmark = Benchmark()
    agent: Agent = Agent()


def keys() -> tuple[str, ...]:
    """Every dotted key of specd.toml; "pair" stands for the list of pairs."""
    return tuple(
        name if name == "pair" else f"{name}.{key}"
        for name, section in SpecdConfig.model_fields.items()
        for key in (["pair"] if name == "pair" else type(section.default).model_fields)
    )

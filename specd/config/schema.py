"""The models of specd.toml. Each key's description is also its comment in a new specd.toml.

Every key has a default, so an empty file is a valid one.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from specd.config import cron, mix


class _Section(Struct, frozen=True, forbid_unknown_fields=True):
    """``msgspec.convert`` checks types and bounds; ``__post_init__`` the rest, by ValueError."""


class LmStudio(_Section, frozen=True):
    """Where LM Studio is."""

    home: Annotated[str, Meta(description='"auto" finds it; or its full path')] = "auto"
    server: Annotated[
        str, Meta(description='"auto": LM Studio\'s own; or http://localhost:1234')
    ] = "auto"
    apps: Annotated[
        Literal["all", "lmstudio", "bionic"],
        Meta(description="whose files to keep; all: those that are there"),
    ] = "all"
    token_env: Annotated[
        str, Meta(description="the environment variable with the server's token")
    ] = "LM_API_TOKEN"  # noqa: S105 - the variable's name

    def __post_init__(self) -> None:
        if self.home != "auto" and not self.home.startswith(("/", "~")):
            raise ValueError('must be "auto" or a full path, starting with / or ~')
        if self.server != "auto" and not _is_url(self.server):
            raise ValueError('must be "auto" or a URL such as "http://localhost:1234"')
        # The message does not repeat the value: the user has most likely pasted the token itself.
        if self.token_env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.token_env):
            raise ValueError(
                "must be the name of an environment variable that holds the token, not the token "
                "itself"
            )


def _is_url(value: str) -> bool:
    try:
        url = urlsplit(value)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


_KEPT_ALREADY = {
    "chat.visualizeSpeculativeDecoding": "visualize",
    "developerMode": "ui_level",
    "userInterfaceComplexityLevel": "ui_level",
}
"""Keys of settings.json that another key of specd.toml sets."""


class Speculation(_Section, frozen=True):
    """The desired settings of LM Studio."""

    enabled: Annotated[bool, Meta(description="false takes specd's drafts out again")] = True
    visualize: Annotated[bool, Meta(description="colour the drafted tokens in LM Studio")] = True
    ui_level: Annotated[
        Literal["keep"] | Annotated[int, Meta(ge=0, le=10)],
        Meta(description='"keep", or the lowest interface level wanted'),
    ] = "keep"
    settings_key: Annotated[str, Meta(description='true while enabled; "" leaves it')] = (
        "configPresetInclusiveness.speculativeDecoding"
    )

    def __post_init__(self) -> None:
        key = self.settings_key
        if key and not all(key.split(".")):
            raise ValueError('must be names joined by single dots, or "" to leave the key out')
        if key in _KEPT_ALREADY:
            raise ValueError(f"must not be {key}: {_KEPT_ALREADY[key]} under [speculation] sets it")


class Pair(_Section, frozen=True):
    """One desired pair: a main model and its draft, with the user's names."""

    main: Annotated[str, Meta(min_length=1, description="the main model, as LM Studio lists it")]
    draft: Annotated[
        str, Meta(min_length=1, description="auto: the fastest proven one; mtp: the main's own")
    ] = "auto"
    draft_tokens: Annotated[
        Literal["auto"] | Annotated[int, Meta(ge=1, le=64)],
        Meta(description="tokens drafted at a time; auto: the measured best"),
    ] = "auto"


class Benchmark(_Section, frozen=True):
    """When and how to measure."""

    schedule: Annotated[str, Meta(description='cron, in local time; "" never')] = "30 4 * * *"
    engine: Annotated[
        Literal["auto", "mlx", "server"],
        Meta(description="server where the main model is loaded, else mlx"),
    ] = "auto"
    mix: Annotated[str, Meta(description="weight of kinds of prompts: code=3; others 1")] = ""
    min_speedup: Annotated[
        float, Meta(ge=1.0, le=10.0, description="a draft must be this much faster to be chosen")
    ] = 1.05
    on_slower: Annotated[
        Literal["warn", "disable"],
        Meta(description="disable: take out a draft without a sure gain"),
    ] = "warn"
    only_when_idle: Annotated[bool, Meta(description="wait until nobody uses the machine")] = True
    only_on_ac: Annotated[bool, Meta(description="wait until it is not on battery")] = True
    observe_conversations: Annotated[
        bool, Meta(description="read speeds kept with chats, never their text")
    ] = True
    max_minutes: Annotated[
        int, Meta(ge=1, le=240, description="how long one benchmark may take")
    ] = 10

    def __post_init__(self) -> None:
        if self.schedule:
            cron.check(self.schedule)
        mix.read(self.mix)


class Agent(_Section, frozen=True):
    """The daemon's own settings."""

    resync_seconds: Annotated[
        int, Meta(ge=1, le=86400, description="look at everything again, event or not")
    ] = 300
    reload: Annotated[
        Literal["never", "when-idle"],
        Meta(description="when-idle: load a model again to put a change in force"),
    ] = "never"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="the lowest level that is logged"),
    ] = "info"
    notify: Annotated[bool, Meta(description="tell the desktop when a condition turns false")] = (
        False
    )


class SpecdConfig(_Section, frozen=True):
    """The whole of specd.toml; every key is optional."""

    lmstudio: LmStudio = LmStudio()
    speculation: Speculation = Speculation()
    pair: tuple[Pair, ...] = ()
    benchmark: Benchmark = Benchmark()
    agent: Agent = Agent()


SECTIONS: dict[str, type[Struct]] = {
    "lmstudio": LmStudio,
    "speculation": Speculation,
    "pair": Pair,
    "benchmark": Benchmark,
    "agent": Agent,
}
"""The table of each name in specd.toml; "pair" is a list of them."""


def keys() -> tuple[str, ...]:
    """Every dotted key of specd.toml; "pair" stands for the list of pairs."""
    return tuple(
        name if name == "pair" else f"{name}.{key}"
        for name, section in SECTIONS.items()
        for key in (["pair"] if name == "pair" else section.__struct_fields__)
    )

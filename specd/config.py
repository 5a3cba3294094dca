"""specd.toml: what the user wants, as validated models.

This module is the schema and nothing else imports pydantic models of its own. Reading, errors with
file and line, and comment-preserving writes stand below the models.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LmStudio(_Section):
    """Where LM Studio is. ``home`` and ``server`` are "auto" or a path / URL."""

    home: str = "auto"
    server: str = "auto"
    token_env: str = "LM_API_TOKEN"  # noqa: S105 - the name of a variable, not a token


class Speculation(_Section):
    """What settings.json should say."""

    enabled: bool = True
    visualize: bool = True
    ui_level: Literal["keep"] | Annotated[int, Field(ge=0, le=10)] = "keep"
    settings_key: str = "speculativeDecoding"


class Pair(_Section):
    """One wanted pair: a main model and its draft, each named as the user would."""

    main: str = Field(min_length=1)
    draft: str = Field(default="auto", min_length=1)
    draft_tokens: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = "auto"


class Benchmark(_Section):
    """When and how to measure. ``schedule`` is cron in local time; "" never."""

    schedule: str = "30 4 * * *"
    engine: Literal["auto", "mlx", "server"] = "auto"
    min_speedup: Annotated[float, Field(ge=1.0, le=10.0)] = 1.05
    on_slower: Literal["warn", "disable"] = "warn"
    only_when_idle: bool = True
    only_on_ac: bool = True
    observe_conversations: bool = True
    max_minutes: Annotated[int, Field(ge=1, le=240)] = 10


class Agent(_Section):
    """The daemon's own habits."""

    resync_seconds: Annotated[int, Field(ge=1, le=86400)] = 300
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    notify: bool = False


class SpecdConfig(_Section):
    """The whole of specd.toml; every key is optional."""

    lmstudio: LmStudio = LmStudio()
    speculation: Speculation = Speculation()
    pair: tuple[Pair, ...] = ()
    benchmark: Benchmark = Benchmark()
    agent: Agent = Agent()

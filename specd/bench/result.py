"""What a benchmark found, as stored in history and printed by ``specd bench --json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

EngineName: TypeAlias = Literal["mlx", "server"]


@dataclass(frozen=True, slots=True)
class LengthResult:
    """One draft length: what replay counted and the cost model predicts.

    ``acceptance`` is the share of drafted tokens accepted (0..1), ``accepted`` and ``rounds`` are
    counts over all prompts, ``predicted_tps`` is tokens per second. Where a server was measured,
    what it told stands here, and the speed is measured; None is what it did not tell.
    """

    draft_tokens: int
    acceptance: float | None
    accepted: int | None
    rounds: int | None
    predicted_tps: float
    predicted_speedup: float


@dataclass(frozen=True, slots=True)
class Best:
    """The chosen draft length; 0 means no speculation. ``interval`` bounds the measured speed-up.

    ``measured_speedup`` and ``interval`` are None when nothing was measured to confirm it.
    """

    draft_tokens: int
    predicted_speedup: float
    measured_speedup: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class BenchResult:
    """One benchmark of one pair. Times are seconds, speeds tokens per second."""

    main: str
    draft: str
    engine: EngineName
    suite: str
    started_at: str
    baseline_tps: float
    lengths: tuple[LengthResult, ...]
    best: Best
    text_equal: bool
    model_seconds: float
    by_class: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

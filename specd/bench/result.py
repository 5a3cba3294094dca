"""What a benchmark found, as stored in history and printed by ``specd bench --json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

EngineName: TypeAlias = Literal["mlx", "server", "llama.cpp"]
Ending: TypeAlias = Literal["decided", "enough", "time"]

DEFAULT_LENGTH = 2
"""What mlx-lm and LM Studio draft when nobody says otherwise."""


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

    Both speed-ups are of ``tried`` draft tokens, which is the chosen length, or the fastest that
    drafts when none is chosen. ``measured_speedup`` and ``interval`` are None when nothing was
    measured to confirm it.
    """

    draft_tokens: int
    predicted_speedup: float
    measured_speedup: float | None
    interval: tuple[float, float] | None
    tried: int | None = None

    @property
    def compared(self) -> int:
        """The draft length of both speed-ups, also in a result that was kept without ``tried``."""
        return self.draft_tokens if self.tried is None else self.tried


@dataclass(frozen=True, slots=True)
class Outlier:
    """A timed answer that took ``times`` as long as its prompt's others; it counts all the same."""

    kind: str
    run: int
    times: float


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The real runs behind ``Best``.

    ``passes`` is how often every prompt was answered each way. It ended since it was "decided",
    "enough" passes were made, or the "time" was up; the intervals keep their level whichever it
    was. ``over_default`` is the speed over that of ``DEFAULT_LENGTH``, None where that is the
    length tried, or was not run. ``energy`` is what a token took with the draft over what it took
    without, None where the machine does not count it.
    """

    passes: int
    ended: Ending
    over_default: float | None
    over_default_interval: tuple[float, float] | None
    outliers: tuple[Outlier, ...] = ()
    energy: float | None = None


@dataclass(frozen=True, slots=True)
class AtTemperature:
    """The chosen length where tokens are drawn at a ``temperature``; speed-ups as in ``Best``.

    ``acceptance`` is the expected share of guesses accepted, ``best_draft_tokens`` the length that
    promises most there; None is what a server does not tell. ``by_class`` are the measured
    speed-ups, where there were real runs.
    """

    temperature: float
    draft_tokens: int
    acceptance: float | None
    predicted_speedup: float | None
    best_draft_tokens: int | None
    measured_speedup: float | None = None
    interval: tuple[float, float] | None = None
    by_class: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BenchResult:
    """One benchmark of one pair. Times are seconds, speeds tokens per second.

    ``tps_by_class`` are the predicted tokens/s of every length of ``lengths``, for each class of
    prompts by itself; ``costs`` the curves behind the predictions (``costs.to_json``). Of the
    answers that came out otherwise with a draft, ``near_ties`` parted where rounding decides
    between two tokens, and ``other_text`` did not: the draft changes the text. ``broken`` are the
    guards that did not hold, in words; nothing is chosen from such a result.
    """

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
    tps_by_class: dict[str, tuple[float, ...]] = field(default_factory=dict)
    confirmation: Confirmation | None = None
    costs: dict[str, Any] = field(default_factory=dict)
    at_temperature: AtTemperature | None = None
    near_ties: int = 0
    other_text: int = 0
    broken: tuple[str, ...] = ()
    draft_bytes: int = 0

    @property
    def measured_tps(self) -> float | None:
        """Tokens per second with the draft, in the real runs; None when there were none."""
        speedup = self.best.measured_speedup
        return None if speedup is None else self.baseline_tps * speedup

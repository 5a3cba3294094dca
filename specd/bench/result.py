"""A benchmark's request, and its result as the history and ``specd bench --json`` have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from specd.bench.prompts import Prompt

EngineName: TypeAlias = Literal["mlx", "server", "llama.cpp"]
Ending: TypeAlias = Literal["decided", "enough", "time"]

DEFAULT_LENGTH = 2
"""The default draft length of mlx-lm and LM Studio."""

VAGUE = 1.5
"""An interval that holds 1 is too wide to conclude anything if its ends differ by this factor."""

MIX_NEEDED = 0.5
"""A result whose classes hold less than this share of the user's mix is not confirmed."""

FAR_BELOW = 0.5
"""A speed-up up to this needs no interval: no noise on an idle machine doubles a time."""

Progress: TypeAlias = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """A benchmark of one main to run within about ``seconds``.

    ``weights``: the classes' shares of the tokens that the user generates (``predict.lengths``).
    With a ``temperature`` above 0 the chosen length is measured there as well.
    """

    main: str
    prompts: tuple[Prompt, ...]
    suite: str
    weights: Mapping[str, float]
    seconds: float
    started_at: str
    temperature: float = 0.0
    progress: Progress = lambda _: None

    def sampled(self) -> tuple[Prompt, ...]:
        """The prompts at the temperature."""
        return tuple(replace(each, temperature=self.temperature) for each in self.prompts)


@dataclass(frozen=True, slots=True)
class LengthResult:
    """One draft length as it is used: the counts of the replay and the predicted speed.

    ``acceptance`` is the share of drafted tokens accepted (0..1), ``accepted`` and ``rounds`` are
    counts over all prompts, ``predicted_tps`` is tokens per second. For a server the counts are its
    own and the speed is measured; None if the server does not report a count.
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

    Both speed-ups are greedy and of ``tried`` draft tokens: the chosen length, or the fastest above
    0 when no speculation is chosen. ``measured_speedup`` and ``interval`` are None without real
    runs.
    """

    draft_tokens: int
    predicted_speedup: float
    measured_speedup: float | None
    interval: tuple[float, float] | None
    tried: int | None = None

    @property
    def compared(self) -> int:
        """The draft length of both speed-ups, also for an older result without ``tried``."""
        return self.draft_tokens if self.tried is None else self.tried


@dataclass(frozen=True, slots=True)
class Outlier:
    """An answer that took ``times`` as long as its prompt's others; the figures include it."""

    kind: str
    run: int
    times: float


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The real runs behind ``Best``.

    ``passes``: how often every prompt was answered with each length. ``ended``: the interval
    excluded 1 ("decided"), all passes were made ("enough"), or the "time" was up; the intervals
    keep their level in each case. ``over_default``: speed over that of ``DEFAULT_LENGTH``, None if
    that is the length tried or was not run. ``energy``: energy per token with the draft over that
    without, None if the machine does not count it.
    """

    passes: int
    ended: Ending
    over_default: float | None
    over_default_interval: tuple[float, float] | None
    outliers: tuple[Outlier, ...] = ()
    energy: float | None = None


@dataclass(frozen=True, slots=True)
class AtTemperature:
    """The tried length when tokens are sampled at a ``temperature``; speed-ups as in ``Best``.

    ``acceptance``: expected share of drafted tokens accepted, None if only real runs are known.
    ``by_class``: the measured speed-ups, empty without real runs.
    """

    temperature: float
    draft_tokens: int
    acceptance: float | None
    predicted_speedup: float | None
    measured_speedup: float | None = None
    interval: tuple[float, float] | None = None
    by_class: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BenchResult:
    """One benchmark of one pair. Times are seconds, speeds tokens per second.

    ``costs``: the measured step costs (``costs.to_json``). ``near_ties`` and ``other_text`` count
    answers that differ with the draft: by rounding alone, and by more (the draft changes the text).
    ``broken``: sentences on why the result is invalid; an invalid result decides nothing.
    ``of_mix``: the share of the user's mix (0..1) that the measured classes hold.
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
    confirmation: Confirmation | None = None
    costs: dict[str, Any] = field(default_factory=dict)
    at_temperature: AtTemperature | None = None
    near_ties: int = 0
    other_text: int = 0
    broken: tuple[str, ...] = ()
    draft_bytes: int = 0
    of_mix: float = 1.0

    @property
    def used(self) -> Best | AtTemperature:
        """The speed-up of the draft as it is used: at the temperature, if it is used at one."""
        return self.at_temperature or self.best

    @property
    def speedup(self) -> float:
        """The speed-up of the draft as it is used: measured, else predicted or tried once."""
        used, best = self.used, self.best
        predicted = used.predicted_speedup or best.measured_speedup or best.predicted_speedup
        return used.measured_speedup or predicted

    @property
    def far_slower(self) -> bool:
        """Whether real answers with the draft are so slow that no interval has to confirm it."""
        used, best = self.used, self.best
        answered = self.engine != "mlx" or (used.measured_speedup or best.measured_speedup)
        valid = answered and not self.broken and not self.other_text
        return bool(valid) and used.interval is None and self.speedup <= FAR_BELOW

    @property
    def measured_tps(self) -> float | None:
        """Tokens per second with the draft as it is used; None without real runs."""
        speedup = self.used.measured_speedup
        return None if speedup is None else self.baseline_tps * speedup

"""Whether a benchmark still applies to the installed models and programs (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

REASONS: Final = {
    "main_files": "the main's files changed",
    "draft_files": "the draft's files changed",
    "mlx-lm": "mlx-lm was {before}, now {now}",
    "mlx": "mlx was {before}, now {now}",
    "os": "the system was {before}, now {now}",
    "engine": "LM Studio was {before}, now {now}",
}
"""For each dependency of a result, by its name in the run's context: the sentence for a change."""

ONLY_MLX: Final = frozenset({"mlx", "mlx-lm"})
ONLY_SERVER: Final = frozenset({"engine"})


def stale(engine: str, context: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """The changes since the benchmark, as sentences; () while the result still applies.

    ``engine`` is the engine that measured. ``context`` holds the dependencies at that time, ``now``
    those of today. A dependency that is unknown in either is ignored.
    """
    irrelevant = ONLY_SERVER if engine == "mlx" else ONLY_MLX
    return tuple(
        words.format(before=context[name], now=now[name])
        for name, words in REASONS.items()
        if name not in irrelevant
        and context.get(name) is not None
        and now.get(name) is not None
        and context[name] != now[name]
    )

"""Whether a benchmark still tells the truth about what is installed now (pure)."""

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
"""What a result depends on, by its name in the run's context, and how to say that it changed."""

ONLY_MLX: Final = frozenset({"mlx", "mlx-lm"})
ONLY_SERVER: Final = frozenset({"engine"})


def stale(engine: str, context: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """What changed since, in words; () while the result stands.

    ``engine`` is the one that measured, ``context`` and ``now`` what it depended on then and what
    is so now. What either does not know is no reason.
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

"""What a benchmark has shown of its pair, in words that claim no more than that (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from specd.bench.result import BenchResult

Kind: TypeAlias = Literal["faster", "noise", "none", "unconfirmed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """``faster``: surely; ``noise``: the interval holds 1; ``none``: no speculation is fastest.

    ``unconfirmed``: a draft is thought to be fastest, and there is no interval that says so.
    """

    kind: Kind
    words: str


def outcome(result: BenchResult) -> Outcome:
    """The one of the four that the result is."""
    best = result.best
    tokens = best.compared
    length = f" with {tokens} draft token{'s'[: tokens != 1]}" if tokens else ""
    thought = "predicted" if result.engine == "mlx" else "tried once"
    if best.measured_speedup is None:
        promised = f"{best.predicted_speedup:.2f}×{length}"
        if best.draft_tokens == 0:
            return Outcome(
                "none",
                f"no gain {thought}, not confirmed: no speculation is fastest ({promised})",
            )
        return Outcome("unconfirmed", f"{thought}, not confirmed: {promised}")
    speed = f"{best.measured_speedup:.2f}×"
    if best.interval is None:
        measured = f"{speed}{length}, measured once, which tells no interval"
    else:
        measured = f"{speed} [{best.interval[0]:.2f}, {best.interval[1]:.2f}]{length}"
    if best.draft_tokens == 0 or (best.interval is not None and best.interval[1] <= 1):
        return Outcome("none", f"no gain: no speculation is fastest; {measured}")
    if best.interval is None:
        return Outcome("unconfirmed", f"not confirmed: {measured}")
    if best.interval[0] <= 1:
        return Outcome("noise", f"within the noise: {measured}")
    return Outcome("faster", measured.replace("×", "× faster", 1))

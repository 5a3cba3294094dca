"""The outcome of a benchmark, and the sentences that report it (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from specd.bench.prompts import CONTEXTS
from specd.bench.result import BenchResult

Kind: TypeAlias = Literal["faster", "noise", "none", "unconfirmed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """``faster``: the whole interval is above 1; ``noise``: the interval contains 1.

    ``none``: no speculation is fastest. ``unconfirmed``: a draft is predicted to be fastest, and
    no interval confirms it.
    """

    kind: Kind
    words: str


def outcome(result: BenchResult) -> Outcome:
    """The outcome of a result."""
    if result.broken:
        return Outcome("unconfirmed", f"not confirmed: {'; '.join(result.broken)}")
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
    measured = f"{ratio(best.measured_speedup, best.interval)}{length}"
    if best.interval is None:
        measured += ", measured once, which gives no interval"
    if result.other_text:
        return Outcome("none", f"the draft {changed(result)}; {measured}")
    sampled = result.at_temperature
    if sampled is not None and sampled.interval is not None and sampled.interval[1] < 1:
        heat = f"{sampled.measured_speedup:.2f}× at temperature {sampled.temperature:g}"
        return Outcome("none", f"no gain: {heat}, as it is used; {measured} at 0")
    if best.draft_tokens == 0 or (best.interval is not None and best.interval[1] <= 1):
        return Outcome("none", f"no gain: no speculation is fastest; {measured}")
    if best.interval is None:
        return Outcome("unconfirmed", f"not confirmed: {measured}")
    if best.interval[0] <= 1:
        return Outcome("noise", f"within the noise: {measured}")
    return Outcome("faster", measured.replace("×", "× faster", 1))


def ratio(value: float, interval: tuple[float, float] | None) -> str:
    """A speed-up with its interval, where it has one."""
    span = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    return f"{value:.2f}×{span}"


def changed(result: BenchResult) -> str:
    """The other text as a clause that follows the draft's name."""
    answers = f"{result.other_text} answer{'s'[: result.other_text != 1]}"
    return f"changes what the main says: {answers} differ beyond rounding"


NOTHING = 1.02
"""A speed-up up to this counts as no gain."""


def sentence(result: BenchResult) -> str:
    """The result as one sentence for a person, without the final full stop."""
    best = result.best
    kind = outcome(result).kind
    length = f"{best.compared} token{'s'[: best.compared != 1]}"
    pair = f"with {result.draft} at {length}, {result.main} answers"
    if best.measured_speedup is None or best.interval is None or result.broken:
        return f"not decided: {outcome(result).words}"
    low, high = best.interval
    times = f"{pair} {best.measured_speedup:.2f} ± {(high - low) / 2:.2f} times as fast as alone"
    if result.other_text:
        times += f", but the draft {changed(result)}"
    elif kind == "noise":
        times += ", which may be no gain at all"
    elif kind == "none" and low <= 1:
        times += ": it is faster without" if high < 1 else ", which is no gain"
    parts = [times[0].upper() + times[1:], *_by_kind(result), *_by_context(result)]
    sampled = result.at_temperature
    if sampled is not None and sampled.measured_speedup is not None:
        slower = sampled.interval is not None and sampled.interval[1] < 1
        heat = f"{sampled.measured_speedup:.2f} at temperature {sampled.temperature:g}"
        parts.append(f"{heat}, at which it is used: it is faster without" if slower else heat)
    return "; ".join(parts)


def _by_kind(result: BenchResult) -> list[str]:
    """A clause with the gain of every kind of short prompts, the largest first."""
    found = sorted(speedups(result, contexts=False), key=lambda each: -each[1])
    return [", ".join(f"{kind} {speedup:.1f}" for kind, speedup in found)] if found[1:] else []


def _by_context(result: BenchResult) -> list[str]:
    """A clause with the gain at every context, up to the first one without a gain."""
    clauses: list[str] = []
    for kind, speedup in speedups(result, contexts=True):
        if speedup <= NOTHING:
            clauses.append(f"nothing gained at {kind}")
            break
        clauses.append(f"{speedup:.1f} at {kind}")
    return [f"{', '.join(clauses)} tokens of context"] if clauses else []


def speedups(result: BenchResult, *, contexts: bool) -> list[tuple[str, float]]:
    """The measured speed-ups by kind, of long contexts (the shortest first) or of the others."""
    found = [
        (kind, figures["measured_speedup"])
        for kind, figures in result.by_class.items()
        if (kind in CONTEXTS) == contexts and "measured_speedup" in figures
    ]
    return sorted(found, key=lambda each: CONTEXTS.index(each[0])) if contexts else found


def costs(result: BenchResult) -> tuple[str, ...]:
    """Clauses on the memory and energy that speculation costs."""
    found: list[str] = []
    if result.draft_bytes:
        found.append(f"{result.draft_bytes / 2**30:.2f} GiB of memory for the draft's weights")
    energy = result.confirmation.energy if result.confirmation else None
    if energy is not None:
        found.append(f"{energy:.2f} times the processor's energy per token")
    return tuple(found)

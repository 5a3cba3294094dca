"""The outcome of a benchmark, and the sentences that report it (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from specd.bench.prompts import CONTEXTS
from specd.bench.result import MIX_NEEDED, VAGUE, BenchResult

Kind: TypeAlias = Literal["faster", "noise", "none", "unconfirmed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """``faster``: the whole interval is above 1; ``noise``: the interval contains 1.

    The interval is that of the draft as it is used (``BenchResult.used``). ``none``: no speculation
    is fastest. ``unconfirmed``: a draft is predicted to be fastest, and no interval confirms it.
    """

    kind: Kind
    words: str


def outcome(result: BenchResult) -> Outcome:
    """The outcome of a result."""
    if result.broken:
        return Outcome("unconfirmed", f"not confirmed: {'; '.join(result.broken)}")
    best, used = result.best, result.used
    tokens = best.compared
    length = f" with {tokens} draft token{'s'[: tokens != 1]}" if tokens else ""
    measured_at_all = best.measured_speedup is not None or used.measured_speedup is not None
    if not measured_at_all:
        return _of_one_try(result, length)
    if used.measured_speedup is None:
        greedy = ratio(best.measured_speedup or 0.0, best.interval)
        measured = f"{greedy}{length} at temperature 0, and not measured{heat(result)}"
    else:
        measured = f"{ratio(used.measured_speedup, used.interval)}{length}{heat(result)}"
        if used.interval is None:
            few = "in too few runs to say how sure that is"
            measured += f", {'measured once' if result.far_slower else few}"
    if result.other_text:
        return Outcome("none", f"the draft {changed(result)}; {measured}")
    if result.far_slower:
        return Outcome("none", f"far slower than none: {measured}")
    if used.interval is None or result.of_mix < MIX_NEEDED:
        return Outcome("unconfirmed", f"not confirmed: {measured}{_left_out(result)}")
    if best.draft_tokens == 0 or used.interval[1] <= 1:
        return Outcome("none", f"no gain: no speculation is fastest; {measured}")
    if used.interval[0] <= 1:
        return Outcome("noise", f"within the noise: {measured}")
    return Outcome("faster", measured.replace("×", "× faster", 1))


def _of_one_try(result: BenchResult, length: str) -> Outcome:
    """The outcome of a prediction, or of one answer to each prompt."""
    thought = "predicted" if result.engine == "mlx" else "tried once"
    if result.far_slower:
        times = f"{result.speedup:.2f}×{length}{heat(result)}"
        return Outcome("none", f"far slower than none: {times}, {thought}")
    promised = f"{result.speedup:.2f}×{length}"
    if result.best.draft_tokens:
        return Outcome("unconfirmed", f"{thought}, not confirmed: {promised}")
    words = f"no gain {thought}, not confirmed: no speculation is fastest ({promised})"
    return Outcome("none", words)


def _left_out(result: BenchResult) -> str:
    """What of the user's mix was not measured, as a clause; empty if enough was."""
    if result.of_mix >= MIX_NEEDED:
        return ""
    contexts = [kind for kind in CONTEXTS if kind not in result.by_class]
    rest = f"contexts of {', '.join(contexts)} tokens" if contexts else "other kinds"
    return f", from prompts that are {result.of_mix:.0%} of your mix, without {rest}"


def heat(result: BenchResult) -> str:
    """The temperature of the figures that count, as a clause; empty at 0."""
    at = result.at_temperature
    return f" at temperature {at.temperature:g}" if at is not None else ""


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
    best, used = result.best, result.used
    kind = outcome(result).kind
    length = f"{best.compared} token{'s'[: best.compared != 1]}"
    pair = f"with {result.draft} at {length}, {result.main} answers"
    if used.measured_speedup is None or used.interval is None or kind == "unconfirmed":
        lead = f"with {result.draft}, {result.main} is" if result.far_slower else "not decided:"
        return f"{lead} {outcome(result).words}"
    low, high = used.interval
    within = f"± {(high - low) / 2:.2f}" if high <= low * VAGUE else f"[{low:.2f}, {high:.2f}]"
    times = f"{pair} {used.measured_speedup:.2f} {within} times as fast as alone{heat(result)}"
    if result.other_text:
        times += f", but the draft {changed(result)}"
    elif kind == "noise":
        times += ", which may be no gain at all"
    elif kind == "none" and low <= 1:
        times += ": it is faster without" if high < 1 else ", which is no gain"
    parts = [times[0].upper() + times[1:], *_by_kind(result), *_by_context(result)]
    if used is not best and best.measured_speedup is not None:
        parts.append(f"{best.measured_speedup:.2f} at temperature 0")
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
    """The measured speed-ups by kind, of long contexts (the shortest first) or of the others.

    Those at the temperature, if it was measured.
    """
    measured = result.at_temperature.by_class if result.at_temperature is not None else {}
    measured = measured or {
        kind: figures["measured_speedup"]
        for kind, figures in result.by_class.items()
        if "measured_speedup" in figures
    }
    found = [each for each in measured.items() if (each[0] in CONTEXTS) == contexts]
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

"""The suite ``seed`` as a user would run it by hand: before, after, and the expectation."""

from __future__ import annotations

from specd.bench.prompts import SEED, SEED_EXPECTED
from specd.bench.result import BenchResult

TESTS = {"short": "Test 1/2", "long": "Test 3"}
"""The checks' names: one sentence before and after, and a long answer as a stream."""


def table(result: BenchResult) -> str:
    """Tokens per second of each test without and with the draft, beside the expectation."""
    confirmed = result.best.measured_speedup is not None
    after = "after" if confirmed else "predicted"
    lines = [f"  {'':<36}  {'before':>8}  {after:>9}  ({result.best.compared} draft tokens)"]
    for prompt in SEED:
        how = ", streamed" if prompt.stream else ""
        name = f"{TESTS[prompt.kind]}: up to {prompt.max_tokens} tokens{how}"
        figures = _figures(result, prompt.kind)
        if figures is None:
            lines.append(f"  {name:<36}  time was up before it; give --minutes more")
            continue
        before, with_draft = figures
        lines.append(
            f"  {name:<36}  {before:>8.1f}  {with_draft:>9.1f}  {with_draft / before - 1:+.0%}"
        )
        first = _first_token(result, prompt.kind)
        if prompt.stream and first is not None:
            lines.append(
                f"  {'  seconds to the first token':<36}  {first[0]:>8.2f}  {first[1]:>9.2f}"
            )
    alone = [figures[0] for each in SEED if (figures := _figures(result, each.kind)) is not None]
    # Every class has the same weight by tokens, so seconds per token are averaged.
    both = len(alone) / sum(1 / each for each in alone) if alone else result.baseline_tps
    expected = SEED_EXPECTED
    low, high = expected.after
    least, most = expected.gain
    lines.append(
        f"  {'expected on the seed machine':<36}  {expected.before:>8.0f}  "
        f"{f'{low:.0f}-{high:.0f}':>9}  +{least:.0%} to +{most:.0%}"
    )
    speedup = result.best.measured_speedup if confirmed else result.best.predicted_speedup
    gain = (speedup or 0.0) - 1
    reached = "less than" if gain < least else "more than" if gain > most else "within"
    name = f"{'both tests' if len(alone) == len(SEED) else 'what was run'} here"
    name += "" if confirmed else ", predicted"
    lines.append(
        f"  {name:<36}  {both:>8.1f}  {both * (1 + gain):>9.1f}  {gain:+.0%}, {reached} the "
        "expectation"
    )
    return "\n".join(lines)


def _figures(result: BenchResult, kind: str) -> tuple[float, float] | None:
    """Tokens per second without and with the draft: measured, else predicted; None: neither."""
    figures = result.by_class.get(kind, {})
    if "measured_tps" in figures:
        return figures["baseline_tps"], figures["measured_tps"]
    if "predicted_tps" in figures:
        return figures["predicted_tps"] / figures["predicted_speedup"], figures["predicted_tps"]
    return None


def _first_token(result: BenchResult, kind: str) -> tuple[float, float] | None:
    figures = result.by_class.get(kind, {})
    if "first_token_s" not in figures or "baseline_first_token_s" not in figures:
        return None
    return figures["baseline_first_token_s"], figures["first_token_s"]

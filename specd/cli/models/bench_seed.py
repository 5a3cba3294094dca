"""The suite ``seed`` as a user would run it by hand: before, after, and the expectation."""

from __future__ import annotations

from specd.bench.prompts import SEED, SEED_EXPECTED
from specd.bench.result import BenchResult

TESTS = {"short": "Test 1/2", "long": "Test 3"}
"""The checks' names: one sentence before and after, and a long answer as a stream."""

FIRST_TOKEN = ("baseline_first_token_s", "first_token_s")


def table(result: BenchResult) -> str:
    """Tokens per second of each test without and with the draft, beside the expectation."""
    best, expected = result.best, SEED_EXPECTED
    confirmed = best.measured_speedup is not None
    after = "after" if confirmed else "predicted"
    lines = [_row("", "before", after, f"({best.compared} draft tokens)")]
    alone = []
    for prompt in SEED:
        how = ", streamed" if prompt.stream else ""
        name = f"{TESTS[prompt.kind]}: up to {prompt.max_tokens} tokens{how}"
        figures = _figures(result, prompt.kind)
        if figures is None:
            lines.append(f"  {name:<36}  time was up before it; give --minutes more")
            continue
        before, with_draft = figures
        alone.append(before)
        gain = f"{with_draft / before - 1:+.0%}"
        lines.append(_row(name, f"{before:.1f}", f"{with_draft:.1f}", gain))
        known = result.by_class[prompt.kind]
        seconds = [f"{known[each]:.2f}" for each in FIRST_TOKEN if each in known]
        if prompt.stream and len(seconds) == len(FIRST_TOKEN):
            lines.append(_row("  seconds to the first token", *seconds))
    # Every class has the same weight by tokens, so seconds per token are averaged.
    both = len(alone) / sum(1 / each for each in alone) if alone else result.baseline_tps
    low, high = expected.after
    least, most = expected.gain
    hoped = f"+{least:.0%} to +{most:.0%}"
    machine = "expected on the seed machine"
    lines.append(_row(machine, f"{expected.before:.0f}", f"{low:.0f}-{high:.0f}", hoped))
    speedup = (best.measured_speedup if confirmed else best.predicted_speedup) or 1.0
    gained = speedup - 1
    reached = "less than" if gained < least else "more than" if gained > most else "within"
    name = f"{'both tests' if len(alone) == len(SEED) else 'what was run'} here"
    name += "" if confirmed else ", predicted"
    end = f"{gained:+.0%}, {reached} the expectation"
    return "\n".join([*lines, _row(name, f"{both:.1f}", f"{both * speedup:.1f}", end)])


def _row(name: str, before: str, after: str, end: str = "") -> str:
    return f"  {name:<36}  {before:>8}  {after:>9}  {end}".rstrip()


def _figures(result: BenchResult, kind: str) -> tuple[float, float] | None:
    """Tokens per second without and with the draft: measured, else predicted; None: neither."""
    figures = result.by_class.get(kind, {})
    if "measured_tps" in figures:
        return figures["baseline_tps"], figures["measured_tps"]
    if "predicted_tps" in figures:
        return figures["predicted_tps"] / figures["predicted_speedup"], figures["predicted_tps"]
    return None

"""Choose the draft of a main from its benchmarks (pure).

One night's figures must not overturn many nights' figures. So the results are read from the oldest
to the newest, and the choice changes only by more than the noise (hysteresis): a draft in use is
removed when its interval is below ``min_speedup`` - ``HYSTERESIS``, a removed draft returns above
``min_speedup`` + ``HYSTERESIS``, and another draft or length replaces the current one when it is
better by more than ``HYSTERESIS``. Only confirmed results count: real runs in several passes, with
an interval, at the temperature at which the draft is used; and a draft that is far slower, which
leaves no time for several passes. The same results always give the same choice, so no state is
stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from specd.bench.outcome import changed, heat, outcome, ratio
from specd.bench.result import MIX_NEEDED, BenchResult
from specd.config import Benchmark

HYSTERESIS = 0.03
"""Margin beyond ``min_speedup``, or beyond the current choice, that changes the choice."""

TIE = 0.01
"""Speed-ups this close are a tie; the smaller draft wins."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The draft's name as in the results, None for no speculation; ``reason`` is a sentence.

    ``confirmed``: real runs showed the gain; only then may specd write a draft that it chose
    itself. ``draft_tokens`` is None if no length is confirmed; LM Studio's default then stays.
    ``measured`` names the draft that ``reason`` is about; ``changes_text`` says that with it the
    main gives other answers.
    """

    draft: str | None
    draft_tokens: int | None
    reason: str
    measured: str | None = None
    confirmed: bool = False
    changes_text: bool = False


def remedy(unconfirmed: BenchResult) -> str:
    """How the user can confirm a result."""
    if unconfirmed.broken:
        return "one more run may confirm it: `specd bench`"
    if unconfirmed.of_mix < MIX_NEEDED:
        return (
            "it needs the standard suite and more time: `specd bench --minutes N`, or max_minutes "
            "of [benchmark]"
        )
    return "it needs more time: `specd bench --minutes N`, or max_minutes of [benchmark]"


@dataclass(frozen=True, slots=True)
class _Standing:
    """After some results: each draft's newest result, which drafts pay, and the one in use."""

    latest: Mapping[str, BenchResult]
    pays: Mapping[str, bool]
    draft: str | None
    draft_tokens: int


def decide(results: Sequence[BenchResult], wanted: Benchmark) -> Choice | None:
    """The best draft for one main, from all results, oldest first; None without any."""
    standing = _Standing({}, {}, None, 0)
    for result in results:
        if decisive(result):
            standing = _after(standing, result, wanted.min_speedup)
    others = [each for each in results if each.draft not in standing.latest]
    hopeless = all(each.far_slower for each in standing.latest.values())
    if hopeless and (others or not standing.latest):
        return _unconfirmed(others)  # far slower answers with one draft decide nothing of another
    if standing.draft is not None:
        newest = standing.latest[standing.draft]
        measured = f"measured {newest.speedup:.2f}×{heat(newest)}"
        return Choice(
            standing.draft,
            standing.draft_tokens,
            f"{measured} with {standing.draft_tokens} "
            f"draft token{'s'[: standing.draft_tokens != 1]}",
            standing.draft,
            confirmed=True,
        )
    best = _fastest(standing.latest)
    return _without_gain(best, wanted)


def decisive(result: BenchResult) -> bool:
    """Whether a result decides: a speed-up of the user's mix, other text, or far slower answers."""
    measured = result.used.interval is not None and result.of_mix >= MIX_NEEDED
    return result.far_slower or (not result.broken and (measured or result.other_text > 0))


def _unconfirmed(results: Sequence[BenchResult]) -> Choice | None:
    latest = {each.draft: each for each in results}
    if not latest:
        return None
    best = max(latest.values(), key=lambda each: each.speedup)
    return Choice(best.draft, None, f"{outcome(best).words}; {remedy(best)}", best.draft)


def _without_gain(best: BenchResult, wanted: Benchmark) -> Choice:
    why = f"the best draft, {best.draft}, {_shortfall(best, wanted)}"
    if wanted.on_slower == "disable" or best.other_text:
        return Choice(None, None, why, best.draft, changes_text=best.other_text > 0)
    return Choice(best.draft, None, f'kept as on_slower is "warn": {why}', best.draft)


def _shortfall(result: BenchResult, wanted: Benchmark) -> str:
    """Why a draft does not pay, as a clause that follows its name."""
    if result.other_text:
        return changed(result)
    used = result.used
    if used.interval is None:
        return f"is {outcome(result).words}"
    if used.interval[0] <= 1:
        sure = "slower" if used.interval[1] < 1 else "not surely faster"
        return (
            f"was measured {ratio(result.speedup, used.interval)}{heat(result)}, {sure} than none"
        )
    measured = f"was measured {result.speedup:.2f}×{heat(result)}"
    if result.speedup < wanted.min_speedup:
        return f"{measured}, below the wanted {wanted.min_speedup:.2f}×"
    return f"{measured}; taken out, a draft comes back at {wanted.min_speedup + HYSTERESIS:.2f}×"


def _after(before: _Standing, result: BenchResult, wanted: float) -> _Standing:
    if not _may_clear(result, before.latest.get(result.draft)):
        return before
    latest = {**before.latest, result.draft: result}
    pays = {
        **before.pays,
        result.draft: _pays(result, wanted, before=before.pays.get(result.draft)),
    }
    paying = {name: each for name, each in latest.items() if pays[name]}
    if not paying:
        return _Standing(latest, pays, None, 0)
    best = _fastest(paying)
    current = paying.get(before.draft) if before.draft is not None else None
    if current is not None and best.speedup <= current.speedup * (1 + HYSTERESIS):
        return _Standing(latest, pays, current.draft, _length(current, before.draft_tokens))
    return _Standing(latest, pays, best.draft, best.best.draft_tokens)


def _may_clear(result: BenchResult, before: BenchResult | None) -> bool:
    """Whether a result may replace one that found other text: it compared texts of every kind."""
    if before is None or not before.other_text or result.other_text:
        return True
    return result.confirmation is not None and before.by_class.keys() <= result.by_class.keys()


def _pays(result: BenchResult, wanted: float, *, before: bool | None) -> bool:
    """Whether a draft pays; ``before``: whether it paid so far, None for a new one."""
    if result.other_text:
        return False
    measured = result.speedup
    low, high = result.used.interval or (measured, measured)
    if before:
        return high >= wanted - HYSTERESIS
    margin = 0.0 if before is None else HYSTERESIS
    return result.best.draft_tokens > 0 and low > 1 and measured >= wanted + margin


def _fastest(latest: Mapping[str, BenchResult]) -> BenchResult:
    """The fastest draft that keeps the text; of those that tie, the smallest."""
    latest = {name: each for name, each in latest.items() if not each.other_text} or latest
    most = max(each.speedup for each in latest.values())
    tied = [each for each in latest.values() if each.speedup >= most * (1 - TIE)]
    return min(tied, key=lambda each: (each.draft_bytes, -each.speedup))


def _length(result: BenchResult, standing: int) -> int:
    """The current length, unless another is predicted to be faster by more than ``HYSTERESIS``."""
    promised = {each.draft_tokens: each.predicted_tps for each in result.lengths}
    best = result.best.draft_tokens or standing
    enough = promised.get(best, 0.0) / (1 + HYSTERESIS)
    return standing if promised.get(standing, 0.0) >= enough else best

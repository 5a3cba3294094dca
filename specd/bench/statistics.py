"""How sure is a speed-up: a bootstrap interval on the ratio of paired times (scipy).

Runs in the worker only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.95
LOOKS = 4
"""How often a measurement may be looked at before it ends; the error rate is shared among them."""


def speedup(without: Sequence[float], with_draft: Sequence[float]) -> float:
    """Total time without the draft over total time with it."""
    return float(sum(without) / sum(with_draft))


def interval(
    without: Sequence[float], with_draft: Sequence[float], *, looks: int = 1
) -> tuple[float, float] | None:
    """The interval of the speed-up over paired runs; None for fewer than three pairs.

    ``looks`` is how often the data are looked at in all: each gets its share of the error rate
    (Bonferroni), so that stopping as soon as it is decided keeps the stated level.
    """
    if len(without) < 3:
        return None
    ratios = np.log(np.asarray(without)) - np.log(np.asarray(with_draft))
    if np.ptp(ratios) == 0:
        both = float(np.exp(ratios[0]))
        return both, both
    found = stats.bootstrap(
        (ratios,),
        np.mean,
        confidence_level=1 - (1 - LEVEL) / looks,
        n_resamples=4000,
        method="percentile" if len(ratios) < 8 else "BCa",
        rng=np.random.default_rng(0),
    )
    low, high = found.confidence_interval
    return float(np.exp(low)), float(np.exp(high))

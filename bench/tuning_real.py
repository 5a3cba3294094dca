"""Tune one pair of real small MLX models as specd does, then measure every draft length.

A process of its own, because MLX stays out of the harness; prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time

from specd.bench import prompts
from specd.bench.engine_mlx import MlxEngine, open_draft, open_main
from specd.bench.measure import Asked, Candidate, benchmark
from specd.bench.predict import LONGEST
from specd.demo.models import DEMO, SMALL, ensure

GRID = (0, 1, 2, 4, 8, 16)


def main(*, quick: bool) -> dict[str, object]:
    """Model-seconds of both ways and the speed of every length, in tokens per second."""
    family = SMALL if quick else DEMO
    main_folder, draft_folder = ensure(family.main), ensure(family.good)
    asked = prompts.suite("seed" if quick else "standard", quick=quick)
    started = time.perf_counter()
    main_model = open_main(main_folder)
    loading = time.perf_counter() - started
    (result,) = benchmark(
        Asked("main", asked, "standard", {}, seconds=600, started_at=""),
        [Candidate("draft", 0, lambda: MlxEngine(main_model, open_draft(draft_folder)))],
    )
    started = time.perf_counter()
    engine = MlxEngine(main_model, open_draft(draft_folder))
    loading += time.perf_counter() - started
    spent = dict.fromkeys(range(LONGEST + 1), 0.0)
    tokens = dict.fromkeys(range(LONGEST + 1), 0)
    # Every length as often as specd ran the one it chose: the same certainty about each.
    for number in range(result.confirmation.passes if result.confirmation else 1):
        lengths = range(LONGEST + 1) if number % 2 == 0 else range(LONGEST, -1, -1)
        for prompt in asked:
            for length in lengths:
                timed = engine.answer(prompt, length)
                spent[length] += timed.seconds
                tokens[length] += timed.tokens
    return {
        "chosen": result.best.draft_tokens,
        "model_seconds": result.model_seconds,
        "exhaustive_seconds": loading + sum(spent.values()),
        "grid_seconds": loading + sum(spent[length] for length in GRID),
        "grid": list(GRID),
        "speeds": {length: tokens[length] / spent[length] for length in spent},
    }


if __name__ == "__main__":
    print(json.dumps(main(quick="--quick" in sys.argv)))

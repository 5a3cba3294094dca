"""``python -m bench.device``: specd's own benchmark of one pair on any MLX device, and its truth.

Runs specd's benchmark, then every draft length from 0 to 16 by itself, and prints one JSON object:
what was predicted, what real runs measured, at temperature 0 and at another, and how fast every
length really is. Without ``--main`` and ``--draft`` a pair is built from SmolLM2's weights. It is a
process of its own, because MLX stays out of the harness.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import mlx.core as mx

from specd.bench import prompts
from specd.bench.confirm import answer_alone
from specd.bench.engine_mlx import MlxEngine, open_draft, open_main
from specd.bench.measure import Candidate, benchmark
from specd.bench.predict import LONGEST
from specd.bench.result import BenchRequest, BenchResult
from specd.demo.models import DEMO, SMALL, ensure

GRID = (0, 1, 2, 4, 8, 16)
OWN_SHARE = 0.6
"""Of the minutes, what specd's own benchmark gets; the rest is for every length."""


def parser() -> argparse.ArgumentParser:
    """The arguments of ``python -m bench.device``."""
    made = argparse.ArgumentParser(prog="python -m bench.device", description=__doc__)
    made.add_argument("--main", type=Path, metavar="FOLDER", help="the main model")
    made.add_argument("--draft", type=Path, metavar="FOLDER", help="its draft")
    made.add_argument("--minutes", type=float, default=5.0, metavar="N", help="time for all (5)")
    made.add_argument("--suite", choices=sorted(prompts.SUITES), default="basic")
    made.add_argument("--temperature", type=float, default=0.8, help="beside 0 (0.8; 0: none)")
    made.add_argument("--small", action="store_true", help="the smallest pair, short answers")
    return made


def main() -> int:
    """Measure and print."""
    args = parser().parse_args()
    family = SMALL if args.small else DEMO
    folders = args.main or ensure(family.main), args.draft or ensure(family.good)
    print(json.dumps(measure(args, *folders)))
    return 0


def measure(args: argparse.Namespace, main_folder: Path, draft_folder: Path) -> dict[str, Any]:
    """Model-seconds of both ways and the speed of every length, in tokens per second."""
    until = time.perf_counter() + args.minutes * 60
    started = time.perf_counter()
    main_model = open_main(main_folder)
    engine = MlxEngine(main_model, open_draft(draft_folder))
    loading = time.perf_counter() - started
    engine.warm_up()
    # Answers so short, for both sides, that every length answers every prompt once in its time.
    left = until - time.perf_counter()
    asked, _ = answer_alone(
        engine,
        prompts.suite(args.suite, quick=args.small),
        seconds=left * (1 - OWN_SHARE) / (LONGEST + 2),
    )
    (result,) = benchmark(
        BenchRequest(
            "main",
            asked,
            args.suite,
            {},
            seconds=left * OWN_SHARE,
            started_at="",
            temperature=args.temperature,
        ),
        [Candidate("draft", 0, lambda: MlxEngine(main_model, open_draft(draft_folder)))],
    )
    # Ended before its time, it has printed the benchmark's own figures.
    print(json.dumps(_summary(result)), file=sys.stderr)
    ran = tuple(each for each in asked if each.kind in result.by_class)
    passes = result.confirmation.passes if result.confirmation else 1
    spent = dict.fromkeys(range(LONGEST + 1), 0.0)
    tokens = dict.fromkeys(range(LONGEST + 1), 0)
    # Every length as often as specd ran the one it chose, the same certainty about each; whole
    # rounds of one prompt and all lengths, as far as the time allows.
    rounds = [(number, prompt) for number in range(passes) for prompt in ran]
    begun = time.perf_counter()
    made = 0
    for number, prompt in rounds:
        each_s = (time.perf_counter() - begun) / max(1, made)
        if made >= len(ran) and time.perf_counter() + each_s > until:
            break
        for length in sorted(spent, reverse=number % 2 == 1):
            timed = engine.answer(prompt, length)
            spent[length] += timed.seconds
            tokens[length] += timed.tokens
        made += 1
        print(f"{made} of {len(rounds)} rounds of every length", file=sys.stderr)
    whole = len(rounds) / made
    return {
        **_summary(result),
        "device": f"{mx.default_device()} {mx.device_info().get('device_name', '')}".strip(),
        "model_seconds": result.model_seconds,
        "exhaustive_seconds": loading + sum(spent.values()) * whole,
        "grid_seconds": loading + sum(spent[length] for length in GRID) * whole,
        "grid": list(GRID),
        "rounds_of_every_length": f"{made} of {len(rounds)}",
        "speeds": {length: tokens[length] / spent[length] for length in spent},
    }


def _summary(result: BenchResult) -> dict[str, Any]:
    best, sampled = result.best, result.at_temperature
    return {
        "chosen": best.draft_tokens,
        "tried": best.tried,
        "baseline_tps": result.baseline_tps,
        "predicted": best.predicted_speedup,
        "measured": best.measured_speedup,
        "interval": best.interval,
        "passes": result.confirmation.passes if result.confirmation else 0,
        "by_class": result.by_class,
        "at_temperature": sampled and {name: getattr(sampled, name) for name in sampled.__slots__},
        "answers_that_differ": {"by rounding": result.near_ties, "beyond": result.other_text},
        "notes": list(result.notes),
    }


if __name__ == "__main__":
    sys.exit(main())

"""Tuning: what finding the best draft length costs, and how good the choice is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.figures import Claim, Section, at_least, exactly

SAVED_BOUND = 5.0
QUALITY_BOUND = 0.97

_PAIR = {
    True: "SmolLM2-135M with more layers, drafted for by itself without them in 4 bits",
    False: "SmolLM2's first layers with two more that do nothing, drafted for by themselves in "
    "4 bits",
}
"""What ``bench.device`` tunes, by whether it is the full form."""


def measure(_: Path, *, large: bool) -> Section:
    """Tune a pair of real models in a process of its own, then measure every length there."""
    found = _real(quick=not large)
    speeds = {int(length): speed for length, speed in found["speeds"].items()}
    best = max(speeds, key=lambda length: speeds[length])
    on_grid = max(found["grid"], key=lambda length: speeds[length])
    chosen = found["chosen"]
    quality = speeds[chosen] / speeds[best]
    saved = found["exhaustive_seconds"] / found["model_seconds"]
    return Section(
        title="Tuning",
        about=(
            f"{_PAIR[large]}; real generation with mlx-lm; every length from 0 to 16 as often as "
            "specd ran its choice, beside one run of specd's benchmark"
        ),
        columns=("seconds of model time", "draft tokens chosen", "its tokens/s ÷ the best's"),
        rows={
            "specd": (found["model_seconds"], chosen, quality),
            f"coarse grid ({', '.join(map(str, found['grid']))})": (
                found["grid_seconds"],
                on_grid,
                speeds[on_grid] / speeds[best],
            ),
            "every length": (found["exhaustive_seconds"], best, 1.0),
        },
        claims=(
            at_least("tuning: every length ÷ specd, model-seconds", exactly(saved), SAVED_BOUND),
            Claim("tuning: chosen length's speed ÷ the best's", quality, "×", "≥", QUALITY_BOUND),
        ),
        raw={"tokens/s by draft length": [speeds[length] for length in sorted(speeds)]},
    )


def _real(*, quick: bool) -> dict[str, Any]:
    form = ["--small", "--suite", "seed"] if quick else ["--minutes", "28"]
    ended = subprocess.run(
        [sys.executable, "-m", "bench.device", "--temperature", "0", *form],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found

"""How often a benchmark's interval holds the truth, on machines that do not hold still."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.figures import Claim, Section
from specd.bench.prompts import BASIC, SUITES
from tests.bench.machines import MACHINES, coverage

COVERED_BOUND = 0.94
FASTER_BOUND = 0.025

MEASURED: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "suite seed": ("seed", {}),
    "suite basic": ("basic", {}),
    "suite basic, a mix of nine tenths code": (
        "basic",
        {each.kind: 0.1 for each in BASIC} | {"code": 0.9 * (len(BASIC) - 1)},
    ),
}


def measure(_: Path, *, trials: int) -> Section:
    """Simulate benchmarks of a draft that gains nothing, with the rule that ends them."""
    rows: dict[str, tuple[float, ...]] = {}
    for of, (suite, weights) in MEASURED.items():
        for name, machine in MACHINES.items():
            found = coverage(machine, 1.0, trials=trials, prompts=SUITES[suite], weights=weights)
            rows[f"{name}; {of}"] = found.covered, found.called_faster, found.passes
    return Section(
        title="Intervals",
        about=(
            f"{trials:,} simulated benchmarks each of a draft whose true speed-up is 1.00, with "
            "the rule that ends them early; the interval is stated at 95 %"
        ),
        columns=("covered", "called faster", "passes"),
        rows=dict(rows),
        claims=(
            Claim(
                "intervals: least coverage at a stated 95 %",
                min(covered for covered, _, _ in rows.values()),
                "",
                "≥",
                COVERED_BOUND,
            ),
            Claim(
                "intervals: a true 1.00 called faster, at most",
                max(faster for _, faster, _ in rows.values()),
                "",
                "≤",
                FASTER_BOUND,
            ),
        ),
    )

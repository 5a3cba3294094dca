"""The figures to hold, few samples each: only what is far off fails, on however busy a machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import commands, drift, starting, storm
from bench.__main__ import FAR_OFF
from bench.figures import Section
from bench.running import FLOOR, SPECD
from tests.conftest import Figures

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="contenders are seen through /proc")

SECTIONS: dict[str, Callable[[Path], Section]] = {
    "drift": lambda root: drift.measure(root, drifts=25, races=5, contenders=(SPECD, FLOOR)),
    "start": lambda root: starting.measure(root, starts=3),
    "commands": lambda root: commands.measure(root, times=4),
    "storm": lambda root: storm.measure(root, seconds=1, contenders=(SPECD,)),
}


@pytest.mark.parametrize("name", SECTIONS)
def test_no_ratio_is_far_off(name: str, tmp_path: Path, figures: Figures) -> None:
    measured = SECTIONS[name](tmp_path).claims
    # Of so few samples the 99th percentile is the slowest, which tells more of the neighbours.
    claims = [claim for claim in measured if claim.smoke and "p99" not in claim.what]
    figures(**{claim.what: claim.value for claim in claims})
    assert claims
    assert not [claim for claim in claims if claim.far_off(FAR_OFF)]

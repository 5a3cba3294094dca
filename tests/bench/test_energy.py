"""Joules from Linux's counters, and from a program that prints as macmon does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from specd.bench import energy
from tests.daemon import until

MACMON = """#!/bin/sh
[ "$*" = "pipe -i 200" ] || exit 2
echo 'no JSON'
while :; do
    echo '{"temp": {"cpu_temp_avg": 43.7}, "cpu_power": 4.0, "gpu_power": 16.0, "all_power": 20.0}'
    sleep 0.05
done
"""


def test_packages_of_rapl_are_added_up_and_their_parts_are_not(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text("1000000000")
    assert energy.rapl(tmp_path) == 2000.0
    assert energy.rapl(tmp_path / "none") is None


def test_macmons_watts_are_multiplied_by_the_time_between_two_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "macmon"
    program.write_text(MACMON)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(energy.sys, "platform", "darwin")
    with energy.meter() as joules:
        until(lambda: joules() is not None, "its first sample")
        before, first, began = time.monotonic(), joules(), time.monotonic()
        time.sleep(0.3)
        ended, last, after = time.monotonic(), joules(), time.monotonic()
    assert first is not None
    assert last is not None
    assert 20.0 * (ended - began) <= last - first + 1e-6
    assert last - first <= 20.0 * (after - before) + 1e-6


def test_without_macmon_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(energy, "_HOMEBREW", str(tmp_path))
    monkeypatch.setattr(energy.sys, "platform", "darwin")
    with energy.meter() as joules:
        assert joules is energy.rapl

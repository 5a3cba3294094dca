"""The daemon's memory and descriptors stay flat, however much happens."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.conftest import Figures
from tests.daemon import SETTINGS, Sandbox, until


def test_some_thousand_events_leave_the_daemon_as_it_was(sandbox: Sandbox, figures: Figures):
    soak(sandbox, figures, events=6_000)


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
def test_a_hundred_thousand_events_leave_the_daemon_as_it_was(sandbox: Sandbox, figures: Figures):
    soak(sandbox, figures, events=100_000)


def soak(sandbox: Sandbox, figures: Figures, events: int) -> None:
    """Saves by rename and in place, per-model configs, clients: all of it again and again."""
    sandbox.running()
    defaults = sandbox.home / ".internal" / "user-concrete-model-default-config"
    defaults.mkdir(parents=True)
    happen(sandbox, events // 5)
    resident, descriptors = sandbox.resident(), sandbox.descriptors()
    began, processor = time.monotonic(), sandbox.cpu_seconds()
    happen(sandbox, events)
    grown = (sandbox.resident() - resident) / 2**20
    more = sandbox.descriptors() - descriptors
    figures(
        events=events,
        seconds=time.monotonic() - began,
        processor_seconds=sandbox.cpu_seconds() - processor,
        resident_mb=sandbox.resident() / 2**20,
        grown_mb=grown,
        more_descriptors=more,
    )
    assert grown < 8
    assert more <= 2


def happen(sandbox: Sandbox, events: int) -> None:
    content = json.dumps(SETTINGS).encode()
    noise = sandbox.home / ".internal" / "user-concrete-model-default-config" / "noise.json"
    for number in range(events):
        if number % 50 == 0:
            sandbox.save(rename=number % 100 == 0, counter=number)
            sandbox.status()
        else:
            # Written and read by nobody, in a folder that is watched.
            descriptor = os.open(noise, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(descriptor, content)
            os.close(descriptor)
    sandbox.forgive()
    until(sandbox.applied, "at rest")

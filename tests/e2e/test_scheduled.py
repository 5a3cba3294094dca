from __future__ import annotations

import pytest

from specd.demo.models import SMALL, ensure
from tests.chats import answer, chat, keep
from tests.daemon import Sandbox, until


@pytest.mark.mlx
@pytest.mark.nightly
def test_a_benchmark_on_schedule_waits_for_whoever_uses_lm_studio_and_says_so(
    sandbox: Sandbox,
) -> None:
    for recipe in (SMALL.main, SMALL.good):
        link = sandbox.home / "models" / recipe.identifier
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ensure(recipe))
    sandbox.config.write_text(
        f'[[pair]]\nmain = "{SMALL.main.identifier}"\ndraft = "{SMALL.good.identifier}"\n'
        '[benchmark]\nschedule = "* * * * *"\nengine = "mlx"\n'
    )
    sandbox.running()
    number = 0

    def postponed() -> bool:
        nonlocal number
        number += 1
        keep(sandbox.home / "conversations", "a", chat(answer(1764000000000 + number)))
        return (sandbox.status()["benchmark"] or "").startswith("postponed: ")

    # A minute until it is due, and the schedule's jitter.
    until(postponed, "it is due and waits", 240)
    assert "(only_when_idle)" in sandbox.status()["benchmark"]
    assert "postponed: " in sandbox.specd("status").stdout

"""What a person is notified of: a draft that was put back, once in a while, and only if they asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from specd.agent import notify
from specd.agent.publication import Publication
from specd.config import Agent, SpecdConfig
from specd.lmstudio.home import Home
from specd.reconcile.entry import Change, Entry
from specd.reconcile.facts import Facts

FACTS = Facts(
    config_problem=None,
    config_path=Path("/home/anna/specd.toml"),
    home=Home(Path("/home/anna/.lmstudio"), "LM Studio's usual place"),
)


class Here:
    """Jobs that are done at once, stores that keep nothing, a log that nobody reads."""

    @property
    def jobs(self) -> Here:
        return self

    stores = jobs

    def say(self, *_: object, **__: object) -> None: ...

    def scout(self, _name: str, work: Callable[[], Any]) -> None:
        work()

    def last_conditions(self) -> tuple[()]:
        return ()

    def keep_conditions(self, _: object) -> None: ...


def write(number: int, surface: str = "model-defaults") -> Entry:
    change = Change("draftModel", ("fields", "draftModel"), None, "qwen3-0.6b", "wanted")
    time = datetime.now(UTC).isoformat()
    path = Path("/home/anna/.lmstudio/qwen3-8b.json")
    entry = Entry(number, time, path, surface, (change,), "written", None, "", "specd run")
    return replace(entry, again=change.key if number in (2, 4, 5) else None)


@pytest.mark.parametrize("asked", [True, False])
def test_a_draft_that_was_put_back_is_notified_of_once(
    asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(notify, "desktop", lambda title, text: told.append(f"{title}: {text}"))
    published = Publication(cast("Any", Here()))
    config = SpecdConfig(agent=Agent(notify=asked))
    old = (write(1), write(2))
    published.publish(FACTS, old, config)  # what was put back before this start is no news
    published.publish(FACTS, (*old, write(3, "settings")), config)
    assert [each for each in told if "put a draft back" in each] == []
    published.publish(FACTS, (*old, write(4)), config)
    published.publish(FACTS, (*old, write(4), write(5)), config)
    expected = (
        "specd put a draft back: LM Studio had removed it from qwen3-8b.json: load the model again"
    )
    assert [each for each in told if "put a draft back" in each] == [expected] * asked
    # A pass does not go through the whole journal where nobody is notified.
    assert ("put_back" in vars(published.snapshot)) == asked
    assert [each.id for each in published.snapshot.put_back] == [2, 4, 5]

"""A trial with the real daemon: loads and unloads on the stand-in server, answers in chats."""

from __future__ import annotations

import json
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from specd.demo.models import SMALL, ensure
from specd.demo.serving import standin
from tests.chats import DRAFT, answer, chat, keep
from tests.daemon import Sandbox, until

MAIN, GOOD = SMALL.main.identifier, SMALL.good.identifier
NAMES = count(1)


def post(url: str, path: str, **body: str) -> Any:
    request = json.dumps(body).encode()
    with urllib.request.urlopen(f"{url}/api/v1/models/{path}", request) as told:  # noqa: S310 - the stand-in's
        return json.load(told)


def drafts(sandbox: Sandbox) -> bool:
    """Whether the main's file names the draft now."""
    folder = sandbox.home / ".internal" / "user-concrete-model-default-config"
    path = folder / f"{MAIN}.json"
    if not path.exists():
        return False
    fields = sandbox.read(path).get("operation", {}).get("fields", [])
    return any(each["key"] == DRAFT and each["value"] for each in fields)


def told(sandbox: Sandbox) -> Any:
    return json.loads(sandbox.specd("trial", "--json").stdout)


def ask(sandbox: Sandbox, *, drafted: bool) -> None:
    """An answer of the main in a chat, twice as fast with the draft."""
    step = answer(int(time.time() * 1000), draft=drafted)
    info = step["genInfo"]
    info["indexedModelIdentifier"] = MAIN
    info["stats"]["tokensPerSecond"] = 40.0 if drafted else 20.0
    if not drafted:
        info["predictionConfig"] = {"fields": []}
    keep(sandbox.home / "conversations", f"{next(NAMES)}", chat(step))


@pytest.mark.mlx
def test_a_trial_gives_every_load_its_arm_by_chance_and_undoes_itself(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    for recipe in (SMALL.main, SMALL.good):
        link = sandbox.home / "models" / recipe.identifier
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ensure(recipe))
    sandbox.config.write_text(
        f'[[pair]]\nmain = "{MAIN}"\ndraft = "{GOOD}"\n[agent]\nresync_seconds = 1\n'
    )
    with standin(sandbox.home, tmp_path / "standin.log", version="0.4.24") as url:
        sandbox.running()
        until(lambda: drafts(sandbox), "the pair is configured")
        assert sandbox.specd("trial").returncode == 1
        assert "--yes begins" in sandbox.specd("trial", "start").stderr
        with ThreadPoolExecutor() as together:
            four = list(together.map(lambda _: sandbox.specd("trial", "start", "--yes"), range(4)))
        assert sorted(each.returncode for each in four) == [0, 2, 2, 2]
        assert (
            "is running; `specd trial stop` ends it"
            in sandbox.specd("trial", "start", "--yes").stderr
        )
        seen: list[bool] = []
        for number in range(4):
            arms = until(
                lambda n=number: len(a := told(sandbox)["trial"]["arms"]) > n and a, "an arm"
            )
            wanted = arms[-1]["with_draft"]
            seen.append(wanted)
            until(lambda w=wanted: drafts(sandbox) is w, f"the file follows its arm, {wanted}")
            instance = post(url, "load", model=MAIN)["instance_id"]
            until(lambda: told(sandbox)["trial"]["arms"][-1]["loaded"], "the load is seen")
            ask(sandbox, drafted=wanted)
            assert drafts(sandbox) is wanted
            post(url, "unload", instance_id=instance)
        assert sorted(seen[:2]) == sorted(seen[2:]) == [False, True]
        sandbox.specd("observe")
        found = told(sandbox)["estimate"]
        assert found["loads"] == [2, 2]
        assert found["speedup"] == pytest.approx(2.0, rel=0.01)
        assert sandbox.specd("trial", "stop").returncode == 0
        until(lambda: drafts(sandbox), "the pair is configured as before")
        shown = sandbox.specd("trial").stdout
        assert "ended on" in shown
        assert "without a decision, as you ended it" in shown
        while told(sandbox)["trial"]["ended"] or told(sandbox)["trial"]["arms"][-1]["with_draft"]:
            sandbox.specd("trial", "stop")
            sandbox.specd("trial", "start", "--yes")
        until(lambda: not drafts(sandbox), "a load without the draft")
        assert sandbox.specd("restore", "--all").returncode == 0
        assert told(sandbox)["trial"]["ending"] == "restored"
        sandbox.specd("pause")
        sandbox.specd("resume")
        time.sleep(3)  # two looks at everything
        assert not drafts(sandbox)
        assert "specd apply" in sandbox.specd("trial", "start", "--yes").stderr
        assert sandbox.specd("apply").returncode == 0
        until(lambda: drafts(sandbox), "what was asked for again is written")
        assert sandbox.specd("trial", "start", "--yes").returncode == 0
        until(
            lambda: drafts(sandbox) is told(sandbox)["trial"]["arms"][-1]["with_draft"], "its arm"
        )
        defaults = sandbox.defaults(MAIN)
        defaults.parent.mkdir(parents=True, exist_ok=True)
        whole = defaults.read_bytes() if defaults.exists() else b"{}"
        defaults.write_text("{broken")
        until(lambda: "the trial waits:" in sandbox.specd("trial").stdout, "that it cannot go on")
        before = told(sandbox)["trial"]["arms"]
        instance = post(url, "load", model=MAIN)["instance_id"]
        time.sleep(3)  # two looks at everything
        post(url, "unload", instance_id=instance)
        time.sleep(3)
        assert told(sandbox)["trial"]["arms"] == before
        defaults.write_bytes(whole)
    until(lambda: "does not list" in sandbox.specd("trial").stdout, "that loads cannot be seen")
    sandbox.specd("pause")
    assert "specd is paused" in sandbox.specd("trial").stdout
    sandbox.specd("resume")
    sandbox.config.write_text("[agent]\nresync_seconds = 1\n")
    until(lambda: told(sandbox)["trial"]["ending"] == "gone", "the trial of no pair ends")

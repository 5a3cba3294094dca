"""``specd cache``: LM Studio's opinion beside specd's, moved aside on command alone and undone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.seed_home import DRAFT, MAIN, seed_home
from specd.lmstudio.models import models_dir
from tests.daemon import Sandbox, until

QWEN3_1_7B = "mlx-community/Josiefied-Qwen3-1.7B-abliterated-v1-4bit"


@pytest.fixture
def seeded(sandbox: Sandbox) -> Sandbox:
    seed_home(sandbox.home)
    sandbox.config.write_text("")
    return sandbox


def cache(sandbox: Sandbox) -> Path:
    return sandbox.home / ".internal" / "draft-model-compatibility-cache.json"


def swap_tokens(sandbox: Sandbox) -> None:
    """Let two ids of the draft mean something else, which leaves its size as it is."""
    file = next(models_dir(sandbox.home, None).glob("*/*Qwen2.5-0.5B*/tokenizer.json"))
    tokenizer = json.loads(file.read_bytes())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["th"], vocabulary["in"] = vocabulary["in"], vocabulary["th"]
    file.write_text(json.dumps(tokenizer))


def shown(sandbox: Sandbox) -> tuple[int, Any]:
    ran = sandbox.specd("cache", "show", "--json")
    return ran.returncode, json.loads(ran.stdout)


def test_a_wrong_draft_is_named_as_soon_as_the_cache_lists_it(seeded: Sandbox) -> None:
    def reason() -> str:
        return str(seeded.condition("CacheAgrees")["reason"])

    swap_tokens(seeded)
    cache(seeded).write_text(json.dumps({MAIN: []}))
    seeded.config.write_text(f'[[pair]]\nmain = "{MAIN}"\ndraft = "auto"\n')
    seeded.start()
    until(lambda: reason() == "LeavesOut", "the drafts are compared")
    for listed, named in (
        ([DRAFT], "ListsUnusable"),
        ([], "LeavesOut"),
        ([DRAFT], "ListsUnusable"),
    ):
        cache(seeded).write_text(json.dumps({MAIN: listed}))
        until(lambda: reason() == named, f"it is {named}", 60)  # noqa: B023


def test_a_cache_that_agrees_stays_where_it_is(seeded: Sandbox) -> None:
    before = cache(seeded).read_bytes()
    assert shown(seeded)[0] == 0
    ran = seeded.specd("cache", "refresh", "--json")
    assert (ran.returncode, json.loads(ran.stdout)["moved"]) == (0, False)
    assert cache(seeded).read_bytes() == before


def test_without_a_verb_it_shows(seeded: Sandbox) -> None:
    ran = seeded.specd("cache")
    assert (ran.returncode, ran.stderr.count("specd:")) == (0, 0)
    assert ran.stdout == seeded.specd("cache", "show").stdout
    told = " ".join(ran.stdout.split())
    assert told.startswith("LM Studio's cache agrees with specd's verdicts on 1 main (")
    # What is known already is not read again, nor said to be.
    assert seeded.specd("pairs").stderr == ""


def test_what_it_lists_wrongly_and_what_it_leaves_out_is_shown(seeded: Sandbox) -> None:
    swap_tokens(seeded)
    cache(seeded).write_text(json.dumps({MAIN: [DRAFT]}))
    code, found = shown(seeded)
    assert code == 1
    told = {(each["main"], each["draft"]): each for each in found["disagreements"]}
    wrong = told[MAIN, DRAFT]
    assert (wrong["listed"], wrong["verdict"]) == (True, "incompatible")
    left_out = told[MAIN, QWEN3_1_7B]
    assert (left_out["listed"], left_out["verdict"]) == (False, "identical")
    text = seeded.specd("cache", "show").stdout
    assert "specd cache refresh" in text
    assert cache(seeded).exists()


def test_what_making_it_anew_cannot_change_is_no_reason_to_move_it(seeded: Sandbox) -> None:
    """LM Studio's engine looks at sizes alone: what it listed wrongly it would list again."""
    swap_tokens(seeded)
    before = cache(seeded).read_bytes()
    code, found = shown(seeded)
    assert (code, [each["listed"] for each in found["disagreements"]]) == (1, [True])
    assert "specd cache refresh" not in seeded.specd("cache", "show").stdout
    told = json.loads(seeded.specd("cache", "refresh", "--json").stdout)
    assert told["moved"] is False
    assert "leaves no usable draft out" in told["message"]
    assert cache(seeded).read_bytes() == before


def test_a_stale_cache_is_moved_aside_and_comes_back(seeded: Sandbox) -> None:
    stale = json.dumps({MAIN: []}).encode()
    cache(seeded).write_bytes(stale)
    ran = seeded.specd("cache", "refresh", "--json")
    told = json.loads(ran.stdout)
    assert (ran.returncode, told["moved"]) == (0, True)
    assert not cache(seeded).exists()
    assert Path(told["to"]).read_bytes() == stale
    assert "keeps no compatibility cache" in seeded.specd("cache", "show").stdout
    assert seeded.specd("restore", str(told["journal"])).returncode == 0
    assert cache(seeded).read_bytes() == stale
    assert not Path(told["to"]).exists()


def test_a_cache_the_app_has_made_anew_is_not_overwritten(seeded: Sandbox) -> None:
    cache(seeded).write_text(json.dumps({MAIN: []}))
    number = json.loads(seeded.specd("cache", "refresh", "--json").stdout)["journal"]
    anew = json.dumps({MAIN: [DRAFT]}).encode()
    cache(seeded).write_bytes(anew)
    ran = seeded.specd("restore", str(number))
    assert "others have changed it since" in ran.stdout
    assert cache(seeded).read_bytes() == anew


def test_nothing_to_move_is_bad_input(seeded: Sandbox) -> None:
    cache(seeded).unlink()
    ran = seeded.specd("cache", "refresh")
    assert ran.returncode == 2
    assert "is not there" in ran.stderr


def test_a_cache_that_cannot_be_read_may_be_moved_all_the_same(seeded: Sandbox) -> None:
    cache(seeded).write_bytes(b'{"half')
    assert "cannot be read" in seeded.specd("cache", "show").stdout
    assert json.loads(seeded.specd("cache", "refresh", "--json").stdout)["moved"] is True

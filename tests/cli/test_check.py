"""``specd check`` asks the daemon where it can, and says the same where it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.seed_home import seed_home
from specd.demo.models import SMALL, ensure
from tests.daemon import Sandbox, until
from tests.tokenizer import folders

MAIN = "josiefied-qwen3-8b-abliterated-v1"
DRAFT = "josiefied-qwen2.5-0.5b-abliterated"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A daemon that has compared the pair."""
    made = Sandbox(tmp_path_factory.mktemp("check"))
    seed_home(made.home)
    made.config.write_text(
        f'[[pair]]\nmain = "{MAIN}"\ndraft = "{DRAFT}"\n[benchmark]\nonly_when_idle = false\n'
    )
    made.start()
    until(lambda: made.status()["pairs"][0]["verdict"] is not None, "the pair is compared")
    until(lambda: "its tokenizers agree" in made.said(), "the pair is proven")
    yield made
    made.kill()


def imported(sandbox: Sandbox, *words: str) -> str:
    """Everything that ``specd`` imports for these words."""
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "specd", *words],
        env=sandbox.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stderr


def test_a_known_pair_costs_no_look_at_the_models(judged: Sandbox) -> None:
    assert "specd.lmstudio.models" not in imported(judged, "check", MAIN, DRAFT)
    assert "specd.lmstudio.models" in imported(judged, "check", DRAFT, MAIN)


def test_with_and_without_the_daemon_the_answer_is_the_same(judged: Sandbox) -> None:
    told = judged.specd("check", MAIN, DRAFT, "--json")
    judged.stop()
    looked_up = judged.specd("check", MAIN, DRAFT, "--json")
    judged.start()
    assert told.stdout == looked_up.stdout
    assert (told.returncode, looked_up.returncode) == (0, 0)
    assert json.loads(told.stdout)["verdict"] == "compatible"


def test_a_daemon_that_looks_after_another_home_is_not_believed(judged: Sandbox) -> None:
    here = judged.root / "another-home"
    (here / "models").mkdir(parents=True)
    judged.env = {"LMSTUDIO_HOME": str(here)}
    ran = judged.specd("check", MAIN, DRAFT)
    judged.env = {}
    assert ran.returncode == 2
    assert "none is installed" in ran.stderr


def test_a_name_nobody_has_is_bad_input(judged: Sandbox) -> None:
    ran = judged.specd("check", MAIN, "no-such-model")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "no-such-model" in ran.stderr


@pytest.mark.parametrize("main", ["good", "bad"])
def test_a_broken_tokenizer_is_bad_input_named_with_its_place_and_remedy(
    sandbox: Sandbox, main: str
) -> None:
    draft = "bad" if main == "good" else "good"
    models = sandbox.home / "models" / "someone"
    for name in ("good", "bad"):
        folders.lay_out(models / name, folders.small())
    (models / "bad" / "tokenizer.json").write_bytes(b'{"model": {"vocab')
    ran = sandbox.specd("check", str(models / main), str(models / draft))
    assert ran.returncode == 2
    told = " ".join(ran.stdout.split())
    assert "bad: tokenizer.json, line 1 (byte 17), is not a tokenizer that can be read" in told
    assert "download the model again" in told
    assert "Traceback" not in ran.stdout + ran.stderr


def test_what_the_daemon_proved_in_the_background_stands_in_the_verdict(judged: Sandbox) -> None:
    verdict = json.loads(judged.specd("check", MAIN, DRAFT, "--json").stdout)
    assert "its tokenizers agree with the files on all 286 and 282 ids" in verdict["validated"]
    assert "token for token" in verdict["validated"]
    assert verdict["segmentation"]["tokens"] > 1_000
    assert verdict["cache_lists"] is True
    assert {**verdict["engine"], "why": ""} == {
        "name": "mlx-engine", "accepts": True, "text": "same", "why": "",
    }  # fmt: skip


@pytest.mark.mlx
def test_deep_proves_a_pair_of_folders_and_remembers(
    sandbox: Sandbox,
) -> None:
    main, draft = (str(ensure(recipe)) for recipe in (SMALL.main, SMALL.good))
    shallow = json.loads(sandbox.specd("check", main, draft, "--json").stdout)
    assert (shallow["verdict"], shallow["validated"]) == ("compatible", "")
    deep = sandbox.specd("check", "--deep", main, draft, "--json")
    assert deep.returncode == 0
    assert "token for token" in json.loads(deep.stdout)["validated"]
    assert "comparing a short answer with and without the draft" in deep.stderr
    again = sandbox.specd("check", "--deep", main, draft, "--json")
    assert again.stdout == deep.stdout
    assert again.stderr == ""


@pytest.mark.mlx
def test_people_are_told_what_was_not_proven_yet(sandbox: Sandbox) -> None:
    main, draft = (str(ensure(recipe)) for recipe in (SMALL.good, SMALL.incompatible))
    ran = sandbox.specd("check", main, draft)
    assert ran.returncode == 1
    assert "token ids mean different things" in ran.stdout
    assert "specd check --deep" not in ran.stdout
    usable = sandbox.specd("check", main, str(ensure(SMALL.poor)))
    assert usable.returncode == 0
    assert "not yet; `specd check --deep " in usable.stdout

"""``specd check`` asks the daemon where it can, and says the same where it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from specd.demo.seed_home import seed_home
from tests.daemon import Sandbox, until

MAIN = "josiefied-qwen3-8b-abliterated-v1"
DRAFT = "josiefied-qwen2.5-0.5b-abliterated"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A daemon that has compared the pair."""
    made = Sandbox(tmp_path_factory.mktemp("check"))
    seed_home(made.home)
    made.config.write_text(f'[[pair]]\nmain = "{MAIN}"\ndraft = "{DRAFT}"\n')
    made.start()
    until(lambda: made.status()["pairs"][0]["verdict"] is not None, "the pair is compared", 60)
    yield made
    made.kill()


def imported(sandbox: Sandbox, *words: str) -> str:
    """Everything that ``specd`` imports for these words."""
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "specd", *words],
        env=sandbox.environment(),
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

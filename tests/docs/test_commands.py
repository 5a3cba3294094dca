"""Every command that the documents show is run; those in a sentence at least parse."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from bench.seed_home import seed_home
from specd.cli.commands import COMMANDS
from tests.daemon import until
from tests.docs import pages
from tests.docs.pages import Shown
from tests.service.user import User

# One user and one daemon for all of it, whatever ``-n`` says.
pytestmark = pytest.mark.xdist_group("docs")

PAIR = """\
[[pair]]
main = "josiefied-qwen3-8b-abliterated-v1"
draft = "josiefied-qwen2.5-0.5b-abliterated"
"""

ELSEWHERE = {
    "make demo": "tests/demo/test_story.py tells the whole story",
    "make test": "what runs this",
    "make bench": "takes an hour; tests/performance measures a short form",
    "make bench ARGS=--quick": "as above",
    'make bench ARGS="--quick commands"': "as above",
    "uv tool install .": "tests/docs/test_install.py builds and installs the wheel",
    "pipx install .": "tests/docs/test_install.py builds and installs the wheel",
    "brew tap local/specd . && brew install --HEAD local/specd/specd": "needs Homebrew",
    "specd install": "asks; tests/service/test_install.py answers",
}

MAY_END_WITH = {
    "specd status": {0, 1},  # 1 says that a condition is false, which depends on the machine
    "specd diff": {0, 1},
    "specd doctor": {0, 1},
    "specd trial": {1, 2},  # nobody is there to agree, so there is no trial to show or to stop
}


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A user with the seed's models and a running service."""
    made = User(tmp_path_factory.mktemp("docs"))
    seed_home(made.home / ".lmstudio")
    config = made.home / "specd.toml"
    config.write_text(PAIR)
    made.environment["SPECD_CONFIG"] = str(config)
    done = made.specd("install", "--yes")
    assert done.returncode == 0, done.stderr
    until(
        lambda: (
            '"PairsConfigured"' in (told := made.specd("status", "--json").stdout)
            and '"state": "wanted"' in told
        ),
        "the pair is configured",
    )
    yield made
    made.end()


def runnable() -> list[Shown]:
    """In reading order, each once; what removes specd comes last."""
    shown = {each.command: each for each in pages.blocks("sh") if each.command not in ELSEWHERE}
    return sorted(shown.values(), key=lambda each: "uninstall" in each.command)


def test_what_is_run_elsewhere_is_still_shown() -> None:
    assert set(ELSEWHERE) <= {each.command for each in pages.blocks("sh")}


def test_the_socket_is_asked_as_shown(user: User) -> None:
    (shown,) = pages.blocks("console")
    command = shown.command.removeprefix("$ ").replace(
        "~/.local/state/specd", shlex.quote(user.environment["SPECD_STATE_DIR"])
    )
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, **user.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert '"conditions"' in done.stdout


@pytest.mark.parametrize("shown", runnable(), ids=str)
def test_a_command_of_the_documents_does_what_it_should(user: User, shown: Shown) -> None:
    name, *words = shlex.split(shown.command)
    assert name == "specd", "a block of kind sh shows specd's commands alone"
    done = user.specd(*words)
    expected = MAY_END_WITH.get(shown.command, MAY_END_WITH.get(" ".join([name, *words[:1]]), {0}))
    assert done.returncode in expected, f"{shown}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shown", pages.inline(), ids=str)
def test_a_command_in_a_sentence_is_one(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word.replace("N", "1") for word in shlex.split(shown.command)[1:] if word != "…"]
    if words in (["--version"], ["--help"]):
        return
    assert words[0] in COMMANDS, f"{shown}: there is no such command"
    try:
        COMMANDS[words[0]].load().parser.parse(words[1:])
    except SystemExit:
        # A sentence may name a command without its arguments.
        assert "arguments are required" in capsys.readouterr().err, str(shown)

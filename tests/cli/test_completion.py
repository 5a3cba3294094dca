"""Completions, the manual page and ``--help``: made from the same parsers, checked by their readers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import specd
from bench.seed_home import seed_home
from specd.cli.commands import COMMANDS
from specd.cli.more import completion, man
from specd.service import launchd, systemd


@pytest.fixture
def script(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> str:
    assert completion.run(completion.parser.parse_args([request.param])) == 0
    return capsys.readouterr().out


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(name), reason=f"needs {name}")


@pytest.mark.parametrize(
    "script",
    [pytest.param(shell, marks=needs(shell)) for shell in completion.SHELLS],
    indirect=True,
)
def test_the_shell_finds_no_mistake_in_it(
    script: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    shell = request.node.callspec.params["script"]
    (tmp_path / "script").write_text(script)
    checked = subprocess.run(
        [shell, "-n", tmp_path / "script"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a person with the seed's models, one pair, and `specd` on the path."""
    root = tmp_path_factory.mktemp("completion")
    seed_home(root / ".lmstudio")
    (root / "specd.toml").write_text('[[pair]]\nmain = "josiefied-qwen3-8b-abliterated-v1"\n')
    (root / "bin").mkdir()
    program = root / "bin" / "specd"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m specd "$@"\n')
    program.chmod(0o755)
    return {
        "HOME": str(root),
        "PATH": f"{root}/bin:/usr/bin:/bin",
        "SPECD_CONFIG": str(root / "specd.toml"),
        "SPECD_STATE_DIR": str(root / "state"),
        "PYTHONPATH": str(Path(specd.__file__).parents[1]),
        "LC_ALL": "C.UTF-8",
    }


COMPLETED = [
    ("specd stat", {"status"}),
    ("specd re", {"restore", "resume", "report", "restart"}),
    ("specd status --j", {"--json"}),
    ("specd logs --level w", {"warning"}),
    ("specd install --platform ", {"macos", "linux"}),
    ("specd config se", {"set"}),
    ("specd config set benchmark.on", {
        "benchmark.on_slower", "benchmark.only_when_idle", "benchmark.only_on_ac"
    }),
    ("specd config set pair.josiefied-qwen3-8b-abliterated-v1.draft_", {
        "pair.josiefied-qwen3-8b-abliterated-v1.draft_tokens"
    }),
    ("specd config set benchmark.on_slower ", {"warn", "disable"}),
    ("specd config set pair.josiefied-qwen3-8b-abliterated-v1.draft josiefied-qwen2.5-0", {
        "josiefied-qwen2.5-0.5b-abliterated"
    }),
    ("specd config set pair.qwen3-8b.draft josiefied-qwen3", {"josiefied-qwen3-1.7b-abliterated-v1-4bit"}),
    ("specd check 8b josiefied-qwen3", {"josiefied-qwen3-1.7b-abliterated-v1-4bit"}),
    ("specd why Fas", {"Faster"}),
    ("specd off ", set()),
    ("specd explain Fas", {"Faster"}),
    ("specd check josiefied-qwen2.5-0", {"josiefied-qwen2.5-0.5b-abliterated"}),
]  # fmt: skip


@needs("bash")
@pytest.mark.parametrize("script", ["bash"], indirect=True)
@pytest.mark.parametrize(("line", "expected"), COMPLETED)
def test_bash_completes(
    script: str, line: str, expected: set[str], tmp_path: Path, user: dict[str, str]
) -> None:
    (tmp_path / "script").write_text(script)
    words = " ".join(f"'{word}'" for word in line.split(" "))
    asked = (
        f"source {tmp_path}/script; COMP_WORDS=({words}); COMP_CWORD={line.count(' ')}; "
        f"COMP_LINE='{line}'; COMP_POINT={len(line)}; COMP_TYPE=9; "
        'f=$(complete -p specd | grep -o "_python_argcomplete[a-z_]*"); $f specd; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, check=False, env=user
    )
    assert set(done.stdout.split()) == expected, done.stderr


@needs("fish")
@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes(script: str, tmp_path: Path, user: dict[str, str]) -> None:
    (tmp_path / "script").write_text(script)
    done = subprocess.run(
        ["fish", "-c", f"source {tmp_path}/script; complete -C 'specd explain Fas'"],
        capture_output=True,
        text=True,
        check=True,
        env=user,
    )
    assert done.stdout.startswith("Faster")


def test_completing_changes_nothing_and_survives_a_broken_configuration(
    tmp_path: Path, user: dict[str, str]
) -> None:
    (tmp_path / "specd.toml").write_text("[[[")
    line = "specd config set ben"
    env = {
        **user,
        "SPECD_CONFIG": str(tmp_path / "specd.toml"),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "out"),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "specd"], capture_output=True, text=True, check=False, env=env
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not Path(user["SPECD_STATE_DIR"]).exists()


@needs("mandoc")
def test_the_manual_page_is_well_formed() -> None:
    checked = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "error"],
        input=man.page(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_manual_page_tells_every_command_and_flag() -> None:
    page = man.page().replace("\\-", "-")
    for name, command in COMMANDS.items():
        assert f".SH COMMAND \\fI\\,'specd {name}'" in page
        for action in command.load().parser._actions:
            for flag in () if action.dest == "help" else action.option_strings:
                assert flag in page


def test_the_manual_page_tells_verbs_with_their_arguments_and_where_files_lie() -> None:
    page = man.page().replace("\\-", "-")
    for verb in ("init [-h] [--print]", "show [-h] [--json]", "path [-h]", "set [-h] KEY VALUE"):
        assert f"specd config {verb}" in page
    assert page.index(".SH DESCRIPTION") < page.index(".SH FILES") < page.index(".SH EXIT STATUS")
    assert str(systemd.file()).replace(str(Path.home()), "~") in page
    assert f"~/Library/LaunchAgents/{launchd.LABEL}.plist" in page


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_with_which_exit_codes(name: str) -> None:
    parser = COMMANDS[name].load().parser
    assert parser.prog == f"specd {name}"
    assert (parser.description or "").endswith(".")
    assert parser.epilog
    assert parser.format_help()

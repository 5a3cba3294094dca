"""Completions, the manual page and ``--help``: made from the same parsers, checked by their readers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from specd.cli.commands import COMMANDS
from specd.cli.more import completion, man
from specd.service import launchd, systemd


@pytest.fixture
def script(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> str:
    assert completion.run(completion.parser().parse_args([request.param])) == 0
    return capsys.readouterr().out


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(name), reason=f"needs {name}")


@pytest.mark.parametrize("script", completion.SHELLS, indirect=True)
def test_every_command_is_in_it(script: str) -> None:
    for name in COMMANDS:
        assert name in script


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


@needs("bash")
@pytest.mark.parametrize("script", ["bash"], indirect=True)
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["stat"], {"status"}),
        (["re"], {"restore", "resume", "report", "restart"}),
        (["status", "--j"], {"--json"}),
        (["logs", "--level", "w"], {"warning"}),
        (["install", "--platform", ""], {"macos", "linux"}),
        (["config", "s"], {"show", "set"}),
    ],
)
def test_bash_completes(script: str, words: list[str], expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "script").write_text(script)
    listed = " ".join(f"'{word}'" for word in ["specd", *words])
    asked = f"source {tmp_path}/script; COMP_WORDS=({listed}); COMP_CWORD={len(words)}; _specd; "
    done = subprocess.run(
        ["bash", "-c", asked + 'printf "%s\\n" "${COMPREPLY[@]}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == expected


@needs("fish")
@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes(script: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(script)
    done = subprocess.run(
        ["fish", "-c", f"source {tmp_path}/script; complete -C 'specd logs --le'"],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout.startswith("--level")


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
    for name, load in COMMANDS.items():
        assert f".SS specd {name}" in page
        for action in load().parser()._actions:
            for flag in () if action.dest == "help" else action.option_strings:
                assert flag in page


def test_the_manual_page_tells_verbs_with_their_arguments_and_where_files_lie() -> None:
    page = man.page().replace("\\-", "-")
    for verb in ("init [--print]", "show [--json]", "path", "set KEY VALUE"):
        assert f"\n.B specd config {verb}\n" in page
    assert "\n.B specd cache refresh [--force] [--json]\n" in page
    assert page.index(".SH DESCRIPTION") < page.index(".SH COMMANDS") < page.index(".SH FILES")
    assert str(systemd.file()).replace(str(Path.home()), "~") in page
    assert f"~/Library/LaunchAgents/{launchd.LABEL}.plist" in page


def test_each_example_and_each_exit_code_has_a_line_of_the_manual_page_to_itself() -> None:
    lines = man.page().replace("\\-", "-").splitlines()
    assert "  specd status --json | jq .state" in lines
    assert "  3 specd is not running" in lines


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_with_which_exit_codes(name: str) -> None:
    parser = COMMANDS[name]().parser()
    assert parser.prog == f"specd {name}"
    assert (parser.description or "").endswith(".")
    assert parser.epilog
    assert parser.format_help()

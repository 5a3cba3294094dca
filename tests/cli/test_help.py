"""``--help``: every command says what it does, with examples that work and every exit code."""

from __future__ import annotations

import re
import shlex

import pytest

from specd.cli.commands import ALIASES, COMMANDS, GROUPS
from specd.cli.main import main, usage


def helped(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([name, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_and_exit_codes_on_lines_of_their_own(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = helped(name, capsys)
    assert re.search(rf"(?m)^examples?:\n  specd {name}\b", text)
    assert re.search(r"(?m)^exit code:\n  0  \w", text)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_commands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    section = re.search(r"(?ms)^examples?:\n(.*?)(?:\n\n|\Z)", helped(name, capsys))
    assert section is not None
    for line in re.sub(r"\n    ", " ", section[1]).splitlines():
        command = re.split(r" [|>] | \(", line.strip())[0]
        words = shlex.split(command)
        assert words[0] == "specd"
        COMMANDS[words[1]].load().parser.parse(words[2:])


@pytest.mark.parametrize("columns", [40, 50, 80, 120])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_the_terminal(
    name: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for line in helped(name, capsys).splitlines():
        assert len(line) <= columns or len(line.split()) == 1, line


def test_the_list_of_commands_names_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert re.search(rf"(?m)^  {name} +\w", usage())


def test_the_list_begins_with_where_to_begin_and_has_its_headings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"{usage()}\n")
    assert usage().splitlines()[2].startswith("`specd install` sets everything up")
    for heading, group in GROUPS.items():
        assert f"\n\n{heading}:\n  {group[0].name} " in usage()


def test_the_list_fits_one_screen_of_a_usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert all(len(line) <= 80 for line in usage().splitlines())
    assert len(usage().splitlines()) <= 2 + len(COMMANDS) + 2 * len(GROUPS) + 3


@pytest.mark.parametrize("word", ALIASES)
def test_a_word_that_people_try_leads_to_the_command_they_mean(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert word not in COMMANDS
    assert main([word, "--help"]) == 0
    assert f"usage: specd {ALIASES[word]}" in capsys.readouterr().out


def test_a_near_miss_is_named_and_a_far_one_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["statsu"]) == 2
    assert "did you mean `specd status`?" in capsys.readouterr().err
    assert main(["remove"]) == 2
    assert "did you mean `specd uninstall`?" in capsys.readouterr().err
    assert main(["frobnicate"]) == 2
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_can_be_asked_for_as_a_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = helped(name, capsys)
    assert main(["help", name]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("name", ["install", "uninstall"])
def test_ctrl_c_says_where_things_stand(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    module = f"specd.cli.setup.{name}"
    monkeypatch.setattr(
        f"{module}._checked" if name == "install" else f"{module}.here", interrupted
    )
    assert main([name]) == 130
    half = "nothing was written to LM Studio's files, and nothing was installed"
    half = half if name == "install" else "the same command finishes it"
    assert half in capsys.readouterr().err
    monkeypatch.setattr("specd.cli.commands._load", interrupted)
    assert main([name]) == 130
    assert "specd: stopped before anything was done\n" in capsys.readouterr().err

"""``specd config``, as it is typed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from specd.cli.change import config
from tests.cli.conftest import MAIN
from tests.daemon import Sandbox


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECD_CONFIG", str(tmp_path / "deep" / "specd.toml"))
    monkeypatch.setenv("SPECD_MANAGED_CONFIG", str(tmp_path / "managed.toml"))
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path / "deep" / "specd.toml"


def specd_config(*words: str) -> int:
    return config.run(config.parser.parse_args(words))


def test_init_writes_once_and_never_over_something(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert specd_config("init") == 0
    assert capsys.readouterr().out == f"wrote {file}\n"
    assert specd_config("init", "--print") == 0
    assert capsys.readouterr().out == file.read_text()
    file.write_text("# mine\n")
    assert specd_config("init") == 2
    assert "is there already" in capsys.readouterr().err
    assert file.read_text() == "# mine\n"


def test_path(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert specd_config("path") == 0
    assert capsys.readouterr().out == f"{file}\n"


def test_set_starts_a_file_where_there_is_none(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert specd_config("set", "agent.notify", "true") == 0
    assert "agent.notify = true" in capsys.readouterr().out
    assert "\nnotify = true" in file.read_text()
    assert "# log_level" in file.read_text()


def test_the_state_directory_that_set_makes_is_private(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECD_STATE_DIR", str(tmp_path / "new" / "state"))
    assert specd_config("set", "agent.notify", "true") == 0
    assert (tmp_path / "new" / "state").stat().st_mode & 0o777 == 0o700


def test_set_keeps_the_mode_and_follows_a_link_into_a_dotfiles_repository(
    file: Path, tmp_path: Path
) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("# mine\n[agent]\nnotify = false # for now\n")
    real.chmod(0o640)
    file.parent.mkdir()
    file.symlink_to(real)
    assert specd_config("set", "agent.notify", "true") == 0
    assert file.is_symlink()
    assert real.read_text() == "# mine\n[agent]\nnotify = true # for now\n"
    assert real.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_cannot_be_set_changes_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specd_config("set", "agent.notify", "true")
    before = file.read_bytes()
    assert specd_config("set", "agent.notfy", "true") == 2
    assert "did you mean agent.notify?" in capsys.readouterr().err
    assert specd_config("set", "agent.log_level", "loud") == 2
    assert '"debug", "info", "warning" or "error"' in capsys.readouterr().err
    assert file.read_bytes() == before


def test_set_does_not_touch_a_broken_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.parent.mkdir()
    file.write_text("[agent\n")
    assert specd_config("set", "agent.notify", "true") == 1
    assert f"{file}:1: is not TOML" in capsys.readouterr().err
    assert file.read_text() == "[agent\n"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.parent.mkdir(mode=0o500)
    assert specd_config("set", "agent.notify", "true") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_validate_tells_every_mistake(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert specd_config("validate") == 0
    assert "every default counts" in capsys.readouterr().out
    file.parent.mkdir()
    file.write_text("[agent]\nnotfy = true\n\n[benchmark]\nengine = 3\n")
    assert specd_config("validate") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"specd: {file}:2: agent.notfy: is not known; did you mean notify?")
    assert lines[1].startswith(f"specd: {file}:5: benchmark.engine: must be")
    assert specd_config("validate", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["valid"] is False
    assert [problem["line"] for problem in told["problems"]] == [2, 5]
    file.write_text("")
    assert specd_config("validate", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"valid": True, "problems": []}


def test_show_says_who_decided_what(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.parent.mkdir()
    file.write_text('[agent]\nnotify = true\n[[pair]]\nmain = "qwen3-8b"\n')
    file.parent.with_name("managed.toml").write_text(
        "[benchmark]\nmax_minutes = 5\n[policy]\nlocked = ['agent.notify']\n"
    )
    assert specd_config("show") == 0
    told = capsys.readouterr()
    rows = {row.split("  ")[0]: row for row in told.out.splitlines()}
    assert rows["notify = false"].endswith("# locked")
    assert rows["max_minutes = 5"].endswith("# managed")
    assert rows['log_level = "info"'].endswith("# default")
    assert "[[pair]]  # user" in told.out
    assert "agent.notify" in told.err
    assert specd_config("show", "--json") == 0
    as_json = json.loads(capsys.readouterr().out)
    assert as_json["config"]["agent"]["notify"] is False
    assert as_json["origins"]["agent.notify"] == "locked"
    assert as_json["overruled"] == ["agent.notify"]


def test_what_show_prints_is_a_valid_file_that_means_the_same(
    file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file.parent.mkdir()
    file.write_text('[speculation]\nui_level = 2\n[[pair]]\nmain = "a\\"b"\ndraft_tokens = 3\n')
    specd_config("show")
    again = tmp_path / "again.toml"
    again.write_text(capsys.readouterr().out)
    assert specd_config("--config", str(again), "show", "--json") == 0
    first = json.loads(capsys.readouterr().out)["config"]
    specd_config("show", "--json")
    assert json.loads(capsys.readouterr().out)["config"] == first


def test_setting_a_locked_key_warns_that_it_has_no_effect(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.parent.mkdir()
    file.parent.with_name("managed.toml").write_text("[policy]\nlocked = ['agent']\n")
    assert specd_config("set", "agent.notify", "true") == 0
    assert "has no effect" in capsys.readouterr().err


def test_a_value_in_force_is_printed_alone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specd_config("set", "pair.qwen3-8b.draft_tokens", "4")
    capsys.readouterr()
    for key, value in [
        ("pair.Qwen3-8B.draft_tokens", "4"),
        ("pair.qwen3-8b.draft", "auto"),
        ("agent.resync_seconds", "300"),
        ("agent.notify", "false"),
    ]:
        assert specd_config("get", key) == 0
        assert capsys.readouterr().out == f"{value}\n"
    assert specd_config("get", "agent.notfy") == 2
    assert specd_config("unset", "agent.notfy") == 2
    assert capsys.readouterr().err.count("did you mean agent.notify?") == 2


def test_a_key_that_one_section_has_needs_no_section(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert specd_config("set", "on_slower", "disable") == 0
    assert file.read_text().count('\non_slower = "disable"') == 1
    capsys.readouterr()
    assert specd_config("get", "on_slower") == 0
    assert capsys.readouterr().out == "disable\n"
    assert specd_config("unset", "on_slower") == 0
    assert specd_config("get", "main") == 2


def test_a_part_of_a_pairs_name_is_enough_to_take_it_out(file: Path) -> None:
    file.parent.mkdir()
    file.write_text('[[pair]]\nmain = "josiefied-8b"\n\n[[pair]]\nmain = "josie-4b"\n')
    before = file.read_bytes()
    assert specd_config("unset", "pair.josie") == 2
    assert file.read_bytes() == before
    assert specd_config("get", "pair.fied") == 0
    assert specd_config("unset", "pair.josiefied") == 0
    assert file.read_text() == '[[pair]]\nmain = "josie-4b"\n'


def test_a_pair_may_be_named_by_its_place(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert specd_config("set", "benchmark.schedule", "") == 0
    assert capsys.readouterr().out.endswith('benchmark.schedule = ""\n')
    assert specd_config("get", "pair.1") == 2
    assert "there is no pair 1; specd.toml has none" in capsys.readouterr().err
    file.write_text('[[pair]]\nmain = "a-8b"\n\n[[pair]]\nmain = "b-8b"\ndraft = "c"\n')
    assert specd_config("get", "pair.2.draft") == 0
    assert capsys.readouterr().out == "c\n"
    assert specd_config("get", "pair.3.draft") == 2
    assert "there is no pair 3; specd.toml has 2" in capsys.readouterr().err
    assert specd_config("get", "pair.c.draft") == 2
    assert "specd.toml has pair.a-8b, pair.b-8b" in capsys.readouterr().err
    assert specd_config("get", "pair.².draft") == 2
    assert specd_config("set", "pair.1.draft_tokens", "4") == 0
    assert "pair.a-8b.draft_tokens = 4" in capsys.readouterr().out
    assert specd_config("unset", "pair.2") == 0
    assert "pair.b-8b is taken out" in capsys.readouterr().out
    file.write_text('[[pair]]\nmain = "a-8b"\n\n[[pair]]\nmain = "a-8b"\ndraft = "c"\n')
    assert specd_config("unset", "pair.2") == 0
    assert "pair.2 is taken out" in capsys.readouterr().out
    assert file.read_text() == '[[pair]]\nmain = "a-8b"\n\n'


def test_a_key_is_taken_out_and_the_rest_stays(file: Path) -> None:
    file.parent.mkdir()
    file.write_text('[agent]\nnotify = true  # yes\nlog_level = "debug"\n\n[[pair]]\nmain = "a"\n')
    assert specd_config("unset", "agent.notify") == 0
    assert file.read_text() == '[agent]\nlog_level = "debug"\n\n[[pair]]\nmain = "a"\n'
    assert specd_config("unset", "agent.notify") == 2
    assert specd_config("unset", "pair.a") == 0
    assert "pair" not in file.read_text()


def test_a_name_that_may_mean_several_models_makes_no_pair(seed: Sandbox) -> None:
    before = seed.config.read_text()
    done = seed.specd("config", "set", "pair.josiefied.draft", "auto")
    assert done.returncode == 2
    assert "may mean" in done.stderr
    assert seed.config.read_text() == before


def test_a_typo_in_a_pair_makes_no_second_one(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = "mlx-community/Josiefied-Qwen3-8B-abliterated-v1-4bit"
    assert specd_config("set", f"pair.{main}.draft", "nobody") == 0
    said = capsys.readouterr().err
    assert f"called '{main}'; none is installed; the pair waits for it" in said
    assert "no installed model is called 'nobody'" in said
    before = file.read_bytes()
    for typo in ("josiefied-qwen3-8b-ablitreated", "josefied-qwen-8b", "Josiefied-Qwen3-8B-4bit-x"):
        assert specd_config("set", f"pair.{typo}.draft_tokens", "5") == 2
        assert f"did you mean pair.{main}.draft_tokens?" in capsys.readouterr().err
    for typo in (f"pair.{main}.drft", "pair.draft"):
        assert specd_config("set", typo, "auto") == 2
        assert "did you mean pair.MAIN.draft?" in capsys.readouterr().err
    assert specd_config("set", "pair.llama-70b.draft", "auto") == 2
    said = capsys.readouterr().err
    assert "no pair for llama-70b, and no installed model is called 'llama-70b'; none is" in said
    assert "did you mean" not in said
    assert specd_config("set", "pair.2.7b.draft", "auto") == 2  # a dot, and no pair's number
    assert specd_config("set", "pair.1.draft", "auto") == 0
    file.write_bytes(before + b'\n[[pair]]\nmain = "qwen3-4b"\n')
    assert specd_config("set", "pair.qwen3-4b.main", main) == 2
    assert "has a pair for" in capsys.readouterr().err


def test_a_part_of_a_name_leads_to_the_pair(
    seed: Sandbox,
) -> None:
    seed.config.write_text(f'[[pair]]\nmain = "{MAIN}"\ndraft_tokens = 4\n')
    got = seed.specd("config", "get", "pair.qwen3-8b.draft_tokens")
    assert (got.returncode, got.stdout) == (0, "4\n")
    assert seed.specd("config", "set", "pair.qwen3-8b.draft_tokens", "5").returncode == 0
    assert seed.specd("config", "unset", "pair.qwen3-8b.draft_tokens").returncode == 0
    assert seed.config.read_text() == f'[[pair]]\nmain = "{MAIN}"\n'
    assert seed.specd("config", "get", "pair").stdout == f"{MAIN}\n"
    whole = seed.specd("config", "get", "pair.qwen3-8b").stdout
    assert whole == f'main = "{MAIN}"\ndraft = "auto"\ndraft_tokens = "auto"\n'
    assert "8b cannot draft" in seed.specd("config", "set", "pair.qwen3-8b.draft", "8b").stderr
    assert seed.specd("config", "unset", "pair.qwen3-8b.draft").returncode == 0
    several = seed.specd("config", "set", "pair.qwen3-8b.draft", "josiefied").stderr
    assert "'josiefied' may mean" in several
    assert "pair.qwen3-8b" not in seed.specd("config", "get", "pair.other").stdout
    gone = seed.specd("config", "unset", "pair.qwen3-8b")
    assert gone.stdout.endswith(f"pair.{MAIN} is taken out\n")
    assert seed.config.read_text() == ""


def test_the_editor_is_opened_and_its_work_checked(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "[agent]\\nnotfy = true\\n" > "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    assert specd_config("edit") == 1
    assert "agent.notfy: is not known" in capsys.readouterr().err
    for broken in ("false", "no-such-editor", "'"):
        monkeypatch.setenv("EDITOR", broken)
        assert specd_config("edit") == 2
        assert f"the editor ({broken}) ended with " in capsys.readouterr().err

"""``diff``, ``apply`` and ``restore`` without a daemon: shown, done, undone to the byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.daemon import Sandbox

from .conftest import DRAFT, MAIN

DEFAULTS = ".internal/user-concrete-model-default-config/mlx-community/"


def contents(sandbox: Sandbox) -> dict[Path, bytes]:
    """Every file of LM Studio's that is not a model."""
    return {
        path.relative_to(sandbox.home): path.read_bytes()
        for path in sandbox.home.rglob("*")
        if path.is_file() and "models" not in path.relative_to(sandbox.home).parts[:1]
    }


def as_json(sandbox: Sandbox, *words: str) -> Any:
    return json.loads(sandbox.specd(*words, "--json").stdout)


def test_diff_shows_what_apply_then_does_and_changes_nothing_itself(seed: Sandbox) -> None:
    before = contents(seed)
    shown = seed.specd("diff")
    assert shown.returncode == 1
    assert '+  "speculativeDecoding": true' in shown.stdout
    assert '+        "value": "mlx-community/Josiefied-Qwen2.5-0.5B-abliterated"' in shown.stdout
    planned = as_json(seed, "diff")
    assert seed.specd("apply", "--dry-run").stdout == shown.stdout
    assert contents(seed) == before

    done = seed.specd("apply")
    assert done.returncode == 0
    written = {path for path, content in contents(seed).items() if before.get(path) != content}
    assert written == {Path(edit["path"]).relative_to(seed.home) for edit in planned["edits"]}
    for edit in planned["edits"]:
        for change in edit["changes"]:
            assert f"{edit['path']}: {change['key']}: " in done.stdout
    assert "(undo: specd restore 1)" in done.stdout

    again = seed.specd("diff")
    assert (again.returncode, again.stdout) == (0, "")
    assert seed.specd("apply").stdout == "nothing to change\n"


def test_restore_undoes_one_write_or_all_of_them_to_the_byte(seed: Sandbox) -> None:
    before = contents(seed)
    assert seed.specd("restore").stdout == "specd has written nothing yet\n"
    seed.specd("apply")
    listed = as_json(seed, "restore", "--list")
    assert [entry["id"] for entry in listed] == [1, 2]
    settings = next(each for each in listed if each["path"].endswith("settings.json"))
    done = seed.specd("restore", str(settings["id"]))
    assert done.returncode == 0
    assert seed.settings.read_bytes() == before[Path("settings.json")]
    assert "(undone)" in seed.specd("restore", "--list").stdout

    assert seed.specd("restore", "--all").returncode == 0
    assert contents(seed) == before
    assert seed.specd("restore", "--all").stdout == "nothing to undo\n"


def test_what_was_restored_is_left_alone_until_apply_asks_for_it(seed: Sandbox) -> None:
    seed.specd("apply")
    seed.specd("restore", "--all")
    shown = seed.specd("diff")
    assert (shown.returncode, shown.stdout) == (0, "")
    assert "speculativeDecoding is left alone since you restored it" in shown.stderr
    assert seed.specd("apply").returncode == 0
    assert seed.read()["speculativeDecoding"] is True


def test_what_cannot_be_restored_is_said(seed: Sandbox) -> None:
    seed.specd("apply")
    done = seed.specd("restore", "99")
    assert done.returncode == 2
    assert "99" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pair_that_may_not_be_is_said_and_the_rest_is_done(seed: Sandbox) -> None:
    seed.config.write_text(f'[[pair]]\nmain = "{DRAFT}"\ndraft = "{MAIN}"\n')
    done = seed.specd("apply")
    assert done.returncode == 1
    assert f"{DRAFT} ← {MAIN}-4bit" in done.stderr
    assert seed.read()["speculativeDecoding"] is True
    assert not any(DEFAULTS in str(path) and "0.5B" in str(path) for path in contents(seed))


def test_a_broken_configuration_stops_it_with_the_line(seed: Sandbox) -> None:
    before = contents(seed)
    seed.config.write_text("[speculation]\nenabled = maybe\n")
    for command in ("diff", "apply"):
        done = seed.specd(command)
        assert done.returncode == 2
        assert "specd.toml:2" in done.stderr
    assert contents(seed) == before

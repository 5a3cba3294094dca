"""The state directory is closed to others, and what is not specd's is let alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from specd.agent import lock, private


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECD_CONFIG", str(tmp_path / "state" / "specd.toml"))
    made = tmp_path / "state"
    for name in ("journal", "run"):
        (made / name).mkdir(parents=True)
    for name in ("history.db", "history.db-wal", "specd.toml"):
        (made / name).touch()
    for path in (made, *made.iterdir()):
        path.chmod(0o755)
    return made


def open_to_others(state: Path) -> set[str]:
    return {each.name for each in (state, *state.iterdir()) if each.stat().st_mode & 0o077}


def test_a_directory_of_specds_own_is_closed_with_all_in_it(state: Path):
    said = tuple(private.enforce(state))
    assert open_to_others(state) == {"specd.toml"}, "which is the user's"
    assert len(said) == 5
    assert tuple(private.enforce(state)) == ()


def test_in_a_directory_with_other_things_only_specds_own_get_other_modes(state: Path):
    for name in ("website", "key.pem"):
        (state / name).touch(mode=0o755)
        (state / name).chmod(0o755)
    like_specds = {"run-scripts", "journal.txt", "history.db.backup", "logs-of-mine"}
    for name in like_specds:
        (state / name).touch(mode=0o755)
        (state / name).chmod(0o755)
    (state / "run" / "other.pid").touch()
    tuple(private.enforce(state))
    theirs = {"state", "website", "key.pem", "specd.toml", "run", *like_specds}
    assert open_to_others(state) == theirs


def test_a_new_one_is_made_closed(tmp_path: Path):
    assert tuple(private.enforce(tmp_path / "new" / "state")) == ()
    assert (tmp_path / "new" / "state").stat().st_mode & 0o777 == 0o700


def test_what_another_user_owns_in_it_is_said_and_stops_nothing(state: Path, monkeypatch):
    chmod = Path.chmod

    def refuse(path: Path, mode: int) -> None:
        if path.name == "journal":
            raise PermissionError(1, "Operation not permitted", str(path))
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", refuse)
    said = tuple(private.enforce(state))
    assert open_to_others(state) == {"journal", "specd.toml"}
    assert any("another user's" in line for line in said)


def test_a_folder_that_cannot_be_listed_stops_nothing(state: Path, monkeypatch):
    listed = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "journal":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    tuple(private.enforce(state))
    assert open_to_others(state) == {"specd.toml"}


def test_a_folder_for_the_lock_that_may_not_be_written_is_set_aside(state: Path, monkeypatch):
    (state / "run" / "of-root").touch()
    monkeypatch.setattr(lock.os, "access", lambda path, _: not (path / "of-root").exists())
    os.close(lock.hold(state / "run" / "specd.lock"))
    assert [each.name for each in (state / "run").iterdir()] == ["specd.lock"]
    assert [each.name for each in state.glob("run.broken-*/*")] == ["of-root"]

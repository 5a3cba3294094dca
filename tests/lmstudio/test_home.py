from __future__ import annotations

import os
from pathlib import Path

import pytest

from specd.lmstudio.home import Home, NoHome, find_home, watch_directories


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("LMSTUDIO_HOME", raising=False)
    return folder


def test_the_pointer_file_decides_where_the_home_is(user: Path, tmp_path: Path) -> None:
    (user / ".lmstudio").mkdir()
    elsewhere = tmp_path / "on another disk"
    elsewhere.mkdir()
    (user / ".lmstudio-home-pointer").write_text(f"{elsewhere}\n")
    found = find_home()
    assert found == Home(elsewhere, str(user / ".lmstudio-home-pointer"))


@pytest.mark.parametrize("name", [".lmstudio", ".cache/lm-studio"])
def test_without_a_pointer_the_usual_places_are_tried(user: Path, name: str) -> None:
    (user / name).mkdir(parents=True)
    found = find_home()
    assert isinstance(found, Home)
    assert found.path == user / name


def test_the_older_place_wins_as_it_does_for_lm_studio_itself(user: Path) -> None:
    (user / ".lmstudio").mkdir()
    (user / ".cache/lm-studio").mkdir(parents=True)
    found = find_home()
    assert isinstance(found, Home)
    assert found.path == user / ".cache/lm-studio"


def test_the_environment_overrides_the_configuration(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("env", "configured"):
        (tmp_path / name).mkdir()
    configured = tmp_path / "configured"
    assert find_home(str(configured)) == Home(configured, "home in specd.toml")
    monkeypatch.setenv("LMSTUDIO_HOME", str(tmp_path / "env"))
    assert find_home(str(configured)) == Home(tmp_path / "env", "$LMSTUDIO_HOME")


def test_something_named_that_is_not_there_is_not_replaced_by_a_guess(
    user: Path, tmp_path: Path
) -> None:
    (user / ".lmstudio").mkdir()
    found = find_home(str(tmp_path / "gone"))
    assert isinstance(found, NoHome)
    assert found.looked == (tmp_path / "gone",)
    assert "does not exist" in str(found)
    assert "specd.toml" in str(found)


def test_a_file_in_the_homes_place_is_said_to_be_one(user: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is not a directory" in str(find_home(str(tmp_path / "file")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_home_is_said_to_be_one(user: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o000)
    assert "may not be read" in str(find_home(str(locked)))


def test_where_nothing_is_found_the_message_lists_every_place(user: Path) -> None:
    found = find_home()
    assert isinstance(found, NoHome)
    assert [path.name for path in found.looked] == [
        ".lmstudio-home-pointer",
        "lm-studio",
        ".lmstudio",
    ]
    for path in found.looked:
        assert str(path) in str(found)


@pytest.mark.parametrize("content", [b"", b"   \n", b"\xff\xfe", b"/a\x00b", b"/x" * 4000])
def test_a_pointer_that_points_nowhere_is_an_answer_and_not_a_crash(
    user: Path, content: bytes
) -> None:
    (user / ".lmstudio-home-pointer").write_bytes(content)
    found = find_home()
    assert isinstance(found, NoHome)
    assert "does not hold the path" in found.reason


def test_a_home_that_is_a_symlink_keeps_the_name_it_was_given(user: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (user / ".lmstudio").symlink_to(tmp_path / "real")
    found = find_home()
    assert isinstance(found, Home)
    assert found.path == user / ".lmstudio"


def test_the_daemon_watches_what_matters_and_never_the_conversations(
    home: Path, user: Path
) -> None:
    watched = watch_directories(Home(home, "test"), home / "models")
    paths = {directory.path for directory in watched}
    assert paths == {
        user,
        home,
        home / ".internal",
        home / ".internal" / "user-concrete-model-default-config",
        home / "hub" / "models",
        home / "models",
        home / "apps",
        home / "apps" / "bionic",
        home / "apps" / "bionic" / ".internal",
        home / "apps" / "bionic" / ".internal" / "user-concrete-model-default-config",
    }
    for directory in watched:
        for busy in (home / "conversations", home / "server-logs"):
            below = busy.is_relative_to(directory.path) and directory.recursive
            assert not below
            assert directory.path != busy
    (top,) = (directory for directory in watched if directory.path == home)
    assert top.names == {"settings.json", ".internal"}


def test_without_a_home_every_place_it_may_appear_in_is_watched(user: Path) -> None:
    found = find_home()
    watched = {directory.path: directory for directory in watch_directories(found, None)}
    assert watched[user].names == {".lmstudio-home-pointer", ".lmstudio"}
    assert user / ".cache" / "lm-studio" in watched

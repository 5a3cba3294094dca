"""Watching real directories: what matters is told by the name it is known by, nothing else is."""

from __future__ import annotations

import os
import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from specd.agent.api import Api
from specd.agent.daemon import Daemon
from specd.agent.watch import TELLS_CLOSE, Watch
from specd.files import swap
from specd.lmstudio.home import WatchedDir
from tests.daemon import until


class Heard:
    """What a watch told, from whichever thread."""

    def __init__(self) -> None:
        self.changed: list[tuple[Path, bool]] = []
        self.reshaped = 0
        self.lost: list[str] = []

    def settled(self, path: Path) -> bool:
        return (path, True) in self.changed

    def reshape(self) -> None:
        self.reshaped += 1


@pytest.fixture
def heard() -> Heard:
    return Heard()


@contextmanager
def watching(heard: Heard, spare: Path) -> Iterator[Watch]:
    spare.mkdir()
    made = Watch(
        lambda path, settled: heard.changed.append((path, settled)),
        heard.reshape,
        heard.lost.append,
        lambda: None,
        spare,
    )
    made.start()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def watch(heard: Heard, tmp_path: Path) -> Iterator[Watch]:
    with watching(heard, tmp_path / "spare") as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


on_linux = pytest.mark.skipif(not TELLS_CLOSE, reason="about inotify")

ONLY = frozenset({"settings.json"})


def test_a_write_in_place_is_told_once_its_writer_is_done(watch: Watch, heard: Heard, home: Path):
    watch.follow([WatchedDir(home, names=ONLY)], [])
    settings = home / "settings.json"
    with settings.open("w") as file:
        file.write("{}")
        file.flush()
        if TELLS_CLOSE:
            until(lambda: (settings, False) in heard.changed, "an unfinished write is told as such")
            before = heard.changed.count((settings, True))
    until(lambda: heard.changed.count((settings, True)) > before, "the closing is told")


def test_a_write_by_rename_is_told_at_once(watch: Watch, heard: Heard, home: Path):
    watch.follow([WatchedDir(home, names=ONLY)], [])
    (home / "new").write_text("{}")
    (home / "new").rename(home / "settings.json")
    until(lambda: heard.settled(home / "settings.json"), "told")


def test_other_names_beside_it_are_nobodys_business(watch: Watch, heard: Heard, home: Path):
    watch.follow([WatchedDir(home, names=ONLY)], [])
    for number in range(50):
        (home / f"chat-{number}").write_text("private")
    (home / "settings.json").write_text("{}")
    until(lambda: heard.settled(home / "settings.json"), "told")
    assert {path for path, _ in heard.changed} == {home / "settings.json"}


@pytest.mark.skipif(not TELLS_CLOSE, reason="held back on Linux only")
def test_what_is_held_back_is_told_afterwards(
    watch: Watch, heard: Heard, home: Path, tmp_path: Path
):
    witnessed = Heard()
    with watching(witnessed, tmp_path / "another spare") as witness:
        for each in (watch, witness):
            each.follow([WatchedDir(home, names=ONLY)], [])
        with watch.held_back():
            (home / "settings.json").write_text("{}")
            until(lambda: witnessed.settled(home / "settings.json"), "another one is told")
            assert heard.changed == []
        until(lambda: heard.settled(home / "settings.json"), "told afterwards")


@pytest.mark.skipif(not TELLS_CLOSE, reason="told early on Linux only")
@pytest.mark.parametrize("linked", [False, True])
def test_a_file_to_be_written_is_told_without_watchdogs_other_threads(
    watch: Watch, heard: Heard, home: Path, linked: bool, monkeypatch: pytest.MonkeyPatch
):
    settings = real = home / "settings.json"
    if linked:
        real = home / "dotfiles.json"
        settings.symlink_to(real)
    let_on = threading.Event()
    monkeypatch.setattr(watch, "_heard", lambda _: let_on.wait(30))
    watch.follow([WatchedDir(home, names=ONLY)], [settings])
    real.write_text("{}")
    until(lambda: heard.settled(settings), "told although they are stuck")
    let_on.set()


@pytest.mark.skipif(not TELLS_CLOSE, reason="told early on Linux only")
def test_what_happens_while_nobody_writes_a_told_file_is_told_all_the_same(
    watch: Watch, heard: Heard, home: Path
):
    watch.follow([WatchedDir(home)], [home / "settings.json"])
    (home / "settings.json").write_text("{}")
    (home / "other.json").write_text("{}")
    until(lambda: heard.settled(home / "other.json"), "told")


@pytest.mark.skipif(not TELLS_CLOSE, reason="told early on Linux only")
def test_where_its_directory_has_moved_a_file_is_told_by_its_new_name(
    watch: Watch, heard: Heard, home: Path
):
    before, after = home / "before", home / "after"
    before.mkdir()
    watch.follow([WatchedDir(home, recursive=True)], [before / "a.json"])
    before.rename(after)
    (after / "a.json").write_text("{}")
    until(lambda: heard.settled(after / "a.json"), "told")


@pytest.mark.skipif(not TELLS_CLOSE, reason="left out on Linux only")
def test_temporary_files_of_specds_own_are_not_told_of(watch: Watch, heard: Heard, home: Path):
    settings = home / "settings.json"
    settings.write_bytes(b"{}")
    watch.follow([WatchedDir(home)], [])
    swap.update(settings, lambda _: b'{"a": 1}', before_write=lambda *_: None)
    (home / "last").write_bytes(b"")
    until(lambda: heard.settled(home / "last"), "told")
    assert {path for path, _ in heard.changed} == {settings, home / "last"}


def test_a_directory_that_is_not_there_yet_is_waited_for(watch: Watch, heard: Heard, home: Path):
    later = home / ".internal" / "deep"
    watch.follow([WatchedDir(later)], [])
    later.mkdir(parents=True)
    until(lambda: heard.reshaped, "its arrival is told")
    watch.follow([WatchedDir(later)], [])
    (later / "a.json").write_text("{}")
    until(lambda: heard.settled(later / "a.json"), "and it is watched")


def test_a_directory_deleted_and_made_again_is_watched_again(
    watch: Watch, heard: Heard, home: Path
):
    watch.follow([WatchedDir(home, names=ONLY)], [])
    home.rmdir()
    until(lambda: heard.reshaped, "its end is told")
    home.mkdir()
    watch.follow([WatchedDir(home, names=ONLY)], [])
    (home / "settings.json").write_text("{}")
    until(lambda: heard.settled(home / "settings.json"), "told")


def test_behind_a_symlink_events_carry_the_name_the_user_knows(
    watch: Watch, heard: Heard, home: Path, tmp_path: Path
):
    link = tmp_path / "link"
    link.symlink_to(home)
    watch.follow([WatchedDir(link, names=ONLY)], [])
    (home / "settings.json").write_text("{}")
    until(lambda: heard.settled(link / "settings.json"), "told by its known name")


def test_a_symlink_turned_to_another_directory_is_a_new_shape(
    watch: Watch, heard: Heard, home: Path, tmp_path: Path
):
    link, other = tmp_path / "link", tmp_path / "other"
    link.symlink_to(home)
    other.mkdir()
    watch.follow([WatchedDir(link, names=ONLY)], [])
    beside = tmp_path / "beside"
    beside.symlink_to(other)
    beside.replace(link)
    until(lambda: heard.reshaped, "told")


def test_the_target_of_a_linked_file_is_watched(watch: Watch, heard: Heard, home: Path, tmp_path):
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    (dotfiles / "lm.json").write_text("{}")
    (home / "settings.json").symlink_to(dotfiles / "lm.json")
    watch.follow([WatchedDir(home, names=ONLY)], [home / "settings.json"])
    (dotfiles / "lm.json").write_text('{"a": 1}')
    until(lambda: heard.settled(home / "settings.json"), "told by the link's name")


def test_a_tree_is_watched_below_and_nothing_is_watched_twice(
    watch: Watch, heard: Heard, home: Path
):
    deep = home / "publisher" / "model"
    deep.mkdir(parents=True)
    watch.follow([WatchedDir(home, recursive=True), WatchedDir(deep)], [])
    (deep / "config.json").write_text("{}")
    until(lambda: heard.settled(deep / "config.json"), "told")
    closings = heard.changed.count((deep / "config.json", True))
    assert closings <= 2, "a creation and a closing, each once"


def test_following_the_same_again_keeps_the_watches(watch: Watch, heard: Heard, home: Path):
    directories = [WatchedDir(home, names=ONLY)]
    watch.follow(directories, [])
    before = dict(watch._subscribed)
    watch.follow(directories, [])
    assert watch._subscribed == before
    assert watch.polling is None


def test_a_directory_that_may_not_be_entered_is_passed_over(watch: Watch, home: Path):
    if os.geteuid() == 0:
        pytest.skip("root may enter everything")
    home.chmod(0)
    watch.follow([WatchedDir(home)], [])
    assert watch.polling is None
    home.chmod(0o700)


# -- what goes wrong


@pytest.mark.parametrize("emptied", [True, False])
def test_directories_of_one_name_may_go_to_the_trash_one_after_the_other(
    heard: Heard, home: Path, tmp_path: Path, emptied: bool
):
    trash = tmp_path / "trash"
    trash.mkdir()

    def downloaded(name: str) -> Path:
        (home / "publisher").mkdir()
        (home / "publisher" / name).touch()
        until(lambda: heard.settled(home / "publisher" / name), "it is watched")
        return home / "publisher"

    with watching(heard, tmp_path / "spare") as watch:
        watch.follow([WatchedDir(home, recursive=True)], [])
        downloaded("one").rename(trash / "1")
        second = downloaded("other")
        if emptied:
            second.rename(trash / "2")
            (home / "third").touch()
            until(lambda: heard.settled(home / "third"), "that is known")
            shutil.rmtree(trash / "2")
            shutil.rmtree(trash / "1")
        else:
            shutil.rmtree(second)
        (home / "last").touch()
        until(lambda: heard.settled(home / "last"), "events are heard as before")
    assert heard.lost == []


@on_linux
def test_an_error_within_watchdog_counts_as_lost_events(
    watch: Watch, heard: Heard, home: Path, monkeypatch: pytest.MonkeyPatch
):
    from specd.agent import inotify

    tell = inotify._Group.on_event

    def failing(group: Any, event: Any) -> None:
        if event.name == b"odd":
            raise KeyError(event.name)
        tell(group, event)

    monkeypatch.setattr(inotify._Group, "on_event", failing)
    watch.follow([WatchedDir(home)], [])
    (home / "odd").touch()
    (home / "last").touch()
    until(lambda: heard.settled(home / "last"), "the next one is heard")
    assert heard.lost
    assert set(heard.lost) == {"KeyError in watchdog"}


@on_linux
def test_the_writer_ends_the_wait_for_him_and_no_other(watch: Watch, home: Path):
    watch.follow([WatchedDir(home)], [])
    inotify = watch._inotify
    assert inotify is not None
    held: list[bool] = []

    class Witness(threading.Event):
        def set(self) -> None:
            held.append(inotify._telling.locked())
            super().set()

    inotify._over = Witness()
    with watch.held_back():
        pass
    assert held == [True], "before the next event can be told"


@on_linux
def test_while_the_daemon_is_paused_nothing_waits_for_a_write(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LMSTUDIO_HOME", str(home))
    daemon = Daemon(tmp_path / "specd.toml", tmp_path / "state", serve=lambda _: cast("Api", None))
    try:
        daemon._watch.start()
        daemon._watch.follow([WatchedDir(home)], [home / "settings.json"])
        inotify = daemon._watch._inotify
        assert inotify is not None
        daemon.pause()
        inotify._over.clear()
        daemon._pass({home / "settings.json"})
        assert inotify._over.is_set()
    finally:
        daemon._close()


def test_the_spare_directory_may_be_one_that_is_followed(
    watch: Watch, heard: Heard, home: Path, tmp_path: Path
):
    spare = tmp_path / "spare"
    watch.follow([WatchedDir(spare, names=ONLY), WatchedDir(home, recursive=True)], [])
    (spare / "settings.json").write_text("{}")
    until(lambda: heard.settled(spare / "settings.json"), "told")


@on_linux
def test_an_attempt_without_descriptors_left_takes_none():
    from specd.agent.inotify import Inotify

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = {each.name for each in Path("/proc/self/fd").iterdir()}
    with ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, before)) + 2, limits[1]))
        taken: list[int] = []
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        os.close(taken.pop())
        for each in taken:
            held.callback(os.close, each)
        with pytest.raises(OSError, match="Too many open files"):
            Inotify(lambda _: None)
    assert {each.name for each in Path("/proc/self/fd").iterdir()} == before

"""Watching real directories: what matters is told by the name it is known by, nothing else is."""

from __future__ import annotations

import gc
import inspect
import os
import resource
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from specd.agent import vnodes
from specd.agent.daemon import Daemon
from specd.agent.source import Source
from specd.agent.watch import Watch, source_of_this_platform
from specd.files import swap
from specd.lmstudio.home import WatchedDir
from tests.agent import macos
from tests.daemon import until


class Heard:
    """What a watch told, from whichever thread."""

    def __init__(self) -> None:
        self.changed: list[tuple[Path, bool]] = []
        self.reshaped = 0
        self.lost: list[str] = []

    def told(self, path: Path) -> bool:
        return any(each == path for each, _ in self.changed)

    def settled(self, path: Path) -> bool:
        return (path, True) in self.changed

    def reshape(self) -> None:
        self.reshaped += 1


@pytest.fixture
def heard() -> Heard:
    return Heard()


Opened = Callable[[Watch], Source]


@pytest.fixture(params=["linux", "macos"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """The file events of one platform: Linux's own, macOS's over stand-ins for its kernel."""
    if request.param == sys.platform:
        return source_of_this_platform
    macos.install(monkeypatch)
    monkeypatch.setattr(vnodes, "SELDOM_S", 0.05)
    monkeypatch.setattr(vnodes, "CALM_S", 0.05)
    return vnodes.Vnodes


@contextmanager
def watching(heard: Heard, open_source: Opened = source_of_this_platform) -> Iterator[Watch]:
    made = Watch(
        lambda path, settled: heard.changed.append((path, settled)),
        heard.reshape,
        heard.lost.append,
        lambda: None,
        open_source,
    )
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def watch(heard: Heard, platform: Opened) -> Iterator[Watch]:
    with watching(heard, platform) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of one's own, as somebody who may not enter everything."""
    with tempfile.TemporaryDirectory() as made:
        if os.geteuid() != 0:
            yield Path(os.path.realpath(made))
            return
        nobody = 65534
        os.chown(made, nobody, nobody)
        os.seteuid(nobody)
        try:
            yield Path(os.path.realpath(made))
        finally:
            os.seteuid(0)


on_linux = pytest.mark.parametrize("platform", ["linux"], indirect=True)
"""A test of what inotify alone offers."""

on_macos = pytest.mark.parametrize("platform", ["macos"], indirect=True)

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="about inotify")


def reader(watch: Watch) -> Any:
    """The thread that reads inotify for what is urgent."""
    from specd.agent.inotify import Inotify

    assert isinstance(watch._source, Inotify)
    return watch._source._now


ONLY = frozenset({"settings.json"})


@on_linux
def test_a_write_in_place_is_told_once_its_writer_is_done(watch: Watch, heard: Heard, home: Path):
    watch.follow([WatchedDir(home, names=ONLY)], [])
    settings = home / "settings.json"
    with settings.open("w") as file:
        file.write("{}")
        file.flush()
        until(lambda: (settings, False) in heard.changed, "an unfinished write is told as such")
        before = heard.changed.count((settings, True))
    until(lambda: heard.changed.count((settings, True)) > before, "the closing is told")


@on_macos
def test_a_write_in_place_may_be_unfinished_where_closing_is_not_reported(
    watch: Watch, heard: Heard, home: Path
):
    settings = home / "settings.json"
    settings.write_text("{}")
    watch.follow([WatchedDir(home, names=ONLY)], [])
    settings.write_text('{"a": 1}')
    until(lambda: heard.changed, "told")
    assert set(heard.changed) == {(settings, False)}


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


@on_linux
def test_what_is_held_back_is_told_afterwards(watch: Watch, heard: Heard, home: Path):
    witnessed = Heard()
    with watching(witnessed) as witness:
        for each in (watch, witness):
            each.follow([WatchedDir(home, names=ONLY)], [])
        with watch.held_back():
            (home / "settings.json").write_text("{}")
            until(lambda: witnessed.settled(home / "settings.json"), "another one is told")
            assert heard.changed == []
        until(lambda: heard.settled(home / "settings.json"), "told afterwards")


def test_a_watched_directory_keeps_its_name_below_one_that_is_known_by_a_link(
    watch: Watch, heard: Heard, home: Path
):
    models = home / "models"
    models.mkdir()
    linked = home.with_name("linked")
    linked.symlink_to(home)
    watch.follow([WatchedDir(linked), WatchedDir(models, recursive=True)], [])
    (models / "new").mkdir()
    until(lambda: heard.settled(models / "new"), "told by the name it is watched by")


@on_linux
@pytest.mark.parametrize("linked", [False, True])
def test_a_write_to_an_urgent_file_is_reported_before_other_events(
    watch: Watch, heard: Heard, home: Path, linked: bool, monkeypatch: pytest.MonkeyPatch
):
    settings = real = home / "settings.json"
    if linked:
        real = home / "dotfiles.json"
        settings.symlink_to(real)
    let_on = threading.Event()
    beside = home / "beside"
    beside.write_text("{}")
    watch.follow([WatchedDir(home, names=ONLY)], [settings])
    monkeypatch.setattr(reader(watch), "handle_event", lambda _: let_on.wait(30))
    beside.replace(real)
    until(lambda: heard.settled(settings), "reported although all other reports are stuck")
    let_on.set()


@on_linux
def test_a_file_is_told_by_its_name_where_a_folder_on_its_way_leads_to_another_watched_one(
    watch: Watch, heard: Heard, home: Path
):
    (home / "old").mkdir()
    (home / "new").symlink_to("old")
    file = home / "new" / "model.json"
    file.write_text("{}")
    watch.follow([WatchedDir(home, recursive=True)], [file])
    file.write_text('{"changed": true}')
    until(lambda: heard.settled(file), "told by the name it was followed by")


@on_linux
def test_what_happens_while_nobody_writes_a_told_file_is_told_all_the_same(
    watch: Watch, heard: Heard, home: Path
):
    watch.follow([WatchedDir(home)], [home / "settings.json"])
    (home / "settings.json").write_text("{}")
    (home / "other.json").write_text("{}")
    until(lambda: heard.settled(home / "other.json"), "told")


@on_linux
def test_where_its_directory_has_moved_a_file_is_told_by_its_new_name(
    watch: Watch, heard: Heard, home: Path
):
    before, after = home / "before", home / "after"
    before.mkdir()
    watch.follow([WatchedDir(home, recursive=True)], [before / "a.json"])
    before.rename(after)
    (after / "a.json").write_text("{}")
    until(lambda: heard.settled(after / "a.json"), "told")


@on_linux
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
    until(lambda: heard.told(home / "settings.json"), "told by the link's name")


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
    assert watch.follow(directories, [])
    before = set(watch._watched)
    assert not watch.follow(directories, [])
    assert watch._watched == before
    assert watch.polling is None


def test_what_appears_while_it_is_being_watched_is_a_reason_to_look_again(
    watch: Watch, heard: Heard, home: Path, monkeypatch: pytest.MonkeyPatch
):
    later = home / "later"
    subscribe = watch._subscribe

    def too_late(*asked: Any) -> bool:
        later.mkdir(exist_ok=True)
        return subscribe(*asked)

    monkeypatch.setattr(watch, "_subscribe", too_late)
    assert watch.follow([WatchedDir(later)], [])
    assert watch.follow([WatchedDir(later)], []), "it is there by now"
    assert not watch.follow([WatchedDir(later)], []), "and that is the end of it"
    (later / "a.json").write_text("{}")
    until(lambda: heard.settled(later / "a.json"), "told")


def test_a_directory_made_again_unheard_is_a_reason_to_look_again(watch: Watch, home: Path):
    watch.follow([WatchedDir(home)], [])
    home.rmdir()
    home.mkdir()
    until(lambda: watch._ended, "noticed")
    assert watch.follow([WatchedDir(home)], [])
    assert not watch.follow([WatchedDir(home)], [])


# -- what leads to a directory or a file


@on_linux
@pytest.mark.parametrize("how", ["moved", "deleted"])
@pytest.mark.parametrize("above", ["a", "a/b"])
def test_what_becomes_of_a_directory_far_above_is_told(
    watch: Watch, heard: Heard, home: Path, above: str, how: str
):
    deep = home / "a" / "b" / "c"
    deep.mkdir(parents=True)
    watch.follow([WatchedDir(deep, names=ONLY)], [])
    if how == "moved":
        (home / above).rename(home / "elsewhere")
    else:
        shutil.rmtree(home / above)
    until(lambda: heard.reshaped, "its end is told")
    watch.follow([WatchedDir(deep, names=ONLY)], [])
    heard.reshaped = 0
    deep.mkdir(parents=True)
    until(lambda: heard.reshaped, "its return is told")
    watch.follow([WatchedDir(deep, names=ONLY)], [])
    (deep / "settings.json").write_text("{}")
    until(lambda: heard.settled(deep / "settings.json"), "and it is watched")


def test_a_directory_below_a_linked_one_is_waited_for(
    watch: Watch, heard: Heard, home: Path, tmp_path: Path
):
    (tmp_path / "link").symlink_to(home)
    later = tmp_path / "link" / "later"
    watch.follow([WatchedDir(later)], [])
    (home / "later").mkdir()
    until(lambda: heard.reshaped, "its arrival is told")


@on_linux
def test_a_link_on_the_way_turned_elsewhere_is_told(
    watch: Watch, heard: Heard, home: Path, tmp_path: Path
):
    link, other = tmp_path / "link", tmp_path / "other"
    for each in (home, other):
        (each / "a" / "b").mkdir(parents=True)
    link.symlink_to(home)
    watch.follow([WatchedDir(link / "a" / "b")], [])
    beside = tmp_path / "beside"
    beside.symlink_to(other)
    beside.replace(link)
    until(lambda: heard.reshaped, "told")


def test_the_end_of_the_directory_that_a_linked_file_is_in_is_told(
    watch: Watch, heard: Heard, home: Path, tmp_path: Path
):
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    (home / "settings.json").symlink_to(dotfiles / "lm.json")
    watch.follow([WatchedDir(home, names=ONLY)], [home / "settings.json"])
    dotfiles.rmdir()
    until(lambda: heard.reshaped, "told")


@pytest.mark.parametrize("before", ["file", "nothing", "link"])
def test_a_file_that_becomes_a_link_to_another_is_followed(
    watch: Watch, heard: Heard, home: Path, tmp_path: Path, before: str
):
    settings, real = home / "settings.json", tmp_path / "dotfiles" / "lm.json"
    real.parent.mkdir()
    real.write_text("{}")
    if before == "file":
        settings.write_text("{}")
    elif before == "link":
        settings.symlink_to(tmp_path / "old.json")
    followed: tuple[Any, ...] = [WatchedDir(home, names=ONLY)], [settings]
    watch.follow(*followed)
    assert not heard.reshaped
    beside = home / "beside"
    beside.symlink_to(real)
    beside.replace(settings)
    until(lambda: heard.reshaped, "a new shape")
    watch.follow(*followed)
    heard.changed.clear()
    real.write_text('{"a": 1}')
    until(lambda: heard.told(settings), "what it leads to is watched")
    heard.reshaped = 0
    settings.unlink()
    settings.write_text("{}")
    until(lambda: heard.reshaped, "it may be a file again")


@on_linux
def test_a_link_between_a_file_and_what_it_leads_to_may_be_turned(
    watch: Watch, heard: Heard, home: Path, tmp_path: Path
):
    generations = [tmp_path / "generation-1", tmp_path / "generation-2"]
    for each in generations:
        each.mkdir()
        (each / "lm.json").write_text("{}")
    current = tmp_path / "current"
    current.symlink_to(generations[0])
    settings = home / "settings.json"
    settings.symlink_to(current / "lm.json")
    watch.follow([WatchedDir(home, names=ONLY)], [settings])
    beside = tmp_path / "beside"
    beside.symlink_to(generations[1])
    beside.replace(current)
    until(lambda: heard.reshaped, "a new shape")


def test_a_save_by_rename_is_no_new_shape(watch: Watch, heard: Heard, home: Path, tmp_path: Path):
    real = tmp_path / "dotfiles" / "lm.json"
    real.parent.mkdir()
    real.write_text("{}")
    (home / "linked.json").symlink_to(real)
    plain = home / "settings.json"
    watch.follow([WatchedDir(home)], [plain, home / "linked.json"])
    for file in (plain, real):
        (file.parent / "new").write_text("{}")
        (file.parent / "new").rename(file)
    until(lambda: heard.settled(plain) and heard.settled(home / "linked.json"), "told")
    assert not heard.reshaped


@on_linux
def test_a_few_watches_are_enough_for_all_that_leads_there(watch: Watch, home: Path):
    deep = home / "a" / "b" / "c"
    deep.mkdir(parents=True)
    watch.follow([WatchedDir(deep, names=ONLY), WatchedDir(deep.parent / "d")], [])
    table = Path(f"/proc/self/fdinfo/{reader(watch)._inotify_fd}").read_text()
    assert table.count("inotify wd:") <= len(deep.parts)


@on_linux
def test_in_a_busy_directory_above_other_names_are_not_reported(
    watch: Watch, heard: Heard, home: Path, monkeypatch: pytest.MonkeyPatch
):
    later = home / "a" / "later"
    later.parent.mkdir()
    watch.follow([WatchedDir(later, names=ONLY)], [])
    reported: list[Path] = []
    changed = watch.changed
    monkeypatch.setattr(
        watch, "changed", lambda path, **how: (reported.append(path), changed(path, **how))
    )
    for directory in (home, later.parent):
        for number in range(50):
            (directory / f"other-{number}").write_text("busy")
    later.mkdir()
    until(lambda: heard.reshaped, "what is waited for is told")
    assert set(reported) == {later}


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

    with watching(heard) as watch:
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
    from watchdog.observers import inotify_c

    report = inotify_c.InotifyFD.handle_event

    def failing(reader: Any, event: Any) -> None:
        if event.name == b"odd":
            raise KeyError(event.name)
        report(reader, event)

    monkeypatch.setattr(inotify_c.InotifyFD, "handle_event", failing)
    watch.follow([WatchedDir(home)], [])
    (home / "odd").touch()
    (home / "last").touch()
    until(lambda: heard.settled(home / "last"), "the next one is heard")
    assert heard.lost
    assert set(heard.lost) == {"KeyError in watchdog"}


@on_macos
def test_an_error_on_the_kqueue_thread_counts_as_lost_events(
    watch: Watch, heard: Heard, home: Path, monkeypatch: pytest.MonkeyPatch
):
    def failing(*_: object) -> None:
        monkeypatch.setattr(vnodes.Vnodes, "_compare", compare)
        raise KeyError

    compare = vnodes.Vnodes._compare
    monkeypatch.setattr(vnodes, "AFTER_FAULT_S", 0.01)
    watch.follow([WatchedDir(home)], [])
    monkeypatch.setattr(vnodes.Vnodes, "_compare", failing)
    (home / "odd").touch()
    until(lambda: heard.lost == ["KeyError in kqueue"], "it is said")
    (home / "last").touch()
    until(lambda: heard.settled(home / "last"), "the next one is heard")


@on_linux
def test_the_writer_ends_the_wait_for_him_and_no_other(watch: Watch, home: Path):
    watch.follow([WatchedDir(home)], [])
    inotify = reader(watch)
    held: list[bool] = []

    class Witness(threading.Event):
        def set(self) -> None:
            held.append(inotify._reporting.locked())
            super().set()

    inotify._over = Witness()
    with watch.held_back():
        pass
    assert held == [True], "before the next event can be told"


@needs_linux
def test_while_the_daemon_is_paused_nothing_waits_for_a_write(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LMSTUDIO_HOME", str(home))
    daemon = Daemon(tmp_path / "specd.toml", tmp_path / "state")
    try:
        daemon._watch.follow([WatchedDir(home)], [home / "settings.json"])
        inotify = reader(daemon._watch)
        daemon.pause(paused=True)
        inotify._over.clear()
        daemon.write({home / "settings.json"})
        assert inotify._over.is_set()
    finally:
        daemon._close()


def test_a_directory_that_may_not_be_entered_is_watched_once_it_may(
    heard: Heard, unprivileged: Path
):
    directories = [WatchedDir(unprivileged / "home", names=ONLY)]
    (unprivileged / "home").mkdir(mode=0o300)
    with watching(heard) as watch:
        watch.follow(directories, [])
        assert watch.polling is None
        assert not watch.follow(directories, []), "that is no news each time"
        (unprivileged / "home").chmod(0o700)
        assert watch.follow(directories, [])
        (unprivileged / "home" / "settings.json").write_text("{}")
        until(lambda: heard.settled(unprivileged / "home" / "settings.json"), "told")


def test_below_a_directory_that_may_not_be_read_the_rest_is_watched(
    heard: Heard, unprivileged: Path
):
    closed = unprivileged / "closed"
    (closed / "home").mkdir(parents=True)
    closed.chmod(0o300)
    with watching(heard) as watch:
        watch.follow([WatchedDir(closed / "home", names=ONLY)], [])
        (closed / "home" / "settings.json").write_text("{}")
        until(lambda: heard.settled(closed / "home" / "settings.json"), "told")
        assert watch.polling is None
    closed.chmod(0o700)


@needs_linux
def test_what_is_built_upon_in_watchdog_is_as_it_was():
    from watchdog.observers.inotify_c import InotifyFD, WatchCallback

    def parameters(method: Any) -> list[str]:
        return [name for name in inspect.signature(method).parameters if name != "self"]

    assert parameters(InotifyFD.add_callback) == ["path", "mask", "callback", "id_"]
    assert parameters(InotifyFD.remove_callbacks) == ["callbacks"]
    assert parameters(InotifyFD.read_events) == ["event_buffer_size"]
    assert parameters(InotifyFD.handle_event) == ["event"]
    called = {name for name in vars(WatchCallback) if name.startswith("on_")}
    assert called == {"on_event", "on_watch_deleted", "on_queue_overflow"}
    made = InotifyFD()
    try:
        assert str(Path(f"/proc/self/fd/{made._inotify_fd}").readlink()) == "anon_inode:inotify"
    finally:
        made.close()


@needs_linux
def test_an_attempt_without_descriptors_left_takes_none():
    from specd.agent.inotify import Inotify

    gc.collect()
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
            Inotify(cast("Watch", None))
    assert {each.name for each in Path("/proc/self/fd").iterdir()} <= before

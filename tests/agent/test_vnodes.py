"""On macOS nothing wakes specd that is none of its business (over stand-ins for the kernel)."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from specd.agent import vnodes
from specd.agent.watch import Watch
from specd.lmstudio import home as homes
from specd.reconcile import survey
from tests.agent import macos
from tests.daemon import until


@dataclass
class Mac:
    """A user's home directory on a volume where /var is a link to /private/var."""

    user: Path
    changed: list[Path]
    reshaped: list[None]

    @property
    def home(self) -> Path:
        return self.user / ".lmstudio"

    @property
    def config(self) -> Path:
        return self.user / "Library" / "Application Support" / "specd" / "specd.toml"


@pytest.fixture
def mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mac]:
    macos.install(monkeypatch)
    monkeypatch.setattr(vnodes, "SELDOM_S", 0.1)
    monkeypatch.setattr(vnodes, "CALM_S", 0.1)
    (tmp_path / "private" / "var").mkdir(parents=True)
    (tmp_path / "var").symlink_to("private/var")
    user = tmp_path / "var" / "user"
    made = Mac(user, [], [])
    for folder in ("conversations", "server-logs/2026-11", "models/publisher/model", ".internal"):
        (made.home / folder).mkdir(parents=True)
    (made.home / ".internal" / "user-concrete-model-default-config" / "publisher").mkdir(
        parents=True
    )
    (made.home / "settings.json").write_text("{}")
    (made.home / "models" / "publisher" / "model" / "model.safetensors").write_bytes(b"")
    made.config.parent.mkdir(parents=True)
    made.config.write_text("")
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.delenv("LMSTUDIO_HOME", raising=False)
    watch = Watch(
        lambda path, _: made.changed.append(path),
        lambda: made.reshaped.append(None),
        lambda _: None,
        lambda: None,
        vnodes.Vnodes,
    )
    found = homes.find_home()
    assert isinstance(found, homes.Home)
    world = survey.World(models_dir=found.path / "models")
    watch.follow(
        survey.directories(found, world, made.config),
        [found.path / "settings.json", made.config],
    )
    # FSEvents delivers what happened before: that models came.
    until(
        lambda: (
            macos.Stream.delivered
            and watch._source._streams._observer.event_queue.unfinished_tasks == 0
        ),
        "the stream's history is reported",
    )
    made.changed.clear()
    macos.Kqueue.woken.clear()
    yield made
    watch.close()


def test_streams_are_opened_on_the_models_alone(mac: Mac):
    assert macos.Stream.opened == [str((mac.home / "models").resolve())]


def test_descriptors_are_opened_in_lm_studios_home_and_beside_specd_toml_alone(mac: Mac):
    mine = (mac.home.resolve(), mac.config.parent.resolve())
    assert macos.Kqueue.opened
    for path in map(Path, macos.Kqueue.opened):
        assert path.is_relative_to(mine[0]) or path.is_relative_to(mine[1]), path
        for busy in ("conversations", "server-logs", "models"):
            assert not path.is_relative_to(mac.home.resolve() / busy), path


def test_what_others_write_wakes_nobody(mac: Mac):
    weights = mac.home / "models" / "publisher" / "model" / "model.safetensors"
    for count in range(100):
        (mac.user / f".history-{count}").write_text("x")
        (mac.user / "Library" / "Application Support" / f"other-{count}").write_text("x")
        (mac.home / "conversations" / f"{count}.conversation.json").write_text("x")
        (mac.home / "server-logs" / "2026-11" / "log").write_text(str(count))
        with weights.open("ab") as file:
            file.write(b"x" * 1024)
        time.sleep(0.005)
    time.sleep(0.3)
    assert macos.Kqueue.woken == []
    assert set(mac.changed) <= {mac.home / "models"}
    assert len(mac.changed) <= 1, "at most that the file exists, once"


def test_a_model_that_comes_and_goes_is_seen_within_the_streams_delay(mac: Mac):
    weights = mac.home / "models" / "publisher" / "model" / "model.safetensors"
    weights.rename(weights.with_name("other.safetensors"))
    until(lambda: mac.home.resolve() / "models" in {p.resolve() for p in mac.changed}, "seen")
    assert {path.name for path in mac.changed} == {"models"}
    mac.changed.clear()
    (mac.home / "models" / "another").mkdir()
    until(lambda: mac.changed, "and a new one")


@pytest.mark.parametrize("how", ["in place", "by rename"])
@pytest.mark.parametrize("which", ["settings.json", "specd.toml", "model"])
def test_a_write_to_what_matters_is_seen_at_once(
    mac: Mac, how: str, which: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(vnodes, "SELDOM_S", 600.0)
    defaults = mac.home / ".internal" / "user-concrete-model-default-config" / "publisher"
    file = {
        "settings.json": mac.home / "settings.json",
        "specd.toml": mac.config,
        "model": defaults / "model.json",
    }[which]
    if how == "in place":
        file.write_text('{"a": 1}')
    else:
        beside = file.with_name("beside")
        beside.write_text("{}")
        beside.rename(file)
    until(lambda: file.resolve() in {path.resolve() for path in mac.changed}, "seen")


def test_a_file_is_followed_also_where_its_directory_reports_no_exchange(
    mac: Mac, monkeypatch: pytest.MonkeyPatch
):
    notes = macos._notes
    monkeypatch.setattr(
        macos,
        "_notes",
        lambda before, now: 0 if stat.S_ISDIR(now.facts.st_mode) else notes(before, now),
    )
    settings = mac.home.resolve() / "settings.json"
    for content in ("{ }", "{  }"):
        beside = mac.user / "settings.new"
        beside.write_text(content)
        beside.replace(settings)
        until(lambda: settings in mac.changed, "the exchange is seen")
        mac.changed.clear()
        settings.write_text(content + " ")
        until(lambda: settings in mac.changed, "a save in place is seen")
        mac.changed.clear()


def test_the_pointer_and_a_parent_are_seen_within_seconds(mac: Mac):
    (mac.user / ".lmstudio-home-pointer").write_text("/elsewhere")
    until(lambda: mac.user.resolve() / ".lmstudio-home-pointer" in mac.changed, "the pointer")
    assert not mac.reshaped
    mac.user.rename(mac.user.with_name("moved"))
    until(lambda: mac.reshaped, "what leads to the home leads elsewhere")


def test_every_descriptor_is_closed_again(mac: Mac):
    # The fixture's own watch opens and closes some too: what leaks each time stands out of that.
    rounds = 20
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(rounds):
        watch = Watch(lambda *_: None, lambda: None, lambda _: None, lambda: None, vnodes.Vnodes)
        watch.follow([homes.WatchedDir(mac.home, recursive=True)], [mac.home / "settings.json"])
        opened = len(list(Path("/proc/self/fd").iterdir()))
        watch.close()
        assert opened > before
    assert len(list(Path("/proc/self/fd").iterdir())) < before + rounds

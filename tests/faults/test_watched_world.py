"""Whatever becomes of the directories that are watched, what is wanted comes back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from specd.reconcile import contention
from tests.conftest import Figures
from tests.daemon import SETTINGS, SHIFTED, Sandbox, customize, quickest, switch, until

STORM_RATE = 1_000

above = pytest.mark.skipif(
    sys.platform == "darwin", reason="FSEvents tells too much for parents to be watched"
)


def namespaces() -> bool:
    """Whether an unprivileged namespace with its own mounts and limits can be made here."""
    made = subprocess.run(["unshare", "-Urm", "true"], check=False, capture_output=True)
    return made.returncode == 0


own_namespace = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("unshare") is None or not namespaces(),
    reason="needs user and mount namespaces",
)


def storm(sandbox: Sandbox, seconds: float, rate: int) -> int:
    """Write settings.json ``rate`` times a second, each time unlike wanted; how often it was.

    A busy machine needs longer for a tenth of that, with which it is a storm.
    """
    content = json.dumps(SETTINGS, indent=2).encode()
    written = 0
    began = time.perf_counter()
    while (now := time.perf_counter() - began) < seconds or written < seconds * rate / 10:
        if written > now * rate:
            time.sleep(0.0002)
            continue
        descriptor = os.open(sandbox.settings, os.O_WRONLY | os.O_TRUNC | os.O_CREAT)
        os.write(descriptor, content)
        os.close(descriptor)
        written += 1
    return written


def test_a_storm_of_writes_is_followed_by_what_is_wanted(sandbox: Sandbox, figures: Figures):
    weather_a_storm(sandbox, figures, seconds=2.0)


@pytest.mark.nightly
def test_a_long_storm_of_writes_is_followed_by_what_is_wanted(sandbox: Sandbox, figures: Figures):
    weather_a_storm(sandbox, figures, seconds=10.0)


def weather_a_storm(sandbox: Sandbox, figures: Figures, seconds: float) -> None:
    sandbox.running()
    before, processor = sandbox.status()["last_write"]["id"], sandbox.cpu_seconds()
    began, events = time.monotonic(), 0

    def converging() -> float:
        nonlocal events
        sandbox.forgive()
        events += storm(sandbox, seconds, STORM_RATE)
        last = time.perf_counter()
        until(sandbox.applied, "converged after the storm")
        return time.perf_counter() - last

    at_most = contention.RESTED_S + 1  # the file has to rest
    converged = quickest(converging, at_most)
    writes = sandbox.status()["last_write"]["id"] - before
    share = (sandbox.cpu_seconds() - processor) / (time.monotonic() - began)
    figures(events=events, converged_ms=converged * 1000, writes=writes, processor_share=share)
    assert converged < at_most
    assert writes < events / 2
    assert share < 1.0


def test_a_storm_of_renames_is_followed_by_what_is_wanted(sandbox: Sandbox):
    sandbox.running()
    end = time.monotonic() + 1.0
    count = 0
    while time.monotonic() < end:
        sandbox.save(rename=True, counter=count)
        count += 1
    until(sandbox.applied, "converged after the storm")
    assert sandbox.read()["counter"] == count - 1


def halt(sandbox: Sandbox) -> None:
    """Stop the daemon, and wait until none of its threads runs any more."""
    assert sandbox.process is not None
    sandbox.process.send_signal(signal.SIGSTOP)
    threads = Path(f"/proc/{sandbox.process.pid}/task")
    if threads.exists():
        until(
            lambda: all(
                (each / "stat").read_text().rpartition(")")[2].split()[0] == "T"
                for each in threads.iterdir()
            ),
            "it stands still",
        )


def test_a_stopped_daemon_catches_up_with_everything_it_slept_through(
    sandbox: Sandbox, figures: Figures
):
    sleep_through(sandbox, figures, seconds=1.0, saves=50)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_stopped_for_minutes_it_catches_up_all_the_same(sandbox: Sandbox, figures: Figures):
    sleep_through(sandbox, figures, seconds=180.0, saves=1_800)


def sleep_through(sandbox: Sandbox, figures: Figures, *, seconds: float, saves: int) -> None:
    """Stop the daemon for so long, with saves spread over the time, and let it go on."""
    sandbox.config.write_text("[agent]\nresync_seconds = 30\n")
    sandbox.running()
    assert sandbox.process is not None
    listed = len(json.loads(sandbox.specd("restore", "--list", "--json").stdout))
    resident, descriptors = sandbox.resident(), sandbox.descriptors()
    halt(sandbox)
    began = time.monotonic()
    for count in range(saves):
        sandbox.save(rename=count % 2 == 0, counter=count)
        time.sleep(max(0.0, began + seconds * (count + 1) / saves - time.monotonic()))
    asleep = time.monotonic() - began
    assert asleep >= seconds
    assert not sandbox.applied()
    sandbox.process.send_signal(signal.SIGCONT)
    woken = time.perf_counter()
    until(sandbox.applied, "restored after waking up")
    restored = time.perf_counter() - woken
    assert sandbox.read()["counter"] == saves - 1
    until(lambda: sandbox.condition("SettingsApplied")["status"] == "true", "and that is said")
    writes = len(json.loads(sandbox.specd("restore", "--list", "--json").stdout)) - listed
    figures(
        asleep_s=asleep,
        saves=saves,
        restored_ms=restored * 1000,
        writes=writes,
        grown_mb=(sandbox.resident() - resident) / 2**20,
    )
    assert writes <= 3
    until(lambda: sandbox.descriptors() <= descriptors + 2, "no more descriptors are open")
    assert sandbox.status()["uptime_s"] > asleep
    sandbox.save(counter=-1)
    until(sandbox.applied, "and events count as before")
    assert "Traceback" not in sandbox.said()
    assert "a fault in specd" not in sandbox.said()


@pytest.mark.skipif(sys.platform != "linux", reason="counts wake-ups in /proc")
@pytest.mark.parametrize("closed", [False, True], ids=["growing", "closed after each block"])
def test_a_model_download_costs_next_to_nothing(sandbox: Sandbox, figures: Figures, closed: bool):
    folder = sandbox.home / "models" / "publisher" / "model"
    folder.mkdir(parents=True)
    sandbox.running()
    part = folder / "model.safetensors"
    part.touch()
    time.sleep(4)  # the first looks at the model
    seconds, block, written = 4.0, os.urandom(16_384), 0

    def cost() -> tuple[float, float]:
        """(share of a processor, wake-ups a second) while the file grows."""
        nonlocal written
        spent, woken, began = sandbox.cpu_seconds(), sandbox.wakeups(), time.monotonic()
        with part.open("ab", buffering=0) as file:
            while time.monotonic() < began + seconds:
                if closed:
                    with part.open("ab", buffering=0) as again:
                        again.write(block)
                else:
                    file.write(block)
                written += 1
                time.sleep(0.002)
        return (sandbox.cpu_seconds() - spent) / seconds, (sandbox.wakeups() - woken) / seconds

    cpu, wakeups = cost()
    for _ in range(4):  # on a busy machine the first looks at the model come later
        if cpu >= 0.01 or wakeups >= 5:
            cpu, wakeups = cost()
    figures(writes=written, cpu_percent=cpu * 100, wakeups_per_s=wakeups)
    assert cpu < 0.01
    assert wakeups < 5
    (folder / "config.json").write_text("{}")
    until(lambda: "models changed" in sandbox.said(), "and in the end the model is seen")


@pytest.mark.skipif(sys.platform != "linux", reason="about inotify's queue")
def test_an_overflowing_event_queue_loses_no_drift(sandbox: Sandbox, figures: Figures):
    sandbox.running()
    assert sandbox.process is not None
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    noise = [sandbox.home / "one", sandbox.home / "other"]
    for each in noise:
        each.touch()
    halt(sandbox)
    for count in range(2 * limit):
        # By turns: the kernel makes one event of two equal ones in a row.
        noise[count % 2].open("ab").close()
    sandbox.save()
    sandbox.process.send_signal(signal.SIGCONT)
    began = time.perf_counter()
    until(sandbox.applied, "the drift behind the overflow is found")
    figures(events=2 * limit, found_after_ms=(time.perf_counter() - began) * 1000)
    until(lambda: "lost" in sandbox.said(), "the loss is said")
    sandbox.save(rename=True)
    until(sandbox.applied, "events are heard again")


@own_namespace
@pytest.mark.parametrize("limit", ["max_inotify_watches", "max_inotify_instances"])
def test_without_file_watches_it_looks_by_itself_and_says_so(sandbox: Sandbox, limit: str):
    sandbox.save()
    sandbox.start(within=limited(limit, 0))
    until(sandbox.applied, "the first reconcile")
    sandbox.save(rename=True)
    until(sandbox.applied, "a drift is found without events")
    assert "limit" in sandbox.status()["watching"]
    assert "limit" in sandbox.said()


@own_namespace
def test_running_out_of_watches_among_the_models_is_noticed(sandbox: Sandbox):
    for count in range(40):
        (sandbox.home / "models" / "publisher" / f"model-{count}").mkdir(parents=True)
    sandbox.save()
    sandbox.start(within=limited("max_inotify_watches", 20))
    until(sandbox.applied, "the first reconcile")
    until(lambda: "limit" in sandbox.status()["watching"], "it says that it looks by itself")
    sandbox.save(rename=True)
    until(sandbox.applied, "a drift is found")


def limited(limit: str, value: int) -> list[str]:
    """A command prefix that runs the daemon where only ``value`` of something may be had."""
    script = f'echo {value} > /proc/sys/user/{limit} && exec "$@"'
    return ["unshare", "-Ur", "sh", "-c", script, "sh"]


def remove(directory: Path) -> None:
    """As ``rm -rf``: what goes away by itself meanwhile, such as a file specd was writing, may."""

    def goes() -> bool:
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    until(goes, f"{directory} is gone")


def test_the_home_may_be_deleted_and_made_again(sandbox: Sandbox):
    sandbox.running()
    for _ in range(3):
        remove(sandbox.home)
        until(lambda: sandbox.condition("HomeFound")["status"] == "false", "it is missed")
        sandbox.home.mkdir()
        sandbox.save()
        until(sandbox.applied, "the new one is looked after")
        sandbox.save(rename=True)
        until(sandbox.applied, "and watched")


@pytest.mark.parametrize("name", [".lmstudio", "LMStudio"])
def test_a_home_in_the_users_own_folder_is_found_when_it_comes_and_comes_back(
    sandbox: Sandbox, name: str
):
    home, ready = sandbox.root / name, sandbox.root / "ready"
    sandbox.env |= {"HOME": str(sandbox.root), "LMSTUDIO_HOME": ""}
    if name != ".lmstudio":
        sandbox.config.write_text(f'[lmstudio]\nhome = "{home}"\n')
    ready.mkdir()
    (ready / "settings.json").write_text(json.dumps(SETTINGS))
    sandbox.start()
    until(lambda: sandbox.condition("HomeFound")["status"] == "false", "there is none yet")
    for _ in range(2):
        ready.rename(home)
        until(lambda: switch(sandbox.read(home / "settings.json")), "it is looked after", 60)
        home.rename(ready)
        until(lambda: sandbox.condition("HomeFound")["status"] == "false", "it is missed", 60)
        (ready / "settings.json").write_text(json.dumps(SETTINGS))


def test_the_pointer_to_the_home_may_come_and_lead_elsewhere(sandbox: Sandbox):
    sandbox.env |= {"HOME": str(sandbox.root), "LMSTUDIO_HOME": ""}
    sandbox.home.rename(sandbox.root / ".lmstudio")
    sandbox.start()
    for name in ("first", "second"):
        settings = sandbox.root / name / "settings.json"
        settings.parent.mkdir()
        settings.write_text(json.dumps(SETTINGS))
        (sandbox.root / ".lmstudio-home-pointer").write_text(str(settings.parent))
        until(lambda: switch(sandbox.read(settings)), "it is followed", 60)  # noqa: B023


def test_the_home_may_be_replaced_at_once(sandbox: Sandbox):
    sandbox.running()
    for count in range(10):
        sandbox.forgive()
        # The file system is free to give the new directory the old one's inode.
        remove(sandbox.home)
        sandbox.home.mkdir()
        sandbox.save(counter=count)
        until(sandbox.applied, f"replacement {count} is looked after")
        sandbox.save(rename=True)
        until(sandbox.applied, f"replacement {count} is watched")


@above
def test_parents_of_the_home_may_move(sandbox: Sandbox):
    sandbox.env["LMSTUDIO_HOME"] = str(sandbox.root / "outer" / "inner" / "lmstudio")
    (sandbox.root / "outer" / "inner").mkdir(parents=True)
    sandbox.start()
    until(lambda: sandbox.condition("HomeFound")["status"] == "false", "there is none yet")
    sandbox.home.rename(sandbox.root / "outer" / "inner" / "lmstudio")
    settings = sandbox.root / "outer" / "inner" / "lmstudio" / "settings.json"
    settings.write_text(json.dumps(SETTINGS))
    until(lambda: switch(sandbox.read(settings)), "found")
    (sandbox.root / "outer").rename(sandbox.root / "away")
    until(lambda: sandbox.condition("HomeFound")["status"] == "false", "its parents are gone")
    (sandbox.root / "away" / "inner" / "lmstudio" / "settings.json").write_text(
        json.dumps(SETTINGS)
    )
    (sandbox.root / "away").rename(sandbox.root / "outer")
    until(lambda: switch(sandbox.read(settings)), "found again")


def test_the_home_may_be_replaced_by_a_symlink_to_another_one(sandbox: Sandbox):
    sandbox.running()
    other = sandbox.root / "other-home"
    other.mkdir()
    (other / "settings.json").write_text(json.dumps(SETTINGS))
    untouched = sandbox.root / "first-home"
    sandbox.home.rename(untouched)
    sandbox.home.symlink_to(other)
    until(sandbox.applied, "what the link leads to is looked after")
    (other / "settings.json").write_text(json.dumps({**SETTINGS, "again": True}))
    until(sandbox.applied, "and watched")
    third = sandbox.root / "third-home"
    third.mkdir()
    (third / "settings.json").write_text(json.dumps(SETTINGS))
    link = sandbox.root / "new-link"
    link.symlink_to(third)
    link.replace(sandbox.home)
    until(sandbox.applied, "the link may lead elsewhere")
    assert sandbox.settings.resolve() == third / "settings.json"


@above
def test_the_directory_of_specd_toml_may_be_put_aside_and_made_anew(sandbox: Sandbox):
    config = sandbox.root / "config" / "specd" / "specd.toml"
    sandbox.env["SPECD_CONFIG"] = str(config)
    for count in range(3):
        config.parent.mkdir(parents=True)
        config.write_text(f"wrong_{count} = true\n")
        if count == 0:
            sandbox.running()
        wrong = f"wrong_{count}"
        until(lambda what=wrong: what in sandbox.condition("ConfigValid")["message"], "it is read")
        config.write_text("")
        until(lambda: sandbox.condition("ConfigValid")["status"] == "true", "and watched")
        (sandbox.root / "config").rename(sandbox.root / f"config.{count}")


def test_settings_may_become_a_link_and_lead_elsewhere(sandbox: Sandbox):
    sandbox.running()
    for name in ("first", "second"):
        real = sandbox.root / name / "lm.json"
        real.parent.mkdir()
        real.write_text(json.dumps(SETTINGS))
        beside = sandbox.home / "beside"
        beside.symlink_to(real)
        beside.replace(sandbox.settings)
        until(sandbox.applied, f"what the {name} link leads to is looked after")
        for count in range(3):
            real.write_text(json.dumps({**SETTINGS, "again": count}))
            until(sandbox.applied, "and watched")
        assert sandbox.settings.is_symlink()


def test_a_publisher_may_be_thrown_away_again_and_again(sandbox: Sandbox):
    sandbox.running()
    trash = sandbox.root / "trash"
    trash.mkdir()
    publisher = sandbox.home / "models" / "publisher"
    for count in range(3):
        publisher.mkdir(parents=True)
        sandbox.save(counter=count)
        until(sandbox.applied, "events are heard in order, so the directory is known")
        publisher.rename(trash / str(count))
    for each in sorted(trash.iterdir(), reverse=True):
        each.rmdir()
    for count in range(3):
        sandbox.save(again=count)
        until(sandbox.applied, "events are heard as before")
    assert sandbox.stop() == 0
    assert "Traceback" not in sandbox.said()


LATE = """
import os
from watchdog.observers.inotify_c import InotifyFD
start = InotifyFD.start

def late(reader):
    if os.path.exists(os.environ["LATE_FROM"]):
        os.rename(os.environ["LATE_FROM"], os.environ["LATE_TO"])
    start(reader)

InotifyFD.start = late
"""


def test_the_home_may_appear_between_the_first_look_and_the_first_watch(sandbox: Sandbox):
    ready = sandbox.root / "ready"
    sandbox.home.rename(ready)
    (ready / "settings.json").write_text(json.dumps(SETTINGS))
    customize(sandbox, LATE, LATE_FROM=str(ready), LATE_TO=str(sandbox.home))
    sandbox.start()
    until(sandbox.applied, "it is found all the same")
    sandbox.save(rename=True)
    until(sandbox.applied, "and watched")


def test_watches_that_cannot_be_given_up_do_not_keep_it_from_stopping(sandbox: Sandbox):
    customize(
        sandbox,
        "from watchdog.observers.inotify_c import InotifyFD\n"
        "def stuck(reader): raise KeyError(1)\n"
        "InotifyFD.stop = stuck\n",
    )
    sandbox.running()
    address = sandbox.state / "run" / "specd.sock"
    assert address.exists()
    assert sandbox.stop() == 0
    assert not address.exists()
    assert "a fault in specd: KeyError" in sandbox.said()
    assert "specd stopped" in sandbox.said()


@own_namespace
def test_the_home_may_be_mounted_and_unmounted(sandbox: Sandbox):
    sandbox.save()
    sandbox.start(within=["unshare", "-Urm"])
    until(sandbox.applied, "the first reconcile")
    assert sandbox.process is not None
    inside = ["nsenter", "-t", str(sandbox.process.pid), "-U", "-m", "--preserve-credentials"]
    beneath = Path(f"/proc/{sandbox.process.pid}/root{sandbox.settings}")

    def on(*command: str) -> None:
        subprocess.run([*inside, *command], check=True)

    on("mount", "-t", "tmpfs", "none", str(sandbox.home))
    beneath.write_text(json.dumps(SETTINGS))
    until(lambda: switch(sandbox.read(beneath)), "the mounted one")
    beneath.write_text(json.dumps({**SETTINGS, "again": 1}))
    until(lambda: switch(sandbox.read(beneath)), "is watched")
    # A look at a file is enough to keep the kernel from it for a moment.
    unmount = [*inside, "umount", str(sandbox.home)]
    until(lambda: subprocess.run(unmount, check=False).returncode == 0, "it is unmounted")
    sandbox.save(rename=True)
    until(sandbox.applied, "the one beneath is watched again")


def test_thousands_of_files_among_the_models(sandbox: Sandbox, figures: Figures):
    crowd_the_models(sandbox, figures, folders=50, files=100)


@pytest.mark.nightly
def test_a_hundred_thousand_files_among_the_models(sandbox: Sandbox, figures: Figures):
    crowd_the_models(sandbox, figures, folders=200, files=500)


def crowd_the_models(sandbox: Sandbox, figures: Figures, *, folders: int, files: int) -> None:
    sandbox.running()
    before = sandbox.resident()

    def made() -> None:
        for number in range(folders):
            folder = sandbox.home / "models" / "publisher" / f"model-{number:04}"
            folder.mkdir(parents=True)
            for file in range(files):
                (folder / f"part-{file:05}.bin").touch()

    began = time.perf_counter()
    made()
    took = time.perf_counter() - began
    slowest = slowest_restore(sandbox, lambda count: sandbox.save(counter=count), 20)
    until(lambda: "models changed" in sandbox.said(), "the models are indexed")
    grown = sandbox.resident() - before
    figures(
        files=folders * files,
        made_in_s=took,
        slowest_restore_meanwhile_ms=slowest * 1000,
        grown_mb=grown / 2**20,
    )
    assert slowest < 5.0
    assert grown < 100 * 2**20


def slowest_restore(sandbox: Sandbox, drift: Callable[[int], None], rounds: int) -> float:
    slowest = 0.0
    for count in range(rounds):
        sandbox.forgive()
        drift(count)
        began = time.perf_counter()
        until(sandbox.applied, "restored")
        slowest = max(slowest, time.perf_counter() - began)
    return slowest


@pytest.mark.parametrize("days", [-400, 400])
def test_the_clock_may_jump(sandbox: Sandbox, days: int):
    clock = sandbox.root / "ahead"
    customize(sandbox, SHIFTED, CLOCK_AHEAD=str(clock))
    sandbox.config.write_text("[agent]\nresync_seconds = 1\n")
    sandbox.running()
    before = until(lambda: sandbox.status()["next_benchmark"], "a benchmark is planned")
    clock.write_text(str(days * 86_400))
    sandbox.save()
    until(sandbox.applied, "events still count")
    until(
        lambda: (sandbox.status()["next_benchmark"] or before)[:7] != before[:7],
        "the next benchmark is planned by the new clock",
    )
    looks = sandbox.status()["uptime_s"]
    sandbox.save()
    until(sandbox.applied, "and go on counting")
    assert sandbox.status()["uptime_s"] > looks

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from specd.bench import preconditions, sensors
from specd.bench.preconditions import Readings, in_the_way, postponed
from specd.config import Benchmark
from specd.lmstudio.models import index
from tests.chats import answer, chat, keep
from tests.daemon import until
from tests.lmstudio.homes import gguf_model, mlx_model

WANTED = Benchmark()
CONNECTED = "connected to its server: curl (pid 7), a program on ::2"
BUSY = "the machine is busy, load 0.9 per core"
CALM = Readings(
    load_per_core=0.1,
    on_battery=False,
    free_bytes=16 << 30,
    needed_bytes=6 << 30,
    idle_s=3600.0,
    unused_s=3600.0,
    generating=False,
    thermal="nominal",
)


def test_on_a_calm_machine_a_benchmark_may_begin() -> None:
    assert postponed(CALM, WANTED) is None


def test_what_the_platform_does_not_tell_stands_in_nobodys_way() -> None:
    silent = Readings(0.1, None, 16 << 30, 6 << 30)
    assert postponed(silent, WANTED) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"on_battery": True}, "the machine runs on battery (only_on_ac)"),
        ({"idle_s": 12.3}, "somebody typed 12 s ago (only_when_idle)"),
        ({"unused_s": 40.0}, "LM Studio was used 40 s ago (only_when_idle)"),
        ({"generating": True}, "LM Studio is generating (only_when_idle)"),
        ({"load_per_core": 0.9}, f"{BUSY} (only_when_idle)"),
        (
            {"generating": True, "clients": ("curl (pid 7)", "a program on ::2")},
            f"LM Studio is generating; {CONNECTED} (only_when_idle)",
        ),
        (
            {"load_per_core": 0.9, "busiest": "x (pid 8) with 90 % of a core"},
            f"{BUSY}; busiest now: x (pid 8) with 90 % of a core (only_when_idle)",
        ),
        ({"thermal": "thermal warning level 2"}, "the machine is hot: thermal warning level 2"),
        ({"free_bytes": 3 << 30}, "it needs 6.0 GiB of memory and 3.0 GiB are free"),
    ],
)
def test_whatever_stands_in_the_way_is_named(change: dict[str, object], why: str) -> None:
    assert postponed(replace(CALM, **change), WANTED) == why


def test_rules_that_are_switched_off_hold_nothing_up() -> None:
    anyway = Benchmark(only_when_idle=False, only_on_ac=False)
    busy = replace(
        CALM, on_battery=True, idle_s=0.0, unused_s=0.0, generating=True, load_per_core=3.0
    )
    assert postponed(busy, anyway) is None
    assert in_the_way(busy, anyway) is None


def test_a_running_benchmark_does_not_end_for_the_load_and_memory_it_takes_itself() -> None:
    running = replace(CALM, load_per_core=2.0, free_bytes=0)
    assert in_the_way(running, WANTED) is None
    assert in_the_way(replace(running, generating=True), WANTED) is not None
    assert in_the_way(replace(running, idle_s=1.0), WANTED) is not None
    assert in_the_way(replace(running, on_battery=True), WANTED) is not None


def test_this_machine_is_read(tmp_path: Path) -> None:
    found = preconditions.read(tmp_path, 7)
    assert found.load_per_core >= 0
    assert 0 < found.free_bytes <= preconditions.machine_memory()
    assert found.needed_bytes == 7
    assert found.unused_s is None
    battery = psutil.sensors_battery()
    assert found.on_battery is (None if battery is None else not battery.power_plugged)


def test_what_takes_the_processor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        # The neighbours of this test may take more.
        monkeypatch.setattr(psutil, "pids", lambda: [os.getpid(), loop.pid])
        program = re.escape(f"{psutil.Process(loop.pid).name()} (pid {loop.pid})")
        named = re.compile(rf"{program} with \d+ % of a core")
        until(lambda: named.fullmatch(sensors.busiest(0.2) or ""), "it is named")
        monkeypatch.setattr(preconditions, "BUSY_LOAD", -1.0)
        monkeypatch.setattr(preconditions, "WATCHED_S", 0.2)
        until(lambda: preconditions.read(None, 0, busiest=True).busiest, "it is read")
        assert preconditions.read(None, 0).busiest is None
    finally:
        loop.kill()
        loop.wait()
    monkeypatch.setattr(psutil, "pids", lambda: [os.getpid()])
    assert sensors.busiest(0.0) is None


def test_a_chat_that_just_ended_is_a_use_of_lm_studio(tmp_path: Path) -> None:
    path = keep(tmp_path / "conversations" / "folder", "a", chat(answer()))
    found = preconditions.read(tmp_path, 0)
    assert found.unused_s is not None
    assert found.unused_s < 60
    os.utime(path, (time.time() - 7200, time.time() - 7200))
    assert (preconditions.read(tmp_path, 0).unused_s or 0) > 7000


def test_specd_s_own_question_in_the_server_log_is_no_use(tmp_path: Path) -> None:
    log = tmp_path / "server-logs" / "2026-11" / "2026-11-24.1.log"
    log.parent.mkdir(parents=True)
    log.write_text("GET /api/v1/models\n")
    assert preconditions.read(tmp_path, 0).unused_s is not None
    assert preconditions.read(tmp_path, 0, asked_at=time.time()).unused_s is None


# -- memory, from the files -------------------------------------------------------------------


def test_memory_is_worked_out_from_weights_and_config_before_anything_is_loaded(
    tmp_path: Path,
) -> None:
    # Qwen3-8B's own figures: 36 layers, 8 key-value heads of 128.
    mlx_model(
        tmp_path,
        "a/Qwen3-8B-4bit",
        weights=1 << 20,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        hidden_size=4096,
    )
    (model,) = index(tmp_path).models
    assert preconditions.cache_bytes(model) == 2 * 36 * 8 * 128 * 2 * 4096 == 603_979_776
    assert preconditions.needed(model) == preconditions.BESIDES + model.size_bytes + 603_979_776


def test_where_the_config_does_not_tell_the_cache_is_a_share_of_the_weights(
    tmp_path: Path,
) -> None:
    gguf_model(tmp_path, "a/b/c.gguf")
    mlx_model(tmp_path, "a/Plain", weights=1000, num_hidden_layers="many", head_dim=True)
    for model in index(tmp_path).models:
        assert preconditions.cache_bytes(model) == int(model.size_bytes * preconditions.CACHE_SHARE)


# -- what the platforms print ------------------------------------------------------------------


def test_macos_tells_nanoseconds_since_the_last_input() -> None:
    said = '    | |   "HIDIdleTime" = 4213512833\n    | "HIDIdleTime" = 9999999999999\n'
    assert sensors.from_ioreg(said) == pytest.approx(4.213512833)
    assert sensors.from_ioreg("nothing of the kind") is None


def test_logind_tells_since_when_and_its_not_idle_tells_nothing() -> None:
    now = 1_764_000_100.0
    said = "IdleHint=yes\nIdleSinceHint=1764000000000000\n"
    assert sensors.from_logind(said, now) == pytest.approx(100.0)
    assert sensors.from_logind(said.replace("yes", "no"), now) is None
    assert sensors.from_logind("IdleHint=yes\nIdleSinceHint=0\n", now) is None
    assert sensors.from_logind("", now) is None


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("Note: No thermal warning level has been recorded\n", "nominal"),
        (
            "CPU_Scheduler_Limit \t= 100\n\tCPU_Available_CPUs \t= 8\n\tCPU_Speed_Limit \t= 62",
            "the processor is held at 62 % of its speed",
        ),
        ("\tCPU_Speed_Limit \t= 100\n", "nominal"),
        ("Thermal Warning Level = 2\n", "thermal warning level 2"),
        ("something new", None),
    ],
)
def test_macos_tells_of_its_heat(said: str, meaning: str | None) -> None:
    assert sensors.from_pmset(said) == meaning


def test_heat_and_idleness_of_this_machine_can_be_asked() -> None:
    assert sensors.heat() is None or isinstance(sensors.heat(), str)
    found = sensors.idle_s()
    assert found is None or found >= 0
    assert json.dumps([found])

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from specd.bench import identity
from specd.bench.circumstances import REASONS, dependencies, here, stale
from tests.conftest import Figures
from tests.lmstudio.homes import gguf_model, mlx_model


def test_a_copy_is_the_same_model_and_touching_it_changes_nothing(tmp_path: Path) -> None:
    folder = mlx_model(tmp_path, "a/model", weights=3 << 20)
    before = identity.of(folder)
    assert before is not None
    copied = tmp_path / "elsewhere" / "model"
    shutil.copytree(folder, copied)
    assert identity.of(copied) == before
    os.utime(folder / "model.safetensors", (1, 1))
    assert identity.of(folder) == before


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_other_content_is_another_model(tmp_path: Path, name: str) -> None:
    folder = mlx_model(tmp_path, "a/model", weights=100)
    before = identity.of(folder)
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    assert identity.of(folder) != before


def test_retrained_weights_of_the_same_size_are_another_model(tmp_path: Path) -> None:
    folder = mlx_model(tmp_path, "a/model", weights=8 << 20)
    before = identity.of(folder)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[1000:] = os.urandom(len(content) - 1000)
    weights.write_bytes(content)
    assert identity.of(folder) != before


def test_a_gguf_file_is_known_and_a_missing_one_is_not(tmp_path: Path) -> None:
    assert identity.of(gguf_model(tmp_path, "a/b/c.gguf")) is not None
    assert identity.of(tmp_path / "gone") is None


def test_gigabytes_take_milliseconds_and_the_second_time_next_to_nothing(
    tmp_path: Path, figures: Figures
) -> None:
    folder = mlx_model(tmp_path, "a/model", weights=100)
    with (folder / "model-00001.safetensors").open("wb") as file:
        file.truncate(5 << 30)
    times = []
    for _ in range(2):
        began = time.process_time()
        identity.of(folder)
        times.append((time.process_time() - began) * 1000)
    figures(first_ms=times[0], second_ms=times[1])
    assert times[0] < 500
    assert times[1] < 20


def test_nothing_changed_is_not_stale(tmp_path: Path) -> None:
    folder = mlx_model(tmp_path, "a/model")
    now = dependencies(folder, folder, engine_version="0.3.30")
    assert set(now) == set(REASONS)
    assert stale("mlx", {**here(), **now}, now) == ()


@pytest.mark.parametrize(
    ("engine", "name", "before", "told"),
    [
        ("mlx", "main_files", "aa", "the main's files changed"),
        ("server", "draft_files", "aa", "the draft's files changed"),
        ("mlx", "mlx-lm", "0.20", "mlx-lm was 0.20, now 1"),
        ("server", "engine", "0.3.9", "LM Studio was 0.3.9, now 1"),
        ("llama.cpp", "engine", "llama.cpp-a-1", "llama.cpp was llama.cpp-a-1, now 1"),
        ("mlx", "os", "Darwin 15.0", "the system was Darwin 15.0, now 1"),
        ("server", "mlx-lm", "0.20", None),
        ("mlx", "engine", "0.3.9", None),
    ],
)
def test_what_a_result_depends_on_makes_it_stale(
    engine: str, name: str, before: str, told: str | None
) -> None:
    now = dict.fromkeys(REASONS, "1")
    assert stale(engine, {**now, name: before}, now) == ((told,) if told else ())


def test_what_was_not_known_then_or_now_is_no_reason() -> None:
    assert stale("mlx", {}, dict.fromkeys(REASONS, "1")) == ()
    assert stale("mlx", dict.fromkeys(REASONS, "1"), dict.fromkeys(REASONS)) == ()

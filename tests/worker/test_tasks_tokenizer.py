"""The tokenizer tasks in a real worker process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from specd.demo.models import SMALL, ensure
from specd.tokenizer.store import VerdictStore
from specd.worker.client import Limits, run_task
from tests.tokenizer import folders

LIMITS = Limits(280, 4 << 30)


def test_verdicts_are_worked_out_and_kept(tmp_path: Path) -> None:
    main = folders.lay_out(tmp_path / "main", folders.small("<think>"))
    draft = folders.lay_out(tmp_path / "draft", folders.small())
    (tmp_path / "empty").mkdir()
    steps: list[Any] = []
    pairs = [[str(main), str(draft)], [str(draft), str(main)], [str(main), str(tmp_path / "empty")]]
    request = {"cache": str(tmp_path / "cache"), "pairs": pairs}
    found = run_task("verdicts", request, limits=LIMITS, on_progress=steps.append)["verdicts"]
    assert [each["verdict"] for each in found] == ["compatible", "compatible", "unknown"]
    assert "config.json is missing" in found[2]["reasons"][0]
    assert steps[-1] == {"done": 3, "of": 3}
    assert len(VerdictStore(tmp_path / "cache").kinds()) == 2


@pytest.mark.mlx
def test_mlx_lm_is_asked_once_what_it_builds(tmp_path: Path) -> None:
    config = {
        "model_type": "mamba",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 128,
        "state_size": 4,
        "conv_kernel": 4,
        "use_bias": False,
        "use_conv_bias": True,
        "time_step_rank": 4,
    }
    main = folders.lay_out(tmp_path / "main", folders.small(), config=config)
    draft = folders.lay_out(tmp_path / "draft", folders.small())
    request = {"cache": str(tmp_path / "cache"), "pairs": [[str(main), str(draft)]], "engine": True}
    run_task("verdicts", request, limits=LIMITS)
    kept = VerdictStore(tmp_path / "cache")
    known = kept.known(main)
    assert known is not None
    built = kept.built(known)
    assert built is not None
    assert built.trimmable is False


@pytest.mark.mlx
def test_a_pair_is_proven_with_its_weights(tmp_path: Path) -> None:
    pair = [str(ensure(SMALL.good)), str(ensure(SMALL.poor))]
    steps: list[Any] = []
    request = {"cache": str(tmp_path / "cache"), "pairs": [pair]}
    (proof,) = run_task("validate", request, limits=LIMITS, on_progress=steps.append)["proofs"]
    assert proof["kind"] is None
    assert "token for token" in proof["words"]
    assert any("loading both models" in step["now"] for step in steps)


@pytest.mark.mlx
def test_what_cannot_be_proven_says_why(tmp_path: Path) -> None:
    main = folders.lay_out(tmp_path / "main", folders.small())
    (tmp_path / "draft").mkdir()
    request = {"cache": str(tmp_path / "cache"), "pairs": [[str(main), str(tmp_path / "draft")]]}
    (proof,) = run_task("validate", request, limits=LIMITS)["proofs"]
    assert proof["words"].startswith("not proven: config.json is missing")


def test_a_low_limit_on_open_files_stops_no_comparison() -> None:
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)); "
        "from specd.worker import __main__; __main__._task('verdicts')"
    )
    subprocess.run([sys.executable, "-c", limited], check=True)

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from specd import places
from specd.bench.history import History, alone
from specd.demo.models import SMALL, ensure
from specd.demo.serving import VERSIONS, standin
from tests.cli.test_history import result
from tests.daemon import Sandbox, until
from tests.standins import load

pytestmark = pytest.mark.mlx

MAIN, DRAFT = SMALL.main.identifier, SMALL.good.identifier
PAIR = f'[[pair]]\nmain = "{MAIN}"\ndraft = "{DRAFT}"\n[benchmark]\nschedule = ""\n'


@pytest.fixture
def paired(sandbox: Sandbox) -> Sandbox:
    for recipe in SMALL:
        link = sandbox.home / "models" / recipe.identifier
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ensure(recipe))
    sandbox.config.write_text(PAIR)
    sandbox.save()
    return sandbox


@pytest.fixture
def url(paired: Sandbox, request: pytest.FixtureRequest) -> Iterator[str]:
    version = getattr(request, "param", VERSIONS[-1])
    with standin(paired.home, paired.root / "standin.log", version=version) as found:
        yield found


@pytest.mark.parametrize("url", VERSIONS, indirect=True)
def test_auto_measures_on_the_server_that_has_the_main_loaded(paired: Sandbox, url: str) -> None:
    load(url, MAIN)
    ran = paired.specd("bench", "--suite", "brief", "--minutes", "0.7", "--json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["engine"] == "server"
    assert told["text_equal"] is True
    assert told["lengths"][0]["draft_tokens"] == 0
    (run,) = json.loads(paired.specd("history", "--json").stdout)
    context = run["context"]
    assert context["server"] == url
    assert context["main_files"] != context["draft_files"]
    assert None not in (context["mlx-lm"], context["os"], context["load_average"])


def test_a_draft_the_server_drops_is_a_finding_here_and_in_status(
    paired: Sandbox, url: str
) -> None:
    load(url, MAIN, parallel=4)
    ran = paired.specd("bench", "--suite", "brief", "--minutes", "0.7")
    assert ran.returncode == 1
    assert "did not run" in ran.stderr
    assert "parallel = 1" in ran.stderr
    paired.start()
    observed = until(
        lambda: (c := paired.condition("SpeculationObserved"))["status"] == "false" and c,
        "the finding",
    )
    assert "loaded for 4 requests at once" in observed["message"]


def test_the_seeds_tests_are_shown_before_and_after_and_no_gain_is_said_plainly(
    paired: Sandbox,
) -> None:
    folders = [str(ensure(each)) for each in (SMALL.main, SMALL.poor)]
    ran = paired.specd("bench", *folders, "--suite", "seed", "--quick", "--minutes", "6")
    assert ran.returncode == 0, ran.stderr
    lines = [" ".join(line.split()) for line in ran.stdout.splitlines()]
    assert any(line.startswith("Test 1/2: up to 50 tokens ") for line in lines)
    assert any(line.startswith("Test 3: up to 200 tokens, streamed ") for line in lines)
    assert "expected on the seed machine 18 22-27 +20% to +50%" in lines
    assert any(line.endswith("less than the expectation") for line in lines)
    ending = " ".join(lines).rpartition(" With ")[2]
    assert "times as fast as alone" in ending
    assert "it is faster without" in ending or "no gain" in ending


@pytest.mark.parametrize("word", ["0", "-1", "nan", "soon"])
def test_no_time_is_an_error(paired: Sandbox, word: str) -> None:
    ran = paired.specd("bench", "--minutes", word)
    assert ran.returncode == 2
    assert f"must be from 0.1 to 1440, not {word}" in ran.stderr


def test_a_draft_that_may_not_draft_is_refused_at_once(paired: Sandbox) -> None:
    folders = [str(ensure(each)) for each in (SMALL.main, SMALL.incompatible)]
    ran = paired.specd("bench", *folders)
    assert ran.returncode == 2
    assert "may not draft for" in ran.stderr
    assert "specd check" in ran.stderr


def test_two_benchmarks_never_run_at_once(paired: Sandbox) -> None:
    folders = [str(ensure(each)) for each in (SMALL.main, SMALL.good)]
    with alone(places.history_path(paired.state)):
        ran = paired.specd("bench", *folders, "--engine", "mlx", "--minutes", "0.2")
    assert ran.returncode == 1
    assert f"another benchmark is running (process {os.getpid()}, since " in ran.stderr


def worker_of(process: subprocess.Popen[bytes]) -> psutil.Process | None:
    try:
        family = psutil.Process(process.pid).children(recursive=True)
        return next((c for c in family if c.cmdline()[-2:] == ["specd.worker", "bench"]), None)
    except psutil.Error:
        return None


def there(worker: psutil.Process) -> bool:
    return True


def with_models(worker: psutil.Process) -> bool:
    return worker.memory_info().rss > 250 << 20


def at_work(worker: psutil.Process) -> bool:
    return sum(worker.cpu_times()[:2]) > 4


@pytest.mark.parametrize("moment", [there, with_models, at_work])
def test_ctrl_c_at_any_point_leaves_a_consistent_history_and_no_process(
    paired: Sandbox, moment: Callable[[psutil.Process], bool]
) -> None:
    path = places.history_path(paired.state)
    with closing(History(path)) as history:
        history.add(result(1, 1.2), {})
    folders = [str(ensure(each)) for each in (SMALL.main, SMALL.good)]
    process = subprocess.Popen(
        [sys.executable, "-m", "specd", "bench", *folders, "--engine", "mlx"],
        env=paired.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        worker = until(lambda: worker_of(process), "a worker")
        until(lambda: moment(worker), moment.__name__)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=90)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    until(lambda: not worker.is_running(), "the worker is gone")
    with closing(History(path)) as history:
        assert history.recover() is None
        assert history.recent(10) == (result(1, 1.2),)
    assert not list(Path(paired.state).glob("*.broken-*"))

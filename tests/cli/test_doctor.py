"""``specd doctor``: each thing that can be wrong is made wrong, found, and met with a remedy."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from specd.cli.look import checks
from specd.cli.look.doctor import _shown
from specd.config import SpecdConfig
from specd.lmstudio.home import NoHome
from specd.lmstudio.models import models_dir
from tests.daemon import Sandbox, switch, until

from .conftest import measured


def examine(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """The doctor's findings by name."""
    done = sandbox.specd("doctor", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == int(any(each["grade"] == "fail" for each in found))
    return {each["name"]: each for each in found}


@pytest.fixture
def quick(sandbox: Sandbox) -> Sandbox:
    """A sandbox whose doctor need not wait for MLX to load: it finds a broken one at once."""
    broken = sandbox.root / "broken" / "mlx"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('no Metal device')")
    sandbox.env["PYTHONPATH"] = str(broken.parent)
    return sandbox


def test_a_healthy_daemon_on_a_seeds_home_is_found_so(seed: Sandbox) -> None:
    seed.start()
    until(lambda: seed.condition("PairsConfigured")["status"] == "true", "the pair")
    found = examine(seed)
    assert [each for each in found.values() if each["grade"] == "fail"] == []
    for name in (
        "Python",
        "specd.toml",
        "state",
        "disk space",
        "daemon",
    ):
        assert found[name]["grade"] == "ok", found[name]
    for name in ("LM Studio", "settings.json", "MLX", "option missing?"):
        assert found[name]["grade"] == "ok", found[name]
    assert found["draft called incompatible?"]["grade"] == "ok"
    # Nothing has been measured and nobody has chatted, so whether it is faster is not known.
    assert found["no faster?"]["grade"] == "note"


Break = Callable[[Sandbox], None]


def no_home(sandbox: Sandbox) -> None:
    sandbox.env["LMSTUDIO_HOME"] = str(sandbox.root / "nowhere")


def broken_config(sandbox: Sandbox) -> None:
    sandbox.config.write_text("[agent]\nnotfy = true\n")


def broken_settings(sandbox: Sandbox) -> None:
    sandbox.settings.write_text('{"chat": {')


def open_state(sandbox: Sandbox) -> None:
    sandbox.state.mkdir(mode=0o755)
    sandbox.state.chmod(0o755)


def folder_for_a_history(sandbox: Sandbox) -> None:
    (sandbox.state / "history.db").mkdir(parents=True)
    sandbox.state.chmod(0o700)


def file_for_a_socket(sandbox: Sandbox) -> None:
    run = sandbox.state / "run"
    run.mkdir(mode=0o700, parents=True)
    sandbox.state.chmod(0o700)
    (run / "specd.sock").write_text("")


def nothing(_: Sandbox) -> None:
    return


@pytest.mark.parametrize(
    ("wrong", "name", "says", "remedy"),
    [
        (no_home, "LM Studio", "nowhere", "specd config set lmstudio.home"),
        (broken_config, "specd.toml", "agent.notfy", "specd config validate"),
        (broken_settings, "settings.json", "settings.json", "it writes them anew"),
        (open_state, "state", "is open to other users", "chmod 700"),
        (folder_for_a_history, "state", "history.db is no file", "move it elsewhere"),
        (file_for_a_socket, "daemon", "it left", "`specd install` sets it up"),
        (nothing, "daemon", "specd is not running", "`specd install` sets it up"),
        (nothing, "MLX", "no Metal device", "install specd again"),
    ],
)
def test_what_is_wrong_is_found_with_its_remedy(
    quick: Sandbox, wrong: Break, name: str, says: str, remedy: str
) -> None:
    quick.save()
    wrong(quick)
    finding = examine(quick)[name]
    assert finding["grade"] == "fail"
    assert says in finding["says"]
    assert remedy in finding["remedy"]


def test_a_broken_settings_file_is_counted_once(quick: Sandbox) -> None:
    quick.save()
    broken_settings(quick)
    quick.start()
    until(lambda: quick.condition("SettingsApplied")["status"] == "false", "it is judged")
    found = examine(quick)
    grades = found["settings.json"]["grade"], found["option missing?"]["grade"]
    assert grades == ("note", "fail")


def test_a_socket_left_behind_is_named(quick: Sandbox) -> None:
    run = quick.state / "run"
    run.mkdir(mode=0o700, parents=True)
    quick.state.chmod(0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(run / "specd.sock"))
    finding = examine(quick)["daemon"]
    assert "specd is not running (it left" in finding["says"]
    assert "`specd run` starts it" in finding["remedy"]


def test_a_daemon_that_hangs_is_named_with_its_process(quick: Sandbox) -> None:
    process = quick.running().process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        found = examine(quick)
    finally:
        process.send_signal(signal.SIGCONT)
    assert found["daemon"]["grade"] == "fail"
    assert "`specd stop` ends it" in found["daemon"]["remedy"]


def test_a_process_number_that_another_program_has_now_is_no_lock(quick: Sandbox) -> None:
    run = quick.state / "run"
    run.mkdir(mode=0o700, parents=True)
    (run / "specd.lock").write_text("1\n")
    assert "specd is not running" in examine(quick)["daemon"]["says"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everything")
def test_a_settings_file_that_cannot_be_replaced_is_found(quick: Sandbox) -> None:
    quick.save()
    quick.home.chmod(0o500)
    try:
        assert examine(quick)["settings.json"]["grade"] == "fail"
    finally:
        quick.home.chmod(0o700)


# The complaints of the troubleshooting page, each on the machine where it is justified.


def test_an_option_that_is_missing_is_put_down_to_what_hides_it(seed: Sandbox) -> None:
    cache = seed.home / ".internal" / "draft-model-compatibility-cache.json"
    listed = json.loads(cache.read_text())
    (main,) = listed
    cache.write_text(json.dumps({main: [each for each in listed[main] if "0.5B" not in each]}))
    seed.start()
    until(lambda: seed.condition("CacheAgrees")["status"] == "false", "the cache is judged")
    finding = examine(seed)["option missing?"]
    assert finding["grade"] == "note"  # LM Studio's cache is no setting that the user asked for
    assert "CacheAgrees" in finding["says"]
    assert "specd cache refresh" in finding["remedy"]
    told = seed.specd("explain", "CacheAgrees").stdout
    assert "specd cache refresh" in " ".join(told.split())


def test_a_draft_that_means_something_else_is_called_incompatible(seed: Sandbox) -> None:
    folder = next(models_dir(seed.home, None).glob("*/Josiefied-Qwen2.5-0.5B*"))
    tokenizer = folder / "tokenizer.json"
    document = json.loads(tokenizer.read_text())
    vocabulary = document["model"]["vocab"]
    vocabulary["th"], vocabulary["in"] = vocabulary["in"], vocabulary["th"]
    tokenizer.write_text(json.dumps(document))
    seed.start()
    until(
        lambda: seed.condition("TokenizersCompatible")["status"] == "false",
        "the pair is judged",
    )
    found = examine(seed)
    finding = found["draft called incompatible?"]
    assert (finding["grade"], found["option missing?"]["grade"]) == ("note", "fail")  # one fault
    assert "incompatible" in finding["says"]
    told = seed.specd("explain", "TokenizersCompatible").stdout
    assert 'draft = "auto"' in " ".join(told.split())


def test_no_gain_is_put_down_to_the_benchmark(seed: Sandbox) -> None:
    measured(seed, 0, 0.83, (0.8, 0.87))
    seed.start()
    until(lambda: seed.condition("Faster")["status"] == "false", "the benchmark is judged")
    finding = examine(seed)["no faster?"]
    assert (finding["grade"], finding["remedy"]) == (
        "fail",
        "`specd config set benchmark.on_slower disable` takes it out",
    )
    assert "no gain: no speculation is fastest; 0.83×" in finding["says"]
    told = " ".join(seed.specd("explain", "Faster").stdout.split())
    assert 'on_slower = "disable"' in told


def test_settings_that_do_not_stick_are_put_down_to_who_undoes_them(seed: Sandbox) -> None:
    seed.start()
    until(lambda: seed.condition("PairsConfigured")["status"] == "true", "the pair")
    off = json.dumps(seed.read() | {"configPresetInclusiveness": {}})

    def undone() -> bool:
        if switch(seed.read()) is True:
            seed.settings.write_text(off)
        return bool(seed.condition("Uncontended")["status"] == "false")

    until(undone, "the fight is noticed")
    finding = examine(seed)["settings do not stick?"]
    assert finding["grade"] == "fail"
    assert "Uncontended" in finding["says"] or "SettingsApplied" in finding["says"]


@pytest.mark.parametrize("columns", [40, 69, 70, 100])
def test_findings_fit_the_terminal(columns: int) -> None:
    finding = checks.Finding("socket", "fail", "is open to others " * 5, "chmod 600 it " * 5)
    lines = _shown(finding, columns).splitlines()
    assert all(len(line) <= max(columns, 55) for line in lines)


def test_a_check_that_breaks_is_a_finding_of_its_own(tmp_path: Path) -> None:
    def breaks(_: checks.Patient) -> checks.Result:
        raise RuntimeError("unforeseen")

    finding = checks.safely(
        "breaks", breaks, checks.Patient(tmp_path, SpecdConfig(), NoHome("none", ()))
    )
    assert (finding.grade, finding.name) == ("fail", "breaks")
    assert "RuntimeError: unforeseen" in finding.says

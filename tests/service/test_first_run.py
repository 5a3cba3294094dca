"""The first ``specd install`` on the seed's machine: found out, shown, asked once, done, undone."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.seed_home import MAIN, seed_home
from specd.cli.setup import install
from specd.service import systemd
from tests.daemon import until

from .user import User

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs this machine's stand-in")


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    made = User(tmp_path)
    seed_home(made.home / ".lmstudio")
    yield made
    made.end()


def files(user: User) -> dict[Path, bytes]:
    """Every file of the user's but the models and specd's own."""
    return {
        path.relative_to(user.home): path.read_bytes()
        for path in user.home.rglob("*")
        if path.is_file()
        and not path.is_relative_to(user.home / "state")
        and not path.is_relative_to(user.home / ".lmstudio" / "models")
    }


TAKE_THE_TERMINAL = """\
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Ctrl-C on the terminal reaches the process, also where the tests run with SIGINT ignored."""


CTRL_C = "\x03"


def on_a_terminal(user: User, answer: str, *words: str) -> tuple[int, str]:
    """Run ``specd install`` on a terminal, answer its question, and return what it said."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_THE_TERMINAL, "-m", "specd", "install", *words],
        env={**user.environment, "COLUMNS": "100"},
        cwd=user.home,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said, end = b"", time.monotonic() + 180
    while time.monotonic() < end:
        if not select.select([ours], [], [], 2)[0]:
            # A Ctrl-C that falls between the question and the read interrupts nothing. The terminal
            # shows it as ^C, so the question is no longer last.
            asking = b"Go on? [y/N] " in said and b"nothing was written" not in said
            if answer == CTRL_C and asking:
                os.write(ours, CTRL_C.encode())
            continue
        try:
            chunk = os.read(ours, 1 << 16)
        except OSError:
            break
        if not chunk:
            break
        said += chunk
        if said.endswith(b"Go on? [y/N] "):
            os.write(ours, answer.encode())
    os.close(ours)
    return process.wait(60), said.decode().replace("\r\n", "\n")


def test_it_asks_once_after_showing_all_it_will_do(user: User) -> None:
    before = files(user)
    code, said = on_a_terminal(user, "n\n")
    assert code == 2
    assert said.count("?") == 1
    assert "models          5 installed" in said
    assert "josiefied-qwen3-8b-abliterated-v1-4bit ←" in said
    for path in ("systemd/user/specd.service", "specd/specd.toml", "/state"):
        assert path in said
    assert '+    "speculativeDecoding": true' in said
    assert "benchmark runs at 04:30" in said
    assert said.endswith("nothing was written to LM Studio's files, and nothing was installed\n")
    assert files(user) == before
    assert user.service_pid() is None


def test_ctrl_c_at_the_question_writes_nothing(user: User) -> None:
    before = files(user)
    code, said = on_a_terminal(user, CTRL_C)
    assert code == 130
    assert said.endswith("nothing was written to LM Studio's files, and nothing was installed\n")
    assert files(user) == before


def test_a_draft_that_cannot_draft_stays_unless_another_is_chosen(user: User) -> None:
    folder = user.home / ".lmstudio" / ".internal" / "user-concrete-model-default-config"
    path = folder / f"{MAIN}.json"
    document = json.loads(path.read_text())
    document["operation"]["fields"].append({"key": DRAFT, "value": "someone/Gone-1B"})
    path.write_text(json.dumps(document))
    before = path.read_bytes()
    _, said = on_a_terminal(user, "n\n")
    number = re.search(rf"(?m)^  (\d)  \S+ for {path.stem.lower()}", said)
    assert number is not None
    _, said = on_a_terminal(user, f"{number[1]}\nn\n")
    said = " ".join(said.split())
    assert "the draft someone/Gone-1B, which is not installed: specd replaces it with" in said
    done = user.specd("install", "--yes")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert (
        "LM Studio is set to draft with someone/Gone-1B, which is not installed; it stays" in told
    )
    assert "replaces" not in told
    assert path.read_bytes() == before
    made = tomllib.loads((user.home / ".config" / "specd" / "specd.toml").read_text())
    assert path.stem.lower() not in [pair["main"] for pair in made["pair"]]


def test_yes_does_what_was_shown_and_says_what_was_written(user: User) -> None:
    before = files(user)
    code, said = on_a_terminal(user, "y\n")
    assert code == 0
    written = {path for path, content in files(user).items() if before.get(path) != content}
    assert max(map(len, said.partition("undo: ")[2].split("\n"))) <= 100
    said = "".join(said.partition("Go on? [y/N]")[2].split())
    for path in written:
        whole = "".join(f"~/{path}".split())
        assert f"wrote{whole}" in said or f"in{whole}(undo:" in said
    assert len(written) == 4  # the unit, specd.toml, settings.json, the main's defaults
    assert "loadthemodelinLMStudioagain" in said
    assert "ifLMStudioisrunning,restartit" in said
    made = tomllib.loads((user.home / ".config" / "specd" / "specd.toml").read_text())
    assert [pair["main"] for pair in made["pair"]] == [MAIN.rpartition("/")[2].lower()]
    assert user.service_pid() is not None

    # Again, as after an upgrade: nothing is proposed, nothing is rewritten, the daemon is new.
    first = user.service_pid()
    done = user.specd("install", "--yes")
    assert done.returncode == 0
    assert "stays as it is" in done.stdout
    assert "wrote" not in done.stdout
    assert "load the model" not in done.stdout
    assert user.service_pid() != first

    done = user.specd("uninstall", "--restore-settings", "--purge")
    assert done.returncode == 0, done.stderr
    after = files(user)
    assert after.pop(Path(".config/specd/specd.toml"))
    assert after == before
    assert not (user.home / "state").exists()


DRAFT = "llm.prediction.speculativeDecoding.draftModel"
LENGTH = "llm.prediction.speculativeDecoding.numDraftTokensExact"


def drafts(user: User) -> dict[str, str]:
    """The draft that stands in each main's default configuration."""
    folder = user.home / ".lmstudio" / ".internal" / "user-concrete-model-default-config"
    return {
        path.stem: field["value"]
        for path in folder.rglob("*.json")
        for field in json.loads(path.read_text())["operation"]["fields"]
        if field["key"] == DRAFT
    }


def test_a_draft_that_the_user_has_set_is_kept(user: User) -> None:
    folder = user.home / ".lmstudio" / ".internal" / "user-concrete-model-default-config"
    mine = folder / f"{MAIN}.json"
    mine.parent.mkdir(parents=True, exist_ok=True)
    held = [
        {"key": DRAFT, "value": "mlx-community/Josiefied-Qwen2.5-0.5B-abliterated"},
        {"key": LENGTH, "value": 5},
    ]
    mine.write_text(json.dumps({"operation": {"fields": held}, "load": {"fields": []}}))
    before = drafts(user)
    _, said = on_a_terminal(user, "n\n")
    offered = said.partition("drafts that are proven right (→ is chosen)\n")[2]
    assert offered.startswith("→ 1  josiefied-qwen2.5-0.5b-abliterated for")
    assert "  2  josiefied-qwen3-1.7b" in offered
    assert "1-4 takes that draft" in offered
    _, said = on_a_terminal(user, "2\nn\n")
    assert "\n  1  " in said.partition("\n→ 2  ")[0].rpartition("is chosen")[2]
    said = " ".join(said.split())
    assert "-abliterated: specd replaces it with mlx-community/Josiefied-Qwen3-1.7B" in said
    assert "not proven right" not in said
    done = user.specd("install", "--yes")
    assert done.returncode == 0, done.stderr
    assert "kept: set in LM Studio, 5 draft tokens" in " ".join(done.stdout.split())
    assert drafts(user) == before

    # LM Studio forgets it: this draft comes back, not the one that specd would have chosen.
    forgotten = json.loads(mine.read_text())
    forgotten["operation"]["fields"] = []
    mine.write_text(json.dumps(forgotten))
    until(lambda: drafts(user) == before, "the user's draft is put back")
    assert held[1] in json.loads(mine.read_text())["operation"]["fields"]


def test_two_apps_with_different_drafts_keep_them(user: User) -> None:
    for folder, name in (
        ("", "Josiefied-Qwen2.5-0.5B-abliterated"),
        ("apps/bionic", "Qwen3-4B-4bit"),
    ):
        internal = user.home / ".lmstudio" / folder / ".internal"
        mine = internal / "user-concrete-model-default-config" / f"{MAIN}.json"
        mine.parent.mkdir(parents=True, exist_ok=True)
        held = {"key": DRAFT, "value": f"mlx-community/{name}"}
        mine.write_text(json.dumps({"operation": {"fields": [held]}, "load": {"fields": []}}))
    told = on_a_terminal(user, "n\n")[1]
    said = " ".join(told.split())
    assert "-0.5B-abliterated; Bionic drafts with mlx-community/Qwen3-4B-4bit; it stays" in said
    assert "replaces" not in said
    number = re.search(r"(?m)^  (\d)  josiefied-qwen2.5-0.5b-abliterated for josie", told)
    assert number is not None
    said = " ".join(on_a_terminal(user, f"{number[1]}\nn\n")[1].split())
    assert "Bionic names the draft mlx-community/Qwen3-4B-4bit: specd replaces it with" in said
    assert "LM Studio names the draft" not in said


def test_another_draft_is_taken_by_its_number(user: User) -> None:
    code, said = on_a_terminal(user, "2\ny\n")
    assert code == 0
    offered = re.search(r"(?m)^  2  (\S+) for", said)
    assert offered is not None
    made = tomllib.loads((user.home / ".config" / "specd" / "specd.toml").read_text())
    assert made["pair"][0]["draft"] == offered[1]
    assert [value.rpartition("/")[2].lower() for value in drafts(user).values()] == [offered[1]]


def test_a_place_that_cannot_be_written_is_said_before_the_question(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # root may write everything
    for name in ("HOME", "SPECD_STATE_DIR", "PATH", "STANDIN_STATE"):
        monkeypatch.setenv(name, user.environment[name])
    monkeypatch.delenv("SPECD_CONFIG", raising=False)
    monkeypatch.setattr(install, "here", lambda: systemd)
    with pytest.raises(install._CannotInstall, match=r"cannot be written: make .* writable"):
        install._checked(systemd)


def test_uninstall_names_only_what_is_there(user: User) -> None:
    done = user.specd("uninstall")
    assert (done.returncode, done.stdout) == (0, "no service of specd's was installed\n")


def test_what_apply_alone_kept_is_purged_too(user: User) -> None:
    before = files(user)
    specd_toml = user.home / "specd.toml"
    user.environment["SPECD_CONFIG"] = str(specd_toml)
    specd_toml.write_text(f'[[pair]]\nmain = "{MAIN}"\n')
    assert user.specd("apply").returncode == 0
    assert files(user) != before
    done = user.specd("uninstall", "--restore-settings", "--purge")
    assert done.returncode == 0, done.stderr
    assert not (user.home / "state").exists()
    after = files(user)
    assert after.pop(Path("specd.toml"))
    assert after == before


def test_purging_spares_what_is_not_specds_in_the_same_folder(user: User) -> None:
    """As on macOS, where specd.toml lies in the same folder as what specd keeps."""
    state = user.home / "state"
    user.environment["SPECD_CONFIG"] = str(state / "specd.toml")
    assert user.specd("install", "--yes").returncode == 0
    until(lambda: user.specd("status").returncode in (0, 1), "the daemon answers")
    (state / "notes.txt").write_text("mine")
    done = user.specd("uninstall", "--purge")
    assert done.returncode == 0, done.stderr
    assert f"removed what specd kept in {state}" in done.stdout
    assert "LM Studio's settings stay as they are; nothing can undo them now" in done.stdout
    assert sorted(each.name for each in state.iterdir()) == ["notes.txt", "specd.toml"]


def test_a_loaded_main_comes_before_a_larger_one(user: User) -> None:
    """The proposal follows what the server says is loaded."""
    code = (
        "import http.server, json, sys\n"
        "class Answer(http.server.BaseHTTPRequestHandler):\n"
        "    def log_message(self, *a): pass\n"
        "    def do_GET(self):\n"
        "        body = json.dumps({'models': [{'type': 'llm', 'publisher': 'mlx-community',\n"
        "            'key': 'qwen3-4b', 'format': 'mlx', 'max_context_length': 40960,\n"
        "            'loaded_instances': [{'id': 'qwen3-4b', 'config': {'parallel': 1}}]}]})\n"
        "        self.send_response(200 if self.path == '/api/v1/models' else 404)\n"
        "        self.send_header('Content-Length', str(len(body)))\n"
        "        self.end_headers()\n"
        "        self.wfile.write(body.encode())\n"
        "server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Answer)\n"
        "print(server.server_port, flush=True)\n"
        "server.serve_forever()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        settings = user.home / ".lmstudio" / ".internal" / "http-server-config.json"
        settings.write_text(json.dumps({**json.loads(settings.read_text()), "port": port}))
        done = user.specd("install")
        server.kill()
    assert done.returncode == 2
    assert "pair            qwen3-4b-4bit ← josiefied-qwen3-1.7b" in done.stdout
    assert "(loaded now)" in " ".join(done.stdout.split())
    assert "there is no terminal to ask on" in done.stderr


def test_nothing_is_taken_away_under_a_daemon_that_was_started_by_hand(user: User) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "specd", "run"],
        env=user.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: user.specd("status").returncode in (0, 1), "the daemon answers")
        for flag in ("--purge", "--restore-settings"):
            done = user.specd("uninstall", flag)
            assert done.returncode == 1
            assert f"process {process.pid}" in done.stderr
        assert (user.home / "state").is_dir()
        assert user.specd("install", "--yes").returncode == 1
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.mark.parametrize("name", ["", "josiefied-qwen2.5-0.5b-abliterated"])
def test_no_draft_and_a_draft_by_its_short_name_are_not_replaced(user: User, name: str) -> None:
    folder = user.home / ".lmstudio" / ".internal" / "user-concrete-model-default-config"
    path = folder / f"{MAIN}.json"
    document = json.loads(path.read_text())
    document["operation"]["fields"].append({"key": DRAFT, "value": name})
    path.write_text(json.dumps(document))
    assert "names the draft" not in user.specd("install").stdout


def test_a_specd_toml_without_a_pair_is_proposed_one(user: User) -> None:
    """As after an install before any draft was downloaded; what it says otherwise stays."""
    specd_toml = user.home / ".config" / "specd" / "specd.toml"
    specd_toml.parent.mkdir(parents=True)
    specd_toml.write_text("# mine\n[agent]\nnotify = true\n")
    code, said = on_a_terminal(user, "y\n")
    assert code == 0
    assert "the most promising of" in " ".join(said.split())
    made = tomllib.loads(specd_toml.read_text())
    assert [pair["main"] for pair in made["pair"]] == [MAIN.rpartition("/")[2].lower()]
    assert made["agent"] == {"notify": True}
    assert specd_toml.read_text().startswith("# mine\n")
    assert drafts(user)


def test_without_a_draft_the_next_step_is_a_download_by_name(user: User) -> None:
    models = user.home / ".lmstudio" / "models"
    for model in models.glob("*/*"):
        if not str(model).endswith(MAIN):
            shutil.rmtree(model)
    done = user.specd("install", "--yes")
    assert done.returncode == 0, done.stderr
    following = " ".join(done.stdout.partition("\nNext\n")[2].split())
    wanted = (
        f"for {MAIN.rpartition('/')[2].lower()}, download in LM Studio: an MLX model of the qwen3"
    )
    assert following.startswith(wanted)
    assert "; then run `specd install` again " in following


def test_specd_toml_that_switches_speculation_off_is_left_alone(user: User) -> None:
    specd_toml = user.home / ".config" / "specd" / "specd.toml"
    specd_toml.parent.mkdir(parents=True)
    specd_toml.write_text("[speculation]\nenabled = false\n")
    done = user.specd("install", "--yes")
    assert done.returncode == 0, done.stderr
    assert specd_toml.read_text() == "[speculation]\nenabled = false\n"


def test_a_broken_file_is_told_with_its_remedy_before_the_question(user: User) -> None:
    defaults = user.home / ".lmstudio" / ".internal" / "user-concrete-model-default-config"
    (defaults / f"{MAIN}.json").write_text('{"preset": ')
    code, said = on_a_terminal(user, "n\n")
    assert code == 2
    told = " ".join(said.split("Go on?")[0].split())
    assert "the text ends early" in told
    assert "set the model's defaults in LM Studio: it writes them anew" in told


def test_a_read_only_file_is_told_before_the_question(user: User) -> None:
    (user.home / ".lmstudio" / "settings.json").chmod(0o444)
    code, said = on_a_terminal(user, "n\n")
    assert code == 2
    told = " ".join(said.split("Go on?")[0].split())
    assert "settings.json is read-only: make it writable (chmod u+w)" in told


def test_a_draft_that_does_not_fit_is_named_where_there_is_no_other(user: User) -> None:
    home = user.home / ".lmstudio"
    for folder in (home / "models" / "mlx-community").iterdir():
        if folder.name not in (MAIN.rpartition("/")[2], "Josiefied-Qwen2.5-0.5B-abliterated"):
            shutil.rmtree(folder)
    tokens = home / "models/mlx-community/Josiefied-Qwen2.5-0.5B-abliterated/tokenizer.json"
    document = json.loads(tokens.read_text())
    known = document["model"]["vocab"]
    one, other = (next(word for word in known if known[word] == number) for number in (40, 41))
    known[one], known[other] = 41, 40
    tokens.write_text(json.dumps(document))
    mine = home / ".internal" / "user-concrete-model-default-config" / f"{MAIN}.json"
    mine.parent.mkdir(parents=True, exist_ok=True)
    held = {"key": DRAFT, "value": "mlx-community/Josiefied-Qwen2.5-0.5B-abliterated"}
    mine.write_text(json.dumps({"operation": {"fields": [held]}, "load": {"fields": []}}))
    _, said = on_a_terminal(user, "n\n")
    told = " ".join(said.split())
    assert "0.5B-abliterated, which is not proven right (2 token ids mean different" in told
    assert "it stays" in told


def test_what_was_restored_is_named_as_the_next_step(user: User) -> None:
    assert user.specd("install", "--yes").returncode == 0
    assert user.specd("restore", "--all").returncode == 0
    done = user.specd("install", "--yes")
    assert "`specd apply` sets again what you restored" in done.stdout.partition("Next")[2]

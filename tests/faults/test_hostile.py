"""Files made by somebody who wishes harm: nothing is run, nothing is forged, nothing is followed."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from specd.config import Pair, Speculation
from specd.files import swap
from specd.lmstudio.model import Model
from specd.reconcile.desired import DesiredPair
from specd.reconcile.journal import Journal
from specd.reconcile.reconciler import DesiredState, Reconciler
from specd.reconcile.restore import restore
from tests.daemon import SETTINGS, Sandbox, switch, until

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
EVIL = [
    "esc\x1b[2J\x1b]0;owned\x07name",
    "line\n2026-11-24T10:00:00.000+00:00 ERROR   forged",
    "return\rname",
    "rtl\u202egnp.exe",
    "c1\x9b31mname",
    "<img src=x onerror=alert(1)>",
    "'; DROP TABLE runs; --",
    "$(touch owned)",
    "{{7*7}}%n%s",
]
DEFAULTS = Path(".internal") / "user-concrete-model-default-config"


# -- links -------------------------------------------------------------------------------------------


def pair(identifier: str) -> DesiredPair:
    def model(name: str) -> Model:
        path = Path("/models") / name
        publisher, _, repo = name.partition("/")
        return Model(repo, name, publisher, repo, path, "mlx", "llm", "qwen3", 8, "4bit", 9)

    asked = Pair(main=identifier, draft="publisher/draft")
    return DesiredPair(asked, "wanted", "", model(identifier), model("publisher/draft"), 4)


def reconciler(tmp_path: Path, *identifiers: str) -> Reconciler:
    made = Reconciler(Journal(tmp_path / "state"), by="test")
    made.set_desired(DesiredState(tmp_path / "home", Speculation(), tuple(map(pair, identifiers))))
    return made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    (made / "settings.json").write_text(json.dumps(SETTINGS))
    return made


def outside(tmp_path: Path) -> dict[Path, bytes]:
    """Everything that is neither in the home nor specd's own."""
    return {
        path: path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file() and not path.is_relative_to(tmp_path / "state")
        if not path.is_relative_to(tmp_path / "home")
    }


LINKED = ["file", "publisher's folder", "folder of all defaults", ".internal"]


@pytest.mark.parametrize("what", LINKED)
def test_no_link_is_followed_out_of_the_home(tmp_path: Path, home: Path, what: str):
    victim = tmp_path / "elsewhere" / "publisher"
    victim.mkdir(parents=True)
    (victim / "main.json").write_text('{"operation": {"fields": []}, "load": {"fields": []}}')
    (victim / "publisher").mkdir()
    link, target = {
        "file": (home / DEFAULTS / "publisher" / "main.json", victim / "main.json"),
        "publisher's folder": (home / DEFAULTS / "publisher", victim),
        "folder of all defaults": (home / DEFAULTS, victim.parent),
        ".internal": (home / ".internal", victim.parent),
    }[what]
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    before = outside(tmp_path)
    made = reconciler(tmp_path, "publisher/main")
    done = made.run(None)
    refused = [each for each in done.applied if each.problem]
    assert len(refused) == 1
    assert "leads out of" in (refused[0].problem or "")
    assert refused[0].permanent
    assert outside(tmp_path) == before
    assert switch(json.loads((home / "settings.json").read_text())) is True


def test_a_link_within_the_home_is_followed(tmp_path: Path, home: Path):
    real = home / "kept" / "main.json"
    real.parent.mkdir()
    real.write_text("{}")
    link = home / DEFAULTS / "publisher" / "main.json"
    link.parent.mkdir(parents=True)
    link.symlink_to(real)
    assert not [e for e in reconciler(tmp_path, "publisher/main").run(None).applied if e.problem]
    assert "publisher/draft" in real.read_text()
    assert link.is_symlink()


def test_the_settings_own_link_is_followed(tmp_path: Path, home: Path):
    dotfile = tmp_path / "dotfiles" / "lm.json"
    dotfile.parent.mkdir()
    (home / "settings.json").rename(dotfile)
    (home / "settings.json").symlink_to(dotfile)
    assert not [each for each in reconciler(tmp_path).run(None).applied if each.problem]
    assert switch(json.loads(dotfile.read_text())) is True


def test_taking_back_follows_no_link_that_was_put_there_since(tmp_path: Path, home: Path):
    reconciler(tmp_path, "publisher/main").run(None)
    written = home / DEFAULTS / "publisher" / "main.json"
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_bytes(written.read_bytes())
    written.unlink()
    written.symlink_to(elsewhere)
    before = outside(tmp_path)
    journal = Journal(tmp_path / "state")
    (problem,) = restore(journal, None).problems
    assert "specd does not follow" in problem
    assert outside(tmp_path) == before


def test_a_folder_that_becomes_a_link_between_check_and_write_is_not_followed(
    tmp_path: Path, home: Path
):
    folder = home / "folder"
    folder.mkdir()
    (folder / "main.json").write_bytes(b"old")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "main.json").write_bytes(b"old")

    def swapped(*_: object) -> None:
        folder.rename(home / "moved")
        folder.symlink_to(elsewhere)

    with pytest.raises(swap.SwapError):
        swap.update(folder / "main.json", lambda _: b"new", before_write=swapped, within=home)
    assert (elsewhere / "main.json").read_bytes() == b"old"
    assert [each.name for each in elsewhere.iterdir()] == ["main.json"]


@pytest.mark.parametrize(
    "name", ["../../../escaped", "/etc/escaped", "a/../../../../escaped", "..", "publisher/.."]
)
def test_a_name_that_leads_out_of_the_home_is_not_followed(tmp_path: Path, home: Path, name: str):
    before = outside(tmp_path)
    made = reconciler(tmp_path, f"publisher/{name}" if not name.startswith("/") else name)
    made.run(None)
    assert outside(tmp_path) == before
    inside = [path for path in home.rglob("*") if path.is_file()]
    assert all(path.resolve().is_relative_to(home) for path in inside)


# -- names and texts -----------------------------------------------------------------------------------


def model_folder(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3", **config}))
    (folder / "tokenizer.json").write_text("{}")
    header = json.dumps({"__metadata__": {"format": "mlx"}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


@pytest.fixture
def hostile(sandbox: Sandbox) -> Sandbox:
    """A home in which every name that specd shows was chosen to do harm."""
    models = sandbox.home / "models"
    for name in EVIL:
        model_folder(models / "publisher" / name.replace("/", "|"), model_type=name)
    (models / "link-out").symlink_to("/etc")
    (models / "publisher" / "circle").symlink_to(models)
    internal = sandbox.home / ".internal"
    internal.mkdir()
    cache = {name: [*EVIL, "../../etc/passwd"] for name in [*EVIL, "/etc/passwd", "../.."]}
    (internal / "draft-model-compatibility-cache.json").write_text(json.dumps(cache))
    (internal / "http-server-config.json").write_text(json.dumps({"port": EVIL[0]}))
    sandbox.save(**{EVIL[0]: EVIL[1], "downloadsFolder": str(models)})
    pairs = "".join(f"[[pair]]\nmain = {json.dumps(name)}\ndraft = 'auto'\n" for name in EVIL)
    sandbox.config.write_text(pairs)
    return sandbox


COMMANDS = [
    ("status",),
    ("diff",),
    ("pairs",),
    ("cache",),
    ("doctor",),
    ("restore", "--list"),
    ("logs",),
    ("logs", "--json"),
    ("metrics",),
    ("check", EVIL[0], EVIL[1]),
    ("explain", EVIL[0]),
    ("config", "show"),
    ("config", "set", f"pair.{EVIL[0]}.draft_tokens", "3"),
    ("status", f"--{EVIL[0]}"),
]


def test_no_name_reaches_the_terminal_the_log_or_the_report_as_it_is(hostile: Sandbox):
    hostile.start()
    until(hostile.applied, "the first reconcile")
    for words in COMMANDS:
        done = hostile.specd(*words)
        for said in (done.stdout, done.stderr):
            assert not CONTROL.search(said), (words, CONTROL.search(said))
            assert "Traceback" not in said, (words, said)
    log = (hostile.state / "logs" / "specd.log").read_text()
    assert not CONTROL.search(log)
    assert not re.search(r"^2026-11-24T10:00:00", log, re.MULTILINE)
    page = hostile.root / "report.html"
    assert hostile.specd("report", "-o", str(page)).returncode == 0
    html = page.read_text()
    assert not CONTROL.search(html)
    assert "<img src=x" not in html
    assert not (Path.cwd() / "owned").exists()


def test_a_broken_configuration_is_quoted_without_its_control_characters(sandbox: Sandbox):
    sandbox.config.write_text('[speculation]\nenabled = "\x1b[2J"\nesc\x1b = 1\n')
    sandbox.save()
    sandbox.start()
    until(lambda: sandbox.condition("ConfigValid")["status"] == "false", "it is said")
    for words in (("status",), ("config", "validate"), ("doctor",), ("logs",)):
        done = sandbox.specd(*words)
        assert not CONTROL.search(done.stdout + done.stderr), words


# -- code -----------------------------------------------------------------------------------------------


class Exploit:
    """What unpickling runs."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.mlx
def test_no_code_of_a_model_is_run(sandbox: Sandbox):
    mark = sandbox.root / "it ran"
    code = f"import os; os.mkdir({str(mark)!r})\n"
    for name in ("main", "draft"):
        folder = model_folder(
            sandbox.home / "models" / "publisher" / name,
            vocab_size=8,
            architectures=["Evil"],
            auto_map={
                "AutoConfig": "evil.Config",
                "AutoModelForCausalLM": "evil.Model",
                "AutoTokenizer": ["evil.Tokenizer", None],
            },
            model_file="evil.py",
            trust_remote_code=True,
        )
        (folder / "evil.py").write_text(code)
        (folder / "tokenization_evil.py").write_text(code)
        (folder / "chat_template.jinja").write_text("{{ ''.__class__.__mro__ }}{% raw %}")
        (folder / "tokenizer_config.json").write_text(
            json.dumps(
                {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}
            )
        )
        for pickled in ("pytorch_model.bin", "training_args.bin", "tokenizer.pkl", "model.pt"):
            (folder / pickled).write_bytes(pickle.dumps(Exploit(mark)))
    sandbox.save()
    sandbox.config.write_text("[[pair]]\nmain = 'main'\ndraft = 'draft'\n")
    assert sandbox.specd("check", "main", "draft", "--json").returncode in (1, 2)
    assert sandbox.specd("bench", "main", "draft", "--quick").returncode != 0
    assert not mark.exists()

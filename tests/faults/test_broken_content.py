"""Whatever stands in the files specd reads: it lives, says so, and writes over none of it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

from specd.bench.history import History
from specd.config import SpecdConfig, Speculation
from specd.files import jsonedit
from specd.reconcile import survey
from specd.reconcile.journal import Journal
from specd.reconcile.reconciler import DesiredState, Reconciler
from specd.reconcile.stores import Stores
from tests.conftest import Figures
from tests.daemon import SETTINGS, Sandbox, switch, until

SOUND = json.dumps(SETTINGS, indent=2, ensure_ascii=False).encode()
CUTS = [SOUND[:length] for length in range(len(SOUND))]
FLIPS = [
    bytes(byte ^ (1 << place % 8) if place == at else byte for place, byte in enumerate(SOUND))
    for at in range(len(SOUND))
]
ODD = [
    b"",
    b"\x00" * 4_096,
    b"\xef\xbb\xbf" + SOUND,
    SOUND.replace(b"\n", b"\r\n"),
    SOUND.replace(b'"en"', rb'"\ud800"'),
    SOUND.replace(b"14", b"1e999999"),
    SOUND.replace(b"14", b"9" * 5_000),
    SOUND.replace(b"14", b"NaN"),
    SOUND.replace(b'"fontSize"', b'"visualizeSpeculativeDecoding"'),
    SOUND.replace(b"false", b"[false]"),
    SOUND.replace(b"false", b'"false"'),
    SOUND.decode().encode("utf-16"),
    b"[" * 10_000 + b"]" * 10_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b"null",
    b'"text"',
    b"7",
    b"[]",
    b"{}",
]


def wanted_stands(document: object) -> bool:
    return (
        isinstance(document, dict)
        and switch(document) is True
        and isinstance(document.get("chat"), dict)
        and document["chat"].get("visualizeSpeculativeDecoding") is True
    )


def without_wanted(document: object) -> object:
    assert isinstance(document, dict)
    chat, presets = document.get("chat", {}), document.get("configPresetInclusiveness", {})
    own = ("configPresetInclusiveness", "chat")
    rest = {k: v for k, v in document.items() if k not in own}
    presets = {k: v for k, v in presets.items() if k != "speculativeDecoding"}
    return rest, presets, {k: v for k, v in chat.items() if k != "visualizeSpeculativeDecoding"}


def test_settings_however_broken_are_restored_or_left_byte_for_byte(root: Path, figures: Figures):
    home = root / "home"
    home.mkdir()
    settings = home / "settings.json"
    reconciler = Reconciler(Journal(root / "state"), by="test")
    reconciler.set_desired(DesiredState(home, Speculation(), ()))
    left = restored = 0
    for content in (*CUTS, *FLIPS, *ODD):
        settings.write_bytes(content)
        reconciler.run({settings}, force=True)
        now = settings.read_bytes()
        if now == content:
            left += 1
            understood = parsed(content)
            assert settings in reconciler.blocked or wanted_stands(understood)
        else:
            restored += 1
            assert wanted_stands(jsonedit.parse(now))
            assert without_wanted(jsonedit.parse(now)) == without_wanted(jsonedit.parse(content))
    figures(points=left + restored, restored=restored, left_alone=left)
    assert restored > 10
    assert left > len(CUTS)


def parsed(content: bytes) -> object:
    try:
        return jsonedit.parse(content)
    except jsonedit.NotUnderstood:
        return None


def test_a_running_daemon_lives_through_it_in_bounded_memory(sandbox: Sandbox, figures: Figures):
    sandbox.running()
    before = sandbox.resident()
    for content in (*CUTS[::40], *FLIPS[::40], *ODD):
        sandbox.settings.write_bytes(content)
    with sandbox.settings.open("wb") as file:
        for _ in range(100):
            file.write(b"[" * (1 << 20))
    until(
        lambda: "more than 16 MiB" in sandbox.condition("SettingsApplied")["message"],
        "a hundred megabytes are said",
    )
    with sandbox.settings.open("wb") as file:
        file.write(b'{"a": "' + b"x" * (15 << 20))
    until(
        lambda: "line 1" in sandbox.condition("SettingsApplied")["message"],
        "fifteen megabytes are said",
    )
    sandbox.save()
    until(sandbox.applied, "restored")
    grown = sandbox.resident() - before
    figures(grown_mb=grown / 2**20)
    assert grown < 100 * 2**20
    assert "a fault in specd" not in sandbox.said()


HOME_FILES = [
    ".internal/draft-model-compatibility-cache.json",
    ".internal/http-server-config.json",
    ".internal/user-concrete-model-default-config/publisher/main.json",
    "conversations/1.conversation.json",
    "models/publisher/main/config.json",
    "models/publisher/main/tokenizer.json",
    "models/publisher/main/model.safetensors",
    "models/publisher/main/main.gguf",
    "server-logs/2026-11/2026-11-24.1.log",
]
OWN_FILES = [
    "holds.json",
    "bionic-log.json",
    "server-log.json",
    "conditions.json",
    "models.json",
    "tokenizers/tokenizers.db",
    "history.db",
    "journal/entries.jsonl",
    "last-good.toml",
    "validated.json",
]
BROKEN = {
    "nothing": b"",
    "nul": b"\x00" * 4_096,
    "not utf-8": b"\xff\xfe\x00\xd8" * 100,
    "deep": b"[" * 100_000,
    "wrong": b'[{"version": {}, "id": [], "messages": 7}]',
    "huge number": b'{"v": ' + b"9" * 10_000 + b"}",
    "long": b'"' + b"x" * (5 << 20),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("nul", "wrong") else pytest.mark.nightly)
        for name in BROKEN
    ],
)
def test_a_daemon_starts_and_works_whatever_stands_in_every_file(sandbox: Sandbox, name: str):
    for place, files in ((sandbox.home, HOME_FILES), (sandbox.state, OWN_FILES)):
        for file in files:
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            (place / file).write_bytes(BROKEN[name])
    sandbox.state.chmod(0o700)
    sandbox.save()
    sandbox.config.write_text("[[pair]]\nmain = 'main'\ndraft = 'auto'\n")
    theirs = {file: (sandbox.home / file).read_bytes() for file in HOME_FILES}
    sandbox.start()
    until(sandbox.applied, "the first reconcile")
    for words in (("status",), ("restore", "--list"), ("pairs",)):
        done = sandbox.specd(*words)
        assert "Traceback" not in done.stderr, (words, done.stderr)
    assert "Traceback" not in sandbox.said()
    assert "a fault in specd" not in sandbox.said()
    for file, content in theirs.items():
        assert (sandbox.home / file).read_bytes() == content, file
    (aside,) = sandbox.state.glob("server-log.json.broken-*")
    assert aside.read_bytes() == BROKEN[name]
    assert "server-log.json was broken" in sandbox.said()


def cut_or_flip(path: Path, sound: bytes, at: int) -> None:
    """Cut the file at a byte, or flip a bit of it, by turns."""
    if at % 2:
        path.write_bytes(sound[:at])
    else:
        flipped = bytearray(sound)
        flipped[at] ^= 1 << at // 2 % 8
        path.write_bytes(bytes(flipped))


def test_specd_toml_cut_or_flipped_anywhere_leaves_the_last_good_one_in_force(
    root: Path, figures: Figures
):
    path, state = root / "specd.toml", root / "state"
    state.mkdir()
    sound = b'[speculation]\nenabled = true\nui_level = 2\n[[pair]]\nmain = "a"\ndraft = "b"\n'
    last = SpecdConfig(speculation=Speculation(ui_level=7))
    refused = 0
    for at in range(len(sound)):
        cut_or_flip(path, sound, at)
        held = path.read_bytes()
        read, problem = survey.configuration(path, state, last)
        if problem is not None:
            refused += 1
            assert read is last
            assert "\n" not in problem.splitlines()[0]
        assert path.read_bytes() == held
    figures(points=len(sound), refused=refused)
    assert refused > len(sound) / 3


def test_a_history_cut_or_flipped_anywhere_stops_nobody(root: Path, figures: Figures):
    path = root / "history.db"
    made = History(path)
    made.recent(1)
    made.close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    sound = path.read_bytes()
    step = len(sound) // 50
    for at in range(0, len(sound), step):
        for left in root.glob("history.db*"):
            left.unlink()
        cut_or_flip(path, sound, at)
        opened = History(path)
        with contextlib.suppress(sqlite3.Error, OSError):  # what the daemon guards against
            opened.recover()
            opened.recent(5)
        opened.close()
    figures(points=len(range(0, len(sound), step)))


def test_kept_conditions_and_held_values_of_any_shape_are_passed_over(root: Path):
    for content in (*BROKEN.values(), *ODD, b'[{"type": []}]', b'[["a"]]', b'[{"type": "x"}]'):
        for name in ("conditions.json", "holds.json"):
            (root / name).write_bytes(content)
        stores = Stores.open(root)
        assert stores.last_conditions() == ()
        assert stores.journal.held() == frozenset()
        stores.recover()
        assert content in (b"[]", b"{}") or content == (root / "holds.json").read_bytes()
        stores.close()

"""Tokens lie in the files and variables that specd reads; they are found nowhere it writes."""

from __future__ import annotations

import json
from pathlib import Path

import psutil

from tests.conftest import Figures
from tests.daemon import SETTINGS, Sandbox, switch, until

TOKEN = "tOkEn-PlAnTeD-in-{}-0123456789"
PLACES = (
    "settings",
    "settings-nested",
    "settings-key",
    "defaults",
    "cache",
    "server-config",
    "conversation",
    "server-log",
    "specd-toml",
    "variable",
    "environment",
    "preset",
)
PLANTED = {place: TOKEN.format(place) for place in PLACES}
STEM = "tOkEn-PlAnTeD"


def plant(sandbox: Sandbox) -> None:
    """A token in everything specd reads, where LM Studio or the user might keep one."""
    sandbox.save(
        hfDownloadToken=PLANTED["settings"],
        plugins={"list": [{"apiKey": PLANTED["settings-nested"]}]},
        **{PLANTED["settings-key"]: 1},
    )
    internal = sandbox.home / ".internal"
    defaults = internal / "user-concrete-model-default-config" / "publisher" / "main.json"
    defaults.parent.mkdir(parents=True)
    field = {"key": "llm.prediction.systemPrompt", "value": PLANTED["defaults"]}
    defaults.write_text(json.dumps({"operation": {"fields": [field]}, "load": {"fields": []}}))
    (internal / "draft-model-compatibility-cache.json").write_text(
        json.dumps({"token": PLANTED["cache"]})
    )
    (internal / "http-server-config.json").write_text(
        json.dumps({"port": 1, "apiKey": PLANTED["server-config"]})
    )
    chats = sandbox.home / "conversations"
    chats.mkdir()
    step = {"type": "contentBlock", "content": [{"type": "text", "text": PLANTED["conversation"]}]}
    (chats / "1.conversation.json").write_text(
        json.dumps(
            {
                "name": PLANTED["conversation"],
                "messages": [{"versions": [{"type": "multiStep", "steps": [step]}]}],
            }
        )
    )
    logs = sandbox.home / "server-logs" / "2026-11"
    logs.mkdir(parents=True)
    (logs / "2026-11-24.1.log").write_text(f"Authorization: Bearer {PLANTED['server-log']}\n")
    presets = sandbox.home / "config-presets"
    presets.mkdir()
    (presets / "mine.preset.json").write_text(json.dumps({"apiKey": PLANTED["preset"]}))
    sandbox.env |= {
        "MY_TOKEN": PLANTED["variable"],
        "HF_TOKEN": PLANTED["environment"],
        "LM_API_TOKEN": PLANTED["environment"],
    }
    sandbox.config.write_text(
        f'# {PLANTED["specd-toml"]}\n[lmstudio]\ntoken_env = "MY_TOKEN"\n'
        '[[pair]]\nmain = "main"\ndraft = "auto"\n'
    )


COMMANDS = [
    ("status",),
    ("status", "--json"),
    ("pairs",),
    ("cache",),
    ("check", "main", "draft"),
    ("doctor",),
    ("restore", "--list"),
    ("restore", "--list", "--json"),
    ("logs",),
    ("logs", "--json"),
    ("observe",),
    ("history",),
    ("metrics",),
    ("explain", "SettingsApplied"),
    ("explain", "ServerReachable"),
    ("config", "show"),
    ("config", "validate"),
]


def test_no_token_is_found_in_anything_that_is_said_or_kept(sandbox: Sandbox, figures: Figures):
    plant(sandbox)
    sandbox.start()
    until(sandbox.applied, "the first reconcile")
    for broken in (
        b'{"hfDownloadToken": "%s", ' % PLANTED["settings"].encode(),
        b'{"a": NaN, "hfDownloadToken": "%s"}' % PLANTED["settings"].encode(),
        b'["%s"]' % PLANTED["settings"].encode(),
        b'{"chat": "%s"}' % PLANTED["settings"].encode(),
        b'{"hfDownloadToken": %s}' % PLANTED["settings"].encode(),
    ):
        sandbox.settings.write_bytes(broken)
        until(lambda: sandbox.condition("SettingsApplied")["status"] == "false", "it is said")
        assert STEM not in json.dumps(sandbox.status())
        plant_settings(sandbox)
        until(sandbox.applied, "restored")
    sandbox.config.write_text(f'[lmstudio]\ntoken_env = ["{PLANTED["specd-toml"]}"]\n')
    until(lambda: sandbox.condition("ConfigValid")["status"] == "false", "it is said")
    looked_through = said_by_commands(sandbox)
    assert sandbox.process is not None
    for process in (sandbox.process.pid, *children(sandbox.process.pid)):
        arguments = Path(f"/proc/{process}/cmdline")
        if arguments.exists():
            assert STEM.encode() not in arguments.read_bytes()
    page = sandbox.root / "report.html"
    assert sandbox.specd("report", "-o", str(page)).returncode == 0
    assert STEM not in page.read_text()
    metrics = sandbox.root / "metrics.prom"
    assert sandbox.specd("metrics", "-o", str(metrics)).returncode == 0
    assert STEM not in metrics.read_text()
    files = kept(sandbox)
    figures(tokens=len(PLANTED), outputs=looked_through, files=files)


def plant_settings(sandbox: Sandbox) -> None:
    sandbox.save(hfDownloadToken=PLANTED["settings"])


def said_by_commands(sandbox: Sandbox) -> int:
    """Run what only tells; nothing of it holds a token."""
    for words in COMMANDS:
        done = sandbox.specd(*words)
        assert STEM not in done.stdout, words
        assert STEM not in done.stderr, words
    return len(COMMANDS)


def children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def kept(sandbox: Sandbox) -> int:
    """Everything under the state: readable by the owner alone, and without a token.

    The journal alone keeps what stood in settings.json, compressed, to be able to bring it back;
    the copy of specd.toml is the user's own file.
    """
    looked_at = 0
    for path in sandbox.state.rglob("*"):
        if not path.is_file():
            continue
        assert path.stat().st_mode & 0o077 == 0, path
        if path.name != "last-good.toml":
            assert STEM.encode() not in path.read_bytes(), path
        looked_at += 1
    assert STEM not in (sandbox.root / "daemon.out").read_text()
    return looked_at


def test_a_value_that_specd_replaces_is_not_quoted_if_it_was_never_its_own(sandbox: Sandbox):
    # Somebody may have put a token where specd keeps a switch; it is journaled, and only there.
    content = {
        **SETTINGS,
        "configPresetInclusiveness": {"speculativeDecoding": PLANTED["settings"]},
    }
    sandbox.settings.write_text(json.dumps(content))
    sandbox.start()
    until(lambda: switch(sandbox.read()) is True, "it is replaced")
    assert (sandbox.state / "journal" / "entries.jsonl").stat().st_mode & 0o077 == 0
    assert STEM not in sandbox.said()

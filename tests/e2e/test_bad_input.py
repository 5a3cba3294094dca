"""Whatever stands in LM Studio's home: a condition says what and what to do, and nothing is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench.seed_home import seed_home
from tests.lmstudio import homes

from .conftest import Sandbox, until


def false(sandbox: Sandbox, kind: str) -> dict[str, str]:
    """The condition, once it is false."""

    def look() -> dict[str, str] | None:
        found = sandbox.condition(kind)
        return found if found["status"] == "false" else None

    found: dict[str, str] = until(look, f"{kind} is false")
    return found


def test_without_a_home_it_waits_and_says_where_it_looked(sandbox: Sandbox):
    sandbox.home.rmdir()
    sandbox.start()
    found = false(sandbox, "HomeFound")
    assert str(sandbox.home) in found["message"]
    assert "lmstudio.home" in found["remedy"]
    sandbox.home.mkdir()
    sandbox.save()
    until(sandbox.applied, "it begins once the home is there")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"   \n",
        b"{",
        b"null",
        b"[]",
        b'"settings"',
        b"{'single': 1}",
        b'{"a": 1, "a": 2}',
        b'{"chat": [1, 2]}',
        b'{"chat": {"visualizeSpeculativeDecoding": {}}}',
        b'{"configPresetInclusiveness": {"speculativeDecoding": ["on"]}}',
        b'\xff\xfe{"a": 1}',
        b'{"n": NaN}',
    ],
    ids=repr,
)
def test_settings_that_are_not_understood_are_named_and_not_touched(
    sandbox: Sandbox, content: bytes
):
    sandbox.settings.write_bytes(content)
    sandbox.start()
    found = false(sandbox, "SettingsApplied")
    assert str(sandbox.settings) in found["message"]
    assert sandbox.settings.read_bytes() == content
    sandbox.save()
    until(sandbox.applied, "it goes on once the file is whole")


def test_a_directory_where_settings_should_be_is_named(sandbox: Sandbox):
    sandbox.settings.mkdir()
    sandbox.start()
    assert str(sandbox.settings) in false(sandbox, "SettingsApplied")["message"]
    sandbox.settings.rmdir()
    sandbox.save()
    until(sandbox.applied, "it goes on once a file is there")


def test_half_downloaded_models_are_passed_over_and_the_reason_is_told(sandbox: Sandbox):
    homes.lay_out(sandbox.home)
    models = sandbox.home / "models"
    half = models / "someone" / "Half-4bit"
    half.mkdir(parents=True)
    (half / "model.safetensors.part").write_bytes(b"\0" * 64)
    hollow = homes.mlx_model(models, "someone/Hollow-4bit")
    (hollow / "tokenizer.json").write_bytes(b"")
    bare = homes.mlx_model(models, "someone/Bare-4bit")
    (bare / "config.json").unlink()
    sandbox.config.write_text('[[pair]]\nmain = "hollow"\ndraft = "qwen3-4b"\n')
    sandbox.start()
    until(sandbox.applied, "settings are kept all the same")
    found = false(sandbox, "PairsConfigured")
    assert "hollow" in found["message"].lower()
    assert not homes.defaults_path(sandbox.home, "someone/Hollow-4bit").exists()


def test_a_pair_of_models_that_are_not_there_lists_the_nearest(sandbox: Sandbox):
    homes.lay_out(sandbox.home)
    sandbox.config.write_text('[[pair]]\nmain = "josiefied-qwen3-9b"\n')
    sandbox.start()
    found = false(sandbox, "PairsConfigured")
    assert found["reason"] == "ModelMissing"
    assert "Josiefied-Qwen3-8B-abliterated-v1-4bit" in found["message"]


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'{"operation": {"fields": {}}}', b'{"operation": 7}'],
    ids=repr,
)
def test_a_models_own_defaults_that_are_not_understood_are_not_touched(
    sandbox: Sandbox, content: bytes
):
    sandbox.home.rmdir()
    seed_home(sandbox.home)
    defaults = homes.defaults_path(sandbox.home, homes.SEED_MAIN)
    defaults.write_bytes(content)
    sandbox.config.write_text(
        f'[[pair]]\nmain = "{homes.SEED_MAIN}"\ndraft = "{homes.SEED_DRAFT}"\n'
    )
    sandbox.start()
    until(lambda: defaults.name in sandbox.condition("PairsConfigured")["message"], "it is named")
    assert sandbox.condition("PairsConfigured")["status"] == "false"
    assert defaults.read_bytes() == content
    until(sandbox.applied, "settings.json does not wait for it")


@pytest.mark.parametrize("content", [b"", b"{", b"7", b'{"x": [[[[]]]]}', b"\x00\x01"], ids=repr)
def test_whatever_the_compatibility_cache_holds_is_an_opinion_at_most(
    sandbox: Sandbox, content: bytes
):
    cache = sandbox.home / ".internal" / "draft-model-compatibility-cache.json"
    cache.parent.mkdir()
    cache.write_bytes(content)
    sandbox.save()
    sandbox.start()
    until(sandbox.applied, "settings are kept all the same")
    assert sandbox.condition("CacheAgrees")["status"] in ("unknown", "true")
    assert cache.read_bytes() == content


def test_a_read_only_file_is_reported_once_and_not_retried(sandbox: Sandbox):
    sandbox.save()
    sandbox.settings.chmod(0o444)
    content = sandbox.settings.read_bytes()
    sandbox.start()
    found = false(sandbox, "SettingsApplied")
    assert found["reason"] == "ReadOnly"
    assert "chmod u+w" in found["message"]
    assert sandbox.settings.read_bytes() == content
    assert sandbox.said().count("is read-only; make it writable") <= 2, "the log, the condition"


def test_a_configuration_broken_from_the_start_means_defaults_and_says_which_line(
    sandbox: Sandbox,
):
    sandbox.config.write_text("[speculation]\nvisualise = true\n")
    sandbox.save()
    sandbox.start()
    found = false(sandbox, "ConfigValid")
    assert f"{sandbox.config}:2" in found["message"] or "line 2" in found["message"]
    assert "visualize" in found["message"]
    until(sandbox.applied, "the defaults are in force")


def test_secrets_beside_specds_values_are_never_repeated(sandbox: Sandbox):
    sandbox.save()
    sandbox.start()
    until(sandbox.applied, "applied")
    sandbox.settings.write_text(json.dumps({"hfDownloadToken": "hf_secret_token", "chat": 1}))
    # At first specd may see half of this write.
    until(
        lambda: "chat is a number" in sandbox.condition("SettingsApplied")["message"],
        "the fault is named",
    )
    for path in (sandbox.state / "logs").iterdir():
        assert "hf_secret_token" not in path.read_text()
    assert "hf_secret_token" not in json.dumps(sandbox.status())


def private(directory: Path) -> bool:
    return all((each.stat().st_mode & 0o077) == 0 for each in [directory, *directory.rglob("*")])


def test_everything_specd_keeps_is_its_users_alone(sandbox: Sandbox):
    old = os.umask(0)
    try:
        sandbox.save()
        sandbox.start()
        until(sandbox.applied, "applied")
    finally:
        os.umask(old)
    assert private(sandbox.state)

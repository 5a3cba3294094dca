"""What a start finds out about specd.toml, and when it does so without pydantic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from specd import config
from specd.reconcile import survey

READ = """
import sys
from pathlib import Path
from specd.reconcile import survey
survey.last_good(Path(sys.argv[2]))  # as the daemon does
read, problem = survey.configuration(Path(sys.argv[1]), Path(sys.argv[2]))
print("pydantic" in sys.modules, problem is not None, read)
"""
TEXT = """
[lmstudio]
server = "http://localhost:4321"
[[pair]]
main = "a"
draft_tokens = 5
[[pair]]
main = "b"
[benchmark]
min_speedup = 2
"""


@pytest.fixture
def managed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECD_MANAGED_CONFIG", str(tmp_path / "managed.toml"))
    return tmp_path / "managed.toml"


def test_only_a_text_that_was_not_the_last_valid_one_is_validated(tmp_path: Path, managed: Path):
    path = tmp_path / "specd.toml"

    def start() -> tuple[bool, bool, str]:
        """Whether it validated, whether it found a fault, and the configuration."""
        words = [sys.executable, "-c", READ, str(path), str(tmp_path)]
        out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        validated, faulty, read = out.strip().split(" ", 2)
        return validated == "True", faulty == "True", read

    assert start() == (True, False, str(config.SpecdConfig()))  # there is no file
    assert start() == (False, False, str(config.SpecdConfig()))
    path.write_text(TEXT)
    expected = str(config.read(path).config)
    assert start() == (True, False, expected)
    assert start() == (False, False, expected)
    managed.write_text("[agent]\nnotify = true\n")
    merged = str(config.read(path).config)
    assert "notify=True" in merged
    assert [start(), start()] == [(True, False, merged), (False, False, merged)]
    path.write_text(TEXT.replace("draft_tokens = 5", "draft_tokens = 500"))
    assert start() == (True, True, merged)
    path.write_text(TEXT.replace("draft_tokens = 5", "draft_tokens = 6"))
    assert start() == (True, False, merged.replace("draft_tokens=5", "draft_tokens=6"))


@pytest.mark.parametrize("kept", ["[]", "5", "{}", '{"of": 1}', '{"of": "{digest}", "config": 5}'])
def test_a_damaged_copy_is_not_used(tmp_path: Path, managed: Path, kept: str):
    path = tmp_path / "specd.toml"
    path.write_text(TEXT)
    expected = survey.configuration(path, tmp_path)
    copy = tmp_path / survey.VALIDATED
    sound = copy.read_text()
    copy.write_text(kept.replace("{digest}", sound.split('"')[3]))
    assert survey.configuration(path, tmp_path) == expected
    assert copy.read_text() == sound
    assert not managed.exists()

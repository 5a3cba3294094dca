"""llama.cpp itself, started and asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from specd.llamacpp import server
from specd.llamacpp.engine import LlamaCpp, find
from specd.llamacpp.server import DidNotStart, Load, NoAnswer, Server
from tests.llamacpp import gguf_models

pytest.importorskip("xllamacpp", reason="specd[gguf] is not installed")


@pytest.fixture(scope="module")
def engine() -> LlamaCpp:
    found = find()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf")


@pytest.fixture(scope="module")
def main(folder: Path) -> Path:
    return gguf_models.write(folder / "main.gguf", layers=2)


def test_it_answers_and_says_what_it_took(engine: LlamaCpp, main: Path) -> None:
    with Server(engine, Load(main)) as running:
        assert running.context == 2048  # of the 4096 that were asked for: the model has no more
        ids = running.tokenize("the thing")
        assert ids[0] == gguf_models.BEGIN
        first = running.generate(ids, 24)
        assert (first.prompt_tokens, first.kept) == (len(ids), 0)
        assert len(first.tokens) == 24
        gap = running.logit_difference(ids, (1, 2))
        assert gap > 0
        assert (first.drafted, first.accepted) == (0, 0)
        assert first.decode_s > 0
        again = running.generate([*ids, *first.tokens, *ids], 8)
        assert again.kept >= len(ids)
        with pytest.raises(NoAnswer):
            running.generate([1] * 5000, 8)


def test_a_difference_is_measured_at_once_and_token_by_token(engine: LlamaCpp, main: Path) -> None:
    with Server(engine, Load(main)) as running:
        prompt = list(running.tokenize("the thing"))
        answer = running.generate(prompt, 12, keep=False).tokens
        by_itself = [running.difference_after(prompt, count) for count in range(12)]
        at_once = [running.logit_difference([*prompt, *answer[:n]], (1, 2)) for n in range(12)]
    measured = [pair for pair in zip(by_itself, at_once, strict=True) if pair[0] is not None]
    assert measured
    assert all(one == pytest.approx(other, abs=0.05) for one, other in measured)


def test_a_draft_drafts_and_the_text_is_the_same(
    engine: LlamaCpp, main: Path, folder: Path
) -> None:
    poor = gguf_models.write(folder / "poor.gguf", seed=2)
    prompt = "the thing in the string"
    with Server(engine, Load(main)) as running:
        alone = running.generate(prompt, 32)
    for draft in (main, poor):
        with Server(engine, Load(main, "draft-simple", draft, 3)) as running:
            paired = running.generate(prompt, 32)
        assert paired.tokens == alone.tokens
        assert paired.drafted >= paired.accepted
        if draft is main:
            assert paired.drafted == paired.accepted > 20


def test_a_reasoning_model_thinks_only_where_it_may(engine: LlamaCpp, folder: Path) -> None:
    template = "{{ messages[0].content }}{% if not enable_thinking %}<think></think>{% endif %}"
    reasoning = gguf_models.write(folder / "reasoning.gguf", chat_template=template)
    with Server(engine, Load(reasoning)) as running:
        assert running.chat("the thing") == "the thing"
        assert running.chat("the thing", thinks=False) == "the thing<think></think>"


def test_a_port_that_another_server_took_meanwhile_is_left_to_it(
    engine: LlamaCpp, main: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = server._free_port()
    ports = iter((free, free, server._free_port()))
    monkeypatch.setattr(server, "_free_port", lambda: next(ports))
    with Server(engine, Load(main)) as one, Server(engine, Load(main)) as other:
        assert one.tokenize("the thing") == other.tokenize("the thing")
    assert next(ports, None) is None


def test_what_it_cannot_load_is_said_in_its_own_words(engine: LlamaCpp, folder: Path) -> None:
    with pytest.raises(DidNotStart, match=r"missing\.gguf"):
        Server(engine, Load(folder / "missing.gguf"))


def test_the_one_that_lm_studio_installed_is_taken_where_it_starts(tmp_path: Path) -> None:
    broken, sound = tmp_path / "llama.cpp-a-2.0.0", tmp_path / "llama.cpp-a-1.9.0"
    for each, script in ((broken, "exit 1"), (sound, "exit 0")):
        each.mkdir()
        (each / "llama-server").write_text(f"#!/bin/sh\n{script}\n")
        (each / "llama-server").chmod(0o755)
    found = find([broken / "llama-server", sound / "llama-server"])
    assert found == LlamaCpp("llama.cpp-a-1.9.0", (str(sound / "llama-server"),))
    packaged = find([broken / "llama-server"])
    assert packaged is not None
    assert packaged.name.startswith("xllamacpp ")

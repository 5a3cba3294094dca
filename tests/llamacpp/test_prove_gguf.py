"""GGUF pairs proven with llama.cpp itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from specd.llamacpp.engine import LlamaCpp, find
from specd.llamacpp.server import Load, Server
from specd.lmstudio.chat_settings import ChatSettings
from specd.tokenizer import fingerprint
from specd.tokenizer.engines import llama_cpp
from specd.tokenizer.prove_gguf import TIE, _logit_differences, validate
from specd.worker.client import Limits, run_task
from tests.llamacpp import gguf_models

pytest.importorskip("xllamacpp", reason="specd[gguf] is not installed")


@pytest.fixture
def engine() -> LlamaCpp:
    found = find()
    assert found is not None
    return found


def test_a_pair_is_proven_and_says_what_was_run(tmp_path: Path, engine: LlamaCpp) -> None:
    main = gguf_models.write(tmp_path / "main.gguf", layers=2)
    draft = gguf_models.write(tmp_path / "draft.gguf", seed=2)
    proof = validate(main, draft, engine)
    assert (proof.kind, proof.whole) == (None, True)
    assert "of 3 answers with the draft equal those without it" in proof.words
    assert "tokens compared" in proof.words
    assert proof.words.startswith("xllamacpp ")
    drawn = "at temperature 0.8 (top-k 40, top-p 0.95, min-p 0.05), with equal seeds, "
    assert drawn in proof.words
    assert "top-k" not in validate(main, draft, engine, settings=ChatSettings(0.0)).words


@pytest.mark.parametrize(
    "architecture",
    [
        "nanbeige",
        *(
            pytest.param(each, marks=pytest.mark.nightly)
            for each in ("internlm2", "exaone", "xverse", "minicpm", "ernie4_5", "deci", "baichuan",
                         "gemma2", "mistral3", "smollm3", "qwen2", "lfm2")
        ),
    ],
)  # fmt: skip
def test_with_further_architectures_too_the_text_is_what_the_rules_say(
    tmp_path: Path, engine: LlamaCpp, architecture: str
) -> None:
    main, draft = (
        gguf_models.write(tmp_path / f"{name}.gguf", architecture=architecture, layers=layers)
        for name, layers in (("main", 4), ("draft", 2))
    )
    opinion = llama_cpp.on_tokens(fingerprint.read(main), fingerprint.read(draft))
    assert (opinion.accepts, opinion.text) == (True, "same")
    assert validate(main, draft, engine).kind is None


def test_the_users_sampling_reaches_llama_cpp(tmp_path: Path, engine: LlamaCpp) -> None:
    main = gguf_models.write(tmp_path / "main.gguf", layers=2)
    prompt = [50, 60, 70, 80]
    with Server(engine, Load(main)) as server:
        best = server.generate(prompt, 24).tokens
        narrow = server.generate(prompt, 24, temperature=5.0, seed=1, narrowed={"top_k": 1})
        assert narrow.tokens == best
        assert server.generate(prompt, 24, temperature=5.0, seed=1).tokens != best


def test_the_users_types_of_kv_cache_reach_llama_cpp(tmp_path: Path, engine: LlamaCpp) -> None:
    main = gguf_models.write(tmp_path / "main.gguf", layers=2, heads=1)
    draft = gguf_models.write(tmp_path / "draft.gguf", seed=2)
    plain = validate(main, draft, engine)
    coarse = validate(main, draft, engine, settings=ChatSettings(k_type="q4_0"))
    assert (plain.kind, coarse.kind) == (None, None)
    assert "a KV cache of q4_0 and f16" in coarse.words
    prompt = list(range(40, 200))
    answers = {}
    for kinds in (("f16", "f16"), ("q4_0", "f16")):
        with Server(engine, Load(main, kv_types=kinds)) as server:
            answers[kinds] = server.generate(prompt, 32).tokens
    assert len(set(answers.values())) == 2


def test_rounding_is_measured_where_answers_part(tmp_path: Path, engine: LlamaCpp) -> None:
    """A main whose best token is far ahead is not excused by rounding."""
    main = gguf_models.write(tmp_path / "main.gguf", layers=2)
    prompt = [50, 60, 70, 80]
    with Server(engine, Load(main)) as server:
        said = server.generate(prompt, 24).tokens
        two = said[0], said[1]
        ahead = [server.logit_difference([*prompt, *said[:at]], two) for at in range(24)]
    at = ahead.index(max(ahead))
    ((gap, rounding),) = _logit_differences(
        Load(main), engine, [(prompt, said[:at], two)], lambda _: None
    )
    assert gap == pytest.approx(ahead[at], abs=TIE)
    assert TIE <= rounding < gap


def test_rounding_decides_between_parts_of_characters_too(tmp_path: Path, engine: LlamaCpp) -> None:
    """llama.cpp reports no probabilities of them, and this pair parts at one of them."""
    main = gguf_models.write(tmp_path / "main.gguf", layers=12)
    proof = validate(main, gguf_models.write(tmp_path / "draft.gguf"), engine)
    assert proof.kind is None, proof.refusal


def test_a_main_or_a_draft_with_a_small_context_is_proven(tmp_path: Path, engine: LlamaCpp) -> None:
    draft = gguf_models.write(tmp_path / "draft.gguf", seed=2, context=256)
    main = gguf_models.write(tmp_path / "main.gguf", layers=2, context=512)
    proof = validate(main, draft, engine)
    assert proof.kind is None, proof.refusal
    (tokens,) = re.findall(r"one of (\d+) tokens", proof.words)
    assert 256 < int(tokens) < 512


def test_a_draft_that_llama_cpp_refuses_is_unsupported(tmp_path: Path, engine: LlamaCpp) -> None:
    main = gguf_models.write(tmp_path / "main.gguf")
    draft = gguf_models.write(tmp_path / "draft.gguf", gguf_models.TOKENS[::-1])
    proof = validate(main, draft, engine)
    assert proof.kind == "unsupported"
    assert proof.refusal == "llama.cpp loads the main and does not draft with this draft"


def test_a_file_that_llama_cpp_cannot_load_is_unsupported(tmp_path: Path, engine: LlamaCpp) -> None:
    main = gguf_models.write(tmp_path / "main.gguf")
    draft = tmp_path / "draft.gguf"
    draft.write_bytes(main.read_bytes()[:-4000])
    proof = validate(main, draft, engine)
    assert proof.kind == "unsupported"
    assert proof.refusal.startswith("llama.cpp cannot run the pair: ")


def test_a_worker_proves_gguf_files_with_llama_cpp(tmp_path: Path) -> None:
    main = gguf_models.write(tmp_path / "main.gguf")
    request = {"cache": str(tmp_path / "cache"), "pairs": [[str(main), str(main)]]}
    (proof,) = run_task("validate", request, limits=Limits(120, 4 << 30))["proofs"]
    assert proof["kind"] is None
    assert "token for token" in proof["words"]


def test_every_part_of_a_split_model_counts_for_memory(
    tmp_path: Path, engine: LlamaCpp, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(
        "specd.tokenizer.prove_gguf.lack_of_memory", lambda size: seen.append(size) or "too big"
    )
    for number in (1, 2):
        (tmp_path / f"main-0000{number}-of-00002.gguf").write_bytes(b"x" * 10 * number)
    (tmp_path / "draft.gguf").write_bytes(b"x" * 5)
    proof = validate(tmp_path / "main-00001-of-00002.gguf", tmp_path / "draft.gguf", engine)
    assert seen == [35]
    assert not proof.whole

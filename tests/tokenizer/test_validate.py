"""MLX itself on real small models: what it proves, and what it contradicts."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from mlx_lm import load
from mlx_lm.tokenizer_utils import load as load_tokenizer
from mlx_lm.utils import load_model

from bench.seed_home import write_weights
from specd.demo.models import SMALL, Recipe, ensure
from specd.lmstudio.chat_settings import ChatSettings
from specd.tokenizer import fingerprint, probes
from specd.tokenizer.validate import _Comparison, validate
from specd.tokenizer.verdict import Segmentation
from tests.tokenizer import folders, mlx_models

pytestmark = pytest.mark.mlx


def copied(folder: Path, to: Path) -> Path:
    """A folder of its own around the same weights."""
    to.mkdir()
    for each in folder.iterdir():
        if each.suffix == ".safetensors":
            (to / each.name).hardlink_to(each.resolve())
        else:
            shutil.copy(each, to)
    return to


def test_a_real_pair_is_proven_token_for_token() -> None:
    said: list[str] = []
    settings = ChatSettings(0.3, top_k=20, top_p=0.9, min_p=0.0, kv_bits=8, kv_group=32)
    proof = validate(ensure(SMALL.main), ensure(SMALL.good), said.append, settings)
    assert proof.refusal == ""
    assert proof.whole
    assert "49,156 and 49,152 ids" in proof.words
    assert "token for token" in proof.words
    assert "(0 tokens came from the draft)" not in proof.words
    assert proof.segmentation is not None
    assert proof.segmentation.tokens > 500
    assert proof.segmentation.different == 0
    assert (
        "an answer across 256 tokens, a second turn beyond them, temperature 0 and 0.3 (top-k 20, "
        "top-p 0.9, min-p 0), a KV cache of 8 bits" in proof.words
    )
    assert "128 tokens compared" in proof.words
    assert said[-1] == "comparing a second turn beyond 256 tokens with and without the draft"


def test_a_quantized_cache_and_the_users_sampling_are_really_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlx_lm.models.cache import QuantizedKVCache

    from specd.tokenizer import sequential

    used: list[set[str]] = []
    drawn: list[int] = []

    class Watched(sequential.Session):
        def answer(self, prompt, tokens, sampler=None):  # type: ignore[no-untyped-def]
            said = super().answer(prompt, tokens, sampler)
            used.append({type(each).__name__ for each in self._cache})
            if sampler is not None:
                scores = zip(said.logprobs, said.tokens, strict=True)
                drawn.extend(int((each > each[token]).sum()) for each, token in scores)
            return said

    monkeypatch.setattr("specd.tokenizer.validate.Session", Watched)
    main = mlx_models.make(tmp_path / "main", "llama", seed=1, head_dim=32)
    draft = mlx_models.make(tmp_path / "draft", "llama", seed=1, head_dim=32)
    settings = ChatSettings(5.0, top_k=3, kv_bits=8, kv_group=32)
    assert validate(main, draft, settings=settings).kind is None
    assert used == [{QuantizedKVCache.__name__}] * 8
    assert {0} < set(drawn) <= {0, 1, 2}
    drawn.clear()
    assert "temperature 0)" in validate(main, draft, settings=ChatSettings(0.0)).words
    assert not drawn


@pytest.mark.parametrize(
    ("file", "change", "loads"),
    [
        ("tokenizer_config.json", {"tokenizer_class": 5}, False),
        ("tokenizer_config.json", {"extra_special_tokens": 5}, False),
        ("config.json", {"rope_scaling": "x"}, False),
        ("config.json", {"tie_word_embeddings": False}, False),
        ("generation_config.json", {"eos_token_id": [1, 2, 9999]}, True),
    ],
)
def test_what_mlx_lm_cannot_load_is_refused_and_nothing_else(
    tmp_path: Path, file: str, change: dict[str, Any], *, loads: bool
) -> None:
    main = mlx_models.make(tmp_path / "main", "llama", seed=1)
    draft = mlx_models.make(tmp_path / "draft", "llama", seed=2)
    path = draft / file
    document = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**document, **change}))
    if not loads:
        with pytest.raises((AttributeError, TypeError, ValueError)):
            load(str(draft))
    else:
        load(str(draft))
    for pair in ((main, draft), (draft, main)):
        assert validate(*pair).kind == (None if loads else "unsupported")


def test_a_pair_too_big_for_memory_is_proven_without_weights(tmp_path: Path) -> None:
    main = copied(ensure(SMALL.main), tmp_path / "main")
    huge = tmp_path / "main" / "more.safetensors"
    huge.touch()
    with huge.open("r+b") as file:
        file.truncate(1 << 42)  # a sparse file: four terabytes that take no room
    proof = validate(main, ensure(SMALL.good))
    assert "49,156 and 49,152 ids" in proof.words
    assert "without weights: the pair needs 5120." in proof.words
    assert not proof.whole
    assert proof.refusal == ""


def test_a_tokenizer_that_loads_otherwise_than_its_files_say_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a fingerprint has a fault: MLX is the judge, and says on which id."""
    from specd.tokenizer import validate as module

    honest = module.fingerprint.read

    def wrong(path: Path) -> module.Fingerprint:
        read = honest(path)
        texts = list(read.texts)
        texts[500], texts[501] = texts[501], texts[500]
        return replace(read, texts=tuple(texts))

    monkeypatch.setattr(module.fingerprint, "read", wrong)
    proof = validate(ensure(SMALL.good), ensure(SMALL.poor))
    assert proof.refusal.startswith("id 500 of the main spells")


def test_a_draft_without_an_accepted_token_is_no_proof_alone(tmp_path: Path) -> None:
    main = mlx_models.make(tmp_path / "main", "llama", seed=1)
    draft = mlx_models.make(tmp_path / "draft", "llama", seed=2, num_hidden_layers=1)
    words = validate(main, draft).words
    assert "0 came from the draft; the main as its own draft: 2 of 2 answers" in words
    assert words.count(" 0 came from the draft") == 1


def test_a_parting_within_rounding_is_counted_and_refuses_nothing(tmp_path: Path) -> None:
    """A draft without a trimmable cache lets the chat begin anew where the main alone goes on.

    The kept keys were computed in other passes, and quantizing them makes rounding large enough to
    part answers of random models, whose best tokens are near each other.
    """
    folder = mlx_models.make(tmp_path / "main", "llama", seed=1, head_dim=64)
    main, draft = (
        load_model(each)[0]
        for each in (folder, mlx_models.make(tmp_path / "draft", "mamba", seed=4))
    )
    told: list[str] = []
    for seed in range(5):
        draw = random.Random(seed)  # noqa: S311 - prompts
        ids = [draw.randrange(256) for _ in range(100)]
        settings = ChatSettings(kv_bits=8, kv_group=64)
        compared = _Comparison(fingerprint.read(folder), main, draft, settings, lambda _: None)
        chat = compared.chat()
        for length in (8, 60, 100):
            compared.answer(chat, ids[:length], "an answer")
        told.append(compared.words("a kept cache"))
    assert any("answers that differ where rounding decides" in words for words in told)


@pytest.mark.parametrize("padding", [0, 20])
def test_what_a_tokenizers_class_adds_to_the_files_is_no_contradiction(
    tmp_path: Path, padding: int
) -> None:
    """Gemma's class adds a token, after the last row or in padding, and has its own EOS token."""
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog\n" * 50)
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(tmp_path / "tokenizer"), vocab_size=300,
        model_type="bpe", byte_fallback=True, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(str(tmp_path / "tokenizer.model"))
    pair = [tmp_path / name for name in ("main", "draft")]
    for folder in pair:
        rows = pieces.get_piece_size() + padding
        mlx_models.make(folder, "llama", seed=1, vocab_size=rows)
        (folder / "tokenizer.json").unlink()
        shutil.copy(tmp_path / "tokenizer.model", folder)
        folders.put(folder / "tokenizer_config.json", {"tokenizer_class": "GemmaTokenizer"})
    theirs = load_tokenizer(pair[0], {})
    added = set(theirs.get_vocab().values()) - set(range(pieces.get_piece_size()))
    assert added
    assert theirs.eos_token_ids != fingerprint.read(pair[0]).eos
    proof = validate(*pair)
    assert (proof.kind, proof.refusal) == (None, "")
    assert f"mlx-lm gives the draft tokens that its files lack: {sorted(added)}" in proof.words
    assert "answers of the main end with" in proof.words


def test_weights_that_cannot_be_loaded_are_said(tmp_path: Path) -> None:
    main = folders.lay_out(tmp_path / "main", folders.small("<think>"))
    draft = folders.lay_out(tmp_path / "draft", folders.small())
    write_weights(draft / "model.safetensors", {"model.norm.weight": [64]})
    proof = validate(main, draft)
    assert proof.kind == "unsupported"
    assert proof.refusal.startswith("mlx-lm cannot load the draft: Missing")
    assert "\n" not in proof.refusal


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("gemma3", "an answer across 256 tokens is another one with the draft"),
        ("gemma4", "mlx-lm fails at a short answer"),
        ("mamba", "mlx-lm fails at a short answer: Speculative decoding requires"),
    ],
)
def test_what_the_engine_does_to_the_text_is_found_by_running_it(
    tmp_path: Path, kind: str, says: str
) -> None:
    """The rules know these mains too; here nobody asks the rules."""
    sliding = {"sliding_window": 256} if kind == "gemma3" else {}
    main = mlx_models.make(tmp_path / "main", kind, seed=1, **sliding)
    draft = mlx_models.make(tmp_path / "draft", "llama", seed=7)
    proof = validate(main, draft)
    assert (proof.kind, proof.whole) == ("unsupported", True)
    assert proof.text == ("unknown" if "fails" in says else "may differ")
    assert proof.refusal.startswith(says)


def test_whatever_mlx_lm_raises_with_a_draft_refuses_the_pair(tmp_path: Path) -> None:
    main = mlx_models.make(tmp_path / "main", "llama", seed=1, head_dim=64)
    draft = mlx_models.make(
        tmp_path / "draft", "llama", model_type="gemma2", head_dim=64,
        query_pre_attn_scalar=64, attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
    )  # fmt: skip
    assert validate(main, draft).kind is None
    proof = validate(main, draft, settings=ChatSettings(kv_bits=8, kv_group=64))
    assert proof.kind == "unsupported"
    assert proof.refusal.startswith("mlx-lm fails at a short answer: expand_dims()")


@pytest.mark.parametrize(
    ("draft", "text", "says"),
    [
        (SMALL.good, "unknown", "mlx-lm fails at a second turn beyond 256 tokens: Speculative"),
        (SMALL.poor, "may differ", "an answer across 256 tokens is another one with the draft"),
    ],
)
def test_a_sliding_window_refuses_a_main_with_real_weights(
    tmp_path: Path, draft: Recipe, text: str, says: str
) -> None:
    main = mlx_models.with_windows(ensure(SMALL.main), tmp_path / "main", 256)
    proof = validate(main, ensure(draft))
    assert (proof.kind, proof.text) == ("unsupported", text)
    assert proof.refusal.startswith(says)


def test_custom_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from specd.tokenizer.fingerprint import Unreadable

    folder = folders.lay_out(tmp_path / "model", folders.small())
    (folder / "evil.py").write_text("open('ran', 'w').write('ran')")
    config = json.loads((folder / "tokenizer_config.json").read_bytes())
    folders.put(
        folder / "tokenizer_config.json",
        {**config, "auto_map": {"AutoTokenizer": ["evil.T", None]}},
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unreadable, match="auto_map"):
        validate(folder, folder)
    assert not (tmp_path / "ran").exists()


def test_probes_measure_how_differently_two_tokenizers_split(tmp_path: Path) -> None:
    document = folders.small()
    main = folders.lay_out(tmp_path / "main", document)
    document["model"]["merges"] = document["model"]["merges"][:3]
    draft = folders.lay_out(tmp_path / "draft", document)
    found = validate(main, draft).segmentation
    assert isinstance(found, Segmentation)
    assert 0 < found.different < found.tokens


def test_spans_are_where_tokens_stand() -> None:
    assert probes.spans([b"the", b" cat", b""]) == [(0, 3), (3, 7), (7, 7)]
    assert probes.split_otherwise([b"ab", b"c"], [b"a", b"bc"]) == 2
    assert probes.split_otherwise([b"ab", b"c"], [b"ab", b"c"]) == 0

from __future__ import annotations

from dataclasses import replace

import pytest

from specd.lmstudio.draft_cache import CacheOpinion
from specd.tokenizer.engines import llama_cpp
from specd.tokenizer.fingerprint import Fingerprint
from specd.tokenizer.gguf_tokens import LlamaFacts
from specd.tokenizer.spelling import BYTE_LEVEL
from specd.tokenizer.verdict import Verdict, with_cache
from tests.tokenizer.models import model

TOKENS = tuple(f"t{number}" for number in range(200))
VOCAB = LlamaFacts("BPE", 256, add_bos=True, bos=1, add_eos=False, eos=2)
MAIN = Fingerprint(
    TOKENS, frozenset(), frozenset({2}), 256, 256, BYTE_LEVEL, vocab_size=200, llama=VOCAB
)


def drafted(vocab: dict[str, object], **change: object) -> Fingerprint:
    return replace(MAIN, llama=replace(VOCAB, **vocab), **change)  # type: ignore[arg-type]


def test_it_accepts_the_same_tokens() -> None:
    found = llama_cpp.on_tokens(MAIN, MAIN)
    assert (found.name, found.accepts, found.text) == ("llama.cpp", True, "same")


def test_it_has_no_opinion_of_folders() -> None:
    found = llama_cpp.on_tokens(replace(MAIN, llama=None), MAIN)
    assert (found.accepts, found.text) == (None, "unknown")


def test_it_passes_over_the_first_five_ids() -> None:
    swapped = drafted({}, texts=(TOKENS[3], *TOKENS[1:3], TOKENS[0], *TOKENS[4:]))
    assert llama_cpp.on_tokens(MAIN, swapped).accepts
    later = drafted({}, texts=(*TOKENS[:5], "x", *TOKENS[6:]))
    assert llama_cpp.on_tokens(MAIN, later).why.endswith("the text of id 5 differs")


@pytest.mark.parametrize(
    ("draft", "why"),
    [
        (drafted({"size": 256 + 128}), ""),
        (drafted({"size": 256 + 129}), "129 tokens more"),
        (drafted({"bos": 0}), "BOS tokens are 1 and 0"),
        (drafted({"add_bos": False}), "only one of the two puts a BOS"),
        (drafted({"add_eos": True}), "only one of the two puts an EOS"),
        (drafted({"eos": 3}), ""),
        (drafted({"kind": "SPM"}), "BPE and SPM"),
        (drafted({}, texts=TOKENS[:-1]), "the text of id 199 differs"),
    ],
)
def test_its_rule(draft: Fingerprint, why: str) -> None:
    found = llama_cpp.on_tokens(MAIN, draft)
    assert found.accepts is not bool(why)
    assert found.objects is bool(why)
    assert why in found.why


def test_the_caches_entry_stands_beside_the_verdict_where_it_knows_the_main() -> None:
    main, good, bad = model("Main"), model("Good"), model("Bad")
    opinion = CacheOpinion({main.identifier: (bad.identifier,)})
    fits = Verdict("main", "good", "identical", ("same",))
    assert with_cache(fits, main, good, opinion).cache_lists is False
    assert with_cache(fits, main, bad, opinion).cache_lists is True
    assert with_cache(fits, good, main, opinion) == fits
    assert with_cache(fits, main, good, None) == fits

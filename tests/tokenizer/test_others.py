from __future__ import annotations

from dataclasses import replace

import pytest

from specd.lmstudio.draft_cache import CacheOpinion
from specd.tokenizer import others
from specd.tokenizer.fingerprint import Fingerprint
from specd.tokenizer.spelling import BYTE_LEVEL, SENTENCEPIECE
from specd.tokenizer.verdict import Verdict
from tests.tokenizer.models import model

TOKENS = tuple(f"t{number}" for number in range(200))
MAIN = Fingerprint(TOKENS, frozenset(), frozenset({2}), 256, 256, BYTE_LEVEL, vocab_size=200, bos=1)


def llama_cpp(draft: Fingerprint, *, fits: bool) -> str:
    return others.llama_cpp(MAIN, draft, fits=fits)


def test_mlx_engine_looks_at_sizes_alone() -> None:
    assert others.mlx_engine(5, 5, fits=True) == "accepts: the tokenizers' vocab_size is 5 in both"
    assert "wrong: it looks at no token" in others.mlx_engine(5, 5, fits=False)
    assert "wrong" not in others.mlx_engine(5, 6, fits=False)
    assert "means the same in the main" in others.mlx_engine(5, 6, fits=True)


def test_llama_cpp_accepts_the_same_tokens() -> None:
    assert llama_cpp(MAIN, fits=True).startswith("accepts")


def test_llama_cpp_passes_over_the_first_five_ids() -> None:
    swapped = replace(MAIN, texts=(TOKENS[3], *TOKENS[1:3], TOKENS[0], *TOKENS[4:]))
    assert "accepts" in llama_cpp(swapped, fits=False)
    assert "wrong: it passes over ids 0 to 4" in llama_cpp(swapped, fits=False)
    later = replace(MAIN, texts=(*TOKENS[:5], "x", *TOKENS[6:]))
    assert llama_cpp(later, fits=False) == "refuses: the text of id 5 differs"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"logits": 256 + 128}, ""),
        ({"logits": 256 + 129}, "129 tokens more"),
        ({"bos": 0}, "BOS"),
        ({"eos": frozenset({3})}, "EOS"),
        ({"family": SENTENCEPIECE}, "sentencepiece"),
        ({"texts": TOKENS[:-1]}, "the text of id 199 differs"),
    ],
)
def test_llama_cpps_rule(change: dict[str, object], why: str) -> None:
    says = llama_cpp(replace(MAIN, **change), fits=not why)  # type: ignore[arg-type]
    assert says.startswith("refuses" if why else "accepts")
    assert why in says
    assert "wrong" not in says


def test_the_caches_entry_stands_beside_the_verdict_where_it_knows_the_main() -> None:
    main, good, bad = model("Main"), model("Good"), model("Bad")
    opinion = CacheOpinion({main.identifier: (bad.identifier,)})
    fits = Verdict("main", "good", "identical", ("same",), others={"llama.cpp": "accepts"})
    refused = Verdict("main", "bad", "incompatible", ("other",))
    says = others.with_cache(fits, main, good, opinion).others
    assert says["llama.cpp"] == "accepts"
    assert says["lm-studio-cache"].startswith("refuses: it does not list this draft — wrong")
    wrong = others.with_cache(refused, main, bad, opinion).others["lm-studio-cache"]
    assert wrong == "accepts: it lists this draft — wrong: it is out of date"
    assert others.with_cache(fits, good, main, opinion) == fits
    assert others.with_cache(fits, main, good, None) == fits

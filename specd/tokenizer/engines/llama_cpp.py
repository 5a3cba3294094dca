"""The rules of llama.cpp, LM Studio's engine for GGUF files, on drafts (pure).

Source: llama.cpp's ``common/speculative.cpp`` (``common_speculative_are_compatible``) at 001d906a.
With a refused draft, servers of summer 2026 exit; later ones load both models and do not draft.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from specd.tokenizer.verdict import EngineOpinion

if TYPE_CHECKING:  # the daemon uses opinions and reads no tokenizer
    from specd.tokenizer.fingerprint import Fingerprint
    from specd.tokenizer.gguf_tokens import LlamaFacts

NAME: Final = "llama.cpp"
MAX_DIFFERENCE: Final = 128
FIRST_ID: Final = 5


def on_tokens(main: Fingerprint, draft: Fingerprint) -> EngineOpinion:
    """llama.cpp's opinion of two vocabularies; the first rule that applies decides."""
    if main.llama is None or draft.llama is None:
        return EngineOpinion(NAME, accepts=None, text="unknown", why="it runs GGUF files alone")
    why = next(_objections(main, draft, main.llama, draft.llama), None)
    if why is not None:
        why = f"llama.cpp does not draft with it, or does not load the main with it: {why}"
        return EngineOpinion(NAME, accepts=False, text="unknown", why=why)
    why = (
        f"at most {MAX_DIFFERENCE} tokens more or fewer, and the same text from id {FIRST_ID} on; "
        "it looks at nothing else of them"
    )
    return EngineOpinion(NAME, accepts=True, text="same", why=why)


def _objections(
    main: Fingerprint, draft: Fingerprint, one: LlamaFacts, other: LlamaFacts
) -> Iterator[str]:
    """In the order of ``common_speculative_are_compatible``, then what a request meets."""
    if one.kind != other.kind:
        yield f"the vocabularies are {one.kind} and {other.kind}"
    if one.add_bos != other.add_bos:
        yield "only one of the two puts a BOS token before a text"
    if one.add_bos and one.bos != other.bos:
        yield f"the BOS tokens are {one.bos} and {other.bos}"
    if one.add_eos != other.add_eos:
        yield "only one of the two puts an EOS token after a text"
    if one.add_eos and one.eos != other.eos:
        yield f"the EOS tokens are {one.eos} and {other.eos}"
    apart = abs(one.size - other.size)
    if apart > MAX_DIFFERENCE:
        yield f"one has {apart:,} tokens more than the other"
    both = min(one.size, other.size)
    first = _first_difference(_texts(main, one)[:both], _texts(draft, other)[:both])
    if first is not None:
        yield f"the text of id {first} differs"
    if other.recurrent and not one.recurrent:
        yield (
            "the draft keeps a recurrent state, from which llama.cpp takes tokens back only where "
            "the main keeps one too; it ends at the first request"
        )


def _texts(one: Fingerprint, facts: LlamaFacts) -> list[str | None]:
    texts = list(one.texts)
    for number, text in facts.padding:
        texts[number] = text
    return texts


def _first_difference(main: Sequence[str | None], draft: Sequence[str | None]) -> int | None:
    """The first id with different texts; None if there is none."""
    if main == draft:
        return None
    pairs = enumerate(zip_longest(main, draft))
    return next((n for n, (text, other) in pairs if n >= FIRST_ID and text != other), None)

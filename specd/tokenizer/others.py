"""What other programs would say of a pair, and where they are wrong (pure).

- **mlx-engine** (``ModelKit._is_draft_model_compatible``) compares the ``vocab_size`` of the two
  tokenizers, which leaves added tokens out, and looks at no token.
- **llama.cpp** (``common_speculative_are_compatible``) wants the same kind of vocabulary, the same
  BOS and EOS, at most 128 tokens more or fewer, and from id 5 on the same text, padding included.
- **LM Studio's cache** says what it once said.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from specd.lmstudio.draft_cache import CacheOpinion
from specd.lmstudio.model import Model
from specd.tokenizer.verdict import Verdict

if TYPE_CHECKING:  # the daemon asks for opinions and reads no tokenizer
    from specd.tokenizer.fingerprint import Fingerprint

LLAMA_CPP_MAX_DIFFERENCE = 128
LLAMA_CPP_FIRST_ID = 5

_BLOCK = 4096


def mlx_engine(main: int, draft: int, *, fits: bool) -> str:
    """Its opinion, given both tokenizers' ``vocab_size``; ``fits`` is what the tokens say."""
    accepts = main == draft
    why = (
        f"the tokenizers' vocab_size is {main:,} in both"
        if accepts
        else f"the tokenizers' vocab_size is {main:,} in the main and {draft:,} in the draft"
    )
    return _opinion(why, accepts=accepts, fits=fits, blind="it looks at no token")


def llama_cpp(main: Fingerprint, draft: Fingerprint, *, fits: bool) -> str:
    """Its opinion; ``fits`` is what the tokens say."""
    objection = _llama_cpp_objection(main, draft)
    return _opinion(
        objection or "up to 128 tokens more or fewer, and the same text from id 5 on",
        accepts=objection is None,
        fits=fits,
        blind="it passes over ids 0 to 4, and what only one of the two has",
    )


def lm_studio_cache(*, listed: bool, fits: bool) -> str:
    """What LM Studio's compatibility cache says, which lists the main."""
    why = "it lists this draft" if listed else "it does not list this draft"
    return _opinion(why, accepts=listed, fits=fits, blind="it is out of date")


def with_cache(
    verdict: Verdict, main: Model, draft: Model, opinion: CacheOpinion | None
) -> Verdict:
    """The verdict with what LM Studio's cache says of the pair, where it knows the main."""
    listed = opinion.pairs.get(main.identifier) if opinion is not None else None
    if listed is None or verdict.kind == "unknown":
        return verdict
    says = lm_studio_cache(listed=draft.identifier in listed, fits=verdict.usable)
    return replace(verdict, others={**verdict.others, "lm-studio-cache": says})


def _opinion(why: str, *, accepts: bool, fits: bool, blind: str) -> str:
    says = f"{'accepts' if accepts else 'refuses'}: {why}"
    if accepts == fits:
        return says
    if accepts:
        return f"{says} — wrong: {blind}"
    return f"{says} — wrong: every id the draft can emit means the same in the main"


def _llama_cpp_objection(main: Fingerprint, draft: Fingerprint) -> str | None:
    if main.family != draft.family:
        return f"the vocabularies are {main.family.name} and {draft.family.name}"
    if main.bos != draft.bos:
        return f"the BOS tokens are {main.bos} and {draft.bos}"
    if _first_end(main) != _first_end(draft):
        return f"the EOS tokens are {_first_end(main)} and {_first_end(draft)}"
    # A GGUF file lists as many tokens as there are logits; what has no token is padding.
    apart = abs(main.logits - draft.logits)
    if apart > LLAMA_CPP_MAX_DIFFERENCE:
        return f"one has {apart:,} tokens more than the other"
    both = min(main.logits, draft.logits)
    first = _first_difference(_padded(main, both), _padded(draft, both))
    return None if first is None else f"the text of id {first} differs"


def _first_difference(main: tuple[str | None, ...], draft: tuple[str | None, ...]) -> int | None:
    """Looks block by block, since vocabularies are long and mostly alike."""
    for start in range(LLAMA_CPP_FIRST_ID, len(main), _BLOCK):
        one, other = main[start : start + _BLOCK], draft[start : start + _BLOCK]
        if one != other:
            return next(start + n for n, text in enumerate(one) if text != other[n])
    return None


def _first_end(one: Fingerprint) -> int | None:
    return min(one.eos, default=None)


def _padded(one: Fingerprint, size: int) -> tuple[str | None, ...]:
    listed = one.texts[:size]
    return listed + (None,) * (size - len(listed))

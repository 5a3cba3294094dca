"""What llama.cpp, LM Studio's engine for GGUF files, does with a draft (pure).

Read in llama.cpp's ``common/speculative.cpp`` (``common_speculative_are_compatible``) at 001d906a.
A draft that it refuses makes the server exit: then the main does not load either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from specd.tokenizer.verdict import EngineOpinion

if TYPE_CHECKING:  # the daemon asks for opinions and reads no tokenizer
    from specd.tokenizer.fingerprint import Fingerprint

NAME: Final = "llama.cpp"
MAX_DIFFERENCE: Final = 128
FIRST_ID: Final = 5

_BLOCK = 4096


def on_tokens(main: Fingerprint, draft: Fingerprint) -> EngineOpinion:
    """What it says of two vocabularies, in its own order."""
    objection = _objection(main, draft)
    if objection is not None:
        why = f"llama.cpp refuses this draft, and the main does not load with it: {objection}"
        return EngineOpinion(NAME, accepts=False, text="unknown", why=why)
    why = (
        f"at most {MAX_DIFFERENCE} tokens more or fewer, and the same text from id {FIRST_ID} on; "
        "it looks at nothing else"
    )
    return EngineOpinion(NAME, accepts=True, text="same", why=why)


def _objection(main: Fingerprint, draft: Fingerprint) -> str | None:
    if main.family != draft.family:
        return f"the vocabularies are {main.family.name} and {draft.family.name}"
    if main.bos != draft.bos:
        return f"the BOS tokens are {main.bos} and {draft.bos}"
    if _first_end(main) != _first_end(draft):
        return f"the EOS tokens are {_first_end(main)} and {_first_end(draft)}"
    # A GGUF file lists as many tokens as there are logits; what has no token is padding.
    apart = abs(main.logits - draft.logits)
    if apart > MAX_DIFFERENCE:
        return f"one has {apart:,} tokens more than the other"
    both = min(main.logits, draft.logits)
    first = _first_difference(_padded(main, both), _padded(draft, both))
    return None if first is None else f"the text of id {first} differs"


def _first_difference(main: tuple[str | None, ...], draft: tuple[str | None, ...]) -> int | None:
    """Looks block by block, since vocabularies are long and mostly alike."""
    for start in range(FIRST_ID, len(main), _BLOCK):
        one, other = main[start : start + _BLOCK], draft[start : start + _BLOCK]
        if one != other:
            return next(start + n for n, text in enumerate(one) if text != other[n])
    return None


def _first_end(one: Fingerprint) -> int | None:
    return min(one.eos, default=None)


def _padded(one: Fingerprint, size: int) -> tuple[str | None, ...]:
    listed = one.texts[:size]
    return listed + (None,) * (size - len(listed))

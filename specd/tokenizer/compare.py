"""The verdict from two fingerprints (pure)."""

from __future__ import annotations

from specd.tokenizer.fingerprint import Fingerprint
from specd.tokenizer.verdict import Difference, Missing, Verdict

SHOWN = 20


def compare(main_name: str, main: Fingerprint, draft_name: str, draft: Fingerprint) -> Verdict:
    """Whether every id the draft can emit means the same in the main."""

    def verdict(kind: str, *reasons: str, **rest: object) -> Verdict:
        return Verdict(main_name, draft_name, kind, reasons, **rest)  # type: ignore[arg-type]

    different = _differences(main, draft)
    if different:
        first = different[0]
        return verdict(
            "incompatible",
            f"{len(different):,} token ids mean different things, the first is {first.id}: "
            f"{first.main!r} in the main, {first.draft!r} in the draft",
            differences=tuple(different[:SHOWN]),
            difference_count=len(different),
        )
    highest = max((i for i, token in enumerate(draft.tokens) if token is not None), default=-1)
    if highest >= main.rows:
        return verdict(
            "incompatible",
            f"the draft can emit id {highest}, and the main has only {main.rows} rows",
        )
    if main.eos and draft.eos and not main.eos & draft.eos:
        return verdict(
            "incompatible",
            f"different tokens end an answer: {sorted(main.eos)} in the main, "
            f"{sorted(draft.eos)} in the draft",
        )
    missing = tuple(
        Missing(i, _text(token))
        for i, token in enumerate(main.tokens)
        if token is not None and (i >= len(draft.tokens) or draft.tokens[i] is None)
    )
    if not missing:
        return verdict(
            "identical", f"all {_count(main):,} tokens have the same ids and spell the same"
        )
    names = ", ".join(each.text for each in missing[:8])
    more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
    return verdict(
        "compatible",
        f"every one of the draft's {_count(draft):,} tokens means the same in the main",
        f"the draft lacks {len(missing)} of the main's tokens ({names}{more}): where the main "
        "writes one of them, the draft's guess is refused; that costs acceptance, not correctness",
        missing_in_draft=missing,
    )


def _differences(main: Fingerprint, draft: Fingerprint) -> list[Difference]:
    found: list[Difference] = []
    for number, token in enumerate(draft.tokens):
        if token is None:
            continue
        other = main.tokens[number] if number < len(main.tokens) else None
        if other != token and not (other is None and number >= main.rows):
            found.append(Difference(number, None if other is None else _text(other), _text(token)))
    return found


def _count(one: Fingerprint) -> int:
    return sum(token is not None for token in one.tokens)


def _text(token: bytes) -> str:
    return token.decode("utf-8", "backslashreplace")

"""The verdict from two fingerprints (pure).

The engine passes the draft's ids to the main, and the main's ids to the draft. Every token of the
draft must mean the same in the main, and every token of the main must lie within the draft's
embedding. Every row of the draft's output must have one in the main's embedding, also if it only
pads: the draft emits it seldom, but then MLX reads past the embedding's end, which changes the
answer, and llama.cpp ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from specd.tokenizer.engines import llama_cpp, mlx
from specd.tokenizer.fingerprint import Fingerprint
from specd.tokenizer.spelling import quoted, shown
from specd.tokenizer.verdict import Difference, Missing, Segmentation, Verdict, VerdictKind

SHOWN = 20
NAMED = 8

_INPUT: Final = re.compile(r"<\w+_soft_token>")
"""Tokens that stand for an image or a sound in a prompt; no answer contains them."""


@dataclass(frozen=True, slots=True)
class _Ids:
    """The ids of a pair by how they compare, sorted.

    ``different``: other tokens in main and draft. ``extra``: only the draft has a token, within
    the main's embedding. ``beyond``: the draft can emit the id, outside the main's embedding.
    ``outside``: the main can emit a token, outside the draft's embedding. ``missing``: only the
    main has a token. ``flagged``: a control token in only one of the two.
    """

    same: int
    different: list[int]
    extra: list[int]
    beyond: range
    outside: list[int]
    missing: list[int]
    flagged: list[int]


def compare(main_name: str, main: Fingerprint, draft_name: str, draft: Fingerprint) -> Verdict:
    """The verdict on the tokens of a pair."""
    ids = _sort(main, draft)
    refusal = _refusal(ids, main, draft)
    kind: VerdictKind
    if refusal is not None:
        kind, first = "incompatible", refusal
    elif ids.missing or ids.extra or main.eos != draft.eos:
        kind = "compatible"
        first = f"{ids.same:,} of the draft's {draft.count:,} tokens mean the same in the main"
        if ids.same == draft.count:
            first = f"every one of the draft's {draft.count:,} tokens means the same in the main"
    else:
        kind = "identical"
        first = f"all {main.count:,} tokens have the same ids and spell the same"
    return Verdict(
        main_name,
        draft_name,
        kind,
        (first, *_notes(ids, main, draft, refused=refusal is not None)),
        differences=tuple(_difference(i, main, draft) for i in ids.different[:SHOWN]),
        difference_count=len(ids.different),
        missing_in_draft=_missing(ids, main, all_of_them=refusal is None),
        engines=(
            mlx.on_tokens(main.vocab_size, draft.vocab_size),
            llama_cpp.on_tokens(main, draft),
        ),
        counts=_counts(ids, main, draft),
        segmentation=Segmentation(0, 0) if _split_alike(ids, main, draft) else None,
    )


def _sort(main: Fingerprint, draft: Fingerprint) -> _Ids:
    written = main.texts[: main.logits]
    drafted = draft.texts[: draft.logits]
    unlike = _unlike(main, draft)
    there = [number for number in unlike if _has(drafted, number)]
    lacking = [number for number in unlike if not _has(drafted, number)]
    return _Ids(
        same=draft.count - len(_over(draft.texts, draft.logits)) - len(there),
        different=[number for number in there if number < main.rows and _has(written, number)],
        extra=[number for number in there if number < main.rows and not _has(written, number)],
        beyond=range(main.rows, max(main.rows, draft.logits)),
        outside=[n for n in _over(written, draft.rows) if not _INPUT.fullmatch(written[n] or "")],
        missing=lacking,
        flagged=sorted(
            number
            for number in main.special ^ draft.special
            if _has(written, number) and _has(drafted, number)
        ),
    )


def _split_alike(ids: _Ids, main: Fingerprint, draft: Fingerprint) -> bool:
    """Whether the files alone show it."""
    same = not (ids.different or ids.extra or ids.missing or ids.outside)
    return same and main.splits != "" and main.splits == draft.splits


def _unlike(main: Fingerprint, draft: Fingerprint) -> list[int]:
    """The ids with different bytes, among those that both can produce."""
    if main.family != draft.family:
        pairs = zip_longest(main.tokens[: main.logits], draft.tokens[: draft.logits])
        return [number for number, (one, other) in enumerate(pairs) if one != other]
    # Within a family equal texts are equal bytes, so only different texts must be spelled out.
    written, drafted = main.texts[: main.logits], draft.texts[: draft.logits]
    if written == drafted:
        return []
    texts = enumerate(zip_longest(written, drafted))
    unlike = [number for number, (one, other) in texts if one is not other and one != other]
    return [
        number
        for number in unlike
        if not (_has(written, number) and _has(drafted, number))
        or main.token(number) != draft.token(number)
    ]


def _has(texts: tuple[str | None, ...], number: int) -> bool:
    return number < len(texts) and texts[number] is not None


def _over(texts: tuple[str | None, ...], rows: int) -> list[int]:
    return [number for number in range(rows, len(texts)) if texts[number] is not None]


def _refusal(ids: _Ids, main: Fingerprint, draft: Fingerprint) -> str | None:
    """Why the pair must not be used; None if it may."""
    if ids.different:
        first = _difference(ids.different[0], main, draft)
        return (
            f"{_many(len(ids.different), 'token id')} mean different things, the first is "
            f"{first.id}: {quoted(first.main)} in the main, {quoted(first.draft)} in the draft"
        )
    if ids.beyond:
        return (
            f"the draft can emit {_many(len(ids.beyond), 'id')} up to {ids.beyond[-1]} "
            f"({quoted(_text(draft, ids.beyond[-1]))}), and the main's embedding has only "
            f"{main.rows:,} rows: mlx-engine would read past its end, and llama.cpp would end"
        )
    if ids.outside:
        return (
            f"the main can emit {_many(len(ids.outside), 'id')} up to {ids.outside[-1]} "
            f"({quoted(_text(main, ids.outside[-1]))}), and the draft's embedding has only "
            f"{draft.rows:,} rows: the engine would read past its end"
        )
    return None


def _notes(ids: _Ids, main: Fingerprint, draft: Fingerprint, *, refused: bool) -> list[str]:
    """Further sentences for a person, the most important first."""
    notes: list[str] = []
    if ids.missing and not refused:
        notes.append(
            f"the draft lacks {len(ids.missing):,} of the main's tokens "
            f"({_names(main, ids.missing)}): where the main writes one of them, the draft's guess "
            "is refused; that costs acceptance, not correctness"
        )
    if ids.extra and not refused:
        notes.append(
            f"the draft has {_many(len(ids.extra), 'token')} that the main lacks "
            f"({_names(draft, ids.extra)}): guesses that are never accepted; that costs "
            "acceptance, not correctness"
        )
    unknown = sorted(main.template & set(ids.missing))
    if unknown:
        notes.append(
            f"the main's chat template writes {_names(main, unknown)}, which the draft lacks, so "
            "every prompt holds what it was not trained on"
        )
    if main.eos != draft.eos and not refused:
        notes.append(
            f"an answer of the main ends with {_ends(main, main.eos)}, one of the draft with "
            f"{_ends(draft, draft.eos)}; where only one of the two ends, the guess is refused"
        )
    if ids.flagged:
        names = _names(main, ids.flagged)
        notes.append(f"control tokens in one of the two, ordinary text in the other: {names}")
    if main.logits != draft.logits:
        notes.append(
            f"the logits are {main.logits:,} wide in the main and {draft.logits:,} in the draft; "
            "the rows beyond the last token are padding"
        )
    for name, one in (("main", main), ("draft", draft)):
        if one.rows_from != "weights" and one.rows != len(one.texts):
            notes.append(f"the {name}'s weights hold no embedding; config.json says {one.rows}")
        if one.rows < len(one.texts):
            notes.append(
                f"the {name}'s tokenizer has ids up to {len(one.texts) - 1}, and its weights have "
                f"{one.rows:,} rows"
            )
        notes += [f"the {name}: {remark}" for remark in one.remarks]
    return notes


def _missing(ids: _Ids, main: Fingerprint, *, all_of_them: bool) -> tuple[Missing, ...]:
    listed = ids.missing if all_of_them else ids.missing[:SHOWN]
    return tuple(Missing(number, _text(main, number) or "") for number in listed)


def _counts(ids: _Ids, main: Fingerprint, draft: Fingerprint) -> dict[str, int]:
    controls = main.special | draft.special
    return {
        "main": main.count,
        "draft": draft.count,
        "same": ids.same,
        "different": len(ids.different),
        "extra_in_draft": len(ids.extra),
        "different_control": sum(number in controls for number in ids.different),
        "missing_in_draft": len(ids.missing),
        "missing_control": sum(number in main.special for number in ids.missing),
        "beyond_main": len(ids.beyond),
        "outside_draft": len(ids.outside),
        "control_in_one": len(ids.flagged),
    }


def _difference(number: int, main: Fingerprint, draft: Fingerprint) -> Difference:
    return Difference(number, _text(main, number), _text(draft, number))


def _text(one: Fingerprint, number: int) -> str | None:
    token = one.token(number)
    return None if token is None else shown(token)


def _ends(one: Fingerprint, numbers: frozenset[int]) -> str:
    named = [f"{number} ({quoted(_text(one, number))})" for number in sorted(numbers)]
    return " and ".join(named) or "nothing it names"


def _names(one: Fingerprint, numbers: list[int]) -> str:
    names = ", ".join(_text(one, number) or str(number) for number in numbers[:NAMED])
    more = len(numbers) - NAMED
    return f"{names} and {more:,} more" if more > 0 else names


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"

"""Prove with MLX what the files say. Runs in the worker only.

mlx-lm's own loader builds both tokenizers, which must agree with the fingerprints id by id and on
probe texts; and a few greedy answers with the draft must equal those without it, token for token.
Whoever runs a model's custom code is not specd: it stays switched off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import mlx.core as mx
import psutil
from mlx_lm import stream_generate
from mlx_lm.tokenizer_utils import load as load_tokenizer
from mlx_lm.utils import load_config, load_model

from specd.tokenizer import fingerprint, probes
from specd.tokenizer.fingerprint import Fingerprint, Unreadable
from specd.tokenizer.spelling import shown
from specd.tokenizer.store import Proof
from specd.tokenizer.verdict import Segmentation

TOKENS = 32
DRAFT_TOKENS = 3
OVERHEAD = 1.25
"""Memory that answering takes, as a multiple of the weights."""

Tick: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two models: what its files say, and what mlx-lm made of them."""

    role: str
    folder: Path
    print: Fingerprint
    tokenizer: Any


class _Contradiction(Exception):
    """MLX and the files disagree; the message says on what."""


def validate(main: Path, draft: Path, tick: Tick = lambda _: None) -> Proof:
    """Check a pair of MLX models with MLX.

    Raises:
        Unreadable: a model's files do not tell, so there is nothing to prove.
    """
    whole = True
    segmentation: Segmentation | None = None
    said = [f"mlx-lm {version('mlx-lm')}"]
    try:
        one, other = _load("main", main, tick), _load("draft", draft, tick)
        for side in (one, other):
            tick(f"comparing the {side.role}'s ids with its files")
            _agree(side)
        segmentation = _split_alike(one, other)
        said.append(
            f"its tokenizers agree with the files on all {one.print.count:,} and "
            f"{other.print.count:,} ids and on {len(probes.TEXTS)} probe texts"
        )
        words, whole = _answers(one, other, tick)
        said.append(words)
    except _Contradiction as found:
        return Proof("; ".join([*said, str(found)]), str(found), whole, segmentation)
    return Proof("; ".join(said), "", whole, segmentation)


def _load(role: str, folder: Path, tick: Tick) -> _Side:
    tick(f"building the {role}'s tokenizer")
    read = fingerprint.read(folder)
    try:
        ends = load_config(folder).get("eos_token_id")
        tokenizer = load_tokenizer(folder, {"trust_remote_code": False}, eos_token_ids=ends)
    except Exception as error:
        raise Unreadable(
            f"mlx-lm cannot build the {role}'s tokenizer: {str(error)[:200]}"
        ) from error
    return _Side(role, folder, read, tokenizer)


# -- tokenizers -----------------------------------------------------------------------------------


def _agree(side: _Side) -> None:
    known = {number for number, token in enumerate(side.print.tokens) if token is not None}
    theirs = set(side.tokenizer.get_vocab().values())
    if known != theirs:
        number = min(known ^ theirs)
        whose = "its files" if number in known else "mlx-lm"
        raise _Contradiction(f"only {whose} gives the {side.role} a token with the id {number}")
    decode = _decoder(side)
    for number in sorted(known):
        token = side.print.tokens[number] or b""
        # Twice, since decoders treat what begins a text as they treat nothing else.
        if not _same(token * 2, decode([number, number])):
            raise _Contradiction(
                f"id {number} of the {side.role} spells {shown(token)!r} by its files and "
                f"{decode([number, number])!r} twice by mlx-lm"
            )
    if side.print.eos != set(side.tokenizer.eos_token_ids):
        raise _Contradiction(
            f"the {side.role} ends with {sorted(side.print.eos)} by its files and with "
            f"{sorted(side.tokenizer.eos_token_ids)} by mlx-lm"
        )
    for text in _texts(side):
        ids = side.tokenizer.encode(text, add_special_tokens=False)
        spelled = b"".join(side.print.tokens[number] or b"" for number in ids)
        if not _same(spelled, decode(ids)):
            raise _Contradiction(
                f"{text[:40]!r} becomes {shown(spelled)[:80]!r} in the {side.role} by its files "
                f"and {decode(ids)[:80]!r} by mlx-lm"
            )


def _texts(side: _Side) -> tuple[str, ...]:
    control = sorted(side.print.template | side.print.eos)
    names = "".join(shown(side.print.tokens[number] or b"") for number in control)
    return (*probes.TEXTS, f"{names} between {names}")


def _decoder(side: _Side) -> Callable[[Sequence[int]], str]:
    backend = getattr(side.tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return lambda ids: str(backend.decode(list(ids), skip_special_tokens=False))
    return lambda ids: str(
        side.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
    )


def _same(spelled: bytes, decoded: str) -> bool:
    """SentencePiece's decoders drop the space that begins a text."""
    mine = spelled.decode("utf-8", "replace")
    return decoded in (mine, mine.removeprefix(" "))


def _split_alike(main: _Side, draft: _Side) -> Segmentation:
    tokens = different = 0
    for text in probes.TEXTS:
        split = [
            [
                side.print.tokens[number] or b""
                for number in side.tokenizer.encode(text, add_special_tokens=False)
            ]
            for side in (main, draft)
        ]
        tokens += len(split[0])
        different += probes.split_otherwise(*split)
    return Segmentation(tokens, different)


# -- the engine -----------------------------------------------------------------------------------


def _answers(main: _Side, draft: _Side, tick: Tick) -> tuple[str, bool]:
    """What greedy answers showed, and whether nothing is left to be tried another time."""
    needed = int(OVERHEAD * sum(_weights(side.folder) for side in (main, draft)))
    free = psutil.virtual_memory().available
    if needed > free:
        lack = f"{needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free"
        return f"without weights: the pair needs {lack}, so no text was generated", False
    tick("loading both models")
    try:
        models = [load_model(side.folder)[0] for side in (main, draft)]
    except Exception as error:  # noqa: BLE001 - any architecture's own code, on anybody's files
        return f"without weights: mlx-lm cannot load them ({str(error)[:200]})", True
    drafted = 0
    ties = 0
    for number, prompt in enumerate(probes.PROMPTS):
        tick(f"answer {number + 1} of {len(probes.PROMPTS)}, with and without the draft")
        ids = main.tokenizer.encode(prompt)
        alone, _ = _generate(models[0], main.tokenizer, ids)
        paired, guessed = _generate(models[0], main.tokenizer, ids, models[1])
        drafted += guessed
        if alone != paired:
            _explain(models[0], main, ids, alone, paired)
            ties += 1
    words = (
        f"{len(probes.PROMPTS)} greedy answers of up to {TOKENS} tokens with the draft equal those "
        f"without it, token for token ({drafted} tokens came from the draft)"
    )
    if ties:
        words += f"; {ties} parted where two tokens were equally likely within rounding"
    return words, True


def _weights(folder: Path) -> int:
    return sum(os.stat(path).st_size for path in folder.glob("*.safetensors"))  # noqa: PTH116 - follows links, as loading does


def _generate(
    model: Any, tokenizer: Any, ids: Sequence[int], draft: Any = None
) -> tuple[list[int], int]:
    extra = {} if draft is None else {"draft_model": draft, "num_draft_tokens": DRAFT_TOKENS}
    tokens: list[int] = []
    guessed = 0
    for response in stream_generate(model, tokenizer, list(ids), max_tokens=TOKENS, **extra):
        tokens.append(int(response.token))
        guessed += bool(response.from_draft)
    return tokens, guessed


def _explain(
    model: Any, main: _Side, ids: Sequence[int], alone: list[int], paired: list[int]
) -> None:
    """Pass a difference that rounding makes: several tokens at once are summed in another order.

    Raises:
        _Contradiction: the main prefers one of the two tokens by more than that.
    """
    pairs = zip(alone, paired, strict=False)
    at = next((n for n, (one, other) in enumerate(pairs) if one != other), None)
    if at is None:
        raise _Contradiction(
            f"a greedy answer has {len(paired)} tokens with the draft and {len(alone)} without it"
        )
    logits = model(mx.array([[*ids, *alone[:at]]]))[0, -1]
    one, other = (float(logits[token].item()) for token in (alone[at], paired[at]))
    rounding = 4 * float(mx.finfo(logits.dtype).eps) * max(1.0, abs(one), abs(other))
    if abs(one - other) > rounding:
        texts = [shown(main.print.tokens[each[at]] or b"") for each in (alone, paired)]
        raise _Contradiction(
            f"a greedy answer with the draft is another one from token {at + 1} on: {texts[0]!r} "
            f"without it, {texts[1]!r} with it"
        )

"""Prove a pair by running it with MLX. Runs in the worker only.

mlx-lm's own loader builds both tokenizers, which must agree with the fingerprints id by id and on
probe texts. Then answers with the draft must equal those without it, token for token, run as
mlx-engine runs them (``sequential``): with a kept prompt cache, across the windows of both models,
in a second turn, at temperature 0 and above. Models' custom code stays switched off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import mlx.core as mx
import psutil
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.tokenizer_utils import load as load_tokenizer
from mlx_lm.utils import load_config, load_model

from specd.tokenizer import fingerprint, probes
from specd.tokenizer.fingerprint import Fingerprint, Unreadable
from specd.tokenizer.kv_cache import smallest_window
from specd.tokenizer.sequential import Session
from specd.tokenizer.spelling import shown
from specd.tokenizer.store import Proof
from specd.tokenizer.verdict import Segmentation

TOKENS = 32
DRAFT_TOKENS = 3
STEP = 256
"""Tokens: mlx-lm's plain caches grow in steps of this size."""
HEAT = 0.8
"""LM Studio's default temperature."""
OVERHEAD = 1.25
"""Memory that answering takes, as a multiple of the weights."""

Tick: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two models: its fingerprint, and mlx-lm's model and tokenizer."""

    role: str
    folder: Path
    print: Fingerprint
    tokenizer: Any


@dataclass(frozen=True, slots=True)
class _Draw:
    """Sampling at a temperature with the same random numbers at every position."""

    heat: float
    noise: Any

    def scores(self, logits: Any) -> Any:
        """The highest of these is the token that is drawn."""
        return logits / self.heat + self.noise


class _Contradiction(Exception):
    """MLX and the files disagree; the message says where."""


class _Refused(Exception):
    """With this draft mlx-lm does not load, fails, or answers with other text."""


class _Altered(_Refused):
    """It answers with other text."""


def validate(main: Path, draft: Path, tick: Tick = lambda _: None, heat: float = HEAT) -> Proof:
    """Check a pair of MLX models with MLX.

    Raises:
        Unreadable: a model's files cannot be used, so there is nothing to prove.
    """
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
        words, whole = _answers(one, other, tick, heat)
        said.append(words)
    except _Contradiction as found:
        return Proof(
            "; ".join([*said, str(found)]), "incompatible", str(found), segmentation=segmentation
        )
    except _Refused as found:
        return Proof(
            "; ".join([*said, str(found)]),
            "unsupported",
            str(found),
            segmentation=segmentation,
            text="may differ" if isinstance(found, _Altered) else "unknown",
        )
    return Proof("; ".join(said), whole=whole, segmentation=segmentation)


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
    texts = ((text, number) for number, text in enumerate(side.print.texts) if text is not None)
    known = set(dict(texts).values())  # for a text with two ids, the last
    theirs = set(side.tokenizer.get_vocab().values())
    if known != theirs:
        number = min(known ^ theirs)
        whose = "its files" if number in known else "mlx-lm"
        raise _Contradiction(f"only {whose} gives the {side.role} a token with the id {number}")
    decode = _decoder(side)
    for number in sorted(known):
        token = side.print.tokens[number] or b""
        # Each id twice, since decoders treat the first token of a text specially.
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


@dataclass(slots=True)
class _Compared:
    """The comparison so far of answers with and without the draft.

    ``gaps``: for each answer that differs, the difference of the two tokens' logits.
    """

    answers: int = 0
    tokens: int = 0
    drafted: int = 0
    gaps: list[float] = field(default_factory=list)

    def words(self, covered: str) -> str:
        """The comparison as a sentence."""
        said = (
            f"{self.answers - len(self.gaps)} of {self.answers} answers with the draft equal those "
            f"without it, token for token, run as mlx-engine runs them ({covered}): {self.tokens} "
            f"tokens compared, {self.drafted} came from the draft"
        )
        if not self.gaps:
            return said
        gaps = ", ".join(f"{gap:.3g}" for gap in self.gaps)
        return (
            f"{said}; answers that parted where rounding decides: {len(self.gaps)} (the two tokens "
            f"were {gaps} apart)"
        )


def _answers(one: _Side, other: _Side, tick: Tick, heat: float) -> tuple[str, bool]:
    """The comparison of answers as a sentence, and whether it was complete.

    Raises:
        _Refused: mlx-lm cannot load one of the two, fails, or answers with other text.
    """
    needed = int(OVERHEAD * sum(_weights(side.folder) for side in (one, other)))
    free = psutil.virtual_memory().available
    if needed > free:
        lack = f"{needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free"
        return f"without weights: the pair needs {lack}, so no text was generated", False
    tick("loading both models")
    main, draft = _built(one), _built(other)
    windows = [
        size
        for model in (main, draft)
        if (size := smallest_window(make_prompt_cache(model))) is not None
    ]
    edge = max([STEP, *windows])
    compared = _Compared()

    def compare(
        alone: Session, paired: Session, ids: Sequence[int], what: str, draw: _Draw | None = None
    ) -> list[int]:
        tick(f"comparing {what} with and without the draft")
        sampler = None if draw is None else lambda scores: mx.argmax(draw.scores(scores), -1)
        try:
            expected = list(alone.answer(ids, TOKENS, sampler).tokens)
            found = paired.answer(ids, TOKENS, sampler)
        except (ValueError, IndexError, RuntimeError) as error:
            raise _Refused(f"mlx-lm fails at {what}: {_line(error)}") from error
        compared.answers += 1
        compared.drafted += found.drafted
        pairs = zip(expected, found.tokens, strict=True)
        at = next((n for n, (mine, theirs) in enumerate(pairs) if mine != theirs), None)
        compared.tokens += TOKENS if at is None else at + 1
        if at is not None:
            tokens = expected[at], found.tokens[at]
            compared.gaps.append(_gap(main, one, [*ids, *expected[:at]], tokens, what, draw))
        return expected

    encode = one.tokenizer.encode
    short, other_short = (list(encode(prompt)) for prompt in probes.PROMPTS)
    compare(Session(main), Session(main, draft, DRAFT_TOKENS), short, "a short answer")
    # The same random numbers at every position, so sampling too has one right answer.
    draw = _Draw(heat, mx.random.gumbel((one.print.logits,), key=mx.random.key(1)))
    pair = Session(main), Session(main, draft, DRAFT_TOKENS)
    compare(*pair, other_short, "a sampled answer", draw)
    text = list(encode("\n".join(probes.TEXTS)))
    text *= -(-2 * edge // len(text))
    first = text[: edge - TOKENS // 2]
    chat = Session(main), Session(main, draft, DRAFT_TOKENS)
    answer = compare(*chat, first, f"an answer across {edge} tokens")
    compare(*chat, [*first, *answer, *short], f"a second turn beyond {edge} tokens")
    covered = (
        f"kept prompt cache, an answer across {edge} tokens, a second turn beyond them, "
        f"temperature 0 and {heat:g}"
    )
    return compared.words(covered), True


def _built(side: _Side) -> Any:
    try:
        return load_model(side.folder)[0]
    except Exception as error:
        raise _Refused(f"mlx-lm cannot load the {side.role}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _weights(folder: Path) -> int:
    return sum(os.stat(path).st_size for path in folder.glob("*.safetensors"))  # noqa: PTH116 - follows links, as loading does


def _gap(
    model: Any, side: _Side, ids: list[int], tokens: tuple[int, int], what: str, draw: _Draw | None
) -> float:
    """The difference of two tokens' logits, when rounding can decide between them.

    Raises:
        _Altered: the main prefers one of the two by more than that.
    """
    logits = model(mx.array([ids]))[0, -1]
    rounding = 4 * float(mx.finfo(logits.dtype).eps) * max(1.0, float(mx.abs(logits).max()))
    scores = logits if draw is None else draw.scores(logits)
    gap = abs(float(scores[tokens[0]]) - float(scores[tokens[1]]))
    if gap > (rounding if draw is None else rounding / draw.heat):
        texts = [shown(side.print.tokens[token] or b"") for token in tokens]
        raise _Altered(
            f"{what} is another one with the draft: {texts[0]!r} without it, {texts[1]!r} with it, "
            f"and the main's logits are {gap:.3g} apart, more than rounding makes"
        )
    return gap

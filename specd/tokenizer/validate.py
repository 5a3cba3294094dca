"""Prove a pair by running it with MLX. Runs in the worker only.

mlx-lm's own loader builds both tokenizers, which must agree with the fingerprints id by id and on
probe texts. Then answers with the draft must equal those without it, token for token, run as
mlx-engine runs them (``sequential``): with a kept prompt cache, across the windows of both models,
in a second turn, at temperature 0 and above. Models' custom code stays switched off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p
from mlx_lm.tokenizer_utils import load as load_tokenizer
from mlx_lm.utils import load_config, load_model

from specd.lmstudio.chat_settings import ChatSettings
from specd.tokenizer import fingerprint, probes
from specd.tokenizer.fingerprint import Fingerprint, Unreadable
from specd.tokenizer.kv_cache import line, smallest_window
from specd.tokenizer.proof import DRAFT_TOKENS, TOKENS, Proof, Refused, Tick, lack_of_memory
from specd.tokenizer.sequential import Said, Session
from specd.tokenizer.spelling import quoted, shown
from specd.tokenizer.verdict import Segmentation

STEP = 256
"""Tokens: mlx-lm's plain caches grow in steps of this size."""

Sampler: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two models: its fingerprint, and mlx-lm's model and tokenizer."""

    role: str
    folder: Path
    print: Fingerprint
    tokenizer: Any


def validate(
    main: Path,
    draft: Path,
    tick: Tick = lambda _: None,
    settings: ChatSettings = ChatSettings(),  # noqa: B008 - frozen
) -> Proof:
    """Check a pair of MLX models with MLX, with the main's ``settings`` of new chats.

    Raises:
        Unreadable: a model's files cannot be used, so there is nothing to prove.
    """
    segmentation: Segmentation | None = None
    words = [f"mlx-lm {version('mlx-lm')}"]
    try:
        one, other = _load("main", main, tick), _load("draft", draft, tick)
        for side in (one, other):
            tick(f"comparing the {side.role}'s ids with its files")
            try:
                why = _contradiction(side)
            except (TypeError, ValueError) as error:
                failed = f"mlx-lm's tokenizer of the {side.role} fails: {line(error)}"
                raise Refused(failed) from error
            if why is not None:
                raise Refused(why, "incompatible")
        segmentation = _split_alike(one, other)
        words.append(
            f"its tokenizers agree with the files on all {one.print.count:,} and "
            f"{other.print.count:,} ids and on {len(probes.TEXTS)} probe texts"
        )
        words += [
            f"mlx-lm gives the {side.role} tokens that its files lack: {sorted(added)[:8]}"
            for side in (one, other)
            for known, theirs in [_ids(side)]
            if (added := theirs - known)
        ]
        words += [
            f"answers of the {side.role} end with {sorted(ends)} there, and with "
            f"{sorted(side.print.eos)} by the files"
            for side in (one, other)
            if side.print.eos != (ends := set(side.tokenizer.eos_token_ids))
        ]
        compared, whole = _answers(one, other, tick, settings)
        words.append(compared)
    except Refused as found:
        return found.proof("; ".join([*words, ""]), segmentation)
    return Proof("; ".join(words), whole=whole, segmentation=segmentation)


def _load(role: str, folder: Path, tick: Tick) -> _Side:
    tick(f"building the {role}'s tokenizer")
    read = fingerprint.read(folder)
    try:
        ends = load_config(folder).get("eos_token_id")
        tokenizer = load_tokenizer(folder, {"trust_remote_code": False}, eos_token_ids=ends)
    except ImportError as error:  # not the model's fault: LM Studio's own mlx-lm may have it
        raise Unreadable(f"mlx-lm cannot build the {role}'s tokenizer: {line(error)}") from error
    except Exception as error:
        raise Refused(f"mlx-lm cannot build the {role}'s tokenizer: {line(error)}") from error
    return _Side(role, folder, read, tokenizer)


# -- tokenizers -----------------------------------------------------------------------------------


def _contradiction(side: _Side) -> str | None:
    """Where mlx-lm's tokenizer and the files disagree; None if they agree."""
    known, theirs = _ids(side)
    lost = [number for number in known - theirs if number < side.print.logits]
    if lost:
        return f"mlx-lm gives the {side.role} no token with the id {min(lost)}, and its files do"
    decode = _decoder(side)
    for number in sorted(known & theirs):
        token = side.print.tokens[number] or b""
        # Each id twice, since decoders treat the first token of a text specially.
        if not _same(token * 2, decode([number, number])):
            return (
                f"id {number} of the {side.role} spells {quoted(shown(token))} by its files and "
                f"{decode([number, number])!r} twice by mlx-lm"
            )
    for text in _texts(side):
        ids = side.tokenizer.encode(text, add_special_tokens=False)
        spelled = b"".join(side.print.tokens[number] or b"" for number in ids)
        if not _same(spelled, decode(ids)):
            return (
                f"{text[:40]!r} becomes {quoted(shown(spelled)[:80])} in the {side.role} by its "
                f"files and {decode(ids)[:80]!r} by mlx-lm"
            )
    return None


def _ids(side: _Side) -> tuple[set[int], set[int]]:
    """The ids that have a token by a model's files, and by mlx-lm.

    mlx-lm may have more: a tokenizer's class adds tokens of its own. The model was trained on none
    of them, so to it they are padding.
    """
    texts = ((text, number) for number, text in enumerate(side.print.texts) if text is not None)
    known = set(dict(texts).values())  # for a text with two ids, the last
    return known, set(side.tokenizer.get_vocab().values())


def _texts(side: _Side) -> tuple[str, ...]:
    control = sorted(side.print.template | side.print.eos)
    known = [
        side.print.tokens[number] or b"" for number in control if number < len(side.print.texts)
    ]
    names = "".join(map(shown, known))
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


def _answers(one: _Side, other: _Side, tick: Tick, settings: ChatSettings) -> tuple[str, bool]:
    """The comparison of answers as a sentence, and whether it was complete.

    Raises:
        Refused: mlx-lm cannot load one of the two, fails, or answers with other text.
    """
    lack = lack_of_memory(sum(_weights(side.folder) for side in (one, other)))
    if lack is not None:
        return f"without weights: {lack}, so no text was generated", False
    tick("loading both models")
    main, draft = _built(one), _built(other)
    windows = [smallest_window(make_prompt_cache(model)) or 0 for model in (main, draft)]
    edge = max([STEP, *windows])
    compared = _Comparison(one.print, main, draft, settings, tick)
    encode = one.tokenizer.encode
    short, other_short = (list(encode(prompt)) for prompt in probes.PROMPTS)
    compared.answer(compared.chat(), short, "a short answer")
    covered = f"kept prompt cache, an answer across {edge} tokens, a second turn beyond them, "
    if settings.temperature > 0:
        compared.answer(compared.chat(), other_short, "a sampled answer", _sampler(one, settings))
        covered += f"temperature 0 and {settings.sampling}"
    else:
        covered += "temperature 0"
    if settings.kv_bits is not None:
        covered += f", a KV cache of {settings.kv_bits} bits"
    text = list(encode("\n".join(probes.TEXTS)))
    text *= -(-2 * edge // len(text))
    first = text[: edge - TOKENS // 2]
    chat = compared.chat()
    answer = compared.answer(chat, first, f"an answer across {edge} tokens")
    compared.answer(chat, [*first, *answer, *short], f"a second turn beyond {edge} tokens")
    words = compared.words(covered)
    if not compared.drafted:  # accepted tokens take another way through the caches
        itself = _Comparison(one.print, main, main, settings, tick)
        chat = itself.chat()
        answer = itself.answer(chat, short, "an answer with the main as its own draft")
        itself.answer(chat, [*short, *answer, *other_short], "a second turn with it")
        words += f"; the main as its own draft: {itself.words('two turns')}"
    return words, True


def _sampler(main: _Side, settings: ChatSettings) -> Sampler:
    """Sampling with the same random numbers at every position, so it has one right answer."""
    noise = mx.random.gumbel((main.print.logits,), key=mx.random.key(1))

    def draw(logprobs: Any) -> Any:
        kept = apply_top_p(logprobs, settings.top_p) if settings.top_p < 1 else logprobs
        kept = apply_min_p(kept, settings.min_p) if settings.min_p > 0 else kept
        if 0 < settings.top_k < kept.shape[-1]:
            kept = apply_top_k(kept, settings.top_k)
        return mx.argmax(kept / settings.temperature + noise, axis=-1)

    return draw


class _Comparison:
    """Answers of a main with and without its draft, and how they compare so far.

    ``drafted``: tokens of the answers that came from the draft.
    """

    def __init__(
        self, read: Fingerprint, main: Any, draft: Any, settings: ChatSettings, tick: Tick
    ) -> None:
        self._print = read
        self._main = main
        self._draft = draft
        self._settings = settings
        self._tick = tick
        self.drafted = 0
        self._answers = self._tokens = 0
        self._ties: list[float] = []

    def chat(self) -> tuple[Session, Session]:
        """A new chat without the draft and one with it."""
        return self._session(None), self._session(self._draft)

    def answer(
        self,
        chat: tuple[Session, Session],
        ids: Sequence[int],
        what: str,
        sampler: Sampler | None = None,
    ) -> tuple[int, ...]:
        """The main's own answer, after a comparison with the one that the draft helps with.

        Raises:
            Refused: mlx-lm fails, or the draft makes it another answer.
        """
        self._tick(f"comparing {what} with and without the draft")
        try:
            alone, paired = (each.answer(ids, TOKENS, sampler) for each in chat)
        except Exception as error:
            raise Refused(f"mlx-lm fails at {what}: {line(error)}") from error
        self._answers += 1
        self.drafted += paired.drafted
        pairs = zip(alone.tokens, paired.tokens, strict=True)
        at = next((n for n, (mine, theirs) in enumerate(pairs) if mine != theirs), None)
        self._tokens += TOKENS if at is None else at + 1
        if at is not None:
            self._part([*ids, *alone.tokens[:at]], alone, paired, at, what)
        return alone.tokens

    def words(self, covered: str) -> str:
        """The comparison as a sentence."""
        words = (
            f"{self._answers - len(self._ties)} of {self._answers} answers with the draft equal "
            f"those without it, token for token, run as mlx-engine runs them ({covered}): "
            f"{self._tokens} tokens compared, {self.drafted} came from the draft"
        )
        if not self._ties:
            return words
        gaps = ", ".join(f"{gap:.3g}" for gap in self._ties)
        return (
            f"{words}; answers that differ where rounding decides: {len(self._ties)} (the two "
            f"tokens' logits were {gaps} apart)"
        )

    def _session(self, draft: Any) -> Session:
        kept = self._settings
        return Session(self._main, draft, DRAFT_TOKENS, kept.kv_bits, kept.kv_group)

    def _part(self, ids: list[int], alone: Said, paired: Said, at: int, what: str) -> None:
        """Record a difference where the draft changes the main's logits no more than rounding does.

        Raises:
            Refused: it changes them more.
        """
        two = alone.tokens[at], paired.tokens[at]
        tokens = mx.array(two)
        mine, theirs = alone.logprobs[at][tokens], paired.logprobs[at][tokens]
        logits = self._main(mx.array([ids]))[0, -1]
        rounding = 4 * float(mx.finfo(logits.dtype).eps) * max(1.0, float(mx.abs(logits).max()))
        if self._settings.kv_bits is not None:
            # A key that rounds otherwise may be quantized to the next step.
            at_once = self._session(None).answer(ids, 1).logprobs[0][tokens]
            rounding = max(rounding, 2 * float(mx.abs(mine - at_once).max()))
        change = float(mx.abs(mine - theirs).max())
        if not change <= rounding:
            texts = [shown(self._print.tokens[token] or b"") for token in two]
            raise Refused(
                f"{what} is another one with the draft: {quoted(texts[0])} without it, "
                f"{quoted(texts[1])} with it, and the draft changes the main's logits "
                f"by {change:.3g}, more than rounding does",
                text="may differ",
            )
        self._ties.append(abs(float(mine[0] - mine[1])))


def _built(side: _Side) -> Any:
    try:
        return load_model(side.folder)[0]
    except SystemExit as error:  # not the model's fault either
        raise Unreadable(f"mlx-lm's module of the {side.role} needs a missing package") from error
    except Exception as error:
        raise Refused(f"mlx-lm cannot load the {side.role}: {line(error)}") from error


def _weights(folder: Path) -> int:
    return sum(os.stat(path).st_size for path in folder.glob("*.safetensors"))  # noqa: PTH116 - follows links, as loading does

"""Prove a pair of GGUF files with llama.cpp itself. Runs in the worker only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from specd.llamacpp.engine import LlamaCpp
from specd.llamacpp.server import DidNotStart, Load, NoAnswer, Server
from specd.lmstudio import gguf
from specd.lmstudio.chat_settings import ChatSettings
from specd.tokenizer import probes
from specd.tokenizer.proof import DRAFT_TOKENS, TOKENS, Proof, Refused, Tick, lack_of_memory

TIE: Final = 0.15
"""Logits within which rounding decides: four steps of half precision at a logit of 40."""


def validate(
    main: Path,
    draft: Path,
    engine: LlamaCpp,
    tick: Tick = lambda _: None,
    settings: ChatSettings = ChatSettings(),  # noqa: B008 - frozen
) -> Proof:
    """Check a pair with a real llama.cpp server, with and without the draft.

    ``settings``: those of the main's new chats.
    """
    files = [path.with_name(name) for path in (main, draft) for name in gguf.parts(path.name)]
    lack = lack_of_memory(sum(path.stat().st_size for path in files))
    if lack is not None:
        return Proof(f"{engine.name}: {lack}, so nothing was run", whole=False)
    try:
        return Proof(f"{engine.name}: {_answers(main, draft, engine, tick, settings)}")
    except Refused as found:
        return found.proof(f"{engine.name}: ")


def _answers(main: Path, draft: Path, engine: LlamaCpp, tick: Tick, settings: ChatSettings) -> str:
    tick("answering without the draft")
    try:
        with Server(engine, Load(main, kv_types=settings.kv_types)) as server:
            short, follow = (list(server.tokenize(each)) for each in probes.PROMPTS)
            long = list(server.tokenize(_LONG))
            # Both turns and their answers have to fit into the main's context.
            first = [short, long[: max(1, server.context - len(follow) - 3 * TOKENS)]]
            alone = [server.generate(ids, TOKENS).tokens for ids in first]
            prompts = [*first, [*first[-1], *alone[-1], *follow]]
            alone.append(server.generate(prompts[-1], TOKENS).tokens)
            drawn_alone = _drawn(server, first, settings)
    except (DidNotStart, NoAnswer) as why:
        raise Refused(f"llama.cpp cannot run the main: {why}") from why
    tick("answering with the draft")
    try:
        drafting = Load(main, "draft-simple", draft, DRAFT_TOKENS, kv_types=settings.kv_types)
        with Server(engine, drafting) as server:
            paired = [server.generate(ids, TOKENS) for ids in prompts]
            drawn = _drawn(server, first, settings)
    except (DidNotStart, NoAnswer) as why:
        raise Refused(f"llama.cpp cannot run the pair: {why}") from why
    if not any(answer.drafted for answer in paired):
        raise Refused("llama.cpp loads the main and does not draft with this draft")
    parted = [
        (ids, expected[:at], (expected[at], answer.tokens[at]))
        for ids, expected, answer in zip(prompts, alone, paired, strict=True)
        if (at := _first_difference(expected, answer.tokens)) is not None
    ]
    gaps = _logit_differences(Load(main, kv_types=settings.kv_types), engine, parted, tick)
    if any(gap > rounding for gap, rounding in gaps):
        raise Refused(
            "an answer with the draft is another one, and the main's two best tokens are "
            f"{', '.join(f'{gap:.3g}' for gap, _ in gaps)} apart, more than rounding makes",
            text="may differ",
        )
    drafted, accepted = (
        sum(getattr(each, name) for each in paired) for name in ("drafted", "accepted")
    )
    apart = [len(before) + 1 for _, before, _ in parted]
    compared = TOKENS * (len(paired) - len(parted)) + sum(apart)
    words = (
        f"{len(paired) - len(gaps)} of {len(paired)} answers with the draft equal those without "
        f"it, token for token (a short prompt, one of {len(prompts[1])} tokens, a second turn on "
        f"the kept cache; temperature 0): {compared} tokens compared, {accepted} of "
        f"{drafted} guesses accepted"
    )
    if settings.kv_types != ChatSettings().kv_types:
        words += f"; a KV cache of {' and '.join(settings.kv_types)}"
    if gaps:
        ties = ", ".join(f"{gap:.3g}" for gap, _ in gaps)
        words += f"; {len(gaps)} differ where rounding decides ({ties} apart)"
    if drawn:
        same = sum(one == other for one, other in zip(drawn_alone, drawn, strict=True))
        words += f"; at temperature {settings.sampling}, with equal seeds, {same} of {len(drawn)}"
    return words


def _drawn(
    server: Server, prompts: Sequence[Sequence[int]], settings: ChatSettings
) -> list[tuple[int, ...]]:
    """Answers at the user's temperature; none at temperature 0.

    Equal answers are proof. Different ones do not refuse the pair: near the edge between two tokens
    rounding changes which of them a random number selects, whatever the gap of their logits.
    """
    if settings.temperature == 0:
        return []
    heat = settings.temperature
    return [
        server.generate(ids, TOKENS, temperature=heat, seed=1, narrowed=settings.narrowed).tokens
        for ids in prompts
    ]


_LONG: Final = "\n".join(probes.TEXTS)


def _first_difference(alone: Sequence[int], paired: Sequence[int]) -> int | None:
    """The first place where two answers differ; None if they are equal."""
    if tuple(alone) == tuple(paired):
        return None
    pairs = list(zip(alone, paired, strict=False))
    return next((n for n, (one, other) in enumerate(pairs) if one != other), len(pairs) - 1)


def _logit_differences(
    alone: Load,
    engine: LlamaCpp,
    parted: Sequence[tuple[Sequence[int], Sequence[int], tuple[int, int]]],
    tick: Tick,
) -> list[tuple[float, float]]:
    """(difference of the main's two best tokens, rounding error) at each place, in logits.

    It is estimated from processing the same tokens all at once and one by one.
    """
    if not parted:
        return []
    tick("checking where the answers differ")
    found: list[tuple[float, float]] = []
    with Server(engine, alone) as server:
        for prompt, before, two in parted:
            ids = [*prompt, *before]
            at_once = server.logit_difference(ids, two)
            generated = server.difference_after(prompt, len(before))
            one_by_one = at_once if generated is None else generated
            rounding = max(TIE, 2 * abs(at_once - one_by_one))
            found.append((min(at_once, one_by_one), rounding))
    return found

"""The rules of mlx-engine, LM Studio's engine for MLX folders, on drafts (pure).

Source: lmstudio-ai/mlx-engine at 08f0c07 (2026-08-21), which pins mlx-lm 2c008fd. Only its
sequential path (``ModelKit``) speculates. It is used when a main is loaded for one request at a
time or with a quantized KV cache. It keeps one list of caches, the main's and then the draft's,
and splits it at the number of the main's layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from specd.lmstudio.model import Model
from specd.tokenizer.verdict import EngineOpinion, EngineText

NAME: Final = "mlx-engine"
VERSION: Final = "mlx-engine 08f0c07"

PARALLEL_ONE_COSTS: Final = (
    "one request at a time, no prompt cache on disk, no automatic context length, and no limit on "
    "the context length while a draft is loaded"
)
"""The cost of ``parallel = 1`` for the user."""

MLX_VLM_ALONE: Final = frozenset(
    {"cohere2_moe", "deepseek_v4", "hrm_text", "laguna", "llada2_moe", "nemotron_labs_diffusion"}
)
"""Text models that only mlx-vlm loads in LM Studio: with ``parallel = 1`` they do not load."""

_FULL: Final = frozenset({"KVCache", "QuantizedKVCache", "ConcatenateKVCache"})
"""mlx-lm's cache classes that can be trimmed by any number of tokens at any time."""


@dataclass(frozen=True, slots=True)
class Built:
    """The model that mlx-lm builds from a folder's config.json.

    ``loads``: mlx-lm knows the model type and accepts the config; None if mlx-lm was not run.
    ``kinds`` are the classes of its caches, ``caches`` their number, ``layers`` the model's layers.
    ``trimmable``: mlx-lm's own answer for an empty cache. ``window``: tokens that the smallest
    rotating cache keeps. ``stretches``: tokens after which positions depend on the pass that reads
    them (dynamic NTK scaling). ``problem``: why the model does not load or mlx-lm was not run.
    ``heads``: numbers in a head of the KV caches, by size; empty if unknown. ``unfit``: why mlx-lm
    does not load the folder's weights into that model. ``unquantized``: why it cannot read a
    quantized KV cache.
    """

    loads: bool | None
    kinds: tuple[str, ...] = ()
    caches: int = 0
    layers: int = 0
    trimmable: bool | None = None
    window: int | None = None
    stretches: int | None = None
    problem: str = ""
    heads: tuple[int, ...] = ()
    unfit: str = ""
    unquantized: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """The input of the rules; ``built`` is of the main, ``drafting`` of the draft.

    ``types``: the model types that LM Studio's mlx-lm loads; None if it was not found.
    ``kv_group``: numbers that share a scale in the main's quantized KV cache; None: it is not.
    ``kv_start``: tokens after which it is quantized.
    """

    main: Model
    draft: Model
    built: Built | None
    drafting: Built | None
    types: frozenset[str] | None = None
    kv_group: int | None = None
    kv_start: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """``why`` returns the reason if the rule applies; ``source`` is where the rule is from.

    The engine refuses the pair, or, if ``alters``, answers with other text.
    """

    name: str
    source: str
    why: Callable[[Pair], str | None]
    alters: bool = False


def on_tokens(main: int, draft: int) -> EngineOpinion:
    """The opinion of two tokenizers' ``vocab_size`` (``ModelKit._is_draft_model_compatible``)."""
    if main == draft:
        why = f"the tokenizers' vocab_size is {main:,} in both; it looks at no token"
        return EngineOpinion(NAME, accepts=True, text="unknown", why=why)
    why = (
        f"mlx-engine refuses this draft, and every request with it fails: the tokenizers' "
        f"vocab_size is {main:,} in the main and {draft:,} in the draft"
    )
    return EngineOpinion(NAME, accepts=False, text="unknown", why=why)


def opinion(on_tokens: EngineOpinion, pair: Pair) -> EngineOpinion:
    """mlx-engine's opinion of a pair; ``on_tokens`` is its opinion of the tokenizers."""
    for rule in RULES:
        why = rule.why(pair)
        if why is not None:
            text: EngineText = "may differ" if rule.alters else "unknown"
            return EngineOpinion(NAME, accepts=rule.alters, text=text, why=why)
    if not on_tokens.accepts:
        return on_tokens
    if pair.built is None or not pair.built.loads:
        problem = pair.built.problem if pair.built is not None else "mlx-lm has not built it yet"
        why = f"{on_tokens.why}; which KV cache the main has is not known: {problem}"
        return EngineOpinion(NAME, accepts=on_tokens.accepts, text="unknown", why=why)
    unlike = sorted(set(pair.built.kinds) - _FULL)
    if unlike:
        why = f"{on_tokens.why}; what {', '.join(unlike)} makes of refused tokens was never seen"
        return EngineOpinion(NAME, accepts=True, text="unknown", why=why)
    return EngineOpinion(NAME, accepts=True, text="same", why=on_tokens.why)


def refuses_main(main: Model, built: Built | None, types: frozenset[str] | None) -> str | None:
    """Why no draft can be used with this main; None if no rule applies."""
    pair = Pair(main, main, built, None, types)
    return next((why for rule in _MAIN if (why := rule.why(pair)) is not None), None)


# -- the rules ------------------------------------------------------------------------------------


def _vision(pair: Pair) -> str | None:
    if pair.main.kind != "vlm":
        return None
    return (
        "the main sees images (config.json has vision_config), and mlx-engine speculates for no "
        "such model, not even in a text-only chat"
    )


def _unknown_main(pair: Pair) -> str | None:
    problem = _unloadable(pair.main, pair.built, pair.types)
    if problem is None:
        return None
    return (
        f"mlx-lm cannot load the main ({pair.main.architecture}), and mlx-engine speculates with "
        f"mlx-lm alone: {problem}"
    )


def _untrimmable(pair: Pair) -> str | None:
    if pair.built is None or pair.built.trimmable is not False:
        return None
    return (
        f"the main's KV cache cannot be trimmed ({_kinds(pair.built)} in mlx-lm), so refused draft "
        "tokens could not be taken back: every request with a draft fails"
    )


def _shared(pair: Pair) -> str | None:
    built = pair.built
    if built is None or built.loads is not True or built.caches == built.layers:
        return None
    return (
        f"the main has {built.caches} KV caches for {built.layers} layers, and mlx-engine counts "
        "one for each layer: main and draft would write into each other's caches, and the answer "
        "would be another one or fail"
    )


def _rotating(pair: Pair) -> str | None:
    built = pair.built
    if built is None or not any("Rotating" in kind for kind in built.kinds):
        return None
    window = "a window" if built.window is None else f"a window of {built.window:,} tokens"
    return (
        f"part of the main's KV cache keeps only {window} ({_kinds(built)} in mlx-lm): once it is "
        "full, refused draft tokens stay in it; answers that cross it become other text, and "
        "requests with a longer prompt fail"
    )


def _chunked(pair: Pair) -> str | None:
    if pair.built is None or "ChunkedKVCache" not in pair.built.kinds:
        return None
    return (
        "part of the main's KV cache keeps only the last chunk (ChunkedKVCache in mlx-lm): where "
        "an earlier message of a longer chat is edited, the path that speculates answers from the "
        "wrong tokens, also without a draft"
    )


def _nested(pair: Pair) -> str | None:
    if pair.built is None or "CacheList" not in pair.built.kinds:
        return None
    return (
        "the main has several KV caches in each layer (CacheList in mlx-lm), whose length "
        "mlx-engine takes from the draft's: after an answer that ends with accepted draft tokens "
        "the draft's is shorter, and the next turn of the chat reads a token twice"
    )


def _stretched(pair: Pair) -> str | None:
    if pair.built is None or pair.built.stretches is None:
        return None
    return (
        f"beyond {pair.built.stretches:,} tokens the main rotates positions by the length of the "
        "pass that reads them (dynamic RoPE scaling), and draft tokens are read several at once: "
        "longer chats get other text"
    )


def never_drafts(draft: Model, drafting: Built | None, types: frozenset[str] | None) -> str | None:
    """Why a model cannot draft for any main; None if no rule applies."""
    problem = _unloadable(draft, drafting, types)
    if problem is None:
        return None
    return f"mlx-lm cannot load the draft ({draft.architecture}): {problem}"


def _unloadable(model: Model, built: Built | None, types: frozenset[str] | None) -> str | None:
    """Why the sequential path of the installed LM Studio cannot load a model; None if it can."""
    if types is not None and model.architecture not in types:
        return "the mlx-lm in LM Studio's home has no such model type"
    if types is None and model.architecture in MLX_VLM_ALONE:
        return f"only mlx-vlm knows this type in {VERSION}; with parallel = 1 it does not load"
    if types is None and built is not None and built.loads is False:
        return built.problem
    return (built.unfit or None) if built is not None else None


def not_quantized(pair: Pair) -> str | None:
    """Why a request with the main's quantized KV cache fails; None if it does not."""
    group = pair.kv_group
    both = (("main", pair.main, pair.built), ("draft", pair.draft, pair.drafting))
    for role, model, built in both:
        if group is None or built is None or not built.kinds:
            continue
        fails = "every request fails with the KV cache quantized, as the main's settings have it: "
        if any("Rotating" in kind for kind in built.kinds):
            return f"{fails}mlx-lm quantizes no {_kinds(built)}, and the {role} has one"
        if built.unquantized:
            return f"{fails}the {role} ({model.architecture}) reads no such cache in mlx-lm"
        for head in built.heads:
            if head % group:
                return f"{fails}{group} numbers share a scale, and the {role}'s heads have {head}"
    return None


def quantized_late(pair: Pair) -> str | None:
    """Why the main's KV cache, quantized from a later token on, changes the text; None if not.

    mlx-lm then replaces the caches in a copy of mlx-engine's list.
    """
    if pair.kv_group is None or not pair.kv_start:
        return None
    return (
        f"the main's settings quantize its KV cache from {pair.kv_start:,} tokens on: after an "
        "answer that crosses them mlx-engine keeps refused draft tokens in it, and the next turn "
        "becomes other text; quantized from the first token on (start 0) it stays the same"
    )


def _kinds(built: Built) -> str:
    return ", ".join(kind for kind in built.kinds if kind not in _FULL) or "KVCache"


_MAIN: Final = (
    Rule("vision main", "generate.py, load_model", _vision),
    Rule("unknown main", "mlx_lm/utils.py, _get_classes", _unknown_main),
    Rule("untrimmable cache", "mlx_lm/generate.py", _untrimmable),
    Rule("fewer caches than layers", "cache_wrapper.py, update_cache", _shared, alters=True),
    Rule("window", "mlx-lm #1423; seen", _rotating, alters=True),
    Rule("nested caches", "cache_wrapper.py, _num_tokens_in_cache; seen", _nested, alters=True),
    Rule("chunks", "mlx_lm/models/cache.py, ChunkedKVCache.trim; seen", _chunked, alters=True),
    Rule("dynamic RoPE", "mlx_lm/models/rope_utils.py; seen", _stretched, alters=True),
)

RULES: Final = (
    *_MAIN,
    Rule(
        "unknown draft",
        "model_kit.py, _load_draft_model",
        lambda pair: never_drafts(pair.draft, pair.drafting, pair.types),
    ),
    Rule("quantized KV cache", "mlx_lm/models/cache.py, to_quantized; seen", not_quantized),
    Rule(
        "late quantization",
        "mlx_lm/generate.py, speculative_generate_step; seen",
        quantized_late,
        alters=True,
    ),
)
"""In the order in which they decide."""

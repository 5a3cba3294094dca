"""The rules of llama.cpp, LM Studio's engine for GGUF files, on drafts (pure).

Source of the rule on vocabularies: ``common_speculative_are_compatible`` in llama.cpp's
``common/speculative.cpp`` at 001d906a. With a refused draft, servers of summer 2026 exit; later
ones load both models and do not draft. A main or draft that does not load ends any server.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from specd.lmstudio import gguf
from specd.tokenizer.verdict import EngineOpinion

if TYPE_CHECKING:  # the daemon uses opinions and reads no tokenizer
    from specd.tokenizer.fingerprint import Fingerprint
    from specd.tokenizer.gguf_tokens import LlamaFacts

NAME: Final = "llama.cpp"
VERSION: Final = "llama.cpp b11549"
MAX_DIFFERENCE: Final = 128
FIRST_ID: Final = 5

ARCHITECTURES: Final = frozenset(
    """
    afmoe apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bailingmoe3 bert bitnet
    bloom chameleon chatglm codeshell cogvlm cohere2 cohere2moe command-r dbrx deci deepseek
    deepseek2 deepseek2-ocr deepseek32 deepseek4 dflash dots1 dots3note dream eagle3 ernie4_5
    ernie4_5-moe eurobert exaone exaone-moe exaone4 falcon falcon-h1 gemma gemma-embedding
    gemma-embedding2 gemma2 gemma3 gemma3n gemma4 gemma4-assistant glm-dsa glm4 glm4moe
    glm5-next gpt-oss gpt2 gptneox granite granite_swa granitehybrid granitemoe graniteswitch
    grok grovemoe hrm_text hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 hy_v4 internlm2 jais
    jais2 jamba jina-bert-v2 jina-bert-v3 k2-horizon kimi-k3 kimi-linear laguna lfm2 lfm2moe
    llada llada-moe llama llama-embed llama4 maincoder mamba mamba2 maple mellum mimo2 minicpm
    minicpm3 minimax-01 minimax-m2 minimax-m3 mistral3 mistral4 modern-bert mpt nanbeige
    nemotron nemotron_h nemotron_h_moe neo-bert nomic-bert nomic-bert-moe olmo olmo2 olmoe
    openelm orion paddleocr pangu-embedded phi2 phi3 phimoe plamo plamo2 plamo3 plm pockettts
    qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe qwen3moe qwen3next qwen3tts qwen3vl
    qwen3vlmoe qwen4exp refact rnd1 rwkv6 rwkv6qwen2 rwkv7 seed_oss smallthinker smollm3
    spark2_5 stablelm starcoder starcoder2 step35 t5 t5encoder talkie wavtokenizer-dec xverse
    """.split()  # noqa: SIM905 - a list would have a line for each name
)
PRE_TOKENIZERS: Final = frozenset(
    """
    a.x-4.0 afmoe bailingmoe bailingmoe2 bloom chameleon chatglm-bpe codeshell cohere2moe
    command-r dbrx deepseek-coder deepseek-llm deepseek-r1-qwen deepseek-v3 default exaone
    exaone-moe exaone4 f2llmv2 falcon falcon-h1 falcon3 gemma4 gigachat glm4 glm5 gpt-2 gpt-4o
    gpt3-finnish granite-docling granite-embed-multi-311m granite-embed-multi-97m grok-2
    hunyuan hunyuan-dense hy_v4 jais jais-2 jina-de jina-es jina-v1-en jina-v2-code jina-v2-de
    jina-v2-es jina-v5-nano joyai-llm k2-horizon kanana2 kimi-k2 kormo laguna lfm2 llada-moe
    llama-bpe llama-v3 llama3 llama4 megrez mellum mellum2 midm-2.0 minerva-7b minicpm5
    minimax-m2 mmbert modern-bert mpt olmo phi-2 pixtral poro-chat qwen2 qwen35 refact
    roberta-bpe sarvam-moe seed-coder smaug-bpe smollm solar-open spark2_5 stablelm2 starcoder
    superbpe talkie tekken tiny_aya trillion ufakzeka viking whitespace youtu
    """.split()  # noqa: SIM905 - a list would have a line for each name
)
DIFFUSION: Final = frozenset({"dream", "llada", "llada-moe", "rnd1"})
"""Architectures whose every token sees all others: as a draft they end the server."""

TOKENIZERS: Final = frozenset({"gpt2", "llama", "bert", "t5", "rwkv", "plamo2", "gemma4"})
ROPE_SCALINGS: Final = frozenset({"", "none", "linear", "yarn", "longrope"})
"""Names that ``VERSION`` loads: each was given to it, in a file without weights."""

_OF_LAYER: Final = (
    "attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up",
    "ffn_down",
)  # fmt: skip
_NORMS: Final = ("attn_q_norm", "attn_k_norm")
_POST: Final = ("post_attention_norm", "post_ffw_norm")
PLAIN: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("llama", "mistral3", "smollm3", "qwen2", "gemma"), _OF_LAYER),
    "qwen3": (*_OF_LAYER, *_NORMS),
    "gemma2": (*_OF_LAYER, *_POST),
    "gemma3": (*_OF_LAYER, *_NORMS, *_POST),
}
"""Architectures with the same weights in all layers, and those that llama.cpp requires."""

_KINDS: Final = {
    "tokenizer.ggml.pre": gguf.STRING,
    **{f"tokenizer.ggml.add_{role}_token": gguf.BOOL for role in ("bos", "eos", "sep")},
    **{
        f"tokenizer.ggml.{role}_token_id": gguf.U32
        for role in ("bos", "eos", "eot", "eom", "unknown", "seperator", "padding", "mask")
    },
}
"""The types of values that llama.cpp reads from any file."""

_LAYER: Final = re.compile(r"blk\.(\d+)\.")


def on_tokens(main: Fingerprint, draft: Fingerprint) -> EngineOpinion:
    """llama.cpp's opinion of two vocabularies; the first rule that applies decides."""
    if main.llama is None or draft.llama is None:
        return EngineOpinion(NAME, accepts=None, text="unknown", why="it runs GGUF files alone")
    sides = (("main", main.llama), ("draft", draft.llama))
    for role, each in sides:
        if each.fault:
            why = f"llama.cpp does not load the {role}: {each.fault}"
            return EngineOpinion(NAME, accepts=False, text="unknown", why=why)
    for objection in _objections(main, draft, main.llama, draft.llama):
        why = f"llama.cpp does not draft with it, or does not load the main with it: {objection}"
        return EngineOpinion(NAME, accepts=False, text="unknown", why=why)
    for role, each in sides:
        if each.doubt:
            why = f"whether llama.cpp loads the {role} is not known: {each.doubt}"
            return EngineOpinion(NAME, accepts=None, text="unknown", why=why)
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
    if other.diffusion:
        yield "the draft is a diffusion model, which writes no token after the other"
    if other.recurrent and not one.recurrent:
        yield (
            "the draft keeps a recurrent state, from which llama.cpp takes tokens back only where "
            "the main keeps one too; it ends at the first request"
        )


def bare(file: gguf.Tokenizer) -> bool:
    """Whether a file has no weight for every layer: published for its metadata alone.

    Whether it loads is left to LM Studio and the proof.
    """
    layers = file.header.whole(f"{file.header.architecture}.{gguf.LAYERS}") or 0
    return len(file.shapes) <= layers


def faults(file: gguf.Tokenizer) -> Iterator[str]:
    """Why llama.cpp does not load a file that is not ``bare``, whatever its version."""
    shapes = file.shapes
    embedding = shapes.get("token_embd.weight")
    if embedding is None:
        yield "it has no token embedding"
    elif embedding[1:] != (len(file.tokens),):
        rows = " × ".join(f"{each:,}" for each in embedding[1:])
        yield f"its token embedding has {rows} rows for {len(file.tokens):,} tokens"
    if len(set(named(file.tokens))) < len(file.tokens):
        yield "it has a token twice"
    for key, kind in _KINDS.items():
        if file.header.kinds.get(key, kind) != kind:
            yield f"its {key} is of another type"
    if file.model == "gpt2" and not file.merges and file.pre != "kimi-k2":
        yield "its tokenizer has no merges"
    for name, listed in (("types", file.types), ("scores", file.scores)):
        if listed and len(listed) < len(file.tokens):
            yield f"it has fewer {name} than tokens"
    yield from _layer_faults(file.header, shapes)


def named(tokens: Sequence[str]) -> list[str]:
    """The texts as llama.cpp holds them: C strings, and none is empty."""
    cut = (text.partition("\0")[0] for text in tokens)
    return [text or f"[EMPTY_{number}]" for number, text in enumerate(cut)]


def _layer_faults(header: gguf.Header, shapes: Collection[str]) -> Iterator[str]:
    named = header.architecture
    layers = header.whole(f"{named}.{gguf.LAYERS}")
    if named not in PLAIN or layers is None or header.whole(f"{named}.expert_count"):
        return
    there = {int(found[1]) for name in shapes if (found := _LAYER.match(name))}
    if there != set(range(layers)):
        yield f"its metadata say {layers:,} layers, and it has weights of {len(there):,}"
    needed = [f"blk.{number}.{name}" for number in range(layers) for name in PLAIN[named]]
    for name in ("output_norm", *needed):
        fused = re.sub(r"attn_[qkv]$", "attn_qkv", name)
        if f"{name}.weight" not in shapes and f"{fused}.weight" not in shapes:
            yield f"it has no {name}.weight"


def doubts(file: gguf.Tokenizer) -> Iterator[str]:
    """Why it is not known whether the user's llama.cpp loads a file: ``VERSION`` does not."""
    named = file.header.architecture
    scaling = file.header.text(f"{named}.rope.scaling.type") or ""
    pre = (file.model == "gpt2" and file.pre) or "default"
    for kind, name, known in (
        ("architecture", named, ARCHITECTURES),
        ("tokenizer", file.model, TOKENIZERS),
        ("pre-tokenizer", pre, PRE_TOKENIZERS),
        ("RoPE scaling", scaling, ROPE_SCALINGS),
    ):
        if name not in known:
            yield f"{VERSION} has no {kind} {name[:60]!r}"


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

"""The rules about mlx-engine, held against what mlx-lm does on real folders of each kind of cache.

Every kind of main × drafts of fewer, as many and more layers × {a short prompt, one longer than the
window, an answer that crosses it, a second turn, an edited message}: the verdict says that the text
stays the same exactly where it does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from specd.tokenizer import fingerprint
from specd.tokenizer.compare import compare
from specd.tokenizer.engines import mlx
from specd.tokenizer.verdict import EngineOpinion, Verdict
from tests.tokenizer import mlx_models
from tests.tokenizer.mlx_models import KINDS, WINDOW
from tests.tokenizer.models import model

pytestmark = pytest.mark.mlx

DRAFT_LAYERS = (1, 2, 4)
IDS = [random.Random(3).randrange(256) for _ in range(2 * WINDOW)]  # noqa: S311 - a prompt


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("matrix")


@pytest.fixture(scope="module")
def drafts(folders: Path) -> dict[int, Path]:
    return {
        layers: mlx_models.make(
            folders / f"draft-{layers}", "llama", seed=7, num_hidden_layers=layers
        )
        for layers in DRAFT_LAYERS
    }


def answers(session: Any) -> Iterator[Callable[[], tuple[int, ...]]]:
    """The first four cells; the second turn goes on from the first, as a chat does."""
    yield lambda: session().answer(IDS[:8], 12).tokens
    yield lambda: session().answer(IDS[: WINDOW + 20], 12).tokens
    yield lambda: session().answer(IDS[: WINDOW - 10], 24).tokens

    def second_turn() -> tuple[int, ...]:
        chat = session()
        first = chat.answer(IDS[:8], 12).tokens
        return first + chat.answer([*IDS[:8], *first, *IDS[8:16]], 12).tokens

    yield second_turn


def outcomes(main: Path, draft: Path) -> list[str]:
    """What mlx-lm does in each cell: "same", "differs", or what it raises."""
    from mlx_lm.utils import load_model

    from specd.tokenizer.sequential import Session

    one, other = (load_model(folder)[0] for folder in (main, draft))
    found: list[str] = []
    cells = zip(answers(lambda: Session(one)), answers(lambda: Session(one, other)), strict=True)
    for alone, paired in cells:
        expected = alone()
        try:
            found.append("same" if paired() == expected else "differs")
        except (ValueError, IndexError) as error:
            found.append(type(error).__name__)
    return [*found, edited(Session(one), Session(one, other))]


def edited(fresh: Any, chat: Any) -> str:
    """The fifth cell: the end of a chat is edited, so the kept caches are trimmed."""
    try:
        for end in range(WINDOW, 2 * WINDOW, 9):
            chat.answer(IDS[:end], 12)
        return (
            "same"
            if fresh.answer(IDS[:20], 12).tokens == chat.answer(IDS[:20], 12).tokens
            else "differs"
        )
    except (ValueError, IndexError) as error:
        return type(error).__name__


def pair_of(kind: str, main: Path, draft: Path) -> mlx.Pair:
    from specd.tokenizer.kv_cache import built

    models = (
        model("Main", main, architecture=KINDS.get(kind, {}).get("model_type", "llama")),
        model("Draft", draft, architecture="llama"),
    )
    return mlx.Pair(*models, built(main), built(draft))


def opinion(kind: str, main: Path, draft: Path, kv_group: int | None = None) -> EngineOpinion:
    return mlx.opinion(mlx.on_tokens(5, 5), replace(pair_of(kind, main, draft), kv_group=kv_group))


def compared(main: Path, draft: Path) -> Verdict:
    return compare("main", fingerprint.read(main), "draft", fingerprint.read(draft))


@pytest.mark.parametrize("kind", KINDS)
def test_the_verdict_and_mlx_lm_agree(kind: str, folders: Path, drafts: dict[int, Path]) -> None:
    main = mlx_models.make(folders / kind, kind, seed=1)
    said = {layers: opinion(kind, main, draft) for layers, draft in drafts.items()}
    assert len(set(said.values())) == 1
    seen = [outcome for draft in drafts.values() for outcome in outcomes(main, draft)]
    found = said[1]
    if found.text == "same":
        assert set(seen) == {"same"}
    elif found.accepts is False:
        assert set(seen) == {"ValueError"}
    elif found.text == "may differ":
        assert set(seen) - {"same"}
    assert found.objects or set(seen) == {"same"}
    expected = {
        "llama": (True, "same"),
        "gemma3": (True, "may differ"),
        "gpt_oss": (True, "may differ"),
        "gemma4": (True, "may differ"),
        "qwen3_next": (False, "unknown"),
        "mamba": (False, "unknown"),
        "llama4": (True, "may differ"),
        "nemotron-nas": (True, "may differ"),
    }
    assert (found.accepts, found.text) == expected[kind]


SAME = (
    "muse_glimmer", "talkie", "afmoe", "bailing_moe_v3", "glm4_moe_lite", "solar_open", "telechat3",
    "youtu_llm", "nanbeige", "gear", "helium", "seed_oss", "hunyuan_v1_dense", "dots1", "smollm3",
    "granite", "olmo2", "phi3", "qwen3_moe", "ernie4_5",
)  # fmt: skip
FAILS = ("deepseek_v41", "lfm2", "qwen3_5", "plamo2")
DIFFERS = ("plamo3", "cohere2")
DAILY = ("muse_glimmer", "deepseek_v41", "plamo3")
"""Of each kind of outcome one of the newest types."""


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(each, marks=() if each in DAILY else pytest.mark.nightly)
        for each in (*SAME, *FAILS, *DIFFERS)
    ],
)
def test_of_further_types_too_the_text_is_what_the_verdict_says(
    kind: str, folders: Path, drafts: dict[int, Path]
) -> None:
    main = mlx_models.make(folders / kind, kind, seed=1, **mlx_models.GENERIC)
    found, seen = opinion(kind, main, drafts[1]), set(outcomes(main, drafts[1]))
    if kind in SAME:
        assert (found.accepts, found.text, seen) == (True, "same", {"same"})
    elif kind in FAILS:
        assert (found.accepts, seen) == (False, {"ValueError"})
    else:
        assert found.text == "may differ"
        assert "differs" in seen


def test_a_guess_beyond_the_mains_embedding_changes_the_answer(folders: Path) -> None:
    """MLX checks no bounds: a NaN there reaches the positions before it, as 0 × NaN in attention."""
    import mlx.core as mx
    from mlx_lm.utils import load_model

    from specd.tokenizer.sequential import Session

    main = load_model(mlx_models.make(folders / "narrow", "llama", seed=1))[0]
    wide = mlx_models.make(folders / "wide", "llama", seed=2, vocab_size=400)
    assert compared(folders / "narrow", wide).kind == "incompatible"
    draft = load_model(wide)[0]
    guesses = draft.model.embed_tokens
    guesses.weight = mx.concatenate([guesses.weight[:320], 50 * guesses.weight[320:]])
    embedding = main.model.embed_tokens
    behind = mx.full((80, embedding.weight.shape[1]), float("nan"))
    memory = mx.concatenate([embedding.weight, behind])
    mx.eval(memory)
    embedding.weight = memory[:320]  # a view: the rows behind it stay where they are
    expected = Session(main).answer(IDS[:8], 12).tokens
    assert Session(main, draft).answer(IDS[:8], 12).tokens != expected
    guesses.weight = guesses.weight[:320]
    assert Session(main, draft).answer(IDS[:8], 12).tokens == expected


@pytest.mark.parametrize(("start", "text"), [(0, "same"), (40, "may differ")])
def test_quantizing_in_mid_answer_changes_the_next_turn(
    folders: Path, start: int, text: str
) -> None:
    """mlx-lm puts the quantized caches into a copy of the list that the engine keeps."""
    from mlx_lm.utils import load_model

    from specd.tokenizer.sequential import Session

    shape = {"hidden_size": 128, "num_attention_heads": 2, "head_dim": 64}
    both = [
        mlx_models.make(folders / f"late-{seed}-{start}", "llama", seed=seed, **shape)
        for seed in (1, 2)
    ]
    pair = replace(pair_of("llama", *both), kv_group=64, kv_start=start)
    assert mlx.opinion(mlx.on_tokens(5, 5), pair).text == text
    one, other = (load_model(folder)[0] for folder in both)
    chats = [Session(one, draft, 3, 8, 64, start) for draft in (None, other)]
    first, second = (chat.answer(IDS[:25], 30).tokens for chat in chats)
    assert first == second
    first, second = (chat.answer([*IDS[:25], *first, 7], 24).tokens for chat in chats)
    assert (first == second) == (text == "same")


def test_a_main_with_nested_caches_answers_a_second_turn_otherwise(folders: Path) -> None:
    """A Llama in a ``CacheList``, drafted for by itself: every answer ends with accepted tokens."""
    from mlx_lm.models.cache import CacheList, KVCache
    from mlx_lm.utils import load_model

    from specd.tokenizer.sequential import Session

    inner = load_model(mlx_models.make(folders / "nested", "llama", seed=3))[0]

    class Nested:
        layers = inner.layers

        def __call__(self, ids: Any, cache: Any) -> Any:
            return inner(ids, cache=[each[0] for each in cache])

        def make_cache(self) -> list[Any]:
            return [CacheList(KVCache()) for _ in self.layers]

    for main, same in ((inner, True), (Nested(), False)):
        alone, paired = Session(main), Session(main, inner, 3)
        first = alone.answer(IDS[:8], 12)
        assert paired.answer(IDS[:8], 12).tokens == first.tokens
        again = [*IDS[:8], *first.tokens, *IDS[8:16]]
        assert (alone.answer(again, 12).tokens == paired.answer(again, 12).tokens) is same
    real = mlx_models.make(folders / "deepseek", "llama", **mlx_models.NESTED)
    assert opinion("llama", real, folders / "draft-1").text == "may differ"
    assert opinion("llama", folders / "nested", real).text == "same"


def test_a_rotating_or_hybrid_draft_keeps_the_text(folders: Path) -> None:
    main = mlx_models.make(folders / "plain", "llama", seed=1)
    for kind in ("gemma3", "qwen3_next"):
        draft = mlx_models.make(folders / f"draft-{kind}", kind, seed=7)
        assert opinion("llama", main, draft).text == "same"
        assert set(outcomes(main, draft)) == {"same"}


def test_a_main_with_dynamic_positions_answers_otherwise_beyond_them(
    folders: Path, drafts: dict[int, Path]
) -> None:
    scaling = {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}
    main = mlx_models.make(
        folders / "dynamic", "llama", seed=1, max_position_embeddings=40, **scaling
    )
    assert "differs" in outcomes(main, drafts[1])
    assert opinion("llama", main, drafts[1]).text == "may differ"


OTHER_HEADS: dict[str, dict[str, Any]] = {
    "gpt_neox": {"model_type": "gpt_neox", "use_parallel_residual": True, "rotary_pct": 0.25,
                 "rotary_emb_base": 10000, "layer_norm_eps": 1e-5},
    "gpt2": {"model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_layer": 2, "n_positions": 512,
             "n_ctx": 512, "layer_norm_epsilon": 1e-5},
    "internlm2": {"model_type": "internlm2", "bias": False},
    "nanochat": {"model_type": "nanochat"},
    "falcon_h1": {"model_type": "falcon_h1"},
    "gemma2": {"model_type": "gemma2", "query_pre_attn_scalar": 64, "attn_logit_softcapping": 50.0,
               "final_logit_softcapping": 30.0, "head_dim": 64},
    "stablelm": {"model_type": "stablelm", "num_attention_heads": 1, "num_key_value_heads": 1,
                 "partial_rotary_factor": 0.5, "layer_norm_eps": 1e-5, "use_qkv_bias": False},
}  # fmt: skip
"""Models whose attention names its projections otherwise, or whose caches are nested."""


@pytest.mark.parametrize(
    ("kind", "head", "group", "runs"),
    [
        ("llama", 64, 64, True),
        ("llama", 96, 64, False),
        ("llama", 96, 32, True),
        ("gemma3", 64, 64, False),
        ("gpt_oss", 64, 64, False),
        ("llama4", 64, 64, False),  # its heads have 16 numbers here
        ("gemma4", 64, 64, False),  # and here those that attend to everything
        ("qwen3_next", 96, 64, False),
        ("qwen3_next", 64, 64, True),
        ("mamba", 64, 64, True),
        ("gpt_neox", 16, 64, False),  # 64 states in 4 heads: it takes no other number
        ("gpt2", 16, 64, False),
        ("internlm2", 16, 64, False),
        ("nanochat", 16, 64, False),
        ("falcon_h1", 16, 64, True),  # mlx-lm quantizes no CacheList
        ("gemma2", 64, 64, False),  # its attention reads arrays alone
        ("stablelm", 64, 64, False),
    ],
)
def test_a_quantized_cache_refuses_what_mlx_lm_cannot_quantize(
    tmp_path: Path, kind: str, head: int, group: int, runs: bool
) -> None:
    from mlx_lm.utils import load_model

    from specd.tokenizer.sequential import Session

    main = mlx_models.make(tmp_path / "main", "llama", seed=1, head_dim=64)
    told = {"head_dim": head, **OTHER_HEADS[kind]} if kind in OTHER_HEADS else {"head_dim": head}
    draft = mlx_models.make(
        tmp_path / "draft", "llama" if kind in OTHER_HEADS else kind, seed=2, **told
    )
    one, other = (load_model(folder)[0] for folder in (main, draft))
    alone = Session(one, kv_bits=8, kv_group=group).answer(IDS[:8], 12).tokens
    paired = Session(one, other, kv_bits=8, kv_group=group)
    try:
        ran = paired.answer(IDS[:8], 12).tokens == alone
    except (NotImplementedError, ValueError, AttributeError, TypeError):
        ran = False
    assert ran == runs == bool(opinion("llama", main, draft, group).accepts)

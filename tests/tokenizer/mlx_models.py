"""Folders of tiny random models that mlx-lm loads, one for each kind of cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.tokenizer import folders

WINDOW = 32
"""Tokens that the sliding windows keep."""

_SHAPE = {**folders.LLAMA, "vocab_size": 320, "max_position_embeddings": 512, "rope_theta": 1e4}

KINDS: Mapping[str, dict[str, Any]] = {
    "llama": {},
    "gemma3": {
        "model_type": "gemma3_text",
        "sliding_window": WINDOW,
        "sliding_window_pattern": 2,
        "query_pre_attn_scalar": 16,
        "rope_local_base_freq": 1e4,
        "rope_global_base_freq": 1e6,
    },
    "gpt_oss": {
        "model_type": "gpt_oss",
        "sliding_window": WINDOW,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "experts_per_token": 2,
        "rope_scaling": {"rope_type": "default"},
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "gemma4": {
        "model_type": "gemma4_text",
        "num_hidden_layers": 4,
        "sliding_window": 512,
        "sliding_window_pattern": 2,
        "num_kv_shared_layers": 2,
        "global_head_dim": 16,
        "vocab_size_per_layer_input": 320,
        "hidden_size_per_layer_input": 16,
        "num_global_key_value_heads": 2,
        "layer_types": ["full_attention"] * 4,
    },
    "qwen3_next": {
        "model_type": "qwen3_next",
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
        "linear_conv_kernel_dim": 4,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "decoder_sparse_step": 1,
        "shared_expert_intermediate_size": 64,
        "mlp_only_layers": [],
        "moe_intermediate_size": 64,
        "partial_rotary_factor": 0.5,
        "full_attention_interval": 2,
        "tie_word_embeddings": False,
    },
    "mamba": {
        "model_type": "mamba",
        "state_size": 4,
        "conv_kernel": 4,
        "use_bias": False,
        "use_conv_bias": True,
        "time_step_rank": 4,
    },
    "llama4": {
        "model_type": "llama4",
        "text_config": {
            **_SHAPE,
            "model_type": "llama4_text",
            "num_hidden_layers": 4,
            "attention_chunk_size": WINDOW,
            "interleave_moe_layer_step": 1,
            "intermediate_size_mlp": 128,
            "num_experts_per_tok": 1,
            "num_local_experts": 2,
            "attention_bias": False,
            "use_qk_norm": True,
            "rope_scaling": None,
        },
    },
    "nemotron-nas": {
        "model_type": "nemotron-nas",
        "block_configs": [
            {"attention": {"n_heads_in_group": 2, "no_op": False, "replace_with_linear": False},
             "ffn": {"ffn_mult": 1.0, "no_op": False, "replace_with_linear": False}},
            {"attention": {"n_heads_in_group": None, "no_op": True, "replace_with_linear": False},
             "ffn": {"ffn_mult": 1.0, "no_op": False, "replace_with_linear": False}},
        ],
    },
}  # fmt: skip
"""What config.json says besides a plain shape."""


NESTED: Mapping[str, Any] = {
    "model_type": "deepseek_v32",
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 32,
    "index_head_dim": 16,
    "index_n_heads": 2,
    "index_topk": 16,
}
"""Two KV caches in each layer, in a ``CacheList``."""


GENERIC: Mapping[str, Any] = {
    "attn_logit_softcapping": 50.0, "block_auto_adjust_ff_dim": False, "block_dim": 64,
    "block_ff_dim": 128, "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 8,
    "conv_L_cache": 3, "conv_bias": False, "final_logit_softcapping": 30.0,
    "first_k_dense_replace": 1, "full_attn_idxs": [1], "index_head_dim": 16, "index_n_heads": 2,
    "index_topk": 16, "kv_lora_rank": 16, "layer_norm_eps": 1e-5, "logit_scale": 1.0,
    "layer_types": ["full_attention", "full_attention"], "linear_num_value_heads": 4,
    "linear_num_key_heads": 2, "linear_key_head_dim": 32, "linear_value_head_dim": 32,
    "linear_conv_kernel_dim": 4, "full_attention_interval": 2, "mamba_d_conv": 4,
    "mamba_d_state": 8, "mamba_num_heads": 4, "moe_intermediate_size": 32, "moe_layer_freq": 1,
    "n_group": 1, "n_routed_experts": 4, "n_shared_experts": 1, "norm_eps": 1e-5,
    "norm_topk_prob": True, "num_dense_layers": 1, "num_experts": 4, "num_experts_per_tok": 2,
    "num_nextn_predict_layers": 0, "num_shared_experts": 1, "partial_rotary_factor": 0.5,
    "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "query_pre_attn_scalar": 16,
    "decoder_sparse_step": 1, "mlp_only_layers": [], "use_bias": False, "logits_scaling": 1.0,
    "attention_multiplier": 1.0, "embedding_multiplier": 1.0, "residual_multiplier": 1.0,
    "shared_expert_intermediate_size": 32,
    "routed_scaling_factor": 1.0, "scoring_func": "sigmoid", "sliding_window": WINDOW,
    "sliding_window_pattern": 2, "topk_group": 1, "topk_method": "noaux_tc", "use_qk_norm": True,
    "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False, "v_head_dim": 16,
}  # fmt: skip
"""Facts from which mlx-lm builds a small model of many types."""


def make(folder: Path, kind: str, *, seed: int = 0, **config: Any) -> Path:
    """A model of this kind with random weights, and the small tokenizer."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.utils import _get_classes

    told = {**_SHAPE, **KINDS.get(kind, {"model_type": kind}), **config}
    folders.lay_out(folder, folders.small(), rows=told["vocab_size"], config=told)
    mx.random.seed(seed)
    model_class, args_class = _get_classes(told)
    model = model_class(args_class.from_dict(told))

    # Attention has to tell, or every answer is the same whatever a cache holds.
    weights = {
        name: weight * (0.05 if "embed_tokens" in name else 3) if weight.ndim == 2 else weight
        for name, weight in tree_flatten(model.parameters())
    }
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(told))
    return folder


def with_windows(folder: Path, to: Path, window: int) -> Path:
    """A Llama model's weights, with windows of this many tokens in all layers but the last."""
    to.mkdir()
    for each in folder.iterdir():
        if each.name != "config.json":
            (to / each.name).symlink_to(each.resolve())
    config = json.loads((folder / "config.json").read_bytes())
    kinds = ["sliding_attention"] * (config["num_hidden_layers"] - 1) + ["full_attention"]
    config |= {"sliding_window": window, "layer_types": kinds}
    (to / "config.json").write_text(json.dumps(config))
    return to

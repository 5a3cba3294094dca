"""The engines' rules on drafts, one module per engine (pure).

``mlx`` (lmstudio-ai/mlx-engine) runs MLX folders, ``llama_cpp`` runs GGUF files. Each holds a table
of rules, with source and version; the first rule that applies decides. The facts come from the
model index, the fingerprints, and mlx-lm's own classes (``kv_cache``).
"""

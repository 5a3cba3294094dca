"""What the engines do with a draft, one module per engine.

``mlx`` (lmstudio-ai/mlx-engine) runs MLX folders, ``llama_cpp`` runs GGUF files. Each holds a table
of rules with the version they were read in and where; the first rule that applies decides. All of
it is pure: facts come from the model index, fingerprints, and what mlx-lm built (``kv_cache``).
"""

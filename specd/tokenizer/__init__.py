"""Tokenizers: whether two models' token ids mean the same, and whether the engine speculates.

``fingerprint`` reads a model's token ids from its files, ``compare`` compares two fingerprints
(pure), ``engines`` holds the engines' rules, ``store`` caches by file identity. ``validate`` proves
a pair with MLX, ``prove_gguf`` with llama.cpp, in the worker only. Nothing here executes a model's
own code.
"""

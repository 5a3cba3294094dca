"""Tokenizers: do two models mean the same by every token, and will the engine speculate with them.

``fingerprint`` reads what decides it from a model's files, ``verdict`` compares two fingerprints
(pure), ``engine`` knows what the engines refuse, ``store`` caches by file identity, ``validate``
proves it with MLX and runs in the worker only. Nothing here executes a model's own code.
"""

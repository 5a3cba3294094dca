"""llama.cpp, the engine for GGUF files: start its server, send requests, stop it. Workers only.

``engine`` finds llama.cpp: the ``llama-server`` that LM Studio has installed, else the package
``xllamacpp`` (``pip install specd[gguf]``). ``server`` runs it.
"""

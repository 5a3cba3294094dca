"""llama.cpp, the engine for GGUF files: start its own server, ask it, stop it. In workers only.

``engine`` says which llama.cpp there is: the ``llama-server`` that LM Studio has installed, else
the one in the package ``xllamacpp`` (``pip install specd[gguf]``). ``server`` runs it.
"""

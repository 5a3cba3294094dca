"""specd keeps speculative decoding in LM Studio switched on, proven and measured.

Layers, top to bottom; each knows only those below it (checked by import-linter):

- ``cli``: what a person types.
- ``demo``: a sandbox LM Studio home with real models and a stand-in server.
- ``agent``: the daemon, its loops and threads.
- ``service``: launchd and systemd --user.
- ``reconcile``: observe, plan (pure), apply; conditions, journal and undo.
- ``worker``: short-lived processes for everything that needs MLX.
- ``bench``: exact replay, cost curves, tuning, statistics, history.
- ``tokenizer``: fingerprints and verdicts.
- ``llamacpp``: a real llama.cpp server, for GGUF files.
- ``lmstudio``: every fact about LM Studio's files and API.
- ``config``: specd.toml.
- ``files``: byte-preserving JSON edits, atomic compare-and-swap writes.
- ``places``: where specd keeps its own things.
"""

__version__ = "0.1.0"

"""Every fact about LM Studio: where its files are, what its keys are called, what its API answers.

Nobody outside this package knows a key name or a path of LM Studio's. Facts that are inferred
rather than documented are read tolerantly and never acted on destructively.

Files and keys
    ``home`` finds LM Studio's directory, ``keys`` names its files and keys. ``settings`` and
    ``model_defaults`` are the **surfaces**: the files specd keeps values in; ``surface`` says what
    a surface is, ``surfaces`` lists them. ``draft_cache`` is only read.

Models
    ``models`` indexes what is installed (``folder`` and ``gguf`` read one model each, ``model`` is
    the type), ``names`` finds the model a person means.

What runs and what has been
    ``server`` speaks LM Studio's HTTP API (``connection`` and ``answers`` are its parts), ``app``
    looks for its process, ``server_log`` and ``conversations`` read the figures LM Studio leaves
    behind, never the text beside them.
"""

"""Short-lived processes for work that needs MLX or much memory.

``python -m specd.worker TASK`` reads one JSON request from standard input and writes JSON lines to
standard output: any number of ``{"progress": …}``, then one ``{"result": …}`` or ``{"error": …}``.
``client`` starts one with a time and memory limit and kills its whole process group when asked.
"""

"""Short-lived processes for work that needs MLX or much memory.

``python -m specd.worker TASK`` reads one JSON request from standard input and writes JSON lines to
standard output: any number of ``{"progress": …}``, then one ``{"result": …}`` or ``{"error": …}``.
``client`` starts a worker with limits of time and memory, and kills its whole process group.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

Progress: TypeAlias = Callable[[dict[str, Any]], None]
"""Takes each progress message of a worker."""

Task: TypeAlias = Callable[[dict[str, Any], Progress], dict[str, Any]]
"""Takes a request and returns the result."""

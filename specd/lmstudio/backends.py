"""The engines in LM Studio's home: llama.cpp's server, and the model types that mlx-lm knows.

``extensions/backends/llama.cpp-…-<version>/llama-server`` is what LM Studio starts for GGUF files;
``…/vendor/_amphibian/app-mlx-generate-…@<number>/`` is the Python environment of mlx-engine. Only
names are read there, and one table of mlx-lm's; none of their code is run or imported.
"""

from __future__ import annotations

import ast
import os
import re
from functools import lru_cache
from pathlib import Path

from specd.files import private

_BACKENDS = Path("extensions", "backends")
_MLX_LM = "vendor/_amphibian/app-mlx-generate-*/lib/python3*/site-packages/mlx_lm"
_LOADS_DRAFTS = (2, 15)  # llama.cpp's engine, with LM Studio 0.4.14
_NUMBERS = re.compile(r"\d+")
_UTILS_BYTES = 1 << 20


def llama_servers(home: Path) -> tuple[Path, ...]:
    """Every ``llama-server`` in the home, the newest version first."""
    found = (home / _BACKENDS).glob("llama.cpp-*/llama-server")
    return tuple(
        sorted(
            (path for path in found if os.access(path, os.X_OK)),
            key=lambda path: _version(path.parent.name.rpartition("-")[2]),
            reverse=True,
        )
    )


def llama_drafts_by_request(home: Path) -> bool:
    """Whether the home's llama.cpp is too old to load a draft: each request names it."""
    versions = [
        _version(folder.name.rpartition("-")[2])
        for folder in (home / _BACKENDS).glob("llama.cpp-*")
    ]
    known = [version for version in versions if version]
    return bool(known) and max(known) < _LOADS_DRAFTS


def mlx_model_types(home: Path) -> frozenset[str] | None:
    """The model types that the newest mlx-lm in the home can load; None where there is none."""
    newest = max(
        (home / _BACKENDS).glob(_MLX_LM),
        key=lambda path: _version(path.parents[3].name.rpartition("@")[2]),
        default=None,
    )
    return None if newest is None else _types(newest, newest.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _types(mlx_lm: Path, _modified_ns: int) -> frozenset[str] | None:
    names = frozenset(path.stem for path in (mlx_lm / "models").glob("*.py"))
    also = (name for name, meant in _remapped(mlx_lm / "utils.py").items() if meant in names)
    return names.union(also) if names else None


def _remapped(utils: Path) -> dict[str, str]:
    """mlx-lm's table of model types that are loaded as another one."""
    try:
        for line in ast.parse(private.read(utils, _UTILS_BYTES)).body:
            if isinstance(line, ast.Assign) and any(
                isinstance(name, ast.Name) and name.id == "MODEL_REMAPPING" for name in line.targets
            ):
                table = ast.literal_eval(line.value)
                return {k: v for k, v in table.items() if isinstance(k, str) and isinstance(v, str)}
    except (OSError, SyntaxError, ValueError, AttributeError, RecursionError):
        return {}
    return {}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in _NUMBERS.findall(text)[:4])

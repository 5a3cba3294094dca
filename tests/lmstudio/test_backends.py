from __future__ import annotations

from pathlib import Path

import mlx_lm

from specd.lmstudio.backends import llama_servers, mlx_model_types


def test_the_newest_llama_server_comes_first(tmp_path: Path) -> None:
    names = ["llama.cpp-mac-arm64-apple-metal-advsimd-2.9.0", "llama.cpp-mac-arm64-2.25.2"]
    for name in names:
        program = tmp_path / "extensions" / "backends" / name / "llama-server"
        program.parent.mkdir(parents=True)
        program.touch(mode=0o755)
    (tmp_path / "extensions" / "backends" / "llama.cpp-mac-1.44.0").mkdir()
    assert [path.parent.name for path in llama_servers(tmp_path)] == names[::-1]
    assert llama_servers(tmp_path / "nowhere") == ()


def test_mlx_lms_model_types_are_read_where_they_lie(tmp_path: Path) -> None:
    assert mlx_model_types(tmp_path) is None
    vendor = tmp_path / "extensions" / "backends" / "vendor" / "_amphibian"
    for name, source in (("mac14-arm64@9", tmp_path), ("mac14-arm64@31", Path(mlx_lm.__path__[0]))):
        folder = vendor / f"app-mlx-generate-{name}" / "lib" / "python3.11" / "site-packages"
        folder.mkdir(parents=True)
        (folder / "mlx_lm").symlink_to(source)
    found = mlx_model_types(tmp_path)
    assert found is not None
    assert {"llama", "qwen3", "gemma3_text", "mistral", "kimi_k2"} <= found
    assert "cohere2_moe" not in found

"""Models, verdicts and benchmarks to decide on, without a disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from specd.bench.result import BenchResult, Best, LengthResult
from specd.lmstudio.model import Model
from specd.tokenizer.verdict import Verdict

MAIN = Model(
    key="qwen3-8b",
    identifier="mlx-community/Qwen3-8B-4bit",
    publisher="mlx-community",
    repo="Qwen3-8B-4bit",
    path=Path("/models/mlx-community/Qwen3-8B-4bit"),
    format="mlx",
    kind="llm",
    architecture="qwen3",
    vocab_size=151936,
    quantization="4bit",
    size_bytes=8_000,
)


def model(repo: str, size: int = 500, **more: Any) -> Model:
    return replace(
        MAIN,
        key=repo.lower().removesuffix("-4bit"),
        identifier=f"mlx-community/{repo}",
        repo=repo,
        path=Path(f"/models/mlx-community/{repo}"),
        size_bytes=size,
        **more,
    )


SMALL = model("Qwen3-0.6B-4bit")
OTHER = model("Qwen2.5-0.5B-4bit", 400, architecture="qwen2")


def verdict(kind: str = "compatible", *reasons: str, **more: Any) -> Verdict:
    return Verdict(MAIN.key, SMALL.key, kind, reasons or (f"it is {kind}",), **more)  # type: ignore[arg-type]


def measured(
    speedup: float,
    *,
    draft: str = SMALL.key,
    draft_tokens: int = 4,
    interval: tuple[float, float] | None = None,
) -> BenchResult:
    lengths = tuple(
        LengthResult(k, 0.8, 8, 10, 20.0 * (speedup if k else 1.0), speedup if k else 1.0)
        for k in range(6)
    )
    spread = interval or (speedup - 0.02, speedup + 0.02)
    return BenchResult(
        main=MAIN.key,
        draft=draft,
        engine="mlx",
        suite="seed",
        started_at="2026-11-24T04:30:00+00:00",
        baseline_tps=20.0,
        lengths=lengths,
        best=Best(draft_tokens, speedup, speedup, spread),
        text_equal=True,
        model_seconds=30.0,
    )

"""Worker tasks that generate: the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from specd.bench import circumstances, prompts
from specd.bench.history import History
from specd.bench.measure import benchmark


def bench(request: dict[str, Any], progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """``{"pairs": [[[name, folder], [name, folder]], …], "suite", "quick", "seconds", "history"}``.

    Every result is kept in the history as soon as it is there; ``{"results": […]}``.
    """
    asked = prompts.suite(request["suite"], quick=bool(request["quick"]))
    history = History(Path(request["history"]))
    results: list[dict[str, Any]] = []
    pairs = request["pairs"]
    share = 1 / len(pairs) if pairs else 1.0
    for number, (main, draft) in enumerate(pairs):

        def step(said: dict[str, Any], before: float = number * share) -> None:
            progress({**said, "done": before + share * said["done"]})

        context = {
            **circumstances.here(),
            **circumstances.dependencies(Path(main[1]), Path(draft[1]), engine_version=None),
            "seconds": request["seconds"],
            "quick": request["quick"],
        }
        result = benchmark(
            (main[0], Path(main[1])),
            (draft[0], Path(draft[1])),
            asked,
            request["suite"],
            seconds=request["seconds"] * share,
            progress=step,
        )
        history.add(result, context)
        results.append(asdict(result))
    history.close()
    return {"results": results}

"""Worker tasks that generate: the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from specd.bench import circumstances, prompts
from specd.bench.engine_mlx import Main, MlxEngine, open_draft, open_main
from specd.bench.history import History
from specd.bench.measure import Asked, Candidate, benchmark


def bench(request: dict[str, Any], progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """``{"pairs": [[[name, folder], [name, folder]], …], "suite", "quick", "seconds", …}``.

    Also ``"weights"`` of classes of prompts, and the path of the ``"history"``. Pairs with the same
    main are measured together. Every result is kept in the history as soon as it is there;
    ``{"results": […]}``.
    """
    suite = prompts.suite(request["suite"], quick=bool(request["quick"]))
    history = History(Path(request["history"]))
    results: list[dict[str, Any]] = []
    mains = _by_main(request["pairs"])
    for number, ((name, folder), drafts) in enumerate(mains.items()):

        def step(said: dict[str, Any], before: float = number / len(mains)) -> None:
            progress({**said, "done": before + said["done"] / len(mains)})

        step({"step": "loading", "done": 0.0})
        main = open_main(Path(folder))
        asked = Asked(
            main=name,
            prompts=suite,
            suite=request["suite"],
            weights=request["weights"],
            seconds=request["seconds"] / len(mains),
            started_at=datetime.now().astimezone().isoformat(timespec="seconds"),
            progress=step,
        )
        stood = circumstances.here()
        folders = {name: Path(where) for name, where in drafts}
        for result in benchmark(asked, [_candidate(main, *each) for each in folders.items()]):
            context = {
                **stood,
                **circumstances.dependencies(
                    Path(folder), folders[result.draft], engine_version=None
                ),
                "seconds": request["seconds"],
                "quick": request["quick"],
                "weights": request["weights"],
            }
            history.add(result, context)
            results.append(asdict(result))
    history.close()
    return {"results": results}


def _by_main(pairs: Sequence[Any]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for main, draft in pairs:
        found.setdefault((main[0], main[1]), []).append((draft[0], draft[1]))
    return found


def _candidate(main: Main, name: str, folder: Path) -> Candidate:
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return Candidate(name, weights, lambda: MlxEngine(main, open_draft(folder)))

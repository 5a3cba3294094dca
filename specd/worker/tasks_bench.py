"""Worker task: the benchmark with MLX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from specd.bench import circumstances, costs, prompts
from specd.bench.alone import Busy, alone
from specd.bench.costs import Costs
from specd.bench.engine_mlx import Main, MlxEngine, open_draft, open_main
from specd.bench.history import History
from specd.bench.measure import Candidate, MainRequest, benchmark

Progress = Callable[[dict[str, Any]], None]


def bench(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Request: as ``reconcile.measuring`` builds it. Result: ``{"results": […]}``.

    With ``"busy": true`` another benchmark runs and nothing was measured. A main's results are
    stored in the history together, after the last one.
    """
    history = History(Path(request["history"]))
    results: list[dict[str, Any]] = []
    try:
        with alone(Path(request["history"])):
            for number in range(len(request["mains"])):
                results += _measure(request, number, history, progress)
    except Busy:
        return {"results": [], "busy": True}
    finally:
        history.close()
    return {"results": results}


def _measure(
    request: dict[str, Any], number: int, history: History, progress: Progress
) -> list[dict[str, Any]]:
    told, count = request["mains"][number], len(request["mains"])

    def step(said: dict[str, Any]) -> None:
        progress({**said, "done": (number + said["done"]) / count})

    step({"step": "loading", "done": 0.0})
    folder = Path(told["path"])
    asked = MainRequest(
        main=told["name"],
        prompts=prompts.suite(request["suite"], quick=bool(request["quick"])),
        suite=request["suite"],
        weights=request["weights"],
        seconds=request["seconds"] / count,
        started_at=datetime.now().astimezone().isoformat(timespec="seconds"),
        temperature=told["temperature"],
        progress=step,
    )
    stood = circumstances.here()
    contexts = {
        each["name"]: {
            **stood,
            **circumstances.dependencies(folder, Path(each["path"]), engine_version=None),
            "seconds": request["seconds"],
            "quick": request["quick"],
            "weights": request["weights"],
        }
        for each in told["drafts"]
    }
    main = open_main(folder)
    candidates = [
        _candidate(main, each, _known(history, told["name"], each["name"], contexts[each["name"]]))
        for each in told["drafts"]
    ]
    results = list(benchmark(asked, candidates))
    for result in results:
        history.add(result, contexts[result.draft])
    return [asdict(result) for result in results]


def _candidate(main: Main, draft: dict[str, Any], known: Costs | None) -> Candidate:
    folder = Path(draft["path"])
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return Candidate(draft["name"], weights, lambda: MlxEngine(main, open_draft(folder)), known)


def _known(history: History, main: str, draft: str, now: dict[str, Any]) -> Costs | None:
    """The costs of the pair's last run, if it had the same files and versions on this chip."""
    last = history.latest_run(main, draft)
    if last is None or any(last.context.get(each) != now[each] for each in _COSTS_DEPEND_ON):
        return None
    return costs.from_json(last.result.costs)


_COSTS_DEPEND_ON = ("main_files", "draft_files", "mlx", "mlx-lm", "os", "processor", "cores")

"""Worker task: the benchmark with MLX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from specd.bench import costs
from specd.bench.costs import Costs
from specd.bench.engine_mlx import Main, MlxEngine, open_draft, open_main
from specd.bench.history import History
from specd.bench.measure import Candidate, MainRequest, benchmark
from specd.worker.session import Progress, Session, run


def bench(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """As ``run``. A main's results are stored together, after the last one."""
    return run(request, progress, _measure)


def _measure(session: Session) -> None:
    request = session.request
    for told, seconds, started_at, step in session.parts(request["mains"]):
        folder = Path(told["path"])
        asked = MainRequest(
            main=told["name"],
            prompts=session.prompts,
            suite=request["suite"],
            weights=request["weights"],
            seconds=seconds,
            started_at=started_at,
            temperature=told["temperature"],
            progress=step,
        )
        contexts = {
            each["name"]: session.context(folder, Path(each["path"]), None)
            for each in told["drafts"]
        }
        main = open_main(folder)
        candidates = [
            _candidate(
                main,
                each,
                _known(session.history, told["name"], each["name"], contexts[each["name"]]),
            )
            for each in told["drafts"]
        ]
        for result in list(benchmark(asked, candidates)):
            session.keep(result, contexts[result.draft])


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

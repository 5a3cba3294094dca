"""Worker task: the benchmark with MLX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from specd.bench import costs
from specd.bench.costs import Costs
from specd.bench.engine_mlx import Main, MlxEngine, open_draft, open_main
from specd.bench.history import History
from specd.bench.measure import Candidate, benchmark
from specd.lmstudio.chat_settings import ChatSettings
from specd.worker.session import Session, task


@task
def bench(session: Session) -> None:
    """A main's results are stored together, after the last one."""
    for entry, request in session.requests(session.request["mains"]):
        folder = Path(entry["main"]["path"])
        contexts = {
            each["name"]: session.context(folder, Path(each["path"]), None)
            for each in entry["drafts"]
        }
        main = open_main(folder)
        candidates = [
            _candidate(
                main,
                each,
                ChatSettings(**entry["settings"]),
                _known(session.history, request.main, each["name"], contexts[each["name"]]),
            )
            for each in entry["drafts"]
        ]
        for result in list(benchmark(request, candidates)):
            session.keep(result, contexts[result.draft])


def _candidate(
    main: Main, draft: dict[str, Any], settings: ChatSettings, known: Costs | None
) -> Candidate:
    folder = Path(draft["path"])
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return Candidate(
        draft["name"], weights, lambda: MlxEngine(main, open_draft(folder), settings), known
    )


def _known(history: History, main: str, draft: str, now: dict[str, Any]) -> Costs | None:
    """The costs of the pair's last run, if it had the same files and versions on this chip."""
    last = history.latest_run(main, draft)
    if last is None or any(last.context.get(each) != now[each] for each in _COSTS_DEPEND_ON):
        return None
    return costs.from_json(last.result.costs)


_COSTS_DEPEND_ON = ("main_files", "draft_files", "mlx", "mlx-lm", "os", "processor", "cores")

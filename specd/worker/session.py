"""What the benchmarks of all engines share: the lock, the history, progress, and the guards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from specd.bench import circumstances, prompts
from specd.bench.alone import Busy, alone
from specd.bench.history import History
from specd.bench.prompts import Prompt
from specd.bench.result import BenchResult

Progress = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class Session:
    """One benchmark, while the lock is held. ``findings`` and ``failures`` are sentences."""

    request: dict[str, Any]
    progress: Progress
    history: History
    results: list[dict[str, Any]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stood: dict[str, Any] = field(default_factory=circumstances.here)
    begun: float = field(default_factory=time.monotonic)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts of the requested suite."""
        return prompts.suite(self.request["suite"], quick=bool(self.request["quick"]))

    def parts(
        self, of: list[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], float, str, Progress]]:
        """Each entry with its seconds, the time it starts at, and its progress callback."""
        for number, each in enumerate(of):

            def step(said: dict[str, Any], before: int = number) -> None:
                self.progress({**said, "done": (before + said["done"]) / len(of)})

            step({"step": "loading", "done": 0.0})
            left = self.request["seconds"] - (time.monotonic() - self.begun)
            started_at = datetime.now().astimezone().isoformat(timespec="seconds")
            yield each, left / (len(of) - number), started_at, step

    def context(self, main: Path, draft: Path, version: str | None) -> dict[str, Any]:
        """The context of a result in the history; ``version`` is the engine's."""
        asked = {name: self.request[name] for name in ("seconds", "quick", "weights")}
        return {
            **self.stood,
            **circumstances.dependencies(main, draft, engine_version=version),
            **asked,
        }

    def keep(self, result: BenchResult, context: dict[str, Any]) -> None:
        """Store a result, marked if the machine was disturbed since the benchmark began."""
        now = circumstances.here()
        broken = (*result.broken, *circumstances.disturbed(self.stood, now))
        found = replace(result, broken=broken)
        self.history.add(found, {**context, "after": now})
        self.results.append(asdict(found))


def run(
    request: dict[str, Any], progress: Progress, measure: Callable[[Session], None]
) -> dict[str, Any]:
    """``{"results", "findings", "failures"}`` of a benchmark; the request is ``measuring``'s.

    With ``"busy": true`` another benchmark runs and nothing was measured.
    """
    path = Path(request["history"])
    try:
        with alone(path), closing(History(path)) as history:
            session = Session(request, progress, history)
            measure(session)
    except Busy:
        return {"results": [], "findings": [], "failures": [], "busy": True}
    return {
        "results": session.results,
        "findings": session.findings,
        "failures": session.failures,
    }

"""Shared by the benchmarks of all engines: the lock, the history, progress, and the guards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from specd.bench import circumstances, prompts
from specd.bench.history import Busy, History, alone
from specd.bench.preconditions import BUSY_LOAD
from specd.bench.result import BenchRequest, BenchResult
from specd.worker import Progress, Task

LEAST = 0.2
"""A benchmark does not begin with less than this share of its part of the time."""


@dataclass(slots=True)
class Session:
    """One benchmark, while the lock is held. ``troubles``: sentences on what was not measured."""

    request: dict[str, Any]
    progress: Progress
    history: History
    results: list[dict[str, Any]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    stood: dict[str, Any] = field(default_factory=circumstances.here)
    begun: float = field(default_factory=time.monotonic)

    def requests(
        self, entries: list[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], BenchRequest]]:
        """Each entry of the request with its benchmark, with an equal part of the time left.

        An entry that is left with too little of its part is not measured.
        """
        suite, count = self.request["suite"], len(entries)
        for number, each in enumerate(entries):

            def step(progress: dict[str, Any], before: int = number) -> None:
                self.progress({**progress, "done": (before + progress["done"]) / count})

            step({"step": "loading", "done": 0.0})
            left = self.request["seconds"] - (time.monotonic() - self.begun)
            if left / (count - number) < self.request["seconds"] / count * LEAST:
                name = each["main"]["name"]
                self.troubles.append(f"{name}: the time was up before all its drafts were measured")
                return
            yield (
                each,
                BenchRequest(
                    each["main"]["name"],
                    prompts.suite(suite, quick=bool(self.request["quick"])),
                    suite,
                    self.request["weights"],
                    left / (count - number),
                    datetime.now().astimezone().isoformat(timespec="seconds"),
                    each["settings"]["temperature"],
                    step,
                ),
            )

    def context(self, main: Path, draft: Path, version: str | None) -> dict[str, Any]:
        """The context of a result in the history; ``version`` is the engine's."""
        budget = {name: self.request[name] for name in ("seconds", "quick", "weights")}
        return {
            **self.stood,
            **circumstances.dependencies(main, draft, engine_version=version),
            **budget,
        }

    def keep(self, result: BenchResult, context: dict[str, Any]) -> None:
        """Store a result, marked if the machine was disturbed since the benchmark began.

        Or if it was busy already and single answers alone decide: llama.cpp, whose threads wait for
        one another, then answers many times slower, now with the draft and now without it.
        """
        now = circumstances.here()
        broken = (*result.broken, *circumstances.disturbed(self.stood, now))
        load = self.stood["load_average"][0] / (self.stood["cores"] or 1)
        if result.far_slower and load > BUSY_LOAD:
            broken = (*broken, f"the machine was busy before it began, load {load:.1f} per core")
        found = replace(result, broken=broken)
        self.history.add(found, {**context, "after": now})
        self.results.append(asdict(found))


def task(measure: Callable[[Session], None]) -> Task:
    """The worker task of a benchmark: ``{"results", "troubles"}``.

    Its request is ``measuring``'s. ``"busy"`` is a sentence if another benchmark runs; then nothing
    was measured.
    """

    def run(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        path = Path(request["history"])
        try:
            with alone(path), closing(History(path)) as history:
                session = Session(request, progress, history)
                measure(session)
        except Busy as busy:
            return {"results": [], "troubles": [], "busy": str(busy)}
        return {"results": session.results, "troubles": session.troubles}

    return run

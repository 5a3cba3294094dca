"""Worker task: the benchmark of GGUF mains with specd's own llama.cpp server."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from specd.bench import circumstances, prompts, tried
from specd.bench.alone import Busy, alone
from specd.bench.engine_gguf import LENGTHS, DraftSilent, GgufEngine
from specd.bench.history import History
from specd.llamacpp.engine import Engine, find
from specd.llamacpp.server import DidNotStart, NoAnswer

Progress = Callable[[dict[str, Any]], None]


def bench_gguf(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Request: as ``reconcile.measuring`` builds it; ``{"results", "findings", "failures"}``.

    With ``"busy": true`` another benchmark runs and nothing was measured.
    """
    told: dict[str, list[Any]] = {"results": [], "findings": [], "failures": []}
    engine = find([Path(each) for each in request["servers"]])
    if engine is None:
        told["failures"].append(
            "no llama.cpp starts here: install specd with its extra gguf (specd[gguf])"
        )
        return told
    try:
        with alone(Path(request["history"])), closing(History(Path(request["history"]))) as history:
            _measure_all(engine, request, progress, history, told)
    except Busy:
        return {**told, "busy": True}
    return told


def _measure_all(
    engine: Engine,
    request: dict[str, Any],
    progress: Progress,
    history: History,
    told: dict[str, list[Any]],
) -> None:
    pairs = request["pairs"]
    started = time.monotonic()
    for number, pair in enumerate(pairs):

        def step(said: dict[str, Any], before: int = number) -> None:
            progress({**said, "done": (before + said["done"]) / len(pairs)})

        step({"step": "loading", "done": 0.0})
        main, draft = Path(pair["main"]["path"]), pair["draft"] and Path(pair["draft"])
        context = {
            **circumstances.here(),
            **circumstances.dependencies(main, draft or main, engine_version=engine.name),
            "seconds": request["seconds"],
            "quick": request["quick"],
            "weights": request["weights"],
        }
        left = request["seconds"] - (time.monotonic() - started)
        asked = tried.LengthsRequest(
            main=pair["main"]["name"],
            draft=pair["name"],
            prompts=prompts.suite(request["suite"], quick=bool(request["quick"])),
            suite=request["suite"],
            lengths=LENGTHS,
            seconds=left / (len(pairs) - number),
            started_at=datetime.now().astimezone().isoformat(timespec="seconds"),
            weights=request["weights"],
            temperature=pair["temperature"],
            progress=step,
        )
        try:
            with closing(GgufEngine(engine, main, pair["speculation"], draft)) as pair_engine:
                result, _ = tried.measure(pair_engine, asked)
        except DraftSilent as silent:
            told["findings"].append(f"{asked.main} ← {asked.draft}: {silent}")
        except (DidNotStart, NoAnswer) as problem:
            told["failures"].append(f"{asked.main} ← {asked.draft}: {problem}")
        else:
            history.add(result, context)
            told["results"].append(asdict(result))

"""Worker task: the benchmark on a server."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from specd.bench import circumstances, prompts
from specd.bench.alone import Busy, alone
from specd.bench.engine_server import (
    FREED_S,
    CannotMeasure,
    DraftSilent,
    Named,
    ServerRequest,
    benchmark,
    on_demand,
)
from specd.bench.history import History
from specd.bench.observed import ObservedStore
from specd.bench.silence import Circumstances
from specd.lmstudio.server import Server, ServerError


def bench_server(
    request: dict[str, Any], progress: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Request: as ``reconcile.measuring`` builds it; ``{"results", "findings", "failures"}``.

    With ``"busy": true`` another benchmark runs and nothing was measured. Every result and probe is
    stored immediately.
    """
    try:
        with alone(Path(request["history"])):
            return _bench_server(request, progress)
    except Busy:
        return {"results": [], "findings": [], "failures": [], "busy": True}


def _bench_server(
    request: dict[str, Any], progress: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    server = Server(
        request["url"],
        os.environ.get(request["token_env"]),
        token_env=request["token_env"],
        configured=request["configured"],
    )
    asked_for = prompts.suite(request["suite"], quick=bool(request["quick"]))
    history = History(Path(request["history"]))
    observed = ObservedStore(Path(request["history"]))
    told: dict[str, list[Any]] = {"results": [], "findings": [], "failures": []}
    pairs = request["pairs"]
    # Read once, before the first pair: models that a benchmark loads are not the user's.
    borrowed = _on_demand(server)
    started = time.monotonic()
    for number, pair in enumerate(pairs):

        def step(said: dict[str, Any], before: int = number) -> None:
            progress({**said, "done": (before + said["done"]) / len(pairs)})

        left = request["seconds"] - (time.monotonic() - started)
        context = {
            **circumstances.here(),
            **circumstances.dependencies(
                Path(pair["main"]["path"]),
                Path(pair["draft"]["path"]),
                engine_version=request["engine_version"],
            ),
            "server": request["url"],
            "seconds": request["seconds"],
            "quick": request["quick"],
            "weights": request["weights"],
        }
        try:
            result, probe = benchmark(
                server,
                _asked(pair, request["weights"], borrowed),
                asked_for,
                request["suite"],
                seconds=left / (len(pairs) - number),
                progress=step,
            )
        except DraftSilent as silent:
            observed.keep_probe(silent.probe)
            told["findings"].append(str(silent))
        except (CannotMeasure, ServerError) as problem:
            told["failures"].append(str(problem))
        else:
            observed.keep_probe(probe)
            history.add(result, context)
            told["results"].append(asdict(result))
    history.close()
    observed.close()
    return told


def _on_demand(server: Server) -> frozenset[str]:
    try:
        return on_demand(server)
    except ServerError:  # each pair meets and reports it
        return frozenset()


def _asked(
    pair: dict[str, Any], weights: dict[str, float], borrowed: frozenset[str]
) -> ServerRequest:
    known = pair["known"]
    return ServerRequest(
        main=Named(pair["main"]["name"], pair["main"]["served"]),
        draft=Named(pair["draft"]["name"], pair["draft"]["served"]),
        known=Circumstances(**{**known, "formats": known["formats"] and tuple(known["formats"])}),
        draft_tokens=pair["draft_tokens"],
        weights=weights,
        ttl=FREED_S if pair["main"]["served"] in borrowed else None,
        temperature=pair["temperature"],
    )

"""Worker task: the benchmark on a server."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from specd.bench.engine_server import (
    FREED_S,
    CannotMeasure,
    DraftSilent,
    ServedPair,
    benchmark,
    on_demand,
)
from specd.bench.observed import ObservedStore
from specd.lmstudio.connection import ServerError
from specd.lmstudio.server import Server
from specd.worker.session import Session, task


@task
def bench_server(session: Session) -> None:
    """Every result and probe is stored immediately."""
    request = session.request
    server = Server(
        request["url"],
        os.environ.get(request["token_env"]),
        token_env=request["token_env"],
        configured=request["configured"],
    )
    # Read once, before the first pair: models that a benchmark loads are not the user's.
    borrowed = on_demand(server)
    with closing(ObservedStore(Path(request["history"]))) as observed:
        for pair, bench_request in session.requests(request["pairs"]):
            main, draft = Path(pair["main"]["path"]), Path(pair["draft"]["path"])
            context = session.context(main, draft, request["engine_version"])
            try:
                result, probe = benchmark(server, _served(pair, borrowed), bench_request)
            except DraftSilent as silent:
                observed.keep_probe(silent.probe)
                session.troubles.append(str(silent))
            except (CannotMeasure, ServerError) as problem:
                session.troubles.append(str(problem))
            else:
                observed.keep_probe(probe)
                session.keep(result, {**context, "server": request["url"]})


def _served(pair: dict[str, Any], borrowed: frozenset[str]) -> ServedPair:
    ttl = FREED_S if pair["main"]["served"] in borrowed else None
    return msgspec.convert({**pair, "ttl": ttl}, ServedPair)

"""Worker task: the benchmark of GGUF mains with specd's own llama.cpp server."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from specd.bench import tried
from specd.bench.engine import TimeUp
from specd.bench.engine_gguf import LENGTHS, DraftSilent, GgufEngine
from specd.llamacpp.engine import find
from specd.llamacpp.server import DidNotStart, NoAnswer
from specd.lmstudio.chat_settings import ChatSettings
from specd.worker.session import Session, task


@task
def bench_gguf(session: Session) -> None:
    """One llama.cpp server for each draft length."""
    request = session.request
    engine = find([Path(each) for each in request["servers"]])
    if engine is None:
        session.troubles.append(
            "no llama.cpp starts here: install specd with its extra gguf (specd[gguf])"
        )
        return
    for pair, asked in session.requests(request["pairs"]):
        main, draft = Path(pair["main"]["path"]), pair["draft"] and Path(pair["draft"])
        name = f"{asked.main} ← {pair['name']}"
        context = session.context(main, draft or main, engine.name)
        try:
            settings = ChatSettings(**pair["settings"])
            until = time.monotonic() + asked.seconds
            with closing(
                GgufEngine(engine, main, pair["speculation"], draft, settings, until)
            ) as pair_engine:
                result, _ = tried.measure(pair_engine, asked, pair["name"], LENGTHS)
        except (DraftSilent, DidNotStart, NoAnswer, TimeUp) as trouble:
            session.troubles.append(f"{name}: {trouble}")
        else:
            session.keep(result, context)

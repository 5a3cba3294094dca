"""A model that came back without its settings is loaded again by LM Studio's own `lms`, when idle.

The server is the stand-in for LM Studio 0.4.24, and `lms` a program that calls it, with the options
of LM Studio's open-source one.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from specd.demo.serving import standin
from specd.lmstudio.answers import Instance
from specd.lmstudio.server import Server
from tests.daemon import Sandbox, until
from tests.lmstudio import homes
from tests.standins import load, unload

pytestmark = pytest.mark.mlx

MAIN = "someone/Big-GGUF/big-Q4_K_M.gguf"
LMS = """#!{python}
import argparse, json, sys, urllib.request
parser = argparse.ArgumentParser()
parser.add_argument("verb", choices=["load", "unload"])
parser.add_argument("model")
parser.add_argument("--parallel", type=int)
parser.add_argument("--context-length", type=int)
parser.add_argument("--speculative-draft-mtp", action="store_true")
asked = parser.parse_args()
body = {{"model": asked.model, "instance_id": asked.model}}
body |= {{"parallel": asked.parallel}} if asked.parallel else {{}}
request = urllib.request.Request(
    f"{url}/api/v1/models/{{asked.verb}}", json.dumps(body).encode()
)
answer = json.loads(urllib.request.urlopen(request).read())
with open("{calls}", "a") as calls:
    print(*sys.argv[1:], file=calls)
sys.exit("error" in answer)
"""


def running(url: str) -> list[Instance]:
    return [each for model in Server(url).models() for each in model.loaded_instances]


@pytest.mark.parametrize("reload", ["when-idle", "never"])
def test_a_main_with_four_parallel_requests_is_loaded_again(
    sandbox: Sandbox, tmp_path: Path, reload: str
) -> None:
    homes.gguf_model(sandbox.home / "models", MAIN, block_count=9, nextn_predict_layers=1)
    calls = tmp_path / "calls"
    sandbox.config.write_text(
        f'[[pair]]\nmain = "big"\ndraft = "mtp"\n[agent]\nreload = "{reload}"\nresync_seconds = 1\n'
    )
    with standin(sandbox.home, tmp_path / "standin.log") as url:
        lms = sandbox.home / "bin" / "lms"
        lms.parent.mkdir()
        lms.write_text(LMS.format(python=sys.executable, url=url, calls=calls))
        lms.chmod(0o755)
        load(url, "big", parallel=4)
        sandbox.running()
        if reload == "never":
            until(
                lambda: "lms load" in sandbox.condition("AppUpToDate").get("remedy", ""),
                "what to type is said",
            )
            assert [each.parallel for each in running(url)] == [4]
            assert not calls.exists()
            return
        for steps in (2, 4):
            until(lambda steps=steps: _lines(calls) == steps, "it is loaded")
            assert [(each.parallel, each.draft_mtp) for each in running(url)] == [(1, True)]
            until(lambda: "4 parallel" not in str(sandbox.status()), "and specd has seen it")
            unload(url, "big")
            load(url, "big", parallel=4)  # as after an unload for idleness
        assert calls.read_text().splitlines()[:2] == [
            "unload big",
            "load big --parallel 1 --speculative-draft-mtp --context-length 4096",
        ]


@pytest.mark.nightly  # short form: the time that counts, in lmstudio/test_activity.py
def test_a_load_is_seen_by_the_server_log_long_before_the_next_resync(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    homes.gguf_model(sandbox.home / "models", MAIN, block_count=9, nextn_predict_layers=1)
    sandbox.config.write_text('[[pair]]\nmain = "big"\ndraft = "mtp"\n')
    log = sandbox.home / "server-logs" / "2026-11" / "2026-11-28.1.log"
    log.parent.mkdir(parents=True)
    with standin(sandbox.home, tmp_path / "standin.log") as url:
        sandbox.running()
        # By the log alone: specd looks again whenever it is asked.
        until(lambda: "ServerReachable is true" in sandbox.said(), "the server was asked")
        asked = tmp_path / "standin.log"
        until(lambda: time.time() - asked.stat().st_mtime > 3, "it has no more to ask")
        load(url, "big", parallel=4)

        def is_seen() -> bool:
            log.write_text("[2026-11-28 04:10:00][INFO][big] Loading\n")
            return "4 parallel" in sandbox.said()

        until(is_seen, "the load is seen")


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from specd.config import Pair, SpecdConfig
from specd.lmstudio.answers import Instance, ServedModel
from specd.lmstudio.model import Model
from specd.reconcile.engine import BenchmarkPlan, Candidate, EngineChoice, plan
from specd.reconcile.facts import ServerSeen
from specd.reconcile.stores import Stores

MAIN = Model(
    "qwen3-8b", "mlx-community/Qwen3-8B-4bit", "mlx-community", "Qwen3-8B-4bit",
    Path("/models/mlx-community/Qwen3-8B-4bit"), "mlx", "llm", "qwen3", 151936, "4bit", 4 << 30,
)  # fmt: skip
DRAFT = replace(
    MAIN,
    key="qwen3-0.6b",
    identifier="mlx-community/Qwen3-0.6B-4bit",
    repo="Qwen3-0.6B-4bit",
    path=Path("/models/mlx-community/Qwen3-0.6B-4bit"),
)
GGUF = replace(MAIN, format="gguf", path=Path("/models/a/b/c.gguf"))
URL = "http://127.0.0.1:1234"


def serving(*, loaded: bool, problem: str | None = None) -> ServerSeen:
    instances = (Instance("qwen3-8b"),) if loaded else ()
    models = (ServedModel("qwen3-8b", loaded_instances=instances), ServedModel("qwen3-0.6b"))
    return ServerSeen(URL, problem, () if problem else models)


def planned(asked: EngineChoice, main: Model, server: ServerSeen | None) -> BenchmarkPlan:
    candidate = Candidate(main, DRAFT, draft_tokens=5)
    return plan(asked, [candidate], (main, DRAFT), server, 16 << 30, llama_cpp=False)


def test_auto_is_the_server_where_it_has_the_main_in_memory() -> None:
    found = planned("auto", MAIN, serving(loaded=True))
    assert found.mlx == ()
    (pair,) = found.server
    assert pair.served == ("qwen3-8b", "qwen3-0.6b")
    assert pair.draft_tokens == 5


@pytest.mark.parametrize(
    "server", [serving(loaded=False), serving(loaded=False, problem="nobody answers"), None]
)
def test_auto_is_mlx_where_it_has_not(server: ServerSeen | None) -> None:
    assert planned("auto", MAIN, server) == BenchmarkPlan(mlx=((MAIN, DRAFT),))


def test_a_gguf_main_is_measured_on_the_server_or_not_at_all() -> None:
    assert planned("auto", GGUF, serving(loaded=False)).server
    (problem,) = planned("auto", GGUF, serving(loaded=False, problem="nobody answers")).problems
    assert "nobody answers" in problem
    (problem,) = planned("mlx", GGUF, serving(loaded=True)).problems
    assert "only LM Studio's server can run it" in problem


def test_a_server_that_is_asked_for_and_does_not_answer_is_a_problem() -> None:
    (problem,) = planned("server", MAIN, None).problems
    assert "has not asked it yet" in problem
    assert planned("mlx", MAIN, serving(loaded=True)) == BenchmarkPlan(mlx=((MAIN, DRAFT),))


def test_a_server_that_does_not_list_a_model_is_given_its_folder() -> None:
    (pair,) = planned("server", MAIN, ServerSeen(URL, None, ())).server
    assert pair.served == (str(MAIN.path), str(DRAFT.path))


def test_with_a_llama_cpp_a_gguf_main_runs_there_with_all_that_can_draft_for_it() -> None:
    main = replace(GGUF, mtp_heads=1)
    draft = replace(DRAFT, format="gguf")
    sidecar = replace(draft, key="heads", kind="drafter", drafter="dflash")
    candidates = [Candidate(main, each) for each in (draft, sidecar)]
    found = plan("auto", candidates, (main, draft), None, 16 << 30, llama_cpp=True)
    assert [(each.name, each.speculation) for each in found.gguf] == [
        ("qwen3-0.6b", "draft-simple"),
        ("mtp", "draft-mtp"),
        ("ngram", "ngram-simple"),
        ("heads", "draft-dflash"),
    ]
    assert found.pairs == 4
    assert not plan("server", candidates, (main, draft), None, None, llama_cpp=True).gguf


@pytest.mark.parametrize(
    ("draft", "measured"),
    [
        ("auto", ["draft-mtp", "ngram-simple", "draft-dflash"]),
        ("mtp", ["draft-mtp", "ngram-simple"]),
        ("heads", ["draft-dflash", "draft-mtp", "ngram-simple"]),
    ],
)
def test_heads_and_sidecars_are_measured_also_where_no_model_can_draft(
    tmp_path: Path, draft: str, measured: list[str]
) -> None:
    main = replace(GGUF, mtp_heads=1, width=64)
    sidecar = replace(
        GGUF, key="heads", identifier="a/heads/h.gguf", repo="heads", path=Path("/models/a/h.gguf"),
        kind="drafter", drafter="dflash", architecture="dflash", width=64,
    )  # fmt: skip
    config = SpecdConfig(pair=(Pair(main=main.key, draft=draft),))
    stores = Stores.open(tmp_path)
    pairs = stores.resolve(config, (main, sidecar), ())
    found = stores.worth_measuring(pairs, (main, sidecar))
    stores.close()
    made = plan("auto", found, (main, sidecar), None, None, llama_cpp=True)
    assert sorted(each.speculation for each in made.gguf) == sorted(measured)
    assert made.problems == ()
    without = plan("auto", found, (main, sidecar), None, None, llama_cpp=False)
    assert without.pairs == 0
    assert "only llama.cpp can measure it" in without.problems[0]
    mlx = replace(found[0], main=replace(main, format="mlx"))
    (why,) = plan("auto", (mlx,), (main, sidecar), None, None, llama_cpp=True).problems
    assert "MLX engine does not draft" in why


def test_a_server_whose_list_fails_is_asked_for_an_answer_all_the_same() -> None:
    found = planned("server", MAIN, serving(loaded=False, problem="HTTP status 500"))
    (pair,) = found.server
    assert pair.served == (str(MAIN.path), str(DRAFT.path))
    assert found.problems == ()

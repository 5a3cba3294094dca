from __future__ import annotations

import copy
import json
import time
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from specd import places
from specd.bench.history import History
from tests.chats import PRIVATE, answer, chat, keep
from tests.cli.test_history import result
from tests.daemon import Sandbox, until
from tests.lmstudio.homes import mlx_model
from tests.tokenizer import folders

MAIN = "mlx-community/Qwen3-8B-4bit"
DRAFT = "mlx-community/Qwen3-0.6B-4bit"

PAIR = f'[[pair]]\nmain = "{MAIN}"\ndraft = "{DRAFT}"\n'


def plain(at_ms: int) -> dict[str, Any]:
    step = answer(at_ms, draft=False)
    step["genInfo"]["predictionConfig"] = {"fields": []}
    step["genInfo"]["stats"]["tokensPerSecond"] = 9.1
    return step


@pytest.fixture
def used(sandbox: Sandbox) -> Sandbox:
    """A pair, twelve answers with its draft and twelve without."""
    for identifier in (MAIN, DRAFT):
        mlx_model(sandbox.home / "models", identifier)
    sandbox.config.write_text(PAIR)
    sandbox.save()
    keep(sandbox.home / "conversations" / PRIVATE, "a", chat(*map(answer, range(NOW, NOW + 12))))
    keep(sandbox.home / "conversations", "b", chat(*map(plain, range(NOW - 100, NOW - 88))))
    return sandbox


NOW = int(time.time() * 1000)


def test_a_model_that_chats_call_by_several_names_is_compared_with_itself(used: Sandbox) -> None:
    other = [plain(at) for at in range(NOW - 50, NOW - 40)]
    for number, step in enumerate(other):
        step["genInfo"].pop("indexedModelIdentifier", None)
        step["genInfo"]["identifier"] = ("qwen3-8b", "qwen3-8b:2")[number % 2]
    keep(used.home / "conversations", "b", chat(*other))
    told = json.loads(used.specd("observe", "--json").stdout)
    assert [(use["main"], use["answers"]) for use in told["uses"]] == [(MAIN, 10), (MAIN, 12)]
    (pair,) = told["pairs"]
    assert (pair["speedup"], pair["caution"]) == (pytest.approx(2.0), None)


def test_json_holds_every_main_draft_and_length_with_how_many_answers(used: Sandbox) -> None:
    ran = used.specd("observe", "--json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    shown = [(u["main"], u["draft"], u["draft_tokens"], u["answers"]) for u in told["uses"]]
    assert shown == [(MAIN, None, None, 12), (MAIN, "qwen3-0.6b", 3, 12)]
    (pair,) = told["pairs"]
    assert pair["speedup"] == pytest.approx(2.0)
    assert pair["acceptance"] == pytest.approx(25 / 40)
    assert pair["caution"] is None
    assert PRIVATE not in ran.stdout + ran.stderr


def test_a_person_reads_speeds_counts_and_acceptance(used: Sandbox) -> None:
    ran = used.specd("observe")
    assert "18.2 tokens/s, 62% accepted, 12 answers" in ran.stdout
    assert "without a draft: 9.1 tokens/s, 12 answers" in ran.stdout
    assert "(2.00×)" in ran.stdout


def test_one_answer_is_no_answers(sandbox: Sandbox) -> None:
    for identifier in (MAIN, DRAFT):
        mlx_model(sandbox.home / "models", identifier)
    sandbox.save()
    keep(sandbox.home / "conversations", "a", chat(answer(NOW), plain(NOW + 60)))
    said = " ".join(sandbox.specd("observe").stdout.split())
    assert "1 answer, last on" in said
    assert "only 1 answer on one side" in said
    assert "1 answers" not in said


def test_a_benchmarks_costs_promise_a_speed_on_the_users_own_prompts(used: Sandbox) -> None:
    step = answer(NOW + 5000)
    step["content"] = [
        {
            "type": "text",
            "text": PRIVATE,
            "fromDraftModel": n % 2 == 0,
            "tokensCount": 3 - n % 2 * 2,
        }
        for n in range(600)
    ]
    keep(used.home / "conversations", "c", chat(step))
    with closing(History(places.history_path(used.state))) as history:
        history.add(replace(result(1, 1.1), main="qwen3-8b-4bit", draft="qwen3-0.6b-4bit"), {})
    ran = used.specd("observe", "--json")
    assert ran.returncode == 0, ran.stderr
    (pair,) = json.loads(ran.stdout)["pairs"]
    assert [each["draft_tokens"] for each in pair["expected"]] == [1, 2, 3]
    best = pair["expected"][2]
    assert best["accepted_per_round"] == pytest.approx((300 * 3 + 12 * 3) / (300 + 24))
    shown = " ".join(used.specd("observe").stdout.split())
    assert f"run at {best['tps']:.1f} tokens/s" in shown


def test_the_report_shows_them_beside_the_benchmark_until_it_is_switched_off(
    used: Sandbox,
) -> None:
    with closing(History(places.history_path(used.state))) as history:
        history.add(replace(result(1, 1.1), main="qwen3-8b-4bit", draft="qwen3-0.6b-4bit"), {})
    used.specd("observe")
    shown = used.specd("report", "-o", "-").stdout
    for figure in (
        "9.1 tokens/s, 12 answers",
        "18.2 tokens/s, 12 answers",
        "2.00×",
        "62% (benchmark 75%)",
        "1.10× faster [1.05, 1.15] with 3 draft tokens",
    ):
        assert f">{figure}</td>" in shown
    assert PRIVATE not in shown
    used.config.write_text(f"{PAIR}[benchmark]\nobserve_conversations = false\n")
    assert "18.2 tokens/s" not in used.specd("report", "-o", "-").stdout


def test_nothing_is_counted_twice_by_asking_twice(used: Sandbox) -> None:
    first, second = (json.loads(used.specd("observe", "--json").stdout) for _ in range(2))
    assert [u["answers"] for u in first["uses"]] == [u["answers"] for u in second["uses"]]


def test_switched_off_nothing_is_read(used: Sandbox) -> None:
    used.config.write_text(f"{PAIR}[benchmark]\nobserve_conversations = false\n")
    ran = used.specd("observe")
    assert ran.returncode == 2
    assert "observe_conversations is false" in ran.stderr
    assert not list(used.state.glob("history.db*"))


def test_without_chats_it_says_so(sandbox: Sandbox) -> None:
    sandbox.save()
    assert "no answers yet" in sandbox.specd("observe").stdout


def test_the_daemon_reads_them_and_status_shows_real_use_beside_the_benchmark(
    used: Sandbox,
) -> None:
    used.config.write_text(f"{PAIR}[benchmark]\nobserve_conversations = false\n")
    used.start()
    assert used.status()["pairs"][0]["in_use"] is None
    used.config.write_text(PAIR)
    in_use = until(lambda: used.status()["pairs"][0]["in_use"], "the daemon has read the chats")
    assert (in_use["answers"], in_use["baseline_answers"]) == (12, 12)
    assert in_use["speedup"] == pytest.approx(2.0)
    observed = used.condition("SpeculationObserved")
    assert (observed["status"], observed["reason"]) == ("true", "Seen")
    shown = used.specd("status").stdout
    assert "18.2 tokens/s with the draft over 12 answers" in " ".join(shown.split())
    assert PRIVATE not in used.said() + json.dumps(used.status())
    used.config.write_text(f"{PAIR}[benchmark]\nobserve_conversations = false\n")
    until(lambda: used.status()["pairs"][0]["in_use"] is None, "switched off it is not shown")


def test_a_draft_that_is_asked_for_and_never_runs_is_a_finding_with_its_likely_cause(
    used: Sandbox,
) -> None:
    for identifier in (MAIN, DRAFT):
        tokenizer = folders.small()
        if identifier == MAIN:
            own = tokenizer["model"]["vocab"]  # one that the draft counts among the added
            own[folders.SPECIAL[0]] = len(own)
        folders.lay_out(used.home / "models" / identifier, tokenizer)
    silent = [copy.deepcopy(answer(NOW + 1000 + n, draft=False)) for n in range(10)]
    keep(used.home / "conversations", "c", chat(*silent))
    used.specd("observe")
    used.start()
    observed = until(
        lambda: "refuses" in (c := used.condition("SpeculationObserved"))["message"] and c,
        "the finding",
    )
    assert observed["status"] == "false"
    assert observed["reason"] == "NoDraftTokens"
    assert "none of your last 10 answers has draft tokens" in observed["message"]
    assert "mlx-engine refuses this draft" in observed["message"]

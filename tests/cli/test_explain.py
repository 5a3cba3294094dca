"""``specd explain``: a condition, a model, a pair; with and without the daemon."""

from __future__ import annotations

import pytest

from specd.reconcile.conditions import CONDITIONS
from tests.daemon import Sandbox, until

from .conftest import DRAFT, MAIN, measured


def told(sandbox: Sandbox, *words: str, code: int = 0) -> str:
    """What it says, on one line."""
    done = sandbox.specd("explain", *words)
    assert done.returncode == code, done.stderr
    return " ".join(done.stdout.split())


def test_a_condition_is_explained_by_what_was_seen_and_what_comes_next(seed: Sandbox) -> None:
    seed.start()
    until(lambda: seed.condition("PairsConfigured")["status"] == "true", "the pair")
    text = told(seed, "pairsconfigured")
    assert text.startswith("PairsConfigured is true (Applied) why the pair stands")
    for word in ("since", "ago", "true when Every pair", "looked at", "what next"):
        assert word in text


@pytest.mark.parametrize("kind", [each.type for each in CONDITIONS])
def test_without_a_daemon_every_condition_still_has_a_meaning(sandbox: Sandbox, kind: str) -> None:
    done = sandbox.specd("explain", kind)
    assert done.returncode == 3
    assert "true when" in done.stdout
    assert "its state is not known: specd is not running" in done.stderr


def test_a_main_is_explained_by_its_pair_and_the_drafts_it_could_have(seed: Sandbox) -> None:
    text = told(seed, MAIN)
    assert text.startswith(f"{MAIN}-4bit: mlx llm")
    assert "mlx-community/Josiefied-Qwen3-8B-abliterated-v1-4bit" in text
    assert "4.62 GB" in text
    assert f"as main {MAIN}-4bit ← {DRAFT} is waiting" in text
    assert text.count("could draft") == 4
    assert "names no draft" in text
    assert seed.specd("apply").returncode == 0
    text = told(seed, MAIN)
    assert "names mlx-community/Josiefied-Qwen2.5-0.5B-abliterated" in text


def test_a_draft_is_explained_by_who_uses_it(seed: Sandbox) -> None:
    assert "as draft" not in told(seed, DRAFT)  # as long as nothing is proven
    assert seed.specd("apply").returncode == 0
    assert f"as draft in use by {MAIN}-4bit ← {DRAFT}" in told(seed, DRAFT)


def test_a_pair_is_explained_by_verdict_and_measurement(seed: Sandbox) -> None:
    assert seed.specd("apply").returncode == 0
    measured(seed, 3, 1.31, (1.22, 1.4))
    text = told(seed, MAIN, DRAFT)
    assert text.startswith(f"{MAIN}-4bit ← {DRAFT}: compatible")
    assert "the draft lacks 4 of the main's tokens (<tool_response>" in text
    assert "that costs acceptance, not correctness" in text
    assert "1.31× faster [1.22, 1.40] with 3 draft tokens" in text
    assert text == told(seed, f"{MAIN} ← {DRAFT}")


def test_a_pair_that_is_not_asked_for_says_so(seed: Sandbox) -> None:
    assert seed.specd("apply").returncode == 0
    text = told(seed, MAIN, "qwen3-4b")
    assert f"nothing: {MAIN}-4bit ← {DRAFT} is what specd.toml asks for here" in text
    assert "nothing: specd.toml has no [[pair]] for qwen3-4b" in told(seed, "qwen3-4b", DRAFT)


def test_a_name_that_fits_nothing_lists_what_there_is(seed: Sandbox) -> None:
    done = seed.specd("explain", "josefied-qwen3")
    assert done.returncode == 2
    assert "mlx-community/Josiefied-Qwen3-8B-abliterated-v1-4bit" in done.stderr


@pytest.mark.parametrize(
    ("word", "condition"),
    [("fastr", "Faster"), ("settings", "SettingsApplied"), ("nonsense", ""), ("led", "")],
)
def test_only_a_near_miss_suggests_a_condition(seed: Sandbox, word: str, condition: str) -> None:
    done = seed.specd("explain", word)
    assert done.returncode == 2
    _, _, suggested = done.stderr.partition("; did you mean the condition ")
    assert suggested == (f"{condition}?\n" if condition else "")


def test_without_a_word_it_lists_what_it_can_explain(sandbox: Sandbox) -> None:
    text = told(sandbox)
    for each in CONDITIONS:
        assert each.type in text


def test_a_setting_that_differs_is_shown_as_found_and_as_wanted(seed: Sandbox) -> None:
    seed.start()
    until(lambda: seed.condition("PairsConfigured")["status"] == "true", "the pair")
    assert seed.specd("pause").returncode == 0
    seed.settings.write_text(seed.settings.read_text().replace("true", "false"))
    assert "is false, wanted true, in" in told(seed, "SettingsApplied")


@pytest.mark.parametrize("columns", [40, 80])
def test_the_topics_fit_the_terminal(sandbox: Sandbox, columns: int) -> None:
    sandbox.env["COLUMNS"] = str(columns)
    shown = sandbox.specd("explain").stdout
    assert "TokenizersCompatible" in shown
    assert max(map(len, shown.splitlines())) <= columns

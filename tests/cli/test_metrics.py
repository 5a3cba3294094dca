"""``specd metrics``: what Prometheus and node_exporter read, and nothing private."""

from __future__ import annotations

import time

from prometheus_client.parser import text_string_to_metric_families

from specd.reconcile.conditions import CONDITIONS
from tests.daemon import Sandbox, until

from .conftest import DRAFT, MAIN, measured


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of a text, as Prometheus' own parser reads it."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_every_condition_and_pair(seed: Sandbox) -> None:
    measured(seed, 3, 1.31, (1.22, 1.4))
    seed.start()
    until(lambda: seed.condition("PairsConfigured")["status"] == "true", "the pair")
    done = seed.specd("metrics")
    assert done.returncode == 0
    found = samples(done.stdout)
    told = {
        dict(labels)["type"]: value
        for (name, labels), value in found.items()
        if name == "specd_condition"
    }
    assert set(told) == {each.type for each in CONDITIONS}
    assert told["PairsConfigured"] == 1
    pair = (("draft", DRAFT), ("main", f"{MAIN}-4bit"))
    assert found["specd_pair_speedup_ratio", pair] == 1.31
    assert found["specd_pair_draft_tokens", pair] == 3
    assert found["specd_up", ()] == 1
    assert str(seed.root) not in done.stdout


def test_the_value_that_was_put_back_last_is_named(sandbox: Sandbox) -> None:
    sandbox.running()
    began = time.time()
    sandbox.save()
    until(sandbox.applied, "put back")
    until(lambda: sandbox.status()["restores"]["last"], "counted")
    found = samples(sandbox.specd("metrics").stdout)
    (last,) = [each for each in found if each[0] == "specd_last_restore_seconds"]
    assert dict(last[1])["key"].endswith("peculativeDecoding")
    assert found[last] >= int(began)
    assert found["specd_restores", (("period", "today"),)] == 1


def test_the_textfile_is_replaced_whole_and_says_when_nobody_answers(sandbox: Sandbox) -> None:
    sandbox.running()
    file = sandbox.root / "specd.prom"
    assert sandbox.specd("metrics", "-o", str(file)).returncode == 0
    assert samples(file.read_text())["specd_up", ()] == 1
    assert file.stat().st_mode & 0o777 == 0o644  # node_exporter is another user
    sandbox.stop()
    assert sandbox.specd("metrics", "-o", str(file)).returncode == 3
    assert samples(file.read_text()) == {("specd_up", ()): 0}
    assert list(sandbox.root.glob(".specd*")) == []


def test_a_file_that_cannot_be_written_is_told(sandbox: Sandbox) -> None:
    done = sandbox.specd("metrics", "-o", str(sandbox.root / "nowhere" / "specd.prom"))
    assert done.returncode == 2
    assert "cannot be written" in done.stderr

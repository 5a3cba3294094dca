"""``specd pairs`` on the seed's machine, and on models nobody can read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.seed_home import DRAFT, MAIN, seed_home
from specd import places
from specd.tokenizer.proof import Proof
from specd.tokenizer.store import VerdictStore
from tests.daemon import Sandbox
from tests.tokenizer import folders


@pytest.fixture
def seeded(tmp_path: Path) -> Sandbox:
    made = Sandbox(tmp_path)
    seed_home(made.home)
    made.config.write_text("")
    return made


def test_models_of_one_tokenizer_are_one_class_and_drafts_are_suggested(seeded: Sandbox) -> None:
    ran = seeded.specd("pairs", "--json")
    assert ran.returncode == 0
    found = json.loads(ran.stdout)
    assert [len(each["models"]) for each in found["classes"]] == [3, 2]
    assert found["matrix"] == {
        "A": {"A": "identical", "B": "compatible"},
        "B": {"A": "compatible", "B": "identical"},
    }
    first = found["mains"][0]
    assert (first["main"], first["usable"]) == (MAIN, 4)
    assert {"draft": DRAFT, "verdict": "compatible"} in first["suggested"]
    assert "reading the tokenizers of 5 models" in ran.stderr
    again = seeded.specd("pairs", "--json")
    assert (again.stdout, again.stderr) == (ran.stdout, "")


def test_a_draft_whose_proof_failed_is_not_suggested(seeded: Sandbox) -> None:
    seeded.specd("pairs")
    store = VerdictStore(places.tokenizer_cache_dir(seeded.state))
    main, draft = (store.known(seeded.home / "models" / name) for name in (MAIN, DRAFT))
    assert main is not None
    assert draft is not None
    store.keep_proof(main, draft, Proof("run", "unsupported", "another answer"))
    store.close()
    first = json.loads(seeded.specd("pairs", "--json").stdout)["mains"][0]
    assert (first["main"], first["usable"]) == (MAIN, 3)
    assert DRAFT not in {each["draft"] for each in first["suggested"]}


def test_a_draft_whose_cache_is_not_quantized_is_not_suggested(seeded: Sandbox) -> None:
    seeded.specd("pairs")
    cache = {"key": "llm.load.mlx.kvCacheQuantization", "value": {"enabled": True, "bits": 8}}
    file = seeded.home / ".internal/user-concrete-model-default-config" / f"{MAIN}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"load": {"fields": [cache]}}))
    mains = json.loads(seeded.specd("pairs", "--json").stdout)["mains"]
    (usable,) = {each["usable"] for each in mains if each["main"] == MAIN}
    assert usable == 0  # their heads of 16 numbers are no multiple of 64
    assert "KV cache" in seeded.specd("check", MAIN, DRAFT).stdout


def test_where_no_draft_is_installed_it_says_what_would_fit(seeded: Sandbox) -> None:
    found = json.loads(seeded.specd("pairs", "--json").stdout)
    last = next(each for each in found["mains"] if each["main"] == DRAFT)
    assert last["suggested"] == []
    assert "LM Studio's docs see no gain" in last["why_none"]
    folder = seeded.home / "models" / "someone" / "Lonely-14B-4bit"
    folders.lay_out(folder, folders.small("<lonely>"))
    found = json.loads(seeded.specd("pairs", "--json").stdout)
    lonely = next(each for each in found["mains"] if each["main"] == "someone/Lonely-14B-4bit")
    assert lonely["why_none"] == "no installed model fits"
    assert lonely["wanted"].startswith("an MLX model of the llama family of up to 3B")
    assert "such as" not in lonely["wanted"]
    qwen = {
        "model_type": "qwen3",
        "head_dim": 16,
        "tie_word_embeddings": True,
        "max_position_embeddings": 512,
        "rope_theta": 1e4,
    }
    folders.lay_out(folder, folders.small("<lonely>"), config=qwen)
    found = json.loads(seeded.specd("pairs", "--json").stdout)
    lonely = next(each for each in found["mains"] if each["main"] == "someone/Lonely-14B-4bit")
    assert lonely["wanted"].endswith(", such as mlx-community/Qwen3-0.6B-4bit")


def test_people_see_a_matrix_and_what_to_measure(seeded: Sandbox) -> None:
    seeded.env = {"COLUMNS": "80", "NO_COLOR": "1"}
    text = seeded.specd("pairs").stdout
    assert "A       =   +" in text
    assert "B       +   =" in text
    assert "specd bench josiefied-qwen3-8b-abliterated-v1-4bit" in text
    assert max(map(len, text.splitlines())) <= 110
    seeded.env = {"COLUMNS": "40", "NO_COLOR": "1"}
    rows = seeded.specd("pairs").stdout.splitlines()
    # A command stays whole, to be copied.
    assert max(len(row) for row in rows if "specd bench" not in row) <= 40 + len("-abliterated")
    seeded.env = {"FORCE_COLOR": "1"}
    assert "\x1b[32m" in seeded.specd("pairs").stdout


def test_a_hostile_model_is_unknown_with_the_reason(seeded: Sandbox) -> None:
    folder = seeded.home / "models" / "evil" / "Model-1B"
    folders.lay_out(folder, folders.small())
    (folder / "tokenizer.json").write_bytes(b"[" * 100_000)
    found = json.loads(seeded.specd("pairs", "--json").stdout)
    (unknown,) = found["unknown"]
    assert unknown["model"] == "evil/Model-1B"
    assert "tokenizer.json" in unknown["reason"]


def test_without_models_there_is_nothing_to_show(sandbox: Sandbox) -> None:
    (sandbox.home / "models").mkdir()
    ran = sandbox.specd("pairs")
    assert (ran.returncode, ran.stdout.strip()) == (0, "no models are installed")

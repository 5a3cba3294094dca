"""Cases out of public reports and files: what specd makes of each, through its own commands.

The shapes are those in tests/lmstudio/recorded; GGUF headers are written by the maintained writer.
"""

from __future__ import annotations

import json
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gguf
import pytest

from tests.daemon import Sandbox, switch, until
from tests.lmstudio import homes

RECORDED = Path(__file__).parents[1] / "lmstudio" / "recorded" / "0.4"
DEFAULTS = ".internal/user-concrete-model-default-config"
LLAMA = "llm.load.llama.speculativeDecoding."
GEMMA = "lmstudio-community/gemma-4-31B-it-QAT-GGUF/gemma-4-31B-it-QAT-Q4_0.gguf"
SMALL = "lmstudio-community/gemma-4-E2B-it-GGUF/gemma-4-E2B-it-Q4_K_M.gguf"
QWEN = "qwen/Qwen3.8-27B-GGUF/Qwen3.8-27B-Q4_K_M.gguf"
DFLASH = "someone/Qwen3.8-27B-DFlash2-GGUF/Qwen3.8-27B-DFlash2-Q4_K_M.gguf"


@pytest.fixture
def lm(sandbox: Sandbox) -> Sandbox:
    """A home as LM Studio 0.4 leaves it, and no model in it."""
    shutil.copytree(RECORDED / "hub", sandbox.home / "hub")
    settings = json.loads((RECORDED / "settings.json").read_text())
    settings["downloadsFolder"] = str(sandbox.home / "models")
    sandbox.settings.write_text(json.dumps(settings, indent=2))
    return sandbox


def model(lm: Sandbox, identifier: str, architecture: str, kilobytes: int, **numbers: int) -> None:
    """A GGUF file with a tokenizer and ``kilobytes`` of weights."""
    file = lm.home / "models" / identifier
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(file), architecture)
    for name, value in numbers.items():
        writer.add_uint32(f"{architecture}.{name}", value)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(["<s>", "</s>", *(f"t{number}" for number in range(40))])
    writer.add_token_types([3, 3] + [1] * 40)
    writer.add_token_merges(["t 1"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with file.open("ab") as end:
        end.write(bytes(kilobytes << 10))


def pair(lm: Sandbox, main: str, *more: str, **keys: str) -> None:
    lines = [f'main = "{main}"', *(f'{key} = "{value}"' for key, value in keys.items())]
    lm.config.write_text("\n".join([*more, "[[pair]]", *lines, ""]))


def defaults(lm: Sandbox, name: str, root: str = "") -> Path:
    return lm.home / root / DEFAULTS / f"{name}.json"


def load(path: Path) -> dict[str, Any]:
    return {each["key"]: each["value"] for each in json.loads(path.read_text())["load"]["fields"]}


def users_file(lm: Sandbox) -> Path:
    """The user's own file with a DFlash sidecar switched on, as one was published."""
    path = defaults(lm, QWEN)
    path.parent.mkdir(parents=True)
    shutil.copy(RECORDED / "model-defaults" / "qwen" / "qwen3.8-27b.json", path)
    return path


def qwen(lm: Sandbox) -> None:
    model(lm, QWEN, "qwen35", 400, embedding_length=5120, block_count=64)
    model(lm, DFLASH, "dflash", 20, embedding_length=5120)


def test_a_catalogue_models_draft_stands_in_the_file_of_its_catalogue_name(lm: Sandbox) -> None:
    model(lm, GEMMA, "gemma4", 400)
    model(lm, SMALL, "gemma4", 40)
    pair(lm, "google/gemma-4-31b-qat", draft="gemma-4-e2b-it")
    done = lm.specd("apply")
    assert done.returncode == 0, done.stderr
    own = load(defaults(lm, "google/gemma-4-31b-qat"))
    assert own[LLAMA + "draftModel"] == SMALL
    assert own[LLAMA + "draftSimple"] is True
    assert "llm.load.numParallelSessions" not in own
    assert not defaults(lm, GEMMA).exists()


def test_prediction_heads_beside_their_main_are_offered_and_not_switched_on(lm: Sandbox) -> None:
    model(lm, GEMMA, "gemma4", 400, embedding_length=5376)
    heads = str(Path(GEMMA).with_name("mtp-gemma-4-31B-it.gguf"))
    model(lm, heads, "gemma4-assistant", 20, embedding_length=1024, embedding_length_out=5376)
    pair(lm, "google/gemma-4-31b-qat", draft="auto")
    lm.specd("apply")
    assert not list((lm.home / DEFAULTS).rglob("*.json"))
    told = " ".join(lm.specd("explain", "google/gemma-4-31b-qat").stdout.split())
    assert "candidate" in told
    assert "mtp-gemma-4-31b-it" in told.lower()
    pair(lm, "google/gemma-4-31b-qat", draft="mtp")
    assert lm.specd("apply").returncode == 0
    made = load(defaults(lm, "google/gemma-4-31b-qat"))
    assert made == {
        LLAMA + "draftModel": heads,
        LLAMA + "draftMtpSidecar": True,
        "llm.load.numParallelSessions": 1,
    }


@pytest.mark.parametrize("more", [("[speculation]", "enabled = false"), ()])
def test_a_sidecar_that_the_user_set_stays_byte_for_byte(lm: Sandbox, more: tuple[str]) -> None:
    qwen(lm)
    path = users_file(lm)
    before = path.read_bytes()
    pair(lm, "qwen3.8-27b", *more)
    assert lm.specd("apply").returncode == 0
    assert path.read_bytes() == before


def test_it_comes_back_after_another_draft_was_named_and_taken_away_again(lm: Sandbox) -> None:
    qwen(lm)
    draft = "qwen/Qwen3.8-0.6B-GGUF/Qwen3.8-0.6B-Q8_0.gguf"
    model(lm, draft, "qwen35", 30, embedding_length=1024, block_count=28)
    path = users_file(lm)
    before = path.read_bytes()
    pair(lm, "qwen3.8-27b", draft="qwen3.8-0.6b")
    assert lm.specd("apply").returncode == 0
    now = load(path)
    assert now[LLAMA + "draftModel"] == draft
    on = [key for key, value in now.items() if value is True and key.startswith(LLAMA)]
    assert on == [LLAMA + "draftSimple"]
    pair(lm, "qwen3.8-27b", "[speculation]", "enabled = false", draft="qwen3.8-0.6b")
    assert lm.specd("apply").returncode == 0
    assert path.read_bytes() == before


def test_a_file_that_lm_studio_has_put_something_into_keeps_its_shape(lm: Sandbox) -> None:
    model(lm, QWEN, "qwen35", 400)
    model(lm, "qwen/Qwen3.8-0.6B-GGUF/Qwen3.8-0.6B-Q8_0.gguf", "qwen35", 30)
    pair(lm, "qwen3.8-27b")
    assert lm.specd("apply").returncode == 0
    path = defaults(lm, QWEN)
    document = json.loads(path.read_text())
    theirs = {"key": "llm.load.contextLength", "value": 8192}
    document["load"]["fields"].append(theirs)
    homes.write(path, document)
    lm.config.write_text("")
    assert lm.specd("apply").returncode == 0
    shape = {"preset": "", "operation": {"fields": []}, "load": {"fields": [theirs]}}
    assert json.loads(path.read_text()) == shape


def test_the_switch_becomes_true_where_it_stands_and_no_key_is_added(lm: Sandbox) -> None:
    before = lm.read()
    lm.config.write_text("")
    assert lm.specd("apply").returncode == 0
    after = lm.read()
    assert (switch(before), switch(after)) == (False, True)
    assert after["chat"].pop("visualizeSpeculativeDecoding") is True
    before["chat"].pop("visualizeSpeculativeDecoding")
    before["configPresetInclusiveness"] = after["configPresetInclusiveness"]
    assert after == before


@pytest.mark.parametrize(("apps", "kept"), [("all", True), ("lmstudio", False)])
def test_bionics_files_are_kept_as_well(lm: Sandbox, apps: str, kept: bool) -> None:
    model(lm, QWEN, "qwen35", 400)
    draft = "qwen/Qwen3.8-0.6B-GGUF/Qwen3.8-0.6B-Q8_0.gguf"
    model(lm, draft, "qwen35", 30)
    bionic = defaults(lm, QWEN, "apps/bionic")
    bionic.parent.mkdir(parents=True)
    bionic.write_text('{"preset": "", "operation": {"fields": []}, "load": {"fields": []}}')
    settings = lm.home / "apps" / "bionic" / ".internal" / "settings.json"
    settings.write_text(json.dumps({"configPresetInclusiveness": {"speculativeDecoding": False}}))
    pair(lm, "qwen3.8-27b", "[lmstudio]", f'apps = "{apps}"', draft="qwen3.8-0.6b")
    done = lm.specd("apply")
    assert done.returncode == 0
    assert load(defaults(lm, QWEN))[LLAMA + "draftModel"] == draft
    assert (load(bionic).get(LLAMA + "draftModel") == draft) is kept
    assert switch(json.loads(settings.read_text())) is kept
    lm.start()
    until(lambda: lm.condition("SettingsApplied")["status"] == "true", "the daemon has looked")
    assert ("Bionic" in lm.condition("SettingsApplied")["message"]) is kept
    written = {each["app"] for each in lm.status()["last_writes"]}
    assert ("Bionic" in written) is kept


def test_what_the_user_set_in_bionic_is_adopted_for_lm_studio_too(lm: Sandbox) -> None:
    model(lm, QWEN, "qwen35", 400)
    draft = "qwen/Qwen3.8-0.6B-GGUF/Qwen3.8-0.6B-Q8_0.gguf"
    model(lm, draft, "qwen35", 30)
    fields = [
        {"key": f"{LLAMA}draftSimple", "value": True},
        {"key": f"{LLAMA}draftModel", "value": draft},
    ]
    bionic = defaults(lm, QWEN, "apps/bionic")
    homes.write(bionic, {"preset": "", "operation": {"fields": []}, "load": {"fields": fields}})
    before = bionic.read_bytes()
    pair(lm, "qwen3.8-27b")
    assert lm.specd("apply").returncode == 0
    assert load(defaults(lm, QWEN)) == load(bionic)
    told = " ".join(lm.specd("explain", "qwen3.8-27b").stdout.split())
    assert "adopted: kept: set in Bionic" in told
    again = lm.specd("apply")
    assert (again.returncode, again.stdout.strip()) == (0, "nothing to change")
    # Nobody else set it there: LM Studio's own file goes when the pair does.
    lm.config.write_text("")
    assert lm.specd("apply").returncode == 0
    assert not defaults(lm, QWEN).exists()
    assert bionic.read_bytes() == before


def test_where_the_apps_draft_differently_by_the_users_choice_each_is_named(lm: Sandbox) -> None:
    model(lm, QWEN, "qwen35", 400)
    for app, size in (("", "0.6B"), ("apps/bionic", "1.7B")):
        draft = f"qwen/Qwen3.8-{size}-GGUF/Qwen3.8-{size}-Q8_0.gguf"
        model(lm, draft, "qwen35", 30)
        values = {f"{LLAMA}draftSimple": True, f"{LLAMA}draftModel": draft}
        fields = [{"key": key, "value": value} for key, value in values.items()]
        homes.write(defaults(lm, QWEN, app), {"load": {"fields": fields}})
    both = [defaults(lm, QWEN, app).read_bytes() for app in ("", "apps/bionic")]
    pair(lm, "qwen3.8-27b")
    assert lm.specd("apply").returncode == 0
    told = " ".join(lm.specd("explain", "qwen3.8-27b").stdout.split())
    assert f"kept: set in LM Studio; Bionic drafts with {draft}" in told
    assert [defaults(lm, QWEN, app).read_bytes() for app in ("", "apps/bionic")] == both


def test_a_drafter_folder_is_never_configured_as_a_draft_model(lm: Sandbox) -> None:
    models = lm.home / "models"
    homes.mlx_model(models, "mlx-community/GLM-4.7-Flash-4bit", weights=4000, model_type="glm4")
    homes.mlx_model(
        models, "mlx-community/GLM-4.7-Flash-MTP", weights=400, model_type="glm4_moe_lite_mtp"
    )
    for draft in ("auto", "glm-4.7-flash-mtp"):
        pair(lm, "mlx-community/GLM-4.7-Flash-4bit", draft=draft)
        assert lm.specd("apply").returncode == 1
        assert not list((lm.home / DEFAULTS).rglob("*.json"))


def test_a_draft_with_an_mmproj_beside_it_is_offered_and_configured(lm: Sandbox) -> None:
    model(lm, GEMMA, "gemma4", 400)
    draft = "lmstudio-community/gemma-4-12B-it-GGUF/gemma-4-12B-it-Q4_K_M.gguf"
    model(lm, draft, "gemma4", 100)
    model(lm, str(Path(draft).with_name("mmproj-gemma-4-12B-it.gguf")), "clip", 5)
    pair(lm, "google/gemma-4-31b-qat", draft="auto")
    assert lm.specd("apply").returncode == 0
    assert load(defaults(lm, "google/gemma-4-31b-qat"))[LLAMA + "draftModel"] == draft


def test_two_pairs_whose_mains_share_a_file_are_refused_clearly(lm: Sandbox) -> None:
    for variant in ("Q4_0", "Q8_0"):
        model(lm, GEMMA.replace("Q4_0", variant), "gemma4", 400)
    model(lm, SMALL, "gemma4", 40)
    mains = [Path(GEMMA.replace("Q4_0", variant)).name for variant in ("Q4_0", "Q8_0")]
    lm.config.write_text("".join(f'[[pair]]\nmain = "{each}"\n' for each in mains))
    done = lm.specd("apply")
    assert done.returncode == 1
    assert "one file, google/gemma-4-31b-qat.json" in " ".join(done.stderr.split())


def test_a_file_with_a_byte_order_mark_is_named_as_ignored(lm: Sandbox) -> None:
    qwen(lm)
    path = users_file(lm)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    before = path.read_bytes()
    draft = "qwen/Qwen3.8-0.6B-GGUF/Qwen3.8-0.6B-Q8_0.gguf"
    model(lm, draft, "qwen35", 30)
    pair(lm, "qwen3.8-27b", draft="qwen3.8-0.6b")
    done = lm.specd("apply")
    assert done.returncode != 0
    assert "byte-order mark" in done.stderr
    assert path.read_bytes() == before


def test_a_draft_in_such_a_file_is_not_adopted(lm: Sandbox) -> None:
    model(lm, QWEN, "qwen35", 400)
    draft = "qwen/Qwen3.8-0.6B-GGUF/Qwen3.8-0.6B-Q8_0.gguf"
    model(lm, draft, "qwen35", 30)
    values = {f"{LLAMA}draftSimple": True, f"{LLAMA}draftModel": draft}
    path = defaults(lm, QWEN)
    homes.write(path, {"load": {"fields": [{"key": k, "value": v} for k, v in values.items()]}})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    pair(lm, "qwen3.8-27b")
    done = lm.specd("apply")
    assert done.returncode == 1
    assert "byte-order mark" in done.stderr
    lm.start()
    named = lm.condition("PairsConfigured")
    assert (named["status"], str(path) in named["message"]) == ("false", True)


def test_what_the_user_sets_while_specd_runs_is_adopted(lm: Sandbox) -> None:
    qwen(lm)
    pair(lm, "qwen3.8-27b")
    lm.start()
    until(lambda: lm.status()["pairs"][0]["state"] == "unmeasured", "nothing was measured")
    path = users_file(lm)
    before = path.read_bytes()
    until(lambda: lm.status()["pairs"][0]["state"] == "adopted", "it is adopted")
    told = lm.status()["pairs"][0]
    assert (told["reason"], told["why"]) == ("SetInLMStudio", "kept: set in LM Studio")
    assert "kept: set in LM Studio" in lm.specd("status").stdout
    assert path.read_bytes() == before


def test_a_draft_that_the_user_picks_over_specds_is_adopted_and_an_apps_rewrite_is_not(
    lm: Sandbox,
) -> None:
    model(lm, QWEN, "qwen35", 400)
    drafts = [f"qwen/Qwen3.8-{size}-GGUF/Qwen3.8-{size}-Q8_0.gguf" for size in ("0.6B", "1.7B")]
    for draft, size in zip(drafts, (30, 60), strict=True):
        model(lm, draft, "qwen35", size)
    pair(lm, "qwen3.8-27b")
    path = defaults(lm, QWEN)
    path.parent.mkdir(parents=True)
    path.write_text('{"preset": "", "operation": {"fields": []}, "load": {"fields": []}}')
    before = path.read_bytes()
    lm.start()
    until(lambda: load(path).get(LLAMA + "draftModel") == drafts[0], "specd's draft stands")
    specds = path.read_bytes()
    path.write_bytes(before)
    until(lambda: path.read_bytes() == specds, "what the app had in memory is no choice")
    # In one step, and after the pass: docs/guarantees.md says what may be lost of two at once.
    until(lambda: "put back" in lm.said(), "the pass has ended")
    pick = path.with_name("pick.json")
    pick.write_bytes(specds.replace(drafts[0].encode(), drafts[1].encode()))
    pick.replace(path)
    until(lambda: lm.status()["pairs"][0]["state"] == "adopted", "the user's pick is adopted")
    assert load(path)[LLAMA + "draftModel"] == drafts[1]
    assert [each["draft"] for each in lm.status()["pairs"]] == ["qwen3.8-1.7b"]
    pair(lm, "qwen3.8-27b", draft="qwen3.8-0.6b")
    until(lambda: load(path)[LLAMA + "draftModel"] == drafts[0], "specd.toml names another")
    path.write_bytes(specds.replace(drafts[0].encode(), drafts[1].encode()))
    until(lambda: load(path)[LLAMA + "draftModel"] == drafts[0], "a named draft is restored")


def test_pairs_lists_a_sidecar_under_its_main(lm: Sandbox) -> None:
    qwen(lm)
    found = json.loads(lm.specd("pairs", "--json").stdout)
    (main,) = found["mains"]
    assert main["candidates"] == ["qwen3.8-27b-dflash2"]
    assert found["unknown"] == []
    text = lm.specd("pairs").stdout
    assert "qwen3.8-27b-dflash2: a drafter for this main" in text
    assert "specd bench qwen3.8-27b qwen3.8-27b-dflash2" in text


def test_several_switches_in_the_users_file_stay_and_are_named(lm: Sandbox) -> None:
    qwen(lm)
    model(lm, "qwen/Qwen3.8-0.6B-GGUF/Qwen3.8-0.6B-Q8_0.gguf", "qwen35", 30)
    path = users_file(lm)
    path.write_bytes(path.read_bytes().replace(b"false", b"true"))
    before = path.read_bytes()
    pair(lm, "qwen3.8-27b")
    done = lm.specd("apply")
    assert done.returncode == 1
    assert "switched on for qwen3.8-27b in LM Studio, which allows one" in " ".join(
        done.stderr.split()
    )
    assert path.read_bytes() == before


def test_who_asks_for_the_status_learns_what_was_loaded_meanwhile(
    lm: Sandbox, tmp_path: Path
) -> None:
    """The server tells nobody that a model came back with four parallel requests."""
    model(lm, QWEN, "qwen35", 400, block_count=65, nextn_predict_layers=1)
    listed = json.loads((RECORDED / "api-v1-models.json").read_text())
    (main,) = [each for each in listed["models"] if each["key"] == "qwen/qwen3.8-27b"]
    main["key"] = "qwen3.8-27b"
    answer = tmp_path / "served" / "api" / "v1" / "models"
    homes.write(answer, listed)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        homes.write(lm.home / ".internal" / "http-server.json", {"port": server.server_port})
        pair(lm, "qwen3.8-27b", draft="mtp")
        lm.start()
        until(lambda: lm.condition("ServerReachable")["status"] == "true", "the server answers")
        assert "4 parallel" not in lm.condition("AppUpToDate")["message"]
        main["loaded_instances"][0]["config"]["parallel"] = 4
        homes.write(answer, listed)
        until(lambda: "4 parallel" in lm.condition("AppUpToDate")["message"], "the load is seen")
        assert "--parallel 1 --speculative-draft-mtp" in lm.condition("AppUpToDate")["remedy"]
        server.shutdown()


@pytest.mark.parametrize("beside", [None, ".internal/.DS_Store", ".internal/x/y.json"])
def test_where_there_is_bionic_alone_its_files_are_kept_alone(
    lm: Sandbox, beside: str | None
) -> None:
    """Nothing but a folder of LM Studio's is there, and the models lie where Bionic says."""
    lm.settings.unlink()
    if beside is not None:
        homes.write(lm.home / beside, {})
    (lm.home / ".internal").mkdir(exist_ok=True)
    settings = lm.home / "apps" / "bionic" / ".internal" / "settings.json"
    elsewhere = lm.root / "elsewhere"
    homes.write(
        settings,
        {"configPresetInclusiveness": {"speculativeDecoding": False}}
        | {"downloadsFolder": str(elsewhere)},
    )
    model(lm, GEMMA, "gemma4", 400)
    model(lm, SMALL, "gemma4", 40)
    (lm.home / "models").rename(elsewhere)
    pair(lm, "google/gemma-4-31b-qat", draft="gemma-4-e2b-it")
    done = lm.specd("apply")
    assert done.returncode == 0, done.stderr
    assert switch(json.loads(settings.read_text())) is True
    own = load(defaults(lm, "google/gemma-4-31b-qat", "apps/bionic"))
    assert own[LLAMA + "draftModel"] == SMALL
    assert not lm.settings.exists()
    assert not defaults(lm, "google/gemma-4-31b-qat").exists()
    assert f"the file of its defaults names {SMALL}" in " ".join(
        lm.specd("explain", "google/gemma-4-31b-qat").stdout.split()
    )


@pytest.mark.parametrize(("version", "section"), [("1.50.2", "operation"), ("2.27.1", "load")])
def test_an_older_llama_cpp_finds_the_draft_where_it_looks(
    lm: Sandbox, version: str, section: str
) -> None:
    (lm.home / "extensions" / "backends" / f"llama.cpp-mac-arm64-apple-metal-{version}").mkdir(
        parents=True
    )
    model(lm, GEMMA, "gemma4", 400)
    model(lm, SMALL, "gemma4", 40)
    pair(lm, "google/gemma-4-31b-qat", draft="gemma-4-e2b-it")
    assert lm.specd("apply").returncode == 0
    made = json.loads(defaults(lm, "google/gemma-4-31b-qat").read_text())
    (drafts,) = [name for name in ("operation", "load") if made[name]["fields"]]
    assert drafts == section


def test_for_a_main_that_no_draft_helps_the_build_that_can_be_used_is_named(lm: Sandbox) -> None:
    models = lm.home / "models"
    seen = {"model_type": "gemma3", "vision_config": {"hidden_size": 8}}
    homes.mlx_model(models, "mlx-community/gemma-3-12b-it-4bit", weights=9_000_000, **seen)
    homes.mlx_model(
        models, "mlx-community/gemma-3-1b-it-4bit", weights=900_000, model_type="gemma3"
    )
    pair(lm, "mlx-community/gemma-3-12b-it-4bit")
    said = " ".join(lm.specd("apply").stderr.split())
    assert "sees images" in said
    lm.start()
    refused = lm.condition("PairsConfigured")
    assert (refused["reason"], "prediction heads" in refused["remedy"]) == ("PairRefused", True)
    file = "lmstudio-community/gemma-3-12B-it-GGUF/gemma-3-12b-it-Q4_K_M.gguf"
    model(lm, file, "gemma3", 400)
    until(lambda: file in lm.condition("PairsConfigured")["remedy"], "the GGUF file is named")

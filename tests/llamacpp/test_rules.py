"""The rules about llama.cpp, held against whether the real server drafts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest

from specd.llamacpp.engine import find
from specd.llamacpp.server import DidNotStart, Load, NoAnswer, Server
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

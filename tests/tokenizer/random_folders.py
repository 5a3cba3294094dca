"""Random tokenizers in the formats of public models, and random changes of them."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from bench.seed_home import byte_alphabet
from tests.tokenizer import folders

CONTROL = (
    *("<s>", "</s>", "<unk>", "<pad>", "<bos>", "<eos>", "<mask>"),
    *("<|endoftext|>", "<|padding|>"),
)
"""transformers' classes add those of these that are missing."""

MORE = ("<|im_start|>", "<think>", "</think>", "[INST]", "<extra_0>", "a<b", "ab")
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
ROWS = 600


@dataclass
class Case:
    """A folder's files by name; ``classes`` are those that fit its kind."""

    classes: tuple[str | None, ...]
    types: tuple[str, ...]
    files: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = self.files["tokenizer.json"]
        return found

    def lay_out(self, folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            (folder / name).write_bytes(raw)
        folders.put(folder / "tokenizer_config.json", self.beside)
        folders.put(folder / "config.json", {**self.config, "vocab_size": ROWS})
        folders.weights(folder / "model.safetensors", {"model.embed_tokens.weight": [ROWS, 8]})
        return folder


def _flags(of: Random, **fixed: bool) -> dict[str, bool]:
    chances = zip(FLAGS, (0.12, 0.15, 0.15, 0.3, 0.5), strict=True)
    return {name: of.random() < chance for name, chance in chances} | fixed


def _merged(of: Random, vocabulary: dict[str, int]) -> list[list[str]]:
    parts, merges = [each for each in vocabulary if len(each) == 1], []
    for _ in range(of.randint(3, 25)):
        two = [of.choice(parts), of.choice(parts)]
        joined = "".join(two)
        if joined not in vocabulary and len(joined) < 7:
            vocabulary[joined] = len(vocabulary)
            merges.append(two)
            parts.append(joined)
    return merges


def _added(of: Random, known: dict[str, int], size: int) -> list[dict[str, Any]]:
    names = [*(each for each in CONTROL), *of.sample(MORE, of.randint(0, 5))]
    made: list[dict[str, Any]] = []
    for name in names:
        number = known.get(name, size)
        size += name not in known
        made.append({"id": number, "content": name, **_flags(of)})
    return sorted(made, key=lambda each: int(each["id"]))


def _byte_level(of: Random) -> Case:
    vocabulary = {each: number for number, each in enumerate(byte_alphabet())}
    model = {"type": "BPE", "ignore_merges": of.random() < 0.3, "vocab": vocabulary}
    model["merges"] = _merged(of, vocabulary)
    parts = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "use_regex": True,
        "trim_offsets": True,
    }
    document = {"normalizer": None, "pre_tokenizer": parts, "decoder": parts, "model": model}
    classes = ("PreTrainedTokenizerFast", "GPT2Tokenizer", "Qwen2Tokenizer", "GPTNeoXTokenizerFast")
    return Case((*classes, None), ("llama", "qwen2", "qwen3"), {"tokenizer.json": document})


def _pieces(*, bytes_: bool) -> list[str]:
    units = [f"<0x{byte:02X}>" for byte in range(256)] if bytes_ else []
    return ["<unk>", "<s>", "</s>", *units, *"▁abcdeAB01.é日"]


def _metaspace(scheme: str) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": True}


def _sentencepiece_bpe(of: Random) -> Case:
    bytes_ = of.random() < 0.7
    vocabulary = {each: number for number, each in enumerate(_pieces(bytes_=bytes_))}
    model = {
        "type": "BPE",
        "unk_token": "<unk>",
        "fuse_unk": of.random() < 0.5,
        "vocab": vocabulary,
    }
    model |= {"byte_fallback": bytes_, "merges": _merged(of, vocabulary)}
    space = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    decoder = {"type": "Sequence", "decoders": [space, {"type": "ByteFallback"}, {"type": "Fuse"}]}
    before = _metaspace(of.choice(("first", "never", "always")))
    document = {"normalizer": None, "pre_tokenizer": before, "decoder": decoder, "model": model}
    classes = ("LlamaTokenizer", "PreTrainedTokenizerFast", "GemmaTokenizerFast", None)
    return Case(classes, ("llama", "mistral", "gemma3_text"), {"tokenizer.json": document})


def _unigram(of: Random) -> Case:
    vocabulary = [[each, -10 * of.random()] for each in _pieces(bytes_=False)]
    vocabulary += [["".join(of.choices("▁abcde", k=3)), -12 * of.random()] for _ in range(9)]
    vocabulary.append([of.choice(vocabulary)[0], -5 * of.random()])  # a piece that is there twice
    model = {"type": "Unigram", "unk_id": 0, "vocab": vocabulary, "byte_fallback": False}
    parts = _metaspace(of.choice(("first", "never", "always")))
    document = {"normalizer": None, "pre_tokenizer": parts, "decoder": parts, "model": model}
    return Case(("PreTrainedTokenizerFast",), ("llama",), {"tokenizer.json": document})


def _words(of: Random) -> list[str]:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdeAB01.é日"]
    words += [f"##{each}" for each in "abcde01é"]
    made = [of.choice(("", "##")) + "".join(of.choices("abcde", k=3)) for _ in range(9)]
    return list(dict.fromkeys((*words, *made)))


def _word_piece(of: Random) -> Case:
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    model |= {"max_input_chars_per_word": of.choice((100, 4))}
    model["vocab"] = {each: number for number, each in enumerate(_words(of))}
    document = {"normalizer": None, "pre_tokenizer": {"type": "BertPreTokenizer"}, "model": model}
    document["decoder"] = {"type": "WordPiece", "prefix": "##", "cleanup": False}
    return Case(("PreTrainedTokenizerFast",), ("llama",), {"tokenizer.json": document})


def _vocab_and_merges(of: Random) -> Case:
    vocabulary = {each: number for number, each in enumerate((*byte_alphabet(), *CONTROL))}
    merges = "\n".join(("#version: 0.2", *map(" ".join, _merged(of, vocabulary)), ""))
    files = {"vocab.json": vocabulary, "merges.txt": merges.encode()}
    return Case(("GPT2Tokenizer", "Qwen2Tokenizer"), ("qwen2", "qwen3"), files)


def _word_list(of: Random) -> Case:
    words = "\n".join((*_words(of), *CONTROL, ""))
    return Case(("BertTokenizer",), ("bert",), {"vocab.txt": words.encode()})


def _sentencepiece_model(of: Random) -> Case:
    from sentencepiece import SentencePieceTrainer

    bytes_, made = of.random() < 0.5, io.BytesIO()
    lines = ["hello world abc", "abcde 01 01 é", "the cat sat on the mat 日", "a b aab abab"] * 3
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=made,
        vocab_size=320 if bytes_ else 50,
        byte_fallback=bytes_,
        model_type=of.choice(("bpe", "unigram")),
        user_defined_symbols=list(CONTROL[3:]),
        hard_vocab_limit=False,
        minloglevel=9,
    )
    classes = ("LlamaTokenizer", "GemmaTokenizer", "PreTrainedTokenizerFast", None)
    return Case(classes, ("llama", "mistral"), {"tokenizer.model": made.getvalue()})


def _tekken(of: Random) -> Case:
    tokens = [bytes([byte]) for byte in range(256)]
    tokens += [b"".join(of.choices(tokens, k=2)) for _ in range(of.randint(2, 9))]
    tokens = list(dict.fromkeys(tokens))
    control = of.randint(len(CONTROL), 20)
    sizes: dict[str, Any] = {"default_num_special_tokens": control}
    if of.random() < 0.5:
        sizes["default_vocab_size"] = control + len(tokens) - of.randint(0, 2)
    told = {
        "config": {"pattern": r"[^\s]+|\s+", **sizes},
        "vocab": [{"token_bytes": base64.b64encode(each).decode()} for each in tokens],
        "special_tokens": [{"rank": n, "token_str": text} for n, text in enumerate(CONTROL)],
    }
    return Case(("TokenizersBackend", None), ("mistral", "llama"), {"tekken.json": told})


KINDS: tuple[Callable[[Random], Case], ...] = (
    _byte_level, _sentencepiece_bpe, _unigram, _word_piece,
    _vocab_and_merges, _word_list, _sentencepiece_model, _tekken,
)  # fmt: skip


def case(of: Random) -> Case:
    """A tokenizer with added tokens, and the configuration beside it."""
    made = of.choice(KINDS)(of)
    made.config["model_type"] = of.choice(made.types)
    named = of.choice(made.classes)
    if named:
        made.beside["tokenizer_class"] = named
    if "tokenizer.json" in made.files:
        vocabulary = made.document["model"]["vocab"]
        texts = [each if isinstance(each, str) else each[0] for each in vocabulary]
        known = {text: number for number, text in enumerate(texts)}
        added = _added(of, known, len(texts))
        made.document.update(version="1.0", added_tokens=added)
        if of.random() < 0.5:
            _list_added(made)
    if of.random() < 0.5:
        made.beside["eos_token"] = of.choice(CONTROL)
    return made


def _list_added(case: Case) -> None:
    case.beside["added_tokens_decoder"] = {
        str(each["id"]): {"content": each["content"], **{name: each[name] for name in FLAGS}}
        for each in case.document["added_tokens"]
    }


def changed(case: Case, of: Random) -> Case:
    """The case with one change, or none."""
    made = deepcopy(case)
    of.choice(_CHANGES)(made, of)
    return made


def _nothing(case: Case, of: Random) -> None:
    pass


def _role(case: Case, of: Random) -> None:
    case.beside[f"{of.choice(('eos', 'pad', 'unk', 'cls'))}_token"] = of.choice(CONTROL)


def _class(case: Case, of: Random) -> None:
    case.beside["tokenizer_class"] = of.choice(case.classes) or "PreTrainedTokenizerFast"


def _type(case: Case, of: Random) -> None:
    case.config["model_type"] = of.choice(case.types)


def _extra(case: Case, of: Random) -> None:
    key = of.choice(("additional_special_tokens", "extra_special_tokens"))
    case.beside[key] = of.sample(("<x1>", "<x2>", "<s>"), 2)


def _in_added_json(case: Case, of: Random) -> None:
    case.files["added_tokens.json"] = {"<json>": ROWS - 1}


def _in_map(case: Case, of: Random) -> None:
    text = of.choice(("<map>", "a", {"content": "<map>", "lstrip": False}))
    case.files["special_tokens_map.json"] = {"cls_token": text}


def _of_document(change: Callable[[Case, Random], None]) -> Callable[[Case, Random], None]:
    def only(case: Case, of: Random) -> None:
        if "tokenizer.json" in case.files:
            change(case, of)
            if "added_tokens_decoder" in case.beside:
                _list_added(case)

    return only


def _flag(case: Case, of: Random) -> None:
    entry, name = of.choice(case.document["added_tokens"]), of.choice(FLAGS)
    entry[name] = not entry[name]


def _one_more(case: Case, of: Random) -> None:
    numbers = [each["id"] for each in case.document["added_tokens"]]
    following = max([len(case.document["model"]["vocab"]) - 1, *numbers]) + 1
    case.document["added_tokens"].append({"id": following, "content": "<new>", **_flags(of)})


def _one_less(case: Case, of: Random) -> None:
    case.document["added_tokens"].pop()


def _rename(case: Case, of: Random) -> None:
    case.document["added_tokens"][-1]["content"] = "<renamed>"


def _swap(case: Case, of: Random) -> None:
    vocabulary = case.document["model"]["vocab"]
    if isinstance(vocabulary, list):
        of.choice(vocabulary)[1] -= 2.5
        return
    one, other = of.sample([each for each in vocabulary if each not in (*CONTROL, *MORE)], 2)
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]


def _merges(case: Case, of: Random) -> None:
    of.shuffle(case.document["model"].get("merges", []))


def _rule(case: Case, of: Random) -> None:
    model = case.document["model"]
    for name in ("ignore_merges", "fuse_unk", "max_input_chars_per_word"):
        if name in model:
            model[name] = not model[name] if isinstance(model[name], bool) else 7


def _spacing(case: Case, of: Random) -> None:
    case.document["normalizer"] = of.choice(({"type": "Lowercase"}, {"type": "NFC"}))


def _empty(case: Case, of: Random) -> None:
    """The text "" as a token, before the added ones, whose ids move on by one."""
    vocabulary = case.document["model"]["vocab"]
    size = len(vocabulary)
    if isinstance(vocabulary, dict):
        vocabulary[""] = size
    else:
        vocabulary.append(["", -3.0])
    for each in case.document["added_tokens"]:
        each["id"] += each["id"] >= size


_CHANGES: tuple[Callable[[Case, Random], None], ...] = (
    _nothing, _role, _class, _type, _extra, _in_added_json, _in_map,
    *map(_of_document, (_flag, _one_more, _one_less, _rename, _swap, _merges, _rule, _spacing, _empty)),
)  # fmt: skip


def texts(of: Random) -> list[str]:
    """Texts of ordinary words, control tokens and spaces in any order."""
    units = (*CONTROL, *MORE, "<new>", "<x1>", "<map>", "<json>", *"abcdeAB01.é日", " ", "  ", "\n")
    made = ["".join(of.choices(units, k=of.randint(1, 9))) for _ in range(25)]
    return ["hello world", "a  b\n\n c", "", "   ", *made]

"""A Hugging Face ``tokenizer.json`` from the tokens and merges a GGUF file carries.

SmolLM2 is a byte-level BPE whose text is split GPT-2's way after every digit is set apart
(``tokenizer.ggml.pre`` = ``smollm``). Ids are positions in the token list.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """``tokens`` by id in GPT-2's printable byte alphabet, ``merges`` best first ("a b").

    ``special`` are the ids of control tokens, ``added`` of those that stand beside the model's own
    ones, as Qwen's do; ``eos`` ends an answer, ``pad`` fills.
    """

    tokens: tuple[str, ...]
    merges: tuple[str, ...]
    special: frozenset[int]
    chat_template: str
    bos: int
    eos: int
    pad: int
    unk: int
    added: frozenset[int] = frozenset()

    def adding(self, names: Sequence[str]) -> Vocabulary:
        """The same with more special tokens, added after the last id."""
        first = len(self.tokens)
        added = frozenset(range(first, first + len(names)))
        return replace(
            self,
            tokens=(*self.tokens, *names),
            special=self.special | added,
            added=self.added | added,
        )

    def rotation(self, by: int) -> tuple[int, ...]:
        """New id → old id when every ordinary token's id moves on by ``by``, special ones stay."""
        ordinary = [i for i in range(len(self.tokens)) if i not in self.special]
        moved = ordinary[-by:] + ordinary[:-by]
        old = list(range(len(self.tokens)))
        for new, source in zip(ordinary, moved, strict=True):
            old[new] = source
        return tuple(old)

    def reordered(self, old_ids: Sequence[int]) -> Vocabulary:
        """The same tokens under other ids: ``old_ids[new]`` is the token's id until now."""
        return replace(self, tokens=tuple(self.tokens[i] for i in old_ids))


def tokenizer_json(vocabulary: Vocabulary) -> dict[str, Any]:
    """The document ``tokenizers`` loads."""
    tokens, added = vocabulary.tokens, vocabulary.added
    made = Tokenizer(
        BPE(
            {token: i for i, token in enumerate(tokens) if i not in added},
            [
                (left, right)
                for left, _, right in (each.partition(" ") for each in vocabulary.merges)
            ],
        )
    )
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    made.decoder = decoders.ByteLevel()
    special = [AddedToken(tokens[i], normalized=False) for i in sorted(vocabulary.special)]
    made.add_special_tokens(special)
    document: dict[str, Any] = json.loads(made.to_str())
    return document


def tokenizer_config(vocabulary: Vocabulary) -> dict[str, Any]:
    """The ``tokenizer_config.json`` beside it."""
    token = vocabulary.tokens
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "bos_token": token[vocabulary.bos],
        "eos_token": token[vocabulary.eos],
        "pad_token": token[vocabulary.pad],
        "unk_token": token[vocabulary.unk],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 8192,
        "chat_template": vocabulary.chat_template,
        "added_tokens_decoder": {
            str(i): {"content": token[i], **flags, "special": True}
            for i in sorted(vocabulary.special)
        },
    }

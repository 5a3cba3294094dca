"""Added tokens and the tokens with a role (BOS, EOS, chat template), from a model's config files.

This follows the loaders. ``tokenizer_config.json`` may name tokens that ``tokenizer.json`` lacks;
transformers appends them at the next free ids and ignores the ids in the file. An answer ends with
the ids of ``generation_config.json``, else ``config.json``, and with the tokenizer's own EOS token
(mlx-lm's ``load_config`` and ``TokenizerWrapper``).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from specd.tokenizer.reading import REMEDY, Absent, Unreadable, content, json_object, whole
from specd.tokenizer.vocabulary import Flags, Vocabulary

TEMPLATE_BYTES: Final = 1 << 20

_ROLES: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "mask_token")
_MARKUP: Final = re.compile(r"<[^<>\s]{1,100}>|\[[^\[\]\s]{1,40}\]")


def complete(
    vocabulary: Vocabulary, folder: Path, config: Mapping[str, Any], *, fast: bool
) -> None:
    """Add the missing tokens of ``added_tokens.json`` and ``tokenizer_config.json`` (``config``).

    ``fast``: the vocabulary is from ``tokenizer.json``; only then do loaders choose the ids.

    Raises:
        Unreadable: an id is impossible.
    """
    listed = {} if fast else json_object(folder / "added_tokens.json")
    for text, number in listed.items():
        place = whole(number)
        if place is not None and vocabulary.id_of(text) is None:
            vocabulary.add(text, place, special=False)
    for number, text, special, flags in _decoder(config):
        known = vocabulary.id_of(text)
        if known is None:
            known = vocabulary.next_id() if fast else number
            vocabulary.add(text, known, special=special)
        elif special:
            vocabulary.special.add(known)
        elif text in vocabulary.flags:  # in loaders these flags win
            vocabulary.special.discard(known)
        vocabulary.flags[text] = flags
        if known != number:
            vocabulary.remarks.append(
                f"tokenizer_config.json gives {text!r} the id {number}, loaders give it {known}"
            )
    for text in _named(config):
        known = vocabulary.id_of(text)
        if known is None:
            known = vocabulary.next_id() if fast else len(vocabulary.texts)
            vocabulary.add(text, known, special=True)
        vocabulary.special.add(known)


def _decoder(config: Mapping[str, Any]) -> list[tuple[int, str, bool, Flags]]:
    """``added_tokens_decoder``: (id, text, special, flags), by id."""
    listed = config.get("added_tokens_decoder")
    found: list[tuple[int, str, bool, Flags]] = []
    for key, entry in listed.items() if isinstance(listed, dict) else ():
        text = _text(entry)
        if text is None or not (isinstance(key, str) and key.isdecimal() and len(key) < 10):
            raise Unreadable(
                f"tokenizer_config.json has an added_tokens_decoder that gives {str(key)[:40]!r} "
                f"no token; {REMEDY}"
            )
        given = entry if isinstance(entry, dict) else {}
        set_ = {name: given[name] is True for name in Flags._fields if name in given}
        found.append((int(key), text, given.get("special") is True, Flags(**set_)))
    return sorted(found, key=itemgetter(0, 1))


_SPLITTING: Final = ("add_prefix_space", "split_special_tokens", "do_lower_case", "strip_accents",
    "keep_accents", "remove_space", "tokenize_chinese_chars", "sp_model_kwargs")  # fmt: skip
"""Settings with which transformers' classes split otherwise than ``tokenizer.json`` says."""


def splitting(
    vocabulary: Vocabulary, tokenizer_config: Mapping[str, Any], config: Mapping[str, Any]
) -> str:
    """A digest of all that splits ordinary text; "" if unknown."""
    if not vocabulary.splits:
        return ""
    named = tokenizer_config.get("tokenizer_class") or config.get("model_type")
    rules = (
        vocabulary.splits,
        str(named).removesuffix("Fast"),  # classes have rules of their own
        [tokenizer_config.get(name) or None for name in _SPLITTING],
        sorted(
            (text, vocabulary.id_of(text) in vocabulary.special, repr(flags))
            for text, flags in vocabulary.flags.items()
        ),
    )
    return hashlib.sha256(repr(rules).encode("utf-8", "surrogatepass")).hexdigest()


def _named(config: Mapping[str, Any]) -> Iterator[str]:
    for role in _ROLES:
        text = _text(config.get(role))
        if text:
            yield text
    for key in ("additional_special_tokens", "extra_special_tokens"):
        more = config.get(key)
        listed = more.values() if isinstance(more, dict) else more
        for each in listed if isinstance(listed, Iterable) and not isinstance(listed, str) else ():
            text = _text(each)
            if text:
                yield text


def _text(value: object) -> str | None:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def bos(vocabulary: Vocabulary, config: Mapping[str, Any]) -> int | None:
    """The id that begins a text; None if there is none."""
    text = _text(config.get("bos_token"))
    return None if text is None else vocabulary.id_of(text)


def eos(
    vocabulary: Vocabulary,
    tokenizer_config: Mapping[str, Any],
    config: Mapping[str, Any],
    generation: Mapping[str, Any],
) -> frozenset[int]:
    """The ids that end an answer."""
    given = generation.get("eos_token_id") or config.get("eos_token_id")
    ids = given if isinstance(given, list) else [given]
    found = {number for each in ids if (number := whole(each)) is not None}
    text = _text(tokenizer_config.get("eos_token"))
    own = None if text is None else vocabulary.id_of(text)
    return frozenset(found if own is None else {*found, own})


def template(
    vocabulary: Vocabulary, folder: Path, tokenizer_config: Mapping[str, Any]
) -> frozenset[int]:
    """The ids of the added and control tokens in the chat template."""
    text = "\n".join(_templates(folder, tokenizer_config))[:TEMPLATE_BYTES]
    found: set[int] = set()
    for name in set(_MARKUP.findall(text)):
        number = vocabulary.id_of(name)
        if number is not None and (number in vocabulary.special or name in vocabulary.added):
            found.add(number)
    return frozenset(found)


def _templates(folder: Path, config: Mapping[str, Any]) -> Iterator[str]:
    with contextlib.suppress(Absent):
        yield content(folder / "chat_template.jinja", TEMPLATE_BYTES).decode("utf-8", "replace")
    given = config.get("chat_template")
    for each in given if isinstance(given, list) else [given]:
        text = each.get("template") if isinstance(each, dict) else each
        if isinstance(text, str):
            yield text

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
from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeAlias

from specd.tokenizer.reading import REMEDY, Absent, Unreadable, content, json_object, whole
from specd.tokenizer.vocabulary import Flags, Vocabulary

TEMPLATE_BYTES: Final = 1 << 20

_ROLES: Final = tuple(
    f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
)
_EXTRA, _ADDITIONAL = "extra_special_tokens", "additional_special_tokens"
_MARKUP: Final = re.compile(r"<[^<>\s]{1,100}>|\[[^\[\]\s]{1,40}\]")


_Added: TypeAlias = tuple[int, str, bool, Flags]
"""An added token: id, text, whether it is a control token, flags."""


def configuration(folder: Path) -> dict[str, Any]:
    """``tokenizer_config.json``, with ``special_tokens_map.json`` where loaders read it.

    ``extra_special_tokens`` lists the tokens that follow those of ``_token`` keys, in the order in
    which transformers (``_from_pretrained``) adds them.

    Raises:
        Unreadable: one of them cannot be read.
    """
    config = json_object(folder / "tokenizer_config.json")
    if not config.get(_EXTRA) and _ADDITIONAL in config:
        config[_EXTRA] = config.pop(_ADDITIONAL)
    later = {key: config.pop(key) for key in _own(config) if isinstance(config[key], str)}
    if isinstance(config.get(_EXTRA), dict):
        later |= config.pop(_EXTRA)
    if "added_tokens_decoder" not in config:
        more = json_object(folder / "special_tokens_map.json")
        before, then = config.get(_EXTRA), more.get(_EXTRA)
        config |= more
        if isinstance(before, list) and isinstance(then, list):
            config[_EXTRA] = [*before, *then]
        if isinstance(config.get(_EXTRA), dict):
            later |= config.pop(_EXTRA)
    listed = config.get(_EXTRA, config.get(_ADDITIONAL))
    for key in [each for each in later if each in config or each in _ROLES]:
        config[key] = later.pop(key)
    config[_EXTRA] = [*later.values(), *(listed if isinstance(listed, list) else ())]
    return config


def _own(config: Mapping[str, Any]) -> list[str]:
    return [key for key in config if key.endswith("_token") and key not in _ROLES]


def complete(vocabulary: Vocabulary, folder: Path, config: Mapping[str, Any]) -> None:
    """Add the missing tokens of ``added_tokens.json`` and ``tokenizer_config.json`` (``config``).

    Raises:
        Unreadable: an id is impossible.
    """
    listed = _decoder(config) or _legacy(vocabulary, folder, config)
    for number, text, special, flags in listed:
        known = vocabulary.id_of(text)
        if known is None:
            known = number if vocabulary.as_listed else vocabulary.next_id()
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
            known = vocabulary.next_id()
            vocabulary.add(text, known, special=True)
        vocabulary.special.add(known)
        vocabulary.flags.setdefault(text, Flags(normalized=False))


def _legacy(vocabulary: Vocabulary, folder: Path, config: Mapping[str, Any]) -> list[_Added]:
    """``added_tokens.json``, which loaders read only where there is no ``added_tokens_decoder``."""
    if "added_tokens_decoder" in config:
        return []
    special = set(_named(config))
    return sorted(
        (place, text, text in special, Flags(normalized=text not in special))
        for text, number in json_object(folder / "added_tokens.json").items()
        if (place := whole(number)) is not None and text not in vocabulary.flags
    )


def _decoder(config: Mapping[str, Any]) -> list[_Added]:
    listed = config.get("added_tokens_decoder")
    found: list[_Added] = []
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


_TYPES: Final = {
    "Qwen2Tokenizer": ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next"),
    "GemmaTokenizer": ("gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n", "gemma3n_text"),
}
"""Model types with which transformers takes the named class as it is."""


def splitting(
    vocabulary: Vocabulary, tokenizer_config: Mapping[str, Any], config: Mapping[str, Any]
) -> str:
    """A digest of all that splits ordinary text; "" if unknown."""
    if not vocabulary.splits:
        return ""
    named = str(tokenizer_config.get("tokenizer_class")).removesuffix("Fast")
    kind = config.get("model_type")
    rules = (
        vocabulary.splits,
        # transformers chooses a class by both, and classes have rules of their own.
        named if kind in _TYPES.get(named, ()) else (named, kind),
        [tokenizer_config.get(name) or None for name in _SPLITTING],
        list(_named(tokenizer_config)),
        sorted(
            (text, vocabulary.id_of(text) in vocabulary.special, repr(flags))
            for text, flags in vocabulary.flags.items()
        ),
    )
    return hashlib.sha256(repr(rules).encode("utf-8", "surrogatepass")).hexdigest()


def _named(config: Mapping[str, Any]) -> Iterator[str]:
    """The control tokens that the configuration names, in the order in which loaders add them."""
    listed = [*map(config.get, (*_ROLES, *_own(config))), *config[_EXTRA]]
    yield from filter(None, map(_text, listed))


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

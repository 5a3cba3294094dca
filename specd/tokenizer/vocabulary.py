"""The tokens of one tokenizer, independent of the file format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from specd.tokenizer.reading import Unreadable
from specd.tokenizer.spelling import Family

MAX_IDS = 4 << 20


class Impossible(Unreadable):
    """Ids that no tokenizer has; the caller adds the file's name to the message."""


class Flags(NamedTuple):
    """Of an added token, as the ``tokenizers`` library names them; None: it decides."""

    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool | None = None


@dataclass(slots=True)
class Vocabulary:
    """``texts[i]`` is the text of id ``i`` in the file, None for an id without a token.

    ``family``: how texts spell bytes. ``own``: the number of tokens that the tokenizer's model
    lists, with duplicates. ``ids``: the ids of those tokens by text, ``added``: the other tokens,
    ``special``: the ids of control tokens. ``flags``: how the other tokens are found in a text.
    ``splits``: a digest of the other splitting rules, "" if unknown; tokenizers with equal digests
    split ordinary text alike. ``remarks``: sentences on oddities of the files. ``as_listed``:
    loaders give added tokens the ids in the files, and the next free ones otherwise.
    """

    family: Family
    texts: list[str | None]
    ids: Mapping[str, int]
    added: dict[str, int] = field(default_factory=dict)
    special: set[int] = field(default_factory=set)
    flags: dict[str, Flags] = field(default_factory=dict)
    splits: str = ""
    remarks: list[str] = field(default_factory=list)
    own: int = -1
    as_listed: bool = False

    def __post_init__(self) -> None:
        if self.own < 0:
            self.own = len(self.ids)

    def id_of(self, text: str) -> int | None:
        """The id of the token with this text; None if there is none."""
        known = self.added.get(text)
        return self.ids.get(text) if known is None else known

    def next_id(self) -> int:
        """The id that the ``tokenizers`` library gives to a new token."""
        new = (number + 1 for text, number in self.added.items() if text not in self.ids)
        return max([self.own, *new])

    def add(self, text: str, number: int, *, special: bool) -> None:
        """Add the token ``text`` with the id ``number``.

        Raises:
            Impossible: no tokenizer has so large an id.
        """
        check_size(number + 1)
        if number >= len(self.texts):
            self.texts.extend([None] * (number + 1 - len(self.texts)))
        self.texts[number] = text
        self.added[text] = number
        if special:
            self.special.add(number)


def check_size(size: int) -> None:
    """Check the number of ids.

    Raises:
        Impossible: an id is negative, or beyond ``MAX_IDS``.
    """
    if size < 1:
        raise Impossible(f"the tokenizer lists the negative id {size - 1}")
    if size > MAX_IDS:
        raise Impossible(f"the tokenizer lists the id {size - 1}, and no model has so many tokens")


def by_id(ids: Mapping[str, int]) -> list[str | None]:
    """The texts by their ids.

    Raises:
        Impossible: an id is negative, impossibly large, or given to two tokens.
    """
    numbers = list(ids.values())
    if numbers == list(range(len(numbers))):
        return [*ids]
    check_size(min(numbers, default=0) + 1)
    check_size(max(numbers, default=0) + 1)
    if len(set(numbers)) != len(numbers):
        twice = next(number for number, times in Counter(numbers).items() if times > 1)
        raise Impossible(f"the tokenizer gives the id {twice} to two tokens")
    texts: list[str | None] = [None] * (max(numbers, default=-1) + 1)
    for text, number in ids.items():
        texts[number] = text
    return texts

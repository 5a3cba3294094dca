"""The tokens of one tokenizer, whichever file they were read from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from specd.tokenizer.reading import Unreadable
from specd.tokenizer.spelling import Family

MAX_IDS = 4 << 20


class Impossible(Unreadable):
    """Ids that no tokenizer has; whoever knows the file names it."""


@dataclass(slots=True)
class Vocabulary:
    """``texts[i]`` is what the file writes for id ``i``, None for an id without a token.

    ``family`` tells how texts are spelled. ``own`` is how many tokens the tokenizer's model lists,
    a text that stands there twice counted twice. ``ids`` are those tokens as the file writes them,
    ``added`` those beside them; ``special`` the ids of control tokens. ``splits`` is a digest of
    what decides how text is split ("" where it cannot be told): equal digests split ordinary text
    alike. ``remarks`` are sentences on what a reader should know about the files.
    """

    family: Family
    texts: list[str | None]
    ids: Mapping[str, int]
    added: dict[str, int] = field(default_factory=dict)
    special: set[int] = field(default_factory=set)
    splits: str = ""
    remarks: list[str] = field(default_factory=list)
    own: int = -1

    def __post_init__(self) -> None:
        if self.own < 0:
            self.own = len(self.ids)

    def id_of(self, text: str) -> int | None:
        """The id of the token that is written ``text``."""
        known = self.added.get(text)
        return self.ids.get(text) if known is None else known

    def next_id(self) -> int:
        """Where the ``tokenizers`` library puts a token that is new."""
        return max([self.own, *(number + 1 for number in self.added.values())])

    def add(self, text: str, number: int, *, special: bool) -> None:
        """Let ``number`` be the token ``text``.

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
    """Refuse a vocabulary no model has.

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
        raise Impossible(f"the tokenizer gives the id {_twice(numbers)} to two tokens")
    texts: list[str | None] = [None] * (max(numbers, default=-1) + 1)
    for text, number in ids.items():
        texts[number] = text
    return texts


def _twice(numbers: Iterable[int]) -> int:
    seen: set[int] = set()
    for number in numbers:
        if number in seen:
            return number
        seen.add(number)
    raise ValueError("no number stands there twice")

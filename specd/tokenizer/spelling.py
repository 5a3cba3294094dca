"""From the text a vocabulary file gives a token to the bytes the token stands for.

Families write the same bytes differently: byte-level BPE maps every byte to a printable character
(GPT-2's ``bytes_to_unicode``), SentencePiece writes a space as ``▁`` and a single byte as
``<0x0A>``, WordPiece marks tokens inside a word, older BPE tokens at the end of a word. As bytes,
``Ġthe`` and ``▁the`` are the same token.

A token outside the family's alphabet (``<…>`` in a byte-level vocabulary) is its own text, as in
the decoders of the ``tokenizers`` library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Spelling: TypeAlias = "Callable[[Sequence[str]], list[bytes]]"
"""Converts many texts to bytes at once: vocabularies are large, and single calls are slow."""


@dataclass(frozen=True, slots=True)
class Family:
    """A way of spelling tokens: its name, its mark, and whether ``<0x0A>`` is a byte."""

    name: str
    mark: str = ""
    byte_tokens: bool = False

    def spell(self, texts: Sequence[str]) -> list[bytes]:
        """The bytes of each of ``texts``."""
        return self._spelling()(texts)

    def _spelling(self) -> Spelling:
        match self.name:
            case "byte-level":
                return byte_level
            case "wordpiece":
                return wordpiece(self.mark)
            case "sentencepiece":
                return sentencepiece(self.mark, byte_tokens=self.byte_tokens)
            case "word-end":
                return word_end(self.mark)
            case _:
                return literal


BYTE_LEVEL: Final = Family("byte-level")
SENTENCEPIECE: Final = Family("sentencepiece", "▁", byte_tokens=True)
WORDPIECE: Final = Family("wordpiece", "##")
LITERAL: Final = Family("literal")


def _byte_alphabet() -> str:
    """For each code point below 512, the one whose value is the byte it stands for."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    table = [byte if byte in printable else 0x110000 for byte in range(512)]
    for index, byte in enumerate(byte for byte in range(256) if byte not in printable):
        table[256 + index] = byte
    # Characters outside the alphabet map beyond Latin-1, so that encoding them fails.
    return "".join(chr(code) if code < 256 else "\uffff" for code in table)


_ALPHABET: Final = _byte_alphabet()
_BYTE_TOKENS: Final = {
    f"<0x{byte:{form}}>": bytes([byte]) for byte in range(256) for form in ("02X", "02x")
}


def byte_level(texts: Sequence[str]) -> list[bytes]:
    """GPT-2's printable stand-ins for bytes."""
    # Printable ASCII characters stand for themselves.
    return [text.encode() if text.isascii() else _from_alphabet(text) for text in texts]


def _from_alphabet(text: str) -> bytes:
    try:
        return text.translate(_ALPHABET).encode("latin-1")
    except UnicodeEncodeError:
        return _literal(text)


def sentencepiece(space: str = "▁", *, byte_tokens: bool = True) -> Spelling:
    """``space`` for a space; with ``byte_tokens``, ``<0x0A>`` for that byte."""
    alone = _BYTE_TOKENS if byte_tokens else {}

    def spell(texts: Sequence[str]) -> list[bytes]:
        return [alone.get(text) or _literal(text.replace(space, " ")) for text in texts]

    return spell


def wordpiece(prefix: str = "##") -> Spelling:
    """``prefix`` marks a token inside a word; all other tokens begin a word."""

    def spell(texts: Sequence[str]) -> list[bytes]:
        return [
            _literal(text.removeprefix(prefix) if text.startswith(prefix) else f" {text}")
            for text in texts
        ]

    return spell


def word_end(suffix: str) -> Spelling:
    """``suffix`` for the end of a word."""

    def spell(texts: Sequence[str]) -> list[bytes]:
        return [_literal(text.replace(suffix, " ")) for text in texts]

    return spell


def literal(texts: Sequence[str]) -> list[bytes]:
    """Every token stands for its own text."""
    return [_literal(text) for text in texts]


def _literal(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def to_alphabet(token: bytes) -> str:
    """The printable stand-ins of ``token``'s bytes: ``byte_level`` backwards."""
    return "".join(_STAND_INS[byte] for byte in token)


_STAND_INS: Final = {
    ord(byte): chr(code) for code, byte in enumerate(_ALPHABET) if byte != "\uffff"
}


def shown(token: bytes) -> str:
    """A token for a person: its text, with bytes that are not text escaped."""
    return token.decode("utf-8", "backslashreplace")

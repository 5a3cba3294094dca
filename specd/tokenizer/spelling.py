"""The bytes of a token, from its text in a vocabulary file.

Families write the same bytes differently: byte-level BPE maps every byte to a printable character
(GPT-2's ``bytes_to_unicode``), SentencePiece writes a space as ``▁`` and a single byte as
``<0x0A>``, WordPiece marks tokens inside a word, older BPE tokens at the end of a word. As bytes,
``Ġthe`` and ``▁the`` are the same token.

A token outside the family's alphabet (``<…>`` in a byte-level vocabulary) is its own text, as in
the decoders of the ``tokenizers`` library.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Family:
    """A way of spelling tokens: its name, its mark, and whether ``<0x0A>`` is a byte."""

    name: str
    mark: str = ""
    byte_tokens: bool = False

    def spell(self, texts: Sequence[str]) -> list[bytes]:
        """The bytes of each of ``texts``; many at once, since vocabularies are large."""
        mark = self.mark
        match self.name:
            case "byte-level":
                # Printable ASCII characters stand for themselves.
                return [each.encode() if each.isascii() else _from_alphabet(each) for each in texts]
            case "wordpiece":  # all tokens without the mark begin a word
                return [
                    _literal(each.removeprefix(mark) if each.startswith(mark) else f" {each}")
                    for each in texts
                ]
            case "sentencepiece":
                alone = _BYTE_TOKENS if self.byte_tokens else {}
                return [alone.get(each) or _literal(each.replace(mark, " ")) for each in texts]
            case "word-end":
                return [_literal(each.replace(mark, " ")) for each in texts]
            case _:
                return [_literal(each) for each in texts]


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


def _from_alphabet(text: str) -> bytes:
    try:
        return text.translate(_ALPHABET).encode("latin-1")
    except UnicodeEncodeError:
        return _literal(text)


def _literal(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def to_alphabet(token: bytes) -> str:
    """The printable stand-ins of ``token``'s bytes: byte-level spelling backwards."""
    return "".join(_STAND_INS[byte] for byte in token)


_STAND_INS: Final = {
    ord(byte): chr(code) for code, byte in enumerate(_ALPHABET) if byte != "\uffff"
}


_ESCAPED = re.compile(r"\\\\x([0-9a-f]{2})")


def shown(token: bytes) -> str:
    """A token for a person: its text, with bytes that are not text escaped."""
    return token.decode("utf-8", "backslashreplace")


def quoted(text: str | None) -> str:
    """A token as ``shown`` spells it, in quotes; its escaped bytes keep their one backslash."""
    return "no token" if text is None else _ESCAPED.sub(r"\\x\1", repr(text))

"""Probe texts that different tokenizers split differently, and a measure of the difference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

TEXTS: Final = (
    # code
    "def fib(n: int) -> int:\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n",
    "SELECT a.id, COUNT(*) FROM orders AS a WHERE a.total >= 1_000.50 GROUP BY 1;\n",
    "for (let i = 0; i <= arr.length; ++i) { if (!arr[i]?.ok) continue; }\t// →\r\n",
    '{"key": [1, 2.5e-3, true, null], "path": "C:\\\\temp\\\\x", "u": "\\u00e9"}',
    # scripts
    "人工知能は、東京の研究所で生まれました。深圳的程序员在写代码。한국어 문장도 있습니다.",
    "مرحبا بالعالم ١٢٣، שלום עולם (123) שוב",
    "Привет, мир! Ünïcödé façade naïve Straße İstanbul ﬁn ½ ² Ⅻ",
    "नमस्ते दुनिया, สวัสดีชาวโลก, வணக்கம், ამარჯობა, ሰላም",
    # emoji with joiners, flags, skin tones
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪🇯🇵 ❤️‍🔥 1️⃣ 🫠🦙",
    # composed and decomposed, joiners and marks of direction
    "é e\u0301 \u200b\u200c\u200d\u2060 \u202eabc\u202c \ufeffBOM \u00ad",
    # control characters, and the replacement character of bytes that are not text
    "\x00\x01\x02\x1b[31m\x7f\x85 \ufffd\ufffd \U0010ffff \ue000",
    # spaces and digits
    " " * 3 + "a" + " " * 17 + "b" + " " * 64 + "c\n\n\n\t\t  \n",
    "3.14159265358979 1234567890 0000 1,234,567.89 ١٢٣٤ 2026-11-24T19:42:41Z",
    # prose
    "The quick brown fox jumps over the lazy dog. It's what we'd've said, isn't it?",
    "Backpropagation applies the chain rule, layer by layer, from the loss to the inputs.",
    "ALL CAPS and camelCaseWords, snake_case_words, kebab-case… “quotes” — dashes; x≤y, 20 °C",
    "<|notaspecialtoken|> <notatag> [INST] </s> <0x0A> ▁ Ġ ## </w>",
)

PROMPTS: Final = (
    "The three laws of robotics are:\n1.",
    "def quicksort(items):\n    ",
)


def spans(tokens: Iterable[bytes]) -> list[tuple[int, int]]:
    """Each token's position in the text: (first byte, byte after the last)."""
    ends = list(accumulate(map(len, tokens)))
    return list(zip([0, *ends], ends, strict=False))


def split_otherwise(main: Sequence[bytes], draft: Sequence[bytes]) -> int:
    """How many of the main's tokens the draft splits otherwise, in the same text."""
    return len(set(spans(main)) - set(spans(draft)))

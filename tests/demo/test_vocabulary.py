from __future__ import annotations

from tokenizers import Tokenizer

from specd.demo.vocabulary import Vocabulary, tokenizer_json

ALPHABET = tuple("!0123456789abcdefghijklmnopqrstuvwxyzĠ")
WORDS = ("he", "ll", "llo", "hello", "Ġhello", "12")
VOCABULARY = Vocabulary(
    tokens=("<eos>", *ALPHABET, *WORDS),
    merges=("h e", "l l", "ll o", "he llo", "Ġ hello", "1 2"),
    special=frozenset({0}),
    chat_template="",
    bos=0,
    eos=0,
    pad=0,
    unk=0,
)


def _loaded(vocabulary: Vocabulary) -> Tokenizer:
    import json

    return Tokenizer.from_str(json.dumps(tokenizer_json(vocabulary)))


def _tokens(vocabulary: Vocabulary, text: str) -> list[str]:
    return _loaded(vocabulary).encode(text).tokens


def test_words_are_merged_and_spaces_belong_to_the_word_after_them() -> None:
    assert _tokens(VOCABULARY, "hello hello!") == ["hello", "Ġhello", "!"]


def test_every_digit_stands_alone_even_where_a_merge_exists() -> None:
    assert _tokens(VOCABULARY, "12") == ["1", "2"]


def test_special_tokens_are_found_inside_text() -> None:
    assert _tokens(VOCABULARY, "hello<eos>") == ["hello", "<eos>"]


def test_added_names_come_after_the_last_id_and_are_special() -> None:
    wider = VOCABULARY.adding(("<think>", "</think>"))
    last = len(VOCABULARY.tokens)
    assert _loaded(wider).encode("<think>hello</think>").ids[0::2] == [last, last + 1]


def test_rotation_moves_every_ordinary_id_and_no_special_one() -> None:
    old = VOCABULARY.rotation(by=5)
    assert sorted(old) == list(range(len(VOCABULARY.tokens)))
    assert [i for i, source in enumerate(old) if i == source] == [0]


def test_the_same_text_has_the_same_tokens_under_rotated_ids() -> None:
    rotated = VOCABULARY.reordered(VOCABULARY.rotation(by=5))
    assert _tokens(rotated, "hello 12") == _tokens(VOCABULARY, "hello 12")
    assert _loaded(rotated).encode("hello").ids != _loaded(VOCABULARY).encode("hello").ids

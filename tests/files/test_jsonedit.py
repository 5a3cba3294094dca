"""Only the bytes of the values named change, in whatever way a JSON file may be written."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import specd.demo
from specd.files import jsonedit
from specd.files.jsonedit import MAX_BYTES, NotUnderstood, edit, fresh, parse, same, value_at
from specd.files.pointer import ABSENT, Edit, Match

Path_ = tuple[str | int, ...]
Spans = dict[Path_, tuple[int, int]]

# -- documents as programs and people write them --------------------------------------------------

STRINGS = [
    '""',
    '"plain"',
    '"ünï 漢字 🙂"',
    r'"\u00e9\ud83d\ude00"',
    r'"\ud800 alone"',
    r'"a\"b\\c\/\b\f\n\r\t"',
    '"{[,:]}"',
    r'"\\"',
    '"\x7f\u2028\u2029"',
]
NUMBERS = ["0", "-0", "1.0", "1", "1e3", "1E+2", "-1.50", "9007199254740993", "1e-400", "0.1000"]
SCALARS = [*STRINGS, *NUMBERS, "true", "false", "null"]
SPACE = ["", " ", "  ", "\t", "\n", "\r\n", " \n ", "\r"]


class Writer:
    """Writes a random document in one random style, noting where every value stands."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.text = ""
        self.spans: Spans = {}
        self.style = chance.choice(["pretty", "compact", "spaced", "wild"])
        self.newline = chance.choice(["\n", "\r\n"])
        self.unit = chance.choice(["  ", "    ", "\t"])

    def document(self) -> None:
        self.text = self.chance.choice(["", "", "", "\ufeff"])
        self.text += self.chance.choice(SPACE) if self.style == "wild" else ""
        self.value((), 0, container="{")
        self.text += self.chance.choice(["", self.newline])

    def value(self, at: Path_, depth: int, container: str = "") -> None:
        start = len(self.text)
        kind = container or self.chance.choice("{[" + "s" * (2 + 2 * depth))
        if kind == "s":
            self.text += self.chance.choice(SCALARS)
        else:
            self.members(at, depth, kind)
        self.spans[at] = (start, len(self.text))

    def members(self, at: Path_, depth: int, kind: str) -> None:
        count = self.chance.choice([0, 1, 2, 3, 5])
        names = [f"k{n}" for n in range(count)]
        self.chance.shuffle(names)
        self.text += kind
        for number, name in enumerate(names):
            self.text += ("," if number else "") + self.gap(depth + 1, first=not number)
            step: str | int = name if kind == "{" else number
            if kind == "{":
                before, after = self.around_colon()
                self.text += f'"{name}"{before}:{after}'
            self.value((*at, step), depth + 1)
        self.text += self.gap(depth, first=True) if names or self.style == "wild" else ""
        self.text += "}" if kind == "{" else "]"

    def gap(self, depth: int, *, first: bool) -> str:
        if self.style == "pretty":
            return self.newline + self.unit * depth
        if self.style == "wild":
            return self.chance.choice(SPACE)
        return " " if self.style == "spaced" and not first else ""

    def around_colon(self) -> tuple[str, str]:
        if self.style == "wild":
            return self.chance.choice(SPACE), self.chance.choice(SPACE)
        return "", "" if self.style == "compact" else " "


def documents(count: int, first: int = 0) -> Iterator[tuple[random.Random, str, Spans]]:
    for seed in range(first, first + count):
        chance = random.Random(seed)  # noqa: S311 - a repeatable corpus
        writer = Writer(chance)
        writer.document()
        yield chance, writer.text, writer.spans


def objects_only(at: Path_) -> bool:
    return all(isinstance(step, str) for step in at)


def set_at(document: Any, at: Path_, value: Any) -> Any:
    """The document with ``value`` at ``at``, worked out independently of specd."""
    if not at:
        return value
    made = dict(document)
    made[at[0]] = set_at(document.get(at[0], {}), at[1:], value)
    return made


def alike(one: str, other: str) -> int:
    """How many characters the two share at their beginnings and ends, not counted twice."""
    shorter = min(len(one), len(other))
    start = next((n for n in range(shorter) if one[n] != other[n]), shorter)
    rest = shorter - start
    end = next((n for n in range(rest) if one[-1 - n] != other[-1 - n]), rest)
    return start + end


def preserve(count: int, first: int = 0) -> dict[str, int]:
    """Replace, add and take out a value in each of ``count`` documents; how often each was done."""
    done = {"replaced": 0, "added": 0, "taken_out": 0}
    for chance, text, spans in documents(count, first):
        content, document = text.encode(), parse(text.encode())
        named = [at for at in spans if at and objects_only(at)]
        if named:
            at = chance.choice(named)
            new = chance.choice([True, False, None, 17, -2.5, "neu ü", 'quote"d', 2**60])
            changed = edit(content, [Edit(at, new)])
            if not same(value_at(document, at), new):
                start, end = spans[at]
                spelled = json.dumps(new, ensure_ascii=False)
                assert changed == (text[:start] + spelled + text[end:]).encode()
                done["replaced"] += 1
            assert edit(changed, [Edit(at, new)]) is changed

            gone = edit(content, [Edit(at, ABSENT)]).decode()
            assert value_at(parse(gone.encode()), at) is ABSENT
            kept = alike(text, gone)
            emptied = value_at(parse(gone.encode()), at[:-1]) == {}
            assert kept == len(gone) or (emptied and kept >= len(gone) - 1)
            done["taken_out"] += 1

        holders = [
            at for at in spans if objects_only(at) and text[spans[at][0] : spans[at][0] + 1] == "{"
        ]
        at = (*chance.choice(holders), *chance.choice([("new",), ("new", "deeper", "still")]))
        changed = edit(content, [Edit(at, True)])
        assert parse(changed) == set_at(document, at, True)
        empty = value_at(document, at[: at.index("new")]) == {}
        start, end = spans[at[: at.index("new")]]
        blank = text[start + 1 : end - 1] if empty else ""
        assert not blank.strip()
        assert alike(text, changed.decode()) >= len(text) - len(blank)
        assert edit(changed, [Edit(at[: at.index("new") + 1], ABSENT)]) == content or blank or empty
        done["added"] += 1
    return done


def test_every_other_byte_survives_in_thousands_of_documents(figures):
    figures(documents=2_500, **preserve(2_500))


@pytest.mark.nightly
def test_every_other_byte_survives_in_a_hundred_thousand_documents(figures):
    figures(documents=100_000, **preserve(100_000, first=10_000))


# -- files as LM Studio writes them -----------------------------------------------------------------

HOME = Path(specd.demo.__file__).parent / "home"
PUBLISHED = {
    "four spaces": json.dumps(json.loads((HOME / "settings.json").read_text()), indent=4),
    "tabs": json.dumps(json.loads((HOME / "settings.json").read_text()), indent="\t"),
    "one line": json.dumps(json.loads((HOME / "settings.json").read_text())),
    "compact": json.dumps(json.loads((HOME / "settings.json").read_text()), separators=(",", ":")),
    "windows": (HOME / "settings.json").read_text().replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + (HOME / "settings.json").read_text(),
    "no newline at the end": (HOME / "settings.json").read_text().rstrip(),
    **{str(p.relative_to(HOME)): p.read_text() for p in sorted(HOME.rglob("*.json"))},
}


def leaves(document: Any, at: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield from leaves(value, (*at, key))
    elif at:
        yield at, document


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_value_of_a_real_file_can_be_changed_alone_and_changed_back(name: str):
    content = PUBLISHED[name].encode()
    document = parse(content)
    changed_values = 0
    for at, old in leaves(document):
        changed = edit(content, [Edit(at, "sentinel")])
        assert parse(changed) == set_at(document, at, "sentinel")
        assert changed.count(b'"sentinel"') == 1 + content.count(b'"sentinel"')
        if not isinstance(old, list | float):
            assert edit(changed, [Edit(at, old)]) == content
        changed_values += 1
    assert changed_values or document in ({}, [])


def test_a_new_member_is_written_as_the_file_is():
    for name in ("settings.json", "four spaces", "tabs", "windows", "no newline at the end"):
        text = PUBLISHED[name]
        lines = edit(text.encode(), [Edit(("specdWasHere",), True)]).decode()
        newline = "\r\n" if "\r\n" in text else "\n"
        indent = text.split(newline)[1].partition('"')[0]
        assert f',{newline}{indent}"specdWasHere": true{newline}}}' in lines, name
    assert (
        '"specdWasHere":true}'
        in edit(PUBLISHED["compact"].encode(), [Edit(("specdWasHere",), True)]).decode()
    )


# -- lists of fields, as in the per-model defaults ----------------------------------------------------

DRAFT = ("operation", "fields", Match("key", "draft"), "value")
FIELDS = b"""{
  "preset": "",
  "operation": {
    "fields": [
      {"key": "llm.temperature", "value": 0.70},
      {"key": "draft", "value": "a/b"}
    ]
  },
  "load": { "fields": [] }
}
"""


def test_a_field_is_changed_in_place():
    assert edit(FIELDS, [Edit(DRAFT, "c/d")]) == FIELDS.replace(b"a/b", b"c/d")


def test_a_field_that_is_new_is_appended_as_the_others_are_written():
    made = edit(FIELDS, [Edit(("operation", "fields", Match("key", "n"), "value"), 3)])
    assert b'"value": "a/b"},\n      {' in made
    assert parse(made)["operation"]["fields"][2] == {"key": "n", "value": 3}


def test_a_field_that_goes_takes_its_element_with_it():
    gone = edit(FIELDS, [Edit(DRAFT, ABSENT)])
    assert gone == FIELDS.replace(b',\n      {"key": "draft", "value": "a/b"}', b"")


def test_a_field_of_others_with_more_to_it_stays():
    content = FIELDS.replace(b'"a/b"', b'"a/b", "theirs": 1')
    gone = edit(content, [Edit(DRAFT, ABSENT)])
    assert parse(gone)["operation"]["fields"][1] == {"key": "draft", "theirs": 1}


def test_a_field_put_in_and_taken_out_leaves_no_trace():
    at = ("load", "fields", Match("key", "n"), "value")
    assert edit(edit(FIELDS, [Edit(at, 1)]), [Edit(at, ABSENT)]).split() == FIELDS.split()


def test_a_field_that_stands_twice_is_not_touched():
    twice = FIELDS.replace(b"llm.temperature", b"draft")
    with pytest.raises(NotUnderstood, match="stands twice"):
        edit(twice, [Edit(DRAFT, "c/d")])


@given(
    st.lists(st.sampled_from("abcdef"), unique=True, max_size=6),
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.one_of(st.integers(), st.text(), st.none())),
        max_size=8,
    ),
)
def test_any_row_of_edits_gives_what_was_intended(names, changes):
    document = {"fields": [{"key": name, "value": n} for n, name in enumerate(names)]}
    intended = {name: n for n, name in enumerate(names)}
    edits = []
    for name, value in changes:
        gone = value is None
        edits.append(Edit(("fields", Match("key", name), "value"), ABSENT if gone else value))
        intended = {k: v for k, v in intended.items() if k != name or not gone}
        if not gone:
            intended[name] = value
    made = parse(edit(json.dumps(document, indent=2).encode(), edits))
    assert [(each["key"], each["value"]) for each in made["fields"]] == list(intended.items())


# -- what is not understood is not touched --------------------------------------------------------------

SECRET = "hf_tOkEn"
SETTINGS = json.dumps(
    {
        "language": "de",
        "hfDownloadToken": SECRET,
        "chat": {"visualize": False, "größe": 1.5},
        "list": [1, [2, {"x": None}], "…"],
    },
    indent=2,
    ensure_ascii=False,
).encode()
CHANGE = [Edit(("chat", "visualize"), True)]


def test_truncated_at_any_byte_it_is_not_understood(figures):
    for length in range(len(SETTINGS)):
        with pytest.raises(NotUnderstood) as refused:
            edit(SETTINGS[:length], CHANGE)
        assert SECRET not in str(refused.value)
    figures(points=len(SETTINGS))


def edited_or_why(content: bytes) -> bytes | NotUnderstood:
    try:
        return edit(content, CHANGE)
    except NotUnderstood as problem:
        return problem


def test_with_any_bit_flipped_it_is_refused_or_one_value_changes(figures):
    refused = 0
    for place in range(len(SETTINGS) * 8):
        flipped = bytearray(SETTINGS)
        flipped[place // 8] ^= 1 << place % 8
        content = bytes(flipped)
        made = edited_or_why(content)
        if isinstance(made, NotUnderstood):
            assert SECRET not in str(made)
            refused += 1
            continue
        before, after = parse(content), parse(made)
        assert after["chat"]["visualize"] is True
        assert set_at(before, ("chat", "visualize"), True) == after
        assert alike(content.decode(), made.decode()) >= min(len(content), len(made)) - 10
    figures(points=len(SETTINGS) * 8, refused=refused)


DEEP = b'{"a":' * 10_000 + b"1" + b"}" * 10_000
NOT_UNDERSTOOD = {
    "nothing": b"",
    "spaces": b" \n\t",
    "nul": b"\x00" * 300,
    "nul inside": b'{"a": "\x00"}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "latin-1": b'{"a": "\xfc"}',
    "encoded surrogate": b'{"a": "\xed\xa0\x80"}',
    "duplicate": b'{"chat": {"visualize": 1, "x": 2, "visualize": 3}}',
    "duplicate by escape": rb'{"a": 1, "\u0061": 2}',
    "nan": b'{"a": NaN}',
    "infinity": b'{"a": [-Infinity]}',
    "comment": b'{"a": 1} // so',
    "trailing comma": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "two documents": b'{"a": 1}{"b": 2}',
    "10,000 levels": DEEP,
    "10,000 levels of lists": b"[" * 10_000 + b"]" * 10_000,
    "201 levels": b'{"a":' * 201 + b"1" + b"}" * 201,
    "5,000 digits": b'{"a": ' + b"9" * 5_000 + b"}",
    "two marks": b"\xef\xbb\xbf" * 2 + b"{}",
}


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_what_is_no_sound_document_is_refused(name: str):
    with pytest.raises(NotUnderstood):
        parse(NOT_UNDERSTOOD[name])
    with pytest.raises(NotUnderstood):
        edit(NOT_UNDERSTOOD[name], CHANGE)


def test_a_hundred_megabytes_are_refused_without_being_read_twice():
    content = b'{"a": "' + b"x" * (100 << 20) + b'"}'
    tracemalloc.start()
    with pytest.raises(NotUnderstood, match="more than specd reads"):
        parse(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_the_largest_document_costs_bounded_memory(figures):
    content = b'{"chat": {"visualize": false}, "a": "' + b"x" * (MAX_BYTES - 100) + b'"}'
    tracemalloc.start()
    assert edit(content, CHANGE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    figures(peak_mb=peak / 2**20)
    assert peak < 12 * MAX_BYTES


@pytest.mark.parametrize(
    "content",
    [
        rb'{"chat": {"visualize": false}, "lone": "\ud800", "\udfff": 1}',
        b'{"chat": {"visualize": false}, "huge": 1e999999, "tiny": -1e-999999}',
        b'{"chat": {"visualize": false}, "int": 123456789012345678901234567890}',
        b'\xef\xbb\xbf{"chat":\r\n{"visualize"\r\n:\r\nfalse}}',
        b'{"chat": {"visualize": 0}}',
        b'{"chat": {"visualize": "false"}}',
        b'{"chat": {"visualize": null}}',
        b'{"chat": {"visualize": {"nested": [1, 2]}}}',
        b'{"a":' * 199 + b"1" + b"}" * 199,
    ],
)
def test_what_is_odd_but_sound_is_kept_as_it_is(content: bytes):
    made = edit(content, CHANGE) if b"chat" in content else edit(content, [Edit(("b",), 1)])
    before, after = content.decode(), made.decode()
    changed = len(before) - alike(before, after)
    assert changed <= len('{"nested": [1, 2]}')


@pytest.mark.parametrize("number", [b"1e999", b"-1e999"])
def test_a_number_beyond_all_is_put_back(number: bytes):
    (value,) = parse(b"[%b]" % number)  # type: ignore[misc]
    assert edit(b'{"a": 1}', [Edit(("a",), value)]) == b'{"a": %b}' % number


@pytest.mark.parametrize("document", ["[]", '"text"', "7", "null", "true"])
def test_a_document_that_is_no_object_is_refused(document: str):
    with pytest.raises(NotUnderstood, match="an object was expected"):
        edit(document.encode(), CHANGE)


def test_a_value_in_the_way_is_refused():
    with pytest.raises(NotUnderstood, match='an object was expected, to hold "visualize"'):
        edit(b'{"chat": 7}', CHANGE)
    with pytest.raises(NotUnderstood, match="an array was expected"):
        edit(b'{"operation": {"fields": {}}}', [Edit(DRAFT, "x")])


def test_true_is_not_one_and_one_is_not_spelled_with_a_point():
    assert edit(b'{"a": 1}', [Edit(("a",), True)]) == b'{"a": true}'
    assert edit(b'{"a": 1.0}', [Edit(("a",), 1)]) == b'{"a": 1}'
    assert not same(True, 1)
    assert not same([0], [False])
    assert same({"a": [1.5, None]}, {"a": [1.5, None]})


def test_a_fresh_document_holds_the_values_alone():
    made = fresh([Edit(("a", "b"), 1), Edit(DRAFT, "x")])
    assert made.endswith(b"}\n")
    assert parse(made) == {"a": {"b": 1}, "operation": {"fields": [{"key": "draft", "value": "x"}]}}


def test_where_it_went_wrong_is_told_by_line_and_column():
    with pytest.raises(NotUnderstood, match=r"column 7: a text begins here that does not end$"):
        parse(b'{"a": "b')
    with pytest.raises(NotUnderstood, match="line 3, column 3"):
        parse(b'{\n  "a": 1,\n  oops\n}')
    with pytest.raises(NotUnderstood, match=r'the key "a" stands twice'):
        parse(b'{\r\n  "a": 1,\r\n  "b": 2,\r\n  "a": 3\r\n}')
    with pytest.raises(NotUnderstood, match="the text ends early"):
        parse(b'{"a": ')


@pytest.mark.parametrize("rest", [b"", b",", b", x", b', "c"', b', "c": NaN}'])
def test_a_key_twice_in_a_file_that_is_cut_off_is_not_understood(rest: bytes):
    with pytest.raises(NotUnderstood, match=r'the key "b" stands twice'):
        parse(b'{"a": {"b": 1, "b": 2}' + rest)


def test_an_edit_that_would_not_give_what_was_intended_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsonedit, "_respelled", lambda text, *_: text[:-1] + ', "oops": 1}')
    with pytest.raises(NotUnderstood, match="would not have given"):
        edit(b'{"chat": {}}', CHANGE)


@pytest.mark.parametrize("key", [",", ":", "}", "", "\\", '"', "a"])
def test_any_key_may_be_edited_however_it_looks(key: str):
    document = {key: 1, "list": [key, ":", ",", f"{key}:", '"'], "end": {"a": key}}
    made = edit(json.dumps(document).encode(), [Edit((key,), True)])
    assert made == json.dumps({**document, key: True}).encode()


def test_edits_there_and_back_leave_everything_else_as_it_is_spelled():
    before = b'{"a": {"k": 1}, "b": {"k": 1.0}}'
    assert edit(before, [Edit(("a", "k"), 2), Edit(("a", "k"), 1)]) == before


def test_a_match_that_fits_two_elements_is_refused_whatever_is_in_them():
    with pytest.raises(NotUnderstood, match="stands twice"):
        edit(
            b'{"f": [{"key": "k", "value": 1}, {"key": "k"}]}',
            [Edit(("f", Match("key", "k"), "value"), 2)],
        )


@pytest.mark.parametrize(
    "other", ['{"a": 1}', "1", "true", '"a"', '{"b": {"a": 1}}', '"\\"a\\": 1"', '{"\\u0061": 1}']
)
def test_a_key_that_stands_elsewhere_too_is_left_alone_there(other: str):
    before = f'{{"x": {other}, "a": 1, "y": {other}}}'
    after = f'{{"x": {other}, "a": true, "y": {other}}}'
    assert edit(before.encode(), [Edit(("a",), True)]) == after.encode()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"a": 1 "b": 2}', "line 1, column 9: a comma is missing"),
        (b'{"a" 1}', "a colon is missing"),
        (b'{"a": }', "a value is missing"),
        (b'{"a": 1, "b', "a text begins here that does not end"),
        (b'{"a": "x\ny"}', "a line break or another control character stands in a text"),
        (rb'{"a": "\q"}', "a backslash that means nothing stands in a text"),
        (b"{} {}", "something stands behind the end"),
        (b'{"a": [1,', "the text ends early"),
    ],
)
def test_a_fault_is_named_in_words_that_are_no_programmers(content: bytes, why: str) -> None:
    with pytest.raises(jsonedit.NotUnderstood, match=why):
        jsonedit.parse(content)

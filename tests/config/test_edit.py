"""Writing specd.toml: nothing of the user's is lost, and what is written means what was asked."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd import config
from specd.config import allowed, edit

MINE = """\
# my own words
[agent]   # habits
resync_seconds = 60   # often

notify = true

[[pair]]
main = "qwen3-8b"  # the big one

# the end
"""


def test_a_new_file_explains_every_key_and_sets_none() -> None:
    text = edit.new_text()
    assert allowed.validated(Path("x"), tomllib.loads(text), text) == config.SpecdConfig()
    for section in allowed.sections():
        for key in allowed.names(section):
            assert any(row.startswith(f"# {key} = ") for row in text.splitlines()), key
    assert max(map(len, text.splitlines())) <= 100


def test_the_defaults_a_new_file_shows_are_the_defaults() -> None:
    shown = [row.removeprefix("# ") for row in edit.new_text().splitlines()]
    text = "\n".join(row for row in shown if re.match(r"\[|\w+ = ", row))
    read = allowed.validated(Path("x"), tomllib.loads(text), text)
    assert replace(read, pair=()) == config.SpecdConfig()
    assert read.pair[0] == config.Pair(main="qwen3-8b")


def test_a_new_file_holds_the_pairs_it_was_given() -> None:
    pair = config.Pair(main='we"ird', draft="qwen3-0.6b", draft_tokens=4)
    text = edit.set_value(edit.new_text([pair]), "speculation.ui_level", "2")
    read = allowed.validated(Path("x"), tomllib.loads(text), text)
    assert read == config.SpecdConfig(pair=(pair,), speculation=config.Speculation(ui_level=2))


def changed(before: str, after: str) -> list[tuple[str, str]]:
    """The rows that differ, as (sign, row)."""
    import difflib

    rows = difflib.ndiff(before.splitlines(), after.splitlines())
    return [(row[0], row[2:]) for row in rows if row[0] in "+-"]


@pytest.mark.parametrize(
    ("key", "word", "difference"),
    [
        (
            "agent.resync_seconds",
            "90",
            [("-", "resync_seconds = 60   # often"), ("+", "resync_seconds = 90   # often")],
        ),
        ("agent.log_level", "debug", [("+", 'log_level = "debug"')]),
        ("pair.qwen3-8b.draft", "300", [("+", 'draft = "300"')]),
        ("pair.QWEN3-8B.draft_tokens", "4", [("+", "draft_tokens = 4")]),
        ("pair.1.draft_tokens", "auto", [("+", 'draft_tokens = "auto"')]),
        ("benchmark.schedule", "", [("+", ""), ("+", "[benchmark]"), ("+", 'schedule = ""')]),
        (
            "pair.qwen2.5-7b.draft",
            "auto",
            [("+", ""), ("+", "[[pair]]"), ("+", 'main = "qwen2.5-7b"'), ("+", 'draft = "auto"')],
        ),
    ],
)
def test_setting_a_value_changes_that_row_alone(
    key: str, word: str, difference: list[tuple[str, str]]
) -> None:
    assert sorted(changed(MINE, edit.set_value(MINE, key, word))) == sorted(difference)


def test_a_default_that_is_shown_as_a_comment_is_put_in_force_where_it_stands() -> None:
    text = edit.new_text()
    after = edit.set_value(text, "benchmark.max_minutes", "5")
    [(_, old), (_, new)] = changed(text, after)
    assert old.startswith("# max_minutes = 10 ")
    assert new.startswith("max_minutes = 5 ")
    assert old.partition("  # ")[2] == new.partition("  # ")[2]


@pytest.mark.parametrize(
    "text",
    [
        "speculation = {enabled = true}\n",
        "speculation.enabled = true\n",
        "pair = [{main = 'x'}]\n[speculation]\nenabled = true",
        "[speculation]\r\nenabled = true\r\n",
    ],
)
def test_every_spelling_of_a_table_can_be_edited(text: str) -> None:
    for key in ("speculation.enabled", "speculation.visualize"):
        after = tomllib.loads(edit.set_value(text, key, "false"))
        assert after["speculation"][key.partition(".")[2]] is False
    assert ("\r\n" in text) == ("\r\n" in edit.set_value(text, "speculation.enabled", "false"))


@pytest.mark.parametrize(
    ("key", "word", "why"),
    [
        ("agent.notfy", "true", "there is no key agent.notfy; did you mean agent.notify?"),
        ("agent.zz", "true", "there is no key agent.zz (there are agent.resync_seconds, "),
        ("agent", "true", "there is no key agent"),
        ("pair.x.drft", "y", "there is no key pair.x.drft; did you mean pair.MAIN.draft?"),
        ("agent.log_level", "verbose", '"warning" or "error", not "verbose"'),
        ("pair", "x", "there is no key pair"),
        ("pair.x", "y", "there is no key pair.x"),
        ("pair.2.draft", "y", "there is no pair 2; specd.toml has 1"),
        ("agent.notify", "yes", 'agent.notify: must be true or false, not "yes"'),
        ("agent.resync_seconds", "0", "must be a whole number from 1 to 86400, not 0"),
        ("benchmark.schedule", "0 4 * *", "must have five fields"),
        ("benchmark.schedule", "99", "must have five fields"),
        ("agent.log_level", 'info"\nx = "', "must be"),
    ],
)
def test_what_cannot_be_set_says_what_can(key: str, word: str, why: str) -> None:
    with pytest.raises(edit.BadKey) as refused:
        edit.set_value(MINE, key, word)
    assert why in str(refused.value)


def test_a_file_that_is_broken_already_is_not_edited() -> None:
    with pytest.raises(config.ConfigError):
        edit.set_value("[agent\n", "agent.notify", "true")
    with pytest.raises(config.ConfigError):
        edit.set_value("[agent]\nnotfy = 1\n", "agent.notify", "true")
    with pytest.raises(config.ConfigError, match=r"write \[agent\] on a line of its own"):
        edit.set_value("agent = 3\n", "agent.notify", "true")
    with pytest.raises(config.ConfigError, match=r"write \[agent\] on a line of its own"):
        edit.set_value("[[agent]]\nnotify = true\n", "agent.notify", "true")
    with pytest.raises(config.ConfigError, match="with two brackets"):
        edit.set_value('[pair]\nmain = "a"\n', "pair.a.draft", "b")
    for text, key in (
        ("agent = 3\n", "agent.notify"),
        ("[[agent]]\nnotify = true\n", "agent.notify"),
        ('[pair]\nmain = "a"\n', "pair"),
        ('[pair]\nmain = "a"\n', "pair.a"),
        ("pair = 3\n", "pair"),
        ('[[pair]]\ndraft = "b"\n', "pair"),
    ):
        with pytest.raises(edit.BadKey, match="is not set"):
            edit.unset_value(text, key)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_model_name_survives_being_set(name: str) -> None:
    text = edit.set_value(MINE, "pair.qwen3-8b.draft", name)
    held = tomllib.loads(text)["pair"][0]["draft"]
    # A word that spells a TOML string is taken as that string.
    assert held == name or name.strip()[0] in "\"'"

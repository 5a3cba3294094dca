"""The documents agree with each other and with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from specd.config import allowed
from specd.config.edit import toml
from specd.config.schema import Pair, SpecdConfig
from specd.reconcile.conditions import CONDITIONS
from tests.docs.pages import PAGES, ROOT


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table under ``heading``, without its head."""
    text = page.read_text(encoding="utf-8").split(f"\n{heading}\n", 1)[1]
    table = re.search(r"(?m)^\|.*(?:\n\|.*)*", text)
    assert table is not None
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in table[0].splitlines()[2:]
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_page_is_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+)\)", (ROOT / "README.md").read_text()))
    assert {str(page.relative_to(ROOT)) for page in PAGES if page.parent.name == "docs"} <= linked


def test_the_table_of_keys_is_what_specd_takes() -> None:
    told = {row[0]: row[1:3] for row in rows(ROOT / "docs" / "configuration.md", "## Keys")}
    expected = {}
    for section in allowed.sections():
        for key in allowed.names(section):
            name = f"`[[pair]] {key}`" if section == "pair" else f"`{section}.{key}`"
            made = Pair("any") if section == "pair" else getattr(SpecdConfig(), section)
            shown = "" if key == "main" else f"`{toml(getattr(made, key))}`"
            expected[name] = [shown, allowed.words(section, key)]
    assert told == expected


def test_every_condition_is_explained() -> None:
    told = [
        row[0].strip("`") for row in rows(ROOT / "docs" / "how-it-decides.md", "## The conditions")
    ]
    assert told == [each.type for each in CONDITIONS]

"""Every promise names a test that there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[^`]+)`", PAGE)
ROWS = [
    line
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| promise", "| ---"))
]


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_every_promise_names_the_tests_that_hold_it(row: str):
    assert re.search(r"`tests/[^`]+::test_[^`]+`|`tests/[^`]+::Test[^`]+`", row)


@pytest.mark.parametrize("name", NAMED)
def test_every_test_that_is_named_is_there(name: str):
    file, *path = name.split("::")
    body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    for step in path:
        named = {
            each.name: each for each in body if isinstance(each, ast.ClassDef | ast.FunctionDef)
        }
        assert step in named
        body = named[step].body

"""The names on the way to a path: through symlinks, up to what is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from specd.agent.way import steps


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A real directory: no step within it is due to a symlink further up."""
    return Path(os.path.realpath(tmp_path))


def below(root: Path, path: Path) -> list[str]:
    """The steps within ``root``."""
    return [
        str(each.relative_to(root)) for each in steps(path) if each != root and root in each.parents
    ]


def test_from_the_root_down(root: Path):
    assert tuple(steps(root)) == (*reversed(root.parents[:-1]), root)


def test_it_ends_with_the_first_name_that_is_missing(root: Path):
    (root / "a").mkdir()
    assert below(root, root / "a" / "b" / "c") == ["a", "a/b"]


def test_a_link_is_a_step_and_so_is_all_it_leads_through(root: Path):
    (root / "data" / "u" / ".config").mkdir(parents=True)
    (root / "home").mkdir()
    (root / "home" / "u").symlink_to("../data/u")
    found = below(root, root / "home" / "u" / ".config" / "specd")
    assert found == ["home", "home/u", "data", "data/u", "data/u/.config", "data/u/.config/specd"]


def test_a_link_may_lead_to_another_and_to_nothing(root: Path):
    (root / "first").symlink_to(root / "second")
    (root / "second").symlink_to("missing")
    assert below(root, root / "first")[0] == "first"
    assert below(root, root / "first")[-2:] == ["second", "missing"]


@pytest.mark.parametrize("kind", ["file", "circle"])
def test_what_leads_nowhere_ends_it(root: Path, kind: str):
    odd = root / "odd"
    if kind == "file":
        odd.touch()
    else:
        odd.symlink_to("odd")
    assert set(below(root, odd / "below")) == {"odd"}
    assert tuple(steps(root / "odd"))[-1] == odd


def test_the_last_step_is_the_real_path(root: Path):
    (root / "to").mkdir()
    (root / "link").symlink_to("to")
    assert tuple(steps(root / "link" / ".." / "link"))[-1] == root / "to"

"""The mix names the benchmark's classes, and every mistake in it is told in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.bench import prompts
from specd.config import mix


def test_the_classes_are_those_that_the_benchmark_asks() -> None:
    asked = {each.kind for suite in prompts.SUITES.values() for each in suite}
    assert asked == set(mix.CLASSES)


def test_classes_that_are_not_named_are_left_alone() -> None:
    assert mix.read("") == {}
    assert mix.read(" code=3,creative = 0.5 ,") == {"code": 3.0, "creative": 0.5}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("code", "such as"),
        ("poem=1", "'poem'"),
        ("code=1, code=2", "twice"),
        ("code=much", "from 0 to 1000, not 'much'"),
        ("code=-1", "from 0 to 1000"),
        ("code=nan", "from 0 to 1000"),
        (",".join(f"{name}=0" for name in mix.CLASSES), "at least one"),
    ],
)
def test_a_mistake_is_told(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mix.read(text)


@given(st.dictionaries(st.sampled_from(mix.CLASSES), st.floats(0.001, 1000)))
def test_what_is_written_is_read(weights: dict[str, float]) -> None:
    text = ", ".join(f"{name}={weight!r}" for name, weight in weights.items())
    assert mix.read(text) == weights

from __future__ import annotations

from typing import Any

import pytest

from specd.bench.circumstances import disturbed

BEFORE: dict[str, Any] = {"on_battery": False, "thermal": "nominal"}
HOT = "the processor is held at 70 % of its speed"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({}, {}, ()),
        ({"on_battery": None, "thermal": None}, {"on_battery": None, "thermal": None}, ()),
        ({}, {"on_battery": True}, ("the machine changed between battery and mains power",)),
        ({}, {"thermal": HOT}, (f"the machine became hot: {HOT}",)),
        ({"thermal": None}, {"thermal": HOT}, (f"the machine became hot: {HOT}",)),
        ({"thermal": HOT}, {"thermal": "nominal"}, ()),
    ],
)
def test_another_power_supply_or_heat_in_between_makes_times_invalid(
    before: dict[str, Any], after: dict[str, Any], words: tuple[str, ...]
) -> None:
    found = disturbed({**BEFORE, **before}, {**BEFORE, **after})
    assert len(found) == len(words)
    assert all(each.startswith(start) for each, start in zip(found, words, strict=True))

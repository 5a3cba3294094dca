"""What every layer's tests share."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that load models run one at a time, whatever ``-n`` says (``--dist loadgroup``)."""
    for item in items:
        if item.get_closest_marker("mlx"):
            item.add_marker(pytest.mark.xdist_group("mlx"))

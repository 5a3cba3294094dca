"""What a run of the measurements leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import machine, report
from bench.figures import Claim, Section

SECTION = Section(
    title="Drift → restored",
    about="milliseconds",
    columns=("p50", "lost"),
    rows={"specd": (2.5, 0), "a peer": (None, "no")},
    claims=(Claim("p50 ÷ floor", 2.5, "×", "≤", 3, (2.4, 2.6)), Claim("lost", 1, "", "≤", 0)),
    raw={"specd": [2.5, 2.4]},
    taken="the full form, 2026-11-01T12:00+00:00",
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> machine.Machine:
    return machine.describe(tmp_path_factory.mktemp("machine"))


def test_what_is_not_held_stands_out(here: machine.Machine) -> None:
    shown = report.as_markdown(here, [SECTION])
    assert "| p50 ÷ floor | 2.50× [2.40, 2.60] | ≤ 3× | yes |" in shown
    assert "| lost | 1 | ≤ 0 | **no** |" in shown
    assert f"| a peer | {report.NOT_MEASURED} | no |" in shown


def test_what_was_written_is_read_again(here: machine.Machine, tmp_path: Path) -> None:
    kept = tmp_path / "bench.json"
    assert report.read(kept) == {}
    kept.write_text(report.as_json(here, {"drift": SECTION}))
    assert report.read(kept) == {"drift": SECTION}


def test_a_document_keeps_what_stands_around_its_tables(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.put_into(document, "new\n")
    text = document.read_text()
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "\nnew\n" in text


def test_a_document_without_a_place_for_tables_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "other.md"
    document.write_text("nothing here")
    with pytest.raises(ValueError, match="lacks"):
        report.put_into(document, "new\n")
    assert document.read_text() == "nothing here"

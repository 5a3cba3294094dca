"""A run's sections as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from bench.figures import Claim, Section, number
from bench.machine import Machine

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"

NOT_MEASURED = "–"


class _Report(msgspec.Struct):
    sections: dict[str, Section]


def as_json(machine: Machine, sections: Mapping[str, Section]) -> str:
    """Everything, the single samples included."""
    document = {
        "machine": asdict(machine),
        "sections": {name: asdict(section) for name, section in sections.items()},
    }
    return json.dumps(document, ensure_ascii=False, indent=1)


def read(path: Path) -> dict[str, Section]:
    """The sections of an earlier run, so that one of them can be measured anew; {} when none."""
    if not path.exists():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=_Report).sections


def as_markdown(machine: Machine, sections: Iterable[Section]) -> str:
    """The figures to hold first, then one table per section."""
    listed = list(sections)
    claims = [claim for section in listed for claim in section.claims]
    parts = [
        f"Measured on: {machine}.",
        "### Figures to hold",
        _table(("what", "measured", "bound", "held"), [_claim(claim) for claim in claims]),
    ]
    for section in listed:
        parts += [f"### {section.title}", f"{section.about[0].upper()}{section.about[1:]}."]
        rows = [(name, *map(_cell, cells)) for name, cells in section.rows.items()]
        parts.append(_table(("", *section.columns), rows))
        parts += [f"{note[0].upper()}{note[1:]}." for note in (*section.notes, section.taken)]
    return "\n\n".join(parts) + "\n"


def put_into(document: Path, markdown: str) -> None:
    """Replace what stands between the two markers of a document.

    Raises:
        ValueError: it has no such markers.
    """
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} lacks {BEGIN} … {END}")
    document.write_text(f"{before}{BEGIN}\n\n{markdown}\n{END}{after}", encoding="utf-8")


def _claim(claim: Claim) -> tuple[str, ...]:
    measured = f"{number(claim.value)} {claim.unit}".strip().replace(" ×", "×")
    if claim.interval is not None:
        measured += f" [{number(claim.interval[0])}, {number(claim.interval[1])}]"
    bound = f"{claim.sense} {number(claim.bound)} {claim.unit}".strip().replace(" ×", "×")
    return claim.what, measured, bound, "yes" if claim.held else "**no**"


def _cell(value: float | str | None) -> str:
    if value is None:
        return NOT_MEASURED
    return value if isinstance(value, str) else number(value)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

"""``python -m bench``: measure, print the tables, keep them as JSON and Markdown.

What is measured takes the place of what was known of the same sections; the rest stays.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from bench import (
    at_rest,
    commands,
    coverage,
    drift,
    machine,
    report,
    scale,
    starting,
    storm,
    tuning,
    verdicts,
)
from bench.figures import Section

FAR_OFF = 4.0
"""A quick run fails when a ratio misses its bound by this factor."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: the full form, and one that takes a minute or two."""

    full: bool

    def of(self, full: int, quick: int) -> int:
        """The number for this size."""
        return full if self.full else quick


SECTIONS: dict[str, Callable[[Path, Size], Section]] = {
    "drift": lambda root, size: drift.measure(
        root,
        drifts=size.of(1_000, 15),
        races=size.of(200, 10),
        contenders=drift.present(),
    ),
    "homes": lambda root, size: drift.measure_homes(root, drifts=size.of(500, 15), large=size.full),
    "rest": lambda root, size: at_rest.measure(
        root, seconds=size.of(600, 5), settle=size.of(330, 15)
    ),
    "start": lambda root, size: starting.measure(root, starts=size.of(30, 4)),
    "commands": lambda root, size: commands.measure(root, times=size.of(50, 5)),
    "storm": lambda root, size: storm.measure(
        root, seconds=size.of(10, 2), contenders=drift.present()
    ),
    "scale": lambda root, size: scale.measure(root, large=size.full),
    "verdicts": lambda root, size: verdicts.measure(root, large=size.full),
    "coverage": lambda root, size: coverage.measure(root, trials=size.of(4_000, 100)),
    "tuning": lambda root, size: tuning.measure(root, large=size.full),
}


def parser() -> argparse.ArgumentParser:
    """The arguments of ``python -m bench``."""
    made = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    made.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"all by default; {', '.join(SECTIONS)}"
    )
    made.add_argument("--quick", action="store_true", help="few samples, judged by ratios alone")
    made.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIRECTORY")
    made.add_argument("--into", type=Path, metavar="FILE", help="put the tables into this document")
    made.add_argument("--work", type=Path, metavar="DIRECTORY", help="where homes are laid out")
    return made


def main() -> int:
    """0 when every figure is held; with ``--quick``, when no ratio is far off; 2 for no figure."""
    arguments = parser().parse_args()
    unknown = set(arguments.sections) - set(SECTIONS)
    if unknown:
        parser().error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    measured: dict[str, Section] = {}
    broken: list[str] = []
    with tempfile.TemporaryDirectory(prefix="specd-bench-", dir=arguments.work) as work:
        here = machine.describe(Path(work))
        for name in arguments.sections or SECTIONS:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            root = Path(work) / name
            root.mkdir()
            taken = _taken(quick=arguments.quick)
            try:
                section = SECTIONS[name](root, Size(full=not arguments.quick))
            except Exception:  # noqa: BLE001 - an hour of the others' figures must not be lost
                traceback.print_exc()
                broken.append(name)
            else:
                measured[name] = replace(section, taken=taken)
    arguments.out.mkdir(parents=True, exist_ok=True)
    known = report.read(arguments.out / "bench.json") | measured
    ordered = {name: known[name] for name in SECTIONS if name in known}
    markdown = report.as_markdown(here, ordered.values())
    (arguments.out / "bench.md").write_text(markdown, encoding="utf-8")
    (arguments.out / "bench.json").write_text(report.as_json(here, ordered), encoding="utf-8")
    if arguments.into is not None:
        report.put_into(arguments.into, markdown)
    print(report.as_markdown(here, measured.values()))
    if broken:
        print(f"could not be measured: {', '.join(broken)}", file=sys.stderr)
        return 2
    claims = [claim for section in measured.values() for claim in section.claims]
    if arguments.quick:
        return int(any(claim.smoke and claim.far_off(FAR_OFF) for claim in claims))
    return int(not all(claim.held for claim in claims))


def _taken(*, quick: bool) -> str:
    now = datetime.now().astimezone().isoformat(timespec="minutes")
    form = "the quick form" if quick else "the full form"
    return f"{form}, {now}, load average at the start {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    sys.exit(main())

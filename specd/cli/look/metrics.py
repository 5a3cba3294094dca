"""``specd metrics``: the daemon's Prometheus metrics, or a node_exporter textfile of them."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from specd.cli import ask
from specd.cli.paint import complain
from specd.cli.parser import Parser

parser = Parser(
    prog="specd metrics",
    description="Print the daemon's metrics in Prometheus' text format, or write them where "
    "node_exporter's textfile collector finds them.",
    examples=("specd metrics", "specd metrics -o /var/lib/node_exporter/textfile/specd.prom"),
    exit_codes={
        0: "done",
        2: "the file cannot be written",
        3: "specd is not running (the file then says specd_up 0)",
    },
)
parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="replace FILE atomically")


def run(args: argparse.Namespace) -> int:
    """Ask and print or write; exit code 3 when specd is not running."""
    up = "# HELP specd_up 1 when the daemon answers\n# TYPE specd_up gauge\nspecd_up"
    code = 0
    try:
        text = f"{ask.text('/metrics')}{up} 1\n"
    except ask.CannotAsk as problem:
        complain(problem)
        text = f"{up} 0\n"
        code = 3
    if args.output is None:
        if code == 0:
            print(text, end="")
        return code
    try:
        _replace(args.output, text)
    except OSError as error:
        complain(f"{args.output} cannot be written: {error.strerror}")
        return 2
    return code


def _replace(path: Path, text: str) -> None:
    # node_exporter must never read half a file, and runs as another user.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".specd", delete=False) as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
    Path(file.name).replace(path)

"""``specd demo``: see it work, without LM Studio and without a Mac."""

from __future__ import annotations

import argparse
import signal

from specd.cli.paint import complain
from specd.cli.parser import Parser

parser = Parser(
    prog="specd demo",
    description=(
        "Lay out a sandbox LM Studio with real small models, run the real daemon on it, and"
        " check each of specd's promises. Takes about two minutes; touches nothing of yours."
    ),
    examples=("specd demo", "specd demo --keep"),
    exit_codes={0: "every promise held", 1: "one did not", 2: "the demo's weights are missing"},
)
parser.add_argument("--keep", action="store_true", help="leave the sandbox and say where it is")
parser.add_argument("--json", action="store_true", help="print the steps as JSON at the end")


def run(args: argparse.Namespace) -> int:
    """Run the demo."""
    from specd.demo import weights  # noqa: PLC0415 - `specd demo --help` needs no MLX

    try:
        weights.find_gguf()
    except weights.WeightsMissing as missing:
        complain(missing)
        return 2
    from specd.demo import story  # noqa: PLC0415 - imports MLX

    # Also where the terminal is closed, the daemon and the sandbox go; under nohup it goes on.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    return story.run(keep=args.keep, as_json=args.json)

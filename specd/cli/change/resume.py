"""``specd resume``: let a paused daemon write again."""

from __future__ import annotations

import argparse

from specd.cli.change.pause import order


def parser() -> argparse.ArgumentParser:
    """The arguments of ``specd resume``."""
    return argparse.ArgumentParser(
        prog="specd resume",
        description="Let a paused daemon write again, starting with a look.",
        epilog="example: specd resume; exit code: 0 done, 3 specd is not running",
    )


def run(_: argparse.Namespace) -> int:
    """Tell the daemon."""
    return order("/v1/resume", "resumed")

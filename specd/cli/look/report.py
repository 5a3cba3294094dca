"""``specd report``: everything specd knows, as one HTML page."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from datetime import datetime
from pathlib import Path

from specd import __version__, places
from specd.bench.use import by_pair
from specd.cli import ask, world
from specd.cli.look.report_page import RealUse, Report, page
from specd.cli.paint import complain
from specd.cli.parser import Parser
from specd.config import ConfigError
from specd.files import private
from specd.files.swap import SwapError, update
from specd.reconcile import restores
from specd.tokenizer import suggest
from specd.tokenizer.verdict import VerdictKind

MAINS, DRAFTS = 12, 12
BENCHMARKS = 1_000


parser = Parser(
    prog="specd report",
    description="Write one self-contained HTML page: state, pairs, speed-up over time, tokens "
    "per second against draft length and in your own chats, and what was changed back when.",
    examples=("specd report --open", "specd report -o - > page.html"),
    exit_codes={0: "done", 2: "the page cannot be written"},
)
parser.add_argument(
    "-o",
    "--output",
    metavar="FILE",
    help="where to write it (- for standard output); usually in specd's directory",
)
parser.add_argument("--open", action="store_true", help="show it in the browser")


def run(args: argparse.Namespace) -> int:
    """Gather, write, and say where."""
    text = page(gather())
    if args.output == "-":
        sys.stdout.write(text)
        return 0
    named = Path(args.output) if args.output else places.state_dir() / "specd-report.html"
    path = named.expanduser().absolute()
    try:
        if args.output:
            update(path, lambda _: text.encode(), before_write=lambda _path, _before, _after: None)
        else:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            private.write(path, text.encode(), durable=False)
    except (OSError, SwapError) as problem:
        why: object = problem
        if isinstance(problem, OSError):
            why = f"{problem.filename or path}: {problem.strerror}"
        complain(f"the report cannot be written: {why}")
        return 2
    print(path)
    if args.open:
        webbrowser.open(path.as_uri())
    return 0


def gather() -> Report:
    """Everything that is known, from the daemon where it runs and from the files."""
    try:
        status = ask.ask("GET", "/v1/status")
    except ask.CannotAsk:
        status = None
    try:
        seen = world.see()
        stores = seen.stores
    except (world.Unusable, ConfigError):
        seen, stores = None, world.open_stores()
    entries = stores.journal.entries()
    return Report(
        made_at=datetime.now().astimezone(),
        version=__version__,
        status=status,
        matrix=_matrix(seen) if seen else {},
        benchmarks=tuple(reversed(stores.history.recent(BENCHMARKS))),
        writes=entries,
        put_back=restores.put_back(entries),
        uses=_uses(seen) if seen and seen.config.benchmark.observe_conversations else (),
    )


def _matrix(seen: world.Seen) -> dict[str, dict[str, VerdictKind | None]]:
    """Main → draft → verdict, for the main models that have drafts worth trying."""
    found: dict[str, dict[str, VerdictKind | None]] = {}
    mains = sorted(seen.world.models, key=lambda model: -model.size_bytes)
    for main in mains:
        if main.kind not in ("llm", "vlm") or len(found) >= MAINS:
            continue
        drafts = suggest.rank(main, seen.world.models, seen.stores.verdicts)[:DRAFTS]
        verdicts = {draft: seen.stores.verdicts.lookup(main, draft) for draft in drafts}
        if verdicts:
            found[main.key] = {d.key: v.kind if v else None for d, v in verdicts.items()}
    return found


def _uses(seen: world.Seen) -> tuple[RealUse, ...]:
    """The figures read from the user's chats: every pair, then mains without any draft."""
    uses = seen.stores.observed.sums().uses
    pairs = [
        RealUse(main, draft, tuple(drafted), tuple(plain), seen.measured(main, draft))
        for main, draft, drafted, plain in by_pair(uses)
    ]
    drafted_for = {each.main for each in pairs}
    alone = dict.fromkeys(use.main for use in uses if use.main not in drafted_for)
    return (
        *pairs,
        *(
            RealUse(main, None, (), tuple(use for use in uses if use.main == main), None)
            for main in alone
        ),
    )

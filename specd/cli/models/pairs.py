"""``specd pairs``: which installed models may draft for which, all of them at once."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from specd.cli import world
from specd.cli.paint import Ink, dumps, paint, plural, safe, width, wrap
from specd.cli.parser import Parser
from specd.reconcile.stores import COMPARING
from specd.tokenizer.classes import Class, Facts, Overview, Suggestion, overview, readable
from specd.tokenizer.verdict import VerdictKind
from specd.worker.client import run_task

LISTED = 12
COLUMNS_EACH = 4

_SIGNS: dict[VerdictKind, tuple[str, Ink]] = {
    "identical": ("=", "green"),
    "compatible": ("+", "green"),
    "incompatible": ("·", "grey"),
    "unsupported": ("-", "yellow"),
    "unknown": ("?", "yellow"),
}


parser = Parser(
    prog="specd pairs",
    description="Show which installed models may draft for which, and which drafts are worth a "
    "benchmark. Models with one and the same tokenizer stand together.",
    examples=("specd pairs", "specd pairs --json"),
    exit_codes={0: "shown", 2: "bad input"},
)
parser.add_argument("--all", action="store_true", help="list every main, however many there are")
parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(args: argparse.Namespace) -> int:
    """Let a worker read models that are not known yet, and show all pairs."""
    seen = world.see()
    found = look(seen)
    if args.json:
        print(dumps(as_json(found)))
    else:
        print(render(found, width(), everything=args.all))
    return 0


def look(seen: world.Seen) -> Overview:
    """All pairs, from the stored facts; a worker reads missing ones first.

    Raises:
        WorkerError: it could not be read.
    """
    models, store = seen.world.models, seen.stores.verdicts
    facts = Facts.read(models, store)
    if not facts.complete:
        if facts.unread:
            count = plural(len(facts.unread), "model")
            print(f"reading the tokenizers of {count} …", file=sys.stderr)
        paths = [str(model.path) for model in readable(models)]
        request = {**seen.stores.verdict_request([]), "models": paths}
        run_task("classes", request, limits=COMPARING)
        facts = Facts.read(models, store)
    return overview(facts)


# -- for programs ---------------------------------------------------------------------------------


def as_json(found: Overview) -> dict[str, Any]:
    """Classes with their models, verdicts between classes, suggestions by main."""
    return {
        "classes": [
            {
                "name": each.name,
                "fingerprint": each.digest,
                "family": each.family,
                "tokens": each.tokens,
                "models": [model.identifier for model in each.models],
            }
            for each in found.classes
        ],
        "matrix": {
            main.name: {draft.name: _kind(found, main, draft) for draft in found.classes}
            for main in found.classes
        },
        "mains": [
            {
                "main": each.main.identifier,
                "usable": each.usable,
                "suggested": [
                    {"draft": draft.identifier, "verdict": kind} for draft, kind in each.drafts
                ],
                "candidates": list(each.candidates),
                "why_none": each.why_none,
                "wanted": each.wanted,
            }
            for each in found.suggestions
        ],
        "unknown": [
            {"model": model.identifier, "reason": reason} for model, reason in found.unknown
        ],
    }


def _kind(found: Overview, main: Class, draft: Class) -> VerdictKind:
    kinds = found.kinds.get((main.digest, draft.digest))
    return "unknown" if kinds is None else kinds.tokens


# -- for people -----------------------------------------------------------------------------------


def render(found: Overview, columns: int, *, everything: bool) -> str:
    """Classes, the matrix between them, and the drafts to try for each main."""
    limit = sys.maxsize if everything else LISTED
    lines: list[str] = []
    for each in found.classes[:limit]:
        names = ", ".join(safe(model.key) for model in each.models[:6])
        more = f" and {len(each.models) - 6} more" if len(each.models) > 6 else ""
        row = f"{each.name}  {each.tokens:,} tokens, {each.family}: {names}{more}"
        lines.append(wrap(row, columns, "   "))
    if len(found.classes) > 1:
        lines += ["", *_matrix(found, columns, limit)]
    lines += ["", *_suggested(found.suggestions, columns, limit)]
    for model, reason in found.unknown[:limit]:
        mark = paint("?", "yellow")
        lines.append(f"{mark} {wrap(f'{model.identifier}: {reason}', columns - 2, '    ')}")
    hidden = sum(
        max(0, len(each) - limit) for each in (found.classes, found.suggestions, found.unknown)
    )
    if hidden:
        lines.append(f"… and {hidden} more lines; `specd pairs --all` shows them")
    if not found.classes and not found.unknown:
        lines = ["no models are installed"]
    return "\n".join(lines)


def _matrix(found: Overview, columns: int, limit: int) -> list[str]:
    """Mains down, drafts across, as many as there is room for."""
    room = max(1, (columns - 8) // COLUMNS_EACH)
    across = found.classes[: min(room, limit)]
    head = "main ↓  " + "".join(f"{each.name:<{COLUMNS_EACH}}" for each in across) + "← draft"
    lines = [head.rstrip()]
    for main in found.classes[:limit]:
        signs = [_SIGNS[_kind(found, main, draft)] for draft in across]
        pad = " " * (COLUMNS_EACH - 1)
        cells = "".join(paint(sign, ink) + pad for sign, ink in signs)
        lines.append(f"{main.name:<8}{cells}".rstrip())
    meanings = ", ".join(
        f"{sign} {kind}" for kind, (sign, _) in _SIGNS.items() if kind != "unsupported"
    )
    return [*lines, wrap(meanings, columns, "")]


def _suggested(suggestions: tuple[Suggestion, ...], columns: int, limit: int) -> list[str]:
    lines: list[str] = []
    for each in suggestions[:limit]:
        about = f"{each.usable} installed may draft; worth a benchmark:"
        if not each.drafts:
            about = each.why_none + (f": install {each.wanted}" if each.wanted else "")
        lines.append(paint(safe(each.main.key), "bold"))
        lines.append(f"    {wrap(about, columns, ' ' * 4)}")
        for draft, kind in each.drafts:
            sign, ink = _SIGNS[kind]
            size = f"{draft.size_bytes / 1e9:.1f} GB"
            about = wrap(f"{draft.key}: {kind}, {size}", columns, " " * 4)
            lines.append(f"  {paint(sign, ink)} {about}")
        lines += [
            f"  · {wrap(f'{name}: a drafter for this main', columns, ' ' * 4)}"
            for name in each.candidates
        ]
        best = [draft.key for draft, _ in each.drafts[:1]] or each.candidates[:1]
        if best:
            lines.append(f"    {_command(['specd', 'bench', each.main.key, *best], columns)}")
    return lines


def _command(words: Sequence[str], columns: int) -> str:
    """A command to copy; if it is too long for the terminal, one word a line."""
    whole = safe(shlex.join(words))
    if len(whole) + 4 <= columns or not sys.stdout.isatty():
        return whole
    return " \\\n      ".join(
        [" ".join(words[:2]), *(safe(shlex.quote(word)) for word in words[2:])]
    )

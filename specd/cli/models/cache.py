"""``specd cache``: where LM Studio's compatibility cache is wrong, and how to rebuild it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from specd.cli import world
from specd.cli.models import pairs
from specd.cli.paint import dumps, paint, plural, safe, short, width, wrap
from specd.cli.parser import Parser
from specd.lmstudio import draft_cache
from specd.reconcile.aside import move_aside
from specd.tokenizer.suggest import LARGEST_SHARE

AGREES, DISAGREES = 0, 1


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A pair of identifiers on which the cache and specd differ."""

    main: str
    draft: str
    listed: bool
    verdict: str
    reason: str

    def __str__(self) -> str:
        verb = "lists" if self.listed else "does not list"
        return f"it {verb} {self.draft} for {self.main}, which is {self.verdict}: {self.reason}"


@dataclass(frozen=True, slots=True)
class _Look:
    path: Path
    problem: str | None
    mains: int
    disagreements: tuple[Disagreement, ...]

    @property
    def stale(self) -> bool:
        """Whether a rebuilt cache can be better: wrongly listed drafts would be listed again."""
        return any(not each.listed for each in self.disagreements)


parser = Parser(
    prog="specd cache",
    description="Show where LM Studio's cache of compatible drafts is wrong, or move it aside "
    "so that LM Studio makes it anew. specd never does that by itself.",
    examples=("specd cache", "specd cache refresh"),
    exit_codes={0: "the cache agrees (or was moved)", 1: "it disagrees", 2: "bad input"},
)
parser.set_defaults(json=False)
what = parser.add_subparsers(dest="what", metavar="{show,refresh}")
show = what.add_parser(
    "show", help="list where the cache and specd's verdicts differ (the default)"
)
show.add_argument("--json", action="store_true", help="print them as JSON")
refresh = what.add_parser("refresh", help="move a stale cache aside; `specd restore` puts it back")
refresh.add_argument("--json", action="store_true", help="print what was done as JSON")


def run(args: argparse.Namespace) -> int:
    """Compare the cache with the verdicts; show, or move it aside."""
    seen = world.see()
    look = _look(seen)
    if args.what == "refresh":
        return _refresh(seen, look, as_json=args.json)
    if args.json:
        answer = {**asdict(look), "path": str(look.path), "agrees": not look.disagreements}
        print(dumps(answer))
    else:
        print(render(look, width()))
    return DISAGREES if look.disagreements else AGREES


def render(look: _Look, columns: int) -> str:
    """The disagreements for people."""
    if look.problem is not None:
        return wrap(look.problem, columns, "  ")
    if not look.disagreements:
        mains = plural(look.mains, "main")
        agrees = f"LM Studio's cache agrees with specd's verdicts on {mains} ({look.path})"
        return wrap(short(agrees), columns, "  ")
    lines = [safe(str(look.path))]
    for each in look.disagreements:
        mark = paint("✗", "red")
        lines.append(f"{mark} {wrap(str(each), columns - 2, '  ')}")
    if look.stale:
        lines.append("`specd cache refresh` moves it aside, so that LM Studio makes it anew")
    return "\n".join(lines)


def _look(seen: world.Seen) -> _Look:
    path = draft_cache.path(seen.home.path)
    opinion = seen.world.opinion
    if opinion is None:
        return _Look(path, f"LM Studio keeps no compatibility cache at {path}", 0, ())
    if opinion.problem is not None:
        return _Look(path, opinion.problem, 0, ())
    pairs.look(seen)
    wrong = tuple(_disagreements(seen, opinion))
    return _Look(path, None, len(opinion.pairs), wrong)


def _disagreements(seen: world.Seen, opinion: draft_cache.CacheOpinion) -> Iterator[Disagreement]:
    models = {model.identifier: model for model in seen.world.models}
    for identifier, listed in opinion.pairs.items():
        main = models[identifier]
        for draft in seen.world.models:
            is_listed = draft.identifier in listed
            small = 0 < draft.size_bytes <= main.size_bytes * LARGEST_SHARE
            if not is_listed and not (draft.drafts and small):
                continue
            verdict = seen.stores.verdicts.lookup(main, draft)
            if verdict is None:
                continue
            if is_listed and verdict.kind in ("incompatible", "unsupported"):
                reason = verdict.reasons[0]
            elif not is_listed and verdict.usable:
                reason = "every token it can emit means the same in the main"
            else:
                continue
            yield Disagreement(identifier, draft.identifier, is_listed, verdict.kind, reason)


def _refresh(seen: world.Seen, look: _Look, *, as_json: bool) -> int:
    answer: dict[str, object] = {"moved": look.stale or look.problem is not None}
    if answer["moved"]:
        count = len(look.disagreements)
        why = f"specd cache refresh: {count} disagreements" if count else "specd cache refresh"
        moved = move_aside(
            look.path, seen.stores.journal, surface="draft-cache", why=why, by="specd cache"
        )
        answer |= {"to": str(moved.to), "journal": moved.journal_id}
        message = (
            f"moved to {moved.to}; LM Studio makes it anew, at the latest when it is started "
            f"again (`specd restore {moved.journal_id}` puts it back)"
        )
    else:
        why = "leaves no usable draft out" if look.disagreements else "contradicts no verdict"
        message = f"{look.path} {why}, so it stays"
    print(dumps(answer | {"message": message}) if as_json else wrap(message, width(), "  "))
    return AGREES

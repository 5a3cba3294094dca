"""``specd check MAIN DRAFT``: may this draft be used with this main, and why.

Mostly the daemon knows the verdict, five times faster than reading the files here, so the modules
for that are imported only when needed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from specd import places
from specd.cli import ask
from specd.cli.paint import Ink, dumps, paint, width, wrap
from specd.cli.parser import Parser
from specd.tokenizer.spelling import quoted
from specd.tokenizer.verdict import EngineOpinion, Verdict, from_json, to_json, with_cache

if TYPE_CHECKING:
    from specd.lmstudio.draft_cache import CacheOpinion
    from specd.lmstudio.model import Model
    from specd.reconcile.stores import Stores

USABLE, NOT_USABLE, BAD_INPUT = 0, 1, 2

SHOWN = 8
"""Differences that are listed."""

_INKS: dict[str, Ink] = {
    "identical": "green",
    "compatible": "green",
    "incompatible": "red",
    "unsupported": "yellow",
    "unknown": "yellow",
}


parser = Parser(
    prog="specd check",
    description="Say whether DRAFT may draft for MAIN, and why. Both are model names as LM "
    "Studio or you write them, or paths of model folders.",
    examples=("specd check qwen3-8b qwen3-0.6b", "specd check --deep qwen3-8b qwen3-0.6b"),
    exit_codes={
        0: "the pair may be used",
        1: "it may not",
        2: "bad input: no such model, or its files cannot be read",
    },
)
parser.add_argument("main", metavar="MAIN", help="the model that answers")
parser.add_argument("draft", metavar="DRAFT", help="the small one that writes ahead")
parser.add_argument(
    "--deep",
    action="store_true",
    help="prove it by running the engine: answers with and without the draft, and for MLX both "
    "tokenizers id by id (loads both models)",
)
parser.add_argument("--json", action="store_true", help="print the verdict as JSON")


def run(args: argparse.Namespace) -> int:
    """Get the verdict from the daemon; where it has none, find both models and compare them."""
    verdict = None if args.deep else _from_daemon(args.main, args.draft)
    if verdict is None:
        verdict = _looked_up(args.main, args.draft, deep=args.deep)
    if args.json:
        print(dumps(to_json(verdict)))
    else:
        print(render(verdict, width()))
    if verdict.kind == "unknown":
        return BAD_INPUT
    return USABLE if verdict.usable else NOT_USABLE


def _from_daemon(main: str, draft: str) -> Verdict | None:
    """The daemon's verdict; None when it does not run, has none, or has another home."""
    if is_path(main) or is_path(draft):
        return None
    try:
        answer = ask.ask("GET", f"/v1/verdict?{urlencode({'main': main, 'draft': draft})}")
    except ask.CannotAsk:
        return None
    home = os.environ.get("LMSTUDIO_HOME") or answer["home"]
    if (answer["config"], answer["home"]) != (str(places.config_file()), home):
        return None
    return None if answer["verdict"] is None else from_json(answer["verdict"])


def _looked_up(main_name: str, draft_name: str, *, deep: bool) -> Verdict:
    """The verdict from the cache, else from a worker.

    Raises:
        world.Unusable, NameProblem, WorkerError: there is none.
    """
    from specd.cli import world  # noqa: PLC0415 - see the module's docstring

    installed: tuple[Model, ...] = ()
    opinion: CacheOpinion | None = None
    home: Path | None = None
    if is_path(main_name) and is_path(draft_name):
        stores = world.open_stores()
    else:
        seen = world.see()
        stores, installed, opinion = seen.stores, seen.world.models, seen.world.opinion
        home = seen.home.path
    main, draft = (find(name, installed) for name in (main_name, draft_name))
    found = verdict(stores, main, draft)
    if deep:
        found = _deep(stores, main, draft, found, home)
    return with_cache(found, main, draft, opinion)


def render(verdict: Verdict, columns: int) -> str:
    """The verdict for people."""
    name = wrap(f"{verdict.main} ← {verdict.draft}: {verdict.kind}", columns, "  ")
    kind = paint(verdict.kind, _INKS[verdict.kind])
    lines = [f"{name.removesuffix(verdict.kind)}{kind}"]
    lines += [f"  {wrap(reason, columns, '  ')}" for reason in verdict.reasons]
    for each in verdict.differences[:SHOWN]:
        lines.append(f"    id {each.id}: main {quoted(each.main)}, draft {quoted(each.draft)}")
    rest = verdict.difference_count - min(SHOWN, len(verdict.differences))
    if rest > 0:
        lines.append(f"    … and {rest:,} more")
    lines += [f"  {wrap(f'{name}: {text}', columns, '    ')}" for name, text in beside(verdict)]
    return "\n".join(lines)


def beside(verdict: Verdict) -> list[tuple[str, str]]:
    """The (name, text) rows below the reasons."""
    rows = [("advice", each) for each in verdict.advice]
    split = verdict.segmentation
    if split is not None and split.tokens:
        says = (
            f"the draft splits {split.different:,} of {split.tokens:,} tokens of probe texts "
            f"otherwise ({split.different / split.tokens:.1%}); that costs acceptance, not "
            "correctness"
        )
        rows.append(("splitting", says))
    rows += [(f"by {each.name}", engine_words(each)) for each in verdict.engines]
    if verdict.cache_lists is not None:
        rows.append(("by lm-studio-cache", cache_words(verdict)))
    if verdict.validated:
        rows.append(("proven", verdict.validated))
    elif verdict.usable:
        names = shlex.join((verdict.main, verdict.draft))
        rows.append(("proven", f"not yet; `specd check --deep {names}` does it"))
    return rows


def engine_words(opinion: EngineOpinion) -> str:
    """An engine's opinion of the pair, in one sentence."""
    says = {True: "accepts", False: "refuses", None: "unknown"}[opinion.accepts]
    text = {
        "same": "the same text",
        "may differ": "other text",
        "unknown": "the text is not known to be the same",
    }[opinion.text]
    return f"{says}, {text}: {opinion.why}" if opinion.accepts else f"{says}: {opinion.why}"


def cache_words(verdict: Verdict) -> str:
    """Whether LM Studio's compatibility cache lists the pair, and whether that is right."""
    says = "lists this draft" if verdict.cache_lists else "does not list this draft"
    wrong = verdict.kind != "unknown" and verdict.cache_lists != verdict.usable
    return f"{says}, which is wrong" if wrong else says


def is_path(name: str) -> bool:
    """Whether ``name`` is meant as a path rather than as a model's name."""
    return "/" in name and Path(name).expanduser().exists()


def find(name: str, installed: tuple[Model, ...]) -> Model:
    """The model that ``name``, or the path ``name``, means.

    Raises:
        world.Unusable, names.NameProblem: it means none, or several.
    """
    from specd.cli import world  # noqa: PLC0415 - see the module's docstring
    from specd.lmstudio import models, names  # noqa: PLC0415

    if not is_path(name):
        return names.resolve(name, installed)
    path = Path(name).expanduser().absolute()
    # A folder is read as the app would read it: as one of those in its parent.
    for model in models.index(path.parent).models:
        if model.path == path:
            return model
    raise world.Unusable(f"{path} holds no model: neither weights beside a config.json nor GGUF")


def verdict(stores: Stores, main: Model, draft: Model) -> Verdict:
    """The verdict on a pair: the stored one, else a worker compares the two.

    Raises:
        WorkerError: they cannot be compared.
    """
    from specd.reconcile.stores import COMPARING  # noqa: PLC0415 - see the module's docstring
    from specd.worker.client import WorkerError, run_task  # noqa: PLC0415

    known = stores.verdicts.lookup(main, draft)
    if known is None:
        run_task(
            "verdicts",
            stores.verdict_request([(main, draft)]),
            limits=COMPARING,
        )
        known = stores.verdicts.lookup(main, draft)
    if known is None:
        raise WorkerError("the model files changed while they were being compared; try again")
    return known


def _deep(
    stores: Stores, main: Model, draft: Model, verdict: Verdict, home: Path | None
) -> Verdict:
    """The verdict once the engine itself was run, where the pair may be used."""
    from specd.reconcile.stores import proof_limits  # noqa: PLC0415 - see the module's docstring
    from specd.worker.client import run_task  # noqa: PLC0415

    proof = stores.verdicts.proven(main, draft)
    refused_by_proof = proof is not None and proof.kind is not None
    if not (verdict.usable or refused_by_proof) or stores.proven(main, draft, home):
        return verdict

    def show(step: dict[str, Any]) -> None:
        print(f"{step['now']} …", file=sys.stderr)

    run_task(
        "validate",
        stores.proof_request(main, draft, home),
        limits=proof_limits(main, draft),
        on_progress=show,
    )
    return stores.verdicts.lookup(main, draft) or verdict

"""``specd install``: look, check, show, ask once, write, start, and verify that it works."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from specd import config, places
from specd.cli import alive, ask, world
from specd.cli.change import diff
from specd.cli.change.config import write
from specd.cli.look.status import faults, worth_showing
from specd.cli.models import pairs as all_pairs
from specd.cli.paint import complain, paint, say, short, width, wrap
from specd.cli.parser import Parser
from specd.config import Pair, SpecdConfig, edit
from specd.files.pointer import ABSENT
from specd.files.swap import SwapError
from specd.lmstudio import home as homes
from specd.lmstudio import model_defaults, names, settings
from specd.lmstudio.model import Model
from specd.reconcile import survey, users
from specd.reconcile.conditions.files import SAVE_DEFAULTS, SAVE_SETTINGS
from specd.reconcile.desired import DesiredPair
from specd.reconcile.journal import Journal
from specd.reconcile.plan import Plan
from specd.service import program, proposal
from specd.service.command import ServiceError
from specd.service.platforms import PLATFORMS, Platform, here
from specd.tokenizer import suggest
from specd.worker.client import WorkerError

DONE, FAILED, BAD_INPUT = 0, 1, 2

SETTLES_S = 60.0
"""How long to wait for the daemon's first writes, so that they can be shown."""

NOTHING_DONE = "nothing was written to LM Studio's files, and nothing was installed"

OFFERED = 9
"""Drafts that are offered for one main."""


@dataclass(frozen=True, slots=True)
class _Offer:
    """A draft that the user may choose by its number: for which main, and why.

    ``draft_tokens``: the length that the user has set for this draft, else "auto".
    """

    main: str
    draft: str
    why: str
    draft_tokens: Literal["auto"] | int


@dataclass(frozen=True, slots=True)
class _Found:
    """The present state, and the proposal: ``new`` is False where the present specd.toml stays.

    ``download``: what to download where no pair can be proposed, else "".
    """

    config_path: Path
    wanted: SpecdConfig
    new: bool
    facts: tuple[tuple[str, str], ...]
    seen: world.Seen | None
    offers: tuple[_Offer, ...] = ()
    download: str = ""


class _CannotInstall(Exception):
    """Something would fail; the message says what, and what to do about it."""


parser = Parser(
    prog="specd install",
    description="Set specd up: propose a configuration from what is found, show what will "
    "change, ask once, and start the login service. A draft that you have set in LM Studio "
    "is kept. Run it again after an upgrade.",
    examples=("specd install", "specd install --yes", "specd install --print --platform macos"),
    exit_codes={0: "done", 1: "something refused", 2: "bad input or no answer"},
)
parser.add_argument("--yes", action="store_true", help="do not ask")
parser.add_argument(
    "--print", action="store_true", help="print the service's file and change nothing"
)
parser.add_argument(
    "--platform", choices=tuple(PLATFORMS), help="with --print: for this kind of machine"
)


def run(args: argparse.Namespace) -> int:
    """Set everything up, or with ``--print`` show the service's file."""
    try:
        if args.platform and not args.print:
            complain("--platform goes with --print")
            return BAD_INPUT
        platform = PLATFORMS[args.platform] if args.platform else here()
        if args.print:
            sys.stdout.buffer.write(platform.text(_program(world.configuration_or_default())))
            return DONE
        return _install(platform, sure=args.yes)
    except (ServiceError, SwapError, OSError, _CannotInstall) as problem:
        complain(problem)
        return FAILED


def _install(platform: Platform, *, sure: bool) -> int:
    try:
        found = _checked(platform)
        chosen = _agreed(found, platform, sure=sure)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped: {NOTHING_DONE}") from None
    except (ServiceError, _CannotInstall) as problem:
        raise _CannotInstall(f"{problem}; {NOTHING_DONE}") from problem
    if chosen is None:
        return BAD_INPUT
    try:
        return _write_and_start(chosen, platform)
    except KeyboardInterrupt:
        half = "stopped half-way: `specd install` finishes it, `specd uninstall` takes it away"
        raise KeyboardInterrupt(half) from None


# -- before the question --------------------------------------------------------------------------


def _checked(platform: Platform) -> _Found:
    """Everything that could fail later, tried before the question.

    Raises:
        _CannotInstall, ServiceError, ConfigError, world.Unusable: something would fail.
    """
    other = alive.started_otherwise(platform)
    if other is not None:
        raise _CannotInstall(alive.is_at_work(other))
    platform.ready()
    for path in (places.state_dir(), places.config_file(), platform.file()):
        there = next(each for each in path.parents if each.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            raise _CannotInstall(f"{path} cannot be written: make {there} writable")
    return _look()


def _look() -> _Found:
    path = places.config_file()
    present = config.read(path)
    home = homes.find_home(present.config.lmstudio.home)
    if isinstance(home, homes.NoHome):
        waits = ("LM Studio home", f"none: {home.reason}; specd will wait for it")
        new = not present.exists
        return _Found(path, present.config, new, (waits,), None, download="start LM Studio once")
    if not os.access(home.path, os.W_OK | os.X_OK):
        raise _CannotInstall(f"LM Studio's home {home.path} cannot be written: make it writable")
    seen = world.look(present.config, home)
    facts: tuple[tuple[str, str], ...] = (
        ("LM Studio home", f"{home.path} ({home.how})"),
        ("models", f"{len(seen.world.models)} installed"),
    )
    kept = ("configuration", f"{path if present.exists else present.managed} stays as it is")
    if present.config.pair or not present.config.speculation.enabled:
        return _Found(path, present.config, new=False, facts=(*facts, kept), seen=seen)
    loaded, chosen, spared, unfit = _proposed(seen)
    facts = (*facts, *(("your draft", _unfit(seen, pair)) for pair in unfit))
    wanted = replace(present.config, pair=tuple(pair.configured for pair in chosen))
    if not chosen and not spared:
        download = _download(seen)
        none = f"none: no installed main model has a draft that is proven right; {download}"
        facts = (*facts, ("pairs", none), *([kept] if present.exists else []))
        return _Found(path, wanted, not present.exists, facts, seen, download=download)
    _compare_others(seen, (*chosen, *spared))
    offers = tuple(offer for pair in (*chosen, *spared) for offer in _offers(seen, pair))
    for pair in chosen:
        now = " (loaded now)" if pair.main is not None and pair.main.key in loaded else ""
        facts = (*facts, ("pair", f"{pair.name}: {pair.why}{now}"))
    for pair in spared:
        theirs = pair.users
        why = theirs.also or _why_replaced(theirs.drafts_with, seen.world.models, offers)
        text = (
            f"{pair.configured.main}: {theirs.app} is set to draft with {theirs.drafts_with}{why}"
        )
        facts = (*facts, ("your draft", f"{text}; it stays unless you choose another by number"))
    new = bool(chosen) or not present.exists
    return _Found(path, wanted, new=new, facts=facts, seen=seen, offers=offers)


def _unfit(seen: world.Seen, pair: DesiredPair) -> str:
    """What the user has set for a main for which nothing that is installed is proven right."""
    name, models = pair.users.drafts_with or "", seen.world.models
    draft = names.lookup(name, models)
    found = seen.stores.verdicts.lookup(pair.main, draft) if pair.main and draft else None
    reason = f" ({found.reasons[0]})" if found and not found.usable and found.reasons else ""
    why = f"{_why_replaced(name, models, ())}{reason}"
    return f"{pair.configured.main}: {pair.users.app} is set to draft with {name}{why}; it stays"


def _proposed(
    seen: world.Seen,
) -> tuple[set[str], tuple[DesiredPair, ...], tuple[DesiredPair, ...], tuple[DesiredPair, ...]]:
    """The loaded models' keys; the pairs to propose, to spare the user's draft, and without any.

    The second would replace a draft that the user has set; for the third no other is proven right.
    """
    answer = survey.ask_server(seen.home, seen.config.lmstudio)
    served = [model.key for model in answer.models if model.loaded_instances]
    loaded = {
        model.key
        for model in seen.world.models
        if names.served_as(model, served, seen.world.models) is not None
    }
    drafted = [
        m for m in seen.world.models if users.drafting(m, seen.apps, seen.stores.journal).drafts
    ]
    asking = proposal.candidates(seen.world.models, loaded, drafted)
    models, resolved = seen.world.models, world.decide(replace(seen, config=asking))
    spared = tuple(p for p in resolved if p.speculates and proposal.replaces(p, models))
    unfit = tuple(p for p in resolved if not p.speculates and p.users.drafts)
    found = proposal.propose([pair for pair in resolved if pair not in spared], loaded)
    return loaded, tuple(proposal.kept(pair, models) for pair in found), spared, unfit


def _download(seen: world.Seen) -> str:
    """What to download in LM Studio, so that a pair can be proposed."""
    with contextlib.suppress(WorkerError):
        found = all_pairs.look(seen).suggestions
        wanting = [each for each in found if each.wanted]
        if wanting:
            first = max(wanting, key=lambda each: each.main.size_bytes)
            return f"for {first.main.key}, download in LM Studio: {first.wanted}"
    return "download a main model and a small one of the same family in LM Studio"


def _compare_others(seen: world.Seen, chosen: Sequence[DesiredPair]) -> None:
    """Compare further drafts too, so that they can be offered beside one that the user has set."""
    verdicts = seen.stores.verdicts
    undecided = [
        (pair.main, draft)
        for pair in chosen
        if pair.main is not None
        for draft in suggest.rank(pair.main, seen.world.models, verdicts)[:OFFERED]
        if verdicts.lookup(pair.main, draft) is None
    ]
    if undecided:
        world.compare(seen, undecided)


def _offers(seen: world.Seen, pair: DesiredPair) -> Iterator[_Offer]:
    """The proven drafts of the pair's main, each with its size and other reasons."""
    main = pair.main
    if main is None:
        return
    verdicts = seen.stores.verdicts
    ranked = suggest.rank(main, seen.world.models, verdicts)
    ranked = tuple(sorted(ranked, key=lambda draft: draft != pair.draft))
    proven = [draft for draft in ranked if (found := verdicts.lookup(main, draft)) and found.usable]
    smallest = min(proven, key=lambda draft: draft.size_bytes, default=None)
    for draft in proven[:OFFERED]:
        measured = seen.stores.history.latest(main.key, draft.key)
        why = [f"{draft.size_bytes / 1e9:.1f} GB"]
        if measured is not None and measured.used.measured_speedup is not None:
            why.append(f"measured {measured.used.measured_speedup:.2f}×")
        if draft.architecture == main.architecture:
            why.append("same family")
        if draft == smallest:
            why.append("smallest")
        length = pair.configured.draft_tokens if draft == pair.draft else "auto"
        yield _Offer(
            pair.configured.main, proposal.name(draft, seen.world.models), ", ".join(why), length
        )


# -- the question ---------------------------------------------------------------------------------


def _agreed(found: _Found, platform: Platform, *, sure: bool) -> _Found | None:
    """The proposal that the user accepts, perhaps with another draft; None if they do not."""
    for name, text in found.facts:
        print(f"{name:<15} {wrap(short(text), width(), ' ' * 16)}")
    while True:
        _show(found, platform)
        if sure:
            return found
        if not sys.stdin.isatty():
            complain(f"there is no terminal to ask on: {NOTHING_DONE}")
            complain("`specd install --yes` goes ahead")
            return None
        _show_offers(found)
        answer = _answer(len(found.offers))
        if answer in ("y", "yes"):
            return found
        if not answer.isdecimal():
            print(wrap(NOTHING_DONE, width(), ""))
            return None
        found = _with(found, found.offers[int(answer) - 1])


def _answer(offers: int) -> str:
    """What the user types: the number of an offered draft, or any word."""
    other = f"1-{offers} takes that draft. " if offers else ""
    while True:
        try:
            answer = input(f"\n{other}Go on? [y/N] ").strip().lower()
        except EOFError:
            print()
            return ""
        if not answer.isdecimal() or 0 < int(answer) <= offers:
            return answer
        print(f"there is no draft {answer}")


def _with(found: _Found, offer: _Offer) -> _Found:
    """As ``found``, with the draft that was chosen by its number."""
    pairs = {pair.main: pair for pair in found.wanted.pair}
    pair = pairs.get(offer.main, Pair(main=offer.main))
    pairs[offer.main] = replace(pair, draft=offer.draft, draft_tokens=offer.draft_tokens)
    return replace(found, wanted=replace(found.wanted, pair=tuple(pairs.values())), new=True)


def _show_offers(found: _Found) -> None:
    if found.offers:
        print(f"\n{wrap('drafts that are proven right (→ is chosen)', width(), '')}")
    chosen = {pair.main: pair.draft for pair in found.wanted.pair}
    best: dict[str, str] = {}
    for number, offer in enumerate(found.offers, 1):
        auto, draft = best.setdefault(offer.main, offer.draft), chosen.get(offer.main)
        mark = "→" if offer.draft == (auto if draft == "auto" else draft) else " "
        text = f"{offer.draft} for {offer.main}: {offer.why}"
        print(f"{mark} {number}  {wrap(short(text), width(), ' ' * 5)}")


def _show(found: _Found, platform: Platform) -> None:
    """What will happen, in sentences, then as files, then as a diff."""
    pairs: tuple[DesiredPair, ...] = ()
    planned = Plan()
    if found.seen is not None:
        seen = replace(found.seen, config=found.wanted)
        pairs = world.decide(seen)
        planned = world.reconciler(seen, pairs, by="specd install").plan()
    print()
    for sentence in _sentences(found, pairs, planned):
        print(wrap(sentence, width(), ""))
    print("\nspecd will write")
    _will_write(platform.file(), "starts it at login")
    if found.new:
        there = found.config_path.exists()
        what = "your pairs, beside what it holds" if there else "what you want, every key explained"
        _will_write(found.config_path, what)
    _will_write(places.state_dir(), "log, journal with undo, measurements")
    if planned.edits:
        changes = "and change in LM Studio's files (`specd restore --all` undoes it)"
        print(f"\n{wrap(changes, width(), '')}\n")
    diff.print_plan(planned, pairs, as_json=False)
    for each in planned.edits:
        if each.path.exists() and not each.path.stat().st_mode & 0o222:
            complain(f"{each.path} is read-only: make it writable (chmod u+w); specd waits")
    surfaces = {each.surface for each in planned.blocked}
    if settings.NAME in surfaces:
        complain(f"{SAVE_SETTINGS}; specd waits")
    if surfaces - {settings.NAME}:
        complain(f"{SAVE_DEFAULTS}; specd waits")


def _sentences(found: _Found, pairs: tuple[DesiredPair, ...], planned: Plan) -> Iterator[str]:
    """What the user should know before the question, one sentence each."""
    yield (
        "specd keeps the values that you want in LM Studio's files, and puts one back when another "
        "program changes it."
    )
    models = found.seen.world.models if found.seen is not None else ()
    for edited, change in ((file, each) for file in planned.edits for each in file.changes):
        old = change.shown_old
        # An empty name is LM Studio's own way to say that there is no draft.
        if model_defaults.drafts(change.key) and isinstance(old, str) and old:
            draft = names.lookup(old, models)
            if draft is not None and change.new == draft.identifier:
                continue  # the same draft, its name in full
            app, why = homes.app_of(edited.path), _why_replaced(old, models, found.offers)
            new = "takes it out" if change.new is ABSENT else f"replaces it with {change.new}"
            yield f"{app} names the draft {old}{why}: specd {new}."
    if any(pair.speculates and pair.main and pair.main.format == "mlx" for pair in pairs):
        yield "An MLX model with a draft answers one request at a time."
    if found.wanted.benchmark.schedule:
        daily = re.fullmatch(r"(\d+) (\d+) \* \* \*", found.wanted.benchmark.schedule)
        when = f"at {int(daily[2]):02}:{int(daily[1]):02}" if daily else "by its schedule"
        yield (
            f"A benchmark runs {when}, when the computer is idle; "
            "`specd config set benchmark.schedule ''` turns it off."
        )


def _why_replaced(name: str, models: tuple[Model, ...], offers: Sequence[_Offer]) -> str:
    """Why specd replaces a draft that the user set; "" where the user chose another."""
    draft = names.lookup(name, models)
    if draft is None:
        return ", which is not installed"
    proven = proposal.name(draft, models) in [offer.draft for offer in offers]
    return "" if proven else ", which is not proven right"


def _will_write(path: Path, what: str) -> None:
    print(f"  {wrap(f'{short(str(path))} ({what})', width(), ' ' * 4)}")


# -- after it -------------------------------------------------------------------------------------


def _write_and_start(found: _Found, platform: Platform) -> int:
    print()
    known = Journal(places.journal_dir(places.state_dir())).newest()
    if found.new:
        write(found.config_path, lambda there: _with_pairs(there, found.wanted.pair))
        say(f"wrote {found.config_path}")
    for line in platform.install(_program(found.wanted)):
        say(line)
    if alive.report_start() != DONE:
        return FAILED
    _say_how_it_stands(known, found.download)
    return DONE


def _with_pairs(text: str | None, pairs: Sequence[Pair]) -> str:
    """The text of a specd.toml with these pairs too; ``text`` is the present one, if any."""
    if text is None:
        return edit.new_text(pairs)
    for pair in pairs:
        for key in ("draft", "draft_tokens"):
            text = edit.set_value(text, f"pair.{pair.main}.{key}", str(getattr(pair, key)))
    return text


def _say_how_it_stands(known: int, download: str) -> None:
    """Print every write since the journal's number ``known``, the faults, and the next steps."""
    end = time.monotonic() + SETTLES_S
    while _at_work(status := ask.ask("GET", "/v1/status")) and time.monotonic() < end:
        time.sleep(0.1)
    written = [entry for entry in ask.ask("GET", "/v1/journal") if entry["id"] > known]
    for entry in reversed(written):
        keys = ", ".join(change["key"] for change in worth_showing(entry["changes"]))
        text = f"wrote {keys} in {entry['path']} (undo: specd restore {entry['id']})"
        print(wrap(text, width(), "  "))
    for condition in faults(status):
        text = short(f"{condition['type']}: {condition['message']}")
        print(wrap(text, width(), "  "))
        print(f"  → {wrap(short(condition['remedy']), width(), ' ' * 4)}")
    steps = [f"{download}; then run `specd install` again"] if download else []
    if status["held"]:
        steps.append("`specd apply` sets again what you restored; until then it is left alone")
    surfaces = {entry["surface"] for entry in written}
    if settings.NAME in surfaces:
        steps.append("if LM Studio is running, restart it: it reads settings.json at its start")
    if model_defaults.NAME in surfaces:
        steps.append("load the model in LM Studio again")
    if any(pair["draft"] for pair in status["pairs"]):
        steps.append("`specd bench` measures what the draft gains")
    print(paint("\nNext", "bold"))
    undo = "`specd uninstall --restore-settings` puts LM Studio's files back and ends the service"
    steps += ["`specd status` shows how things stand", undo]
    for step in steps:
        print(f"  {wrap(step, width(), ' ' * 4)}")


def _at_work(status: dict[str, Any]) -> bool:
    """Whether the daemon is about to write, or still compares tokenizers for that."""
    found = {(each["type"], each["reason"]) for each in status["conditions"]}
    return ("HomeFound", "NotLooked") in found or bool(
        {"Drifted", "Comparing"} & {reason for _, reason in found}
    )


def _program(wanted: SpecdConfig) -> program.Program:
    return program.this_one(homes.find_home(wanted.lmstudio.home))

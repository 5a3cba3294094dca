"""``specd install``: find out, show, ask once, write, start, and see that it works."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from specd import config, places
from specd.cli import alive, ask, world
from specd.cli.change import diff
from specd.cli.paint import safe, short, width, wrap
from specd.cli.parser import Parser
from specd.config import ConfigError, SpecdConfig, edit
from specd.files.swap import SwapError, update
from specd.lmstudio import home as homes
from specd.lmstudio import names
from specd.reconcile import survey
from specd.reconcile.journal import Journal
from specd.service import program, proposal
from specd.service.command import ServiceError
from specd.service.platforms import PLATFORMS, Platform, here

DONE, FAILED, BAD_INPUT = 0, 1, 2

SETTLES_S = 10.0
"""How long to wait for the daemon's first writes, so that they can be told."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What is there, and what is to come: ``text`` is the new specd.toml, None to keep the old."""

    config_path: Path
    wanted: SpecdConfig
    text: str | None
    facts: tuple[tuple[str, str], ...]
    seen: world.Seen | None


def parser() -> Parser:
    """The arguments of ``specd install``."""
    made = Parser(
        prog="specd install",
        description="Set specd up: propose a configuration from what is found, show what will "
        "change, ask once, and start the login service. Run it again after an upgrade.",
        examples=(
            "specd install",
            "specd install --yes",
            "specd install --print --platform macos",
        ),
        exit_codes={0: "done", 1: "something refused", 2: "bad input or no answer"},
    )
    made.add_argument("--yes", action="store_true", help="do not ask")
    made.add_argument(
        "--print", action="store_true", help="print the service's file and change nothing"
    )
    made.add_argument(
        "--platform", choices=tuple(PLATFORMS), help="with --print: for this kind of machine"
    )
    return made


def run(args: argparse.Namespace) -> int:
    """Set everything up, or with ``--print`` show the service's file."""
    try:
        if args.platform and not args.print:
            print("specd: --platform goes with --print", file=sys.stderr)
            return BAD_INPUT
        platform = PLATFORMS[args.platform] if args.platform else here()
        if args.print:
            sys.stdout.write(platform.text(_program(_in_force())).decode())
            return DONE
        return _install(platform, sure=args.yes)
    except (ServiceError, SwapError, OSError) as problem:
        print(f"specd: {problem}", file=sys.stderr)
        return FAILED
    except world.Unusable as problem:
        print(f"specd: {problem}", file=sys.stderr)
        return BAD_INPUT
    except ConfigError as error:
        for line in error.lines():
            print(f"specd: {safe(line)}", file=sys.stderr)
        return BAD_INPUT


def _install(platform: Platform, *, sure: bool) -> int:
    other = alive.otherwise_than_as(platform)
    if other is not None:
        print(
            f"specd: a specd runs already (process {other}), not as a service; stop it first",
            file=sys.stderr,
        )
        return FAILED
    found = _look()
    for name, text in found.facts:
        print(f"{name:<15} {wrap(short(text), width(), ' ' * 16)}")
    print("\nspecd will write")
    _will_write(platform.file(), "starts it at login")
    if found.text is not None:
        _will_write(found.config_path, "what you want, every key explained")
    _will_write(places.state_dir(), "log, journal with undo, measurements")
    _show_changes(found)
    if not sure and not _agreed():
        return BAD_INPUT
    print()
    known = Journal(places.journal_dir(places.state_dir())).last_write()
    if found.text is not None:
        _write(found.config_path, found.text)
        print(safe(f"wrote {found.config_path}"))
    for line in platform.install(_program(found.wanted)):
        print(safe(line))
    if alive.wait_and_tell() != DONE:
        return FAILED
    return _tell_how_it_stands(known.id if known else 0)


def _look() -> _Found:
    path = places.config_file()
    loaded = config.read(path)
    home = homes.find_home(loaded.config.lmstudio.home)
    if isinstance(home, homes.NoHome):
        text = None if loaded.exists else edit.new_text()
        waits = ("LM Studio home", f"{home}; specd will wait for it")
        return _Found(path, loaded.config, text, (waits,), None)
    seen = world.look(loaded.config, home)
    facts: tuple[tuple[str, str], ...] = (
        ("LM Studio home", f"{home.path} ({home.how})"),
        ("models", f"{len(seen.world.models)} installed"),
    )
    if loaded.exists or loaded.config.pair:
        kept = ("configuration", f"{path if loaded.exists else loaded.managed} stays as it is")
        return _Found(path, loaded.config, None, (*facts, kept), seen)
    pairs, more = _proposed(seen)
    wanted = loaded.config.model_copy(update={"pair": pairs})
    return _Found(path, wanted, edit.new_text(pairs), (*facts, *more), replace(seen, config=wanted))


def _proposed(seen: world.Seen) -> tuple[tuple[config.Pair, ...], list[tuple[str, str]]]:
    """The pairs to propose, and what to say about them."""
    answer = survey.ask_server(seen.home, seen.config.lmstudio)
    served = [model.key for model in answer.models if model.loaded_instances]
    loaded = {
        model.key
        for model in seen.world.models
        if names.served_as(model, served, seen.world.models) is not None
    }
    asking = proposal.candidates(seen.world.models, loaded)
    resolved = world.decide(replace(seen, config=asking))
    chosen = proposal.propose(resolved, loaded)
    if not chosen:
        return (), [("pairs", "none: no installed main model has a draft that is proven right")]
    said = [
        (
            "pair",
            f"{pair.name}: {pair.why}"
            + (" (loaded now)" if pair.main and pair.main.key in loaded else ""),
        )
        for pair in chosen
    ]
    return tuple(pair.asked for pair in chosen), said


def _will_write(path: Path, what: str) -> None:
    print(f"  {short(str(path))}  ({what})")


def _show_changes(found: _Found) -> None:
    if found.seen is None:
        return
    pairs = world.decide(found.seen)
    planned = world.reconciler(found.seen, pairs, by="specd install").plan()
    if planned.edits:
        print("\nand change in LM Studio's files (`specd restore --all` undoes it)\n")
    diff.print_plan(planned, pairs, as_json=False)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        print(
            "specd: there is no terminal to ask on, so nothing was written; "
            "`specd install --yes` goes ahead",
            file=sys.stderr,
        )
        return False
    try:
        answer = input("\nGo on? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        return True
    print("nothing was written")
    return False


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    update(
        path,
        lambda there: text.encode() if there is None else None,
        before_write=lambda _path, _before, _after: None,
    )


def _tell_how_it_stands(known: int) -> int:
    """Every write to LM Studio's files since the journal's number ``known``, and what is wrong."""
    end = time.monotonic() + SETTLES_S
    while _at_work(status := ask.ask("GET", "/v1/status")) and time.monotonic() < end:
        time.sleep(0.1)
    for entry in reversed(ask.ask("GET", "/v1/journal")):
        if entry["id"] > known:
            keys = ", ".join(change["key"] for change in entry["changes"])
            print(safe(f"wrote {keys} in {entry['path']} (undo: specd restore {entry['id']})"))
    for condition in status["conditions"]:
        if condition["status"] == "false" and condition["severity"] == "state":
            print(short(f"{condition['type']}: {condition['message']}"))
            print(short(f"  → {condition['remedy']}"))
    return DONE


def _at_work(status: dict[str, Any]) -> bool:
    """Whether the daemon is about to write, or has yet to find out whether it may."""
    found = {(each["type"], each["reason"]) for each in status["conditions"]}
    return ("HomeFound", "NotLooked") in found or bool(
        {"Drifted", "Comparing"} & {reason for _, reason in found}
    )


def _in_force() -> SpecdConfig:
    try:
        return config.load(places.config_file())
    except ConfigError:
        # Printing the service's file needs no more than the home, and that is "auto" as a rule.
        return SpecdConfig()


def _program(wanted: SpecdConfig) -> program.Program:
    return program.this_one(homes.find_home(wanted.lmstudio.home))

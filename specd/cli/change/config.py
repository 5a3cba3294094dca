"""``specd config``: show, check and change specd.toml."""

from __future__ import annotations

import argparse
import difflib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from specd import config, places
from specd.cli.paint import complain, dumps, paint, safe, say, short, width
from specd.cli.parser import Parser
from specd.config import allowed, edit, problems, schema
from specd.files.swap import SwapError, update
from specd.lmstudio import home as homes
from specd.lmstudio import names
from specd.lmstudio.model import OWN_HEADS, Model
from specd.reconcile import survey

DONE, INVALID, BAD_INPUT = 0, 1, 2


parser = Parser(
    prog="specd config",
    description="Show, check and change specd.toml, which says what specd keeps applied.",
    examples=(
        "specd config set benchmark.schedule '0 3 * * *'",
        "specd config set pair.qwen3-8b.draft_tokens 4",
    ),
    exit_codes={0: "done", 1: "specd.toml is not valid", 2: "bad input"},
)
parser.add_argument("--config", type=Path, metavar="FILE", help="use this specd.toml")
verbs = parser.add_subparsers(
    dest="verb", required=True, metavar="{init,show,validate,path,get,edit,set,unset}"
)
init = verbs.add_parser("init", help="write a new specd.toml in which every key is explained")
init.add_argument("--print", action="store_true", help="print it instead of writing it")
show = verbs.add_parser("show", help="show every value in force and which file sets it")
show.add_argument("--json", action="store_true", help="print JSON")
check = verbs.add_parser("validate", help="check specd.toml, with line and key of each mistake")
check.add_argument("--json", action="store_true", help="print JSON")
verbs.add_parser("path", help="print where specd.toml is")
get = verbs.add_parser("get", help="print the value of one key that is in force")
get.add_argument("key", metavar="KEY", help="such as agent.notify or pair.MAIN.draft")
verbs.add_parser("edit", help="open specd.toml in $EDITOR, then check it")
change = verbs.add_parser("set", help="change one value and keep every comment")
change.add_argument("key", metavar="KEY", help="such as agent.notify or pair.MAIN.draft_tokens")
change.add_argument("value", metavar="VALUE", help="such as true, 4 or auto")
unset = verbs.add_parser("unset", help="take one key out, so that its default counts")
unset.add_argument("key", metavar="KEY", help="as for set; pair.MAIN takes a whole pair out")


def run(args: argparse.Namespace) -> int:
    """Carry out the verb; exit code 1 when specd.toml is not valid."""
    path = args.config.expanduser().absolute() if args.config else places.config_file()
    if args.verb == "path":
        print(path)
        return DONE
    verbs: dict[str, Callable[[], int]] = {
        "init": lambda: _init(path, only_print=args.print),
        "show": lambda: _show(path, as_json=args.json),
        "validate": lambda: _validate(path, as_json=args.json),
        "get": lambda: _get(path, args.key),
        "edit": lambda: _edit(path),
        "set": lambda: _set(path, args.key, args.value),
        "unset": lambda: _unset(path, args.key),
    }
    try:
        return verbs[args.verb]()
    except config.ConfigError as error:
        named = path if error.path == edit.NO_PATH else error.path
        for line in config.ConfigError(named, error.problems).lines():
            complain(line)
        return INVALID
    except (SwapError, edit.BadKey) as error:
        complain(error)
    except OSError as error:
        complain(f"{error.filename or path} cannot be written: {error.strerror or error}")
    return BAD_INPUT


def _init(path: Path, *, only_print: bool) -> int:
    text = edit.new_text()
    if only_print:
        print(text, end="")
        return DONE
    if path.exists() or path.is_symlink():
        complain(
            f"{path} is there already; `specd config show` shows it, "
            "`specd config init --print` what a new one would hold"
        )
        return BAD_INPUT
    write(path, lambda there: text if there is None else None)
    say(f"wrote {path}")
    return DONE


def _show(path: Path, *, as_json: bool) -> int:
    loaded = config.read(path)
    if as_json:
        shown = {
            "path": str(path),
            "exists": loaded.exists,
            "managed": str(loaded.managed) if loaded.managed else None,
            "config": asdict(loaded.config),
            "origins": dict(loaded.origins),
            "overruled": list(loaded.overruled),
        }
        print(dumps(shown))
        return DONE
    there = "" if loaded.exists else " (not there: every default counts)"
    over = [paint(f"# over {loaded.managed}", "grey")] if loaded.managed else []
    where = short(str(path)) if sys.stdout.isatty() else path
    for line in (paint(f"# {where}{there}", "grey"), *over, *_rows(loaded)):
        print(line)
    for key in loaded.overruled:
        complain(f"{key} in {path} is overruled: {loaded.managed} locks it")
    return DONE


def _rows(loaded: config.Loaded) -> list[str]:
    rows: list[str] = []
    for section, held in asdict(loaded.config).items():
        if section == "pair":
            for pair in held:
                rows += ["", paint("[[pair]]", "bold") + _from(loaded.origins["pair"])]
                rows += [f"{key} = {edit.toml(value)}" for key, value in pair.items()]
            continue
        rows += ["", paint(f"[{section}]", "bold")]
        for key, value in held.items():
            row = f"{key} = {edit.toml(value)}"
            from_ = _from(loaded.origins[f"{section}.{key}"])
            rows.append(f"{row:<{min(40, width() - 12)}}{from_}")
    return rows


def _from(origin: str) -> str:
    return paint(f"  # {origin}", "grey" if origin == "default" else "green")


def _validate(path: Path, *, as_json: bool) -> int:
    try:
        loaded = config.read(path)
    except config.ConfigError as error:
        if not as_json:
            raise
        problems = [
            {"file": str(error.path), "line": each.line, "key": each.key, "message": each.message}
            for each in error.problems
        ]
        print(dumps({"valid": False, "problems": problems}))
        return INVALID
    if as_json:
        print(dumps({"valid": True, "problems": []}))
    elif loaded.exists:
        say(f"{path} is valid")
    else:
        say(f"there is no {path}: every default counts; `specd config init` writes one")
    return DONE


def _get(path: Path, key: str) -> int:
    loaded = asdict(config.read(path).config)
    key = _in_full(path, key)
    section, _, name = key.partition(".")
    held: Any = loaded.get(section)
    if section == "pair" and name:
        main, name = edit.split(key)
        at = edit.index({"pair": list(held)}, main)
        held = None if at is None else held[at]
    if isinstance(held, dict) and name:
        held = held.get(name)
    if held is None:
        mains = ", ".join(f"pair.{pair['main']}" for pair in loaded["pair"]) or "no [[pair]]"
        near = problems.nearest(key, [*allowed.sections(), *schema.keys()])
        near = f"; specd.toml has {mains}" if section == "pair" else near
        raise edit.BadKey(f"there is no {key}{near or '; `specd config show` lists them'}")
    if isinstance(held, str):
        print(safe(held))
    elif isinstance(held, dict):
        print("\n".join(f"{name} = {edit.toml(value)}" for name, value in held.items()))
    elif isinstance(held, tuple | list):
        print("\n".join(safe(pair["main"]) for pair in held))
    else:
        print(edit.toml(held))
    return DONE


def _edit(path: Path) -> int:
    if not path.exists():
        _init(path, only_print=False)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    # The shell splits it into words, as it does for git.
    command = ["/bin/sh", "-c", f'{editor} "$1"', "sh", str(path)]
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        complain(f"the editor ({editor}) ended with {code}; `specd config validate` checks {path}")
        return BAD_INPUT
    return _validate(path, as_json=False)


def _set(path: Path, key: str, value: str) -> int:
    text = config.reading.content(path)
    key = _in_full(path, key, by_part=False)
    notes = _notes(path, key, value)
    _refuse_second(path, key, value)
    _change(path, lambda there: edit.set_value(there, key, value))
    unchanged = text is not None and text == config.reading.content(path)
    say(f"{path}: {key} = {value or edit.toml('')}{' (as it was)' if unchanged else ''}")
    loaded = config.read(path)
    if key in loaded.overruled:
        complain(f"{key} has no effect: the machine's policy locks it")
    for note in notes:
        complain(note)
    home = homes.find_home(loaded.config.lmstudio.home)
    if key == "lmstudio.home" and isinstance(home, homes.NoHome):
        complain(f"{home}; specd waits for it")
    return DONE


def _unset(path: Path, key: str) -> int:
    key = _in_full(path, key)
    _change(path, lambda there: edit.unset_value(there, key))
    main, name = edit.split(key)
    gone = "is not set any more; its default counts"
    say(f"{path}: {key} {'is taken out' if main and not name else gone}")
    return DONE


def _change(path: Path, made: Callable[[str], str]) -> None:
    def text(there: str | None) -> str:
        return made(edit.new_text() if there is None else there)

    text(config.reading.content(path))  # before a folder is made for a wrong key
    write(path, text)


def write(path: Path, made: Callable[[str | None], str | None]) -> None:
    """Replace the text of specd.toml; ``made`` gets the present one, and returns None to keep it.

    The journal does not keep the old text: it is the user's own file, changed at their command.

    Raises:
        SwapError, OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def transform(there: bytes | None) -> bytes | None:
        text = made(None if there is None else there.decode("utf-8"))
        return None if text is None else text.encode()

    update(path, transform, before_write=lambda _path, _before, _after: None)


def _in_full(path: Path, key: str, *, by_part: bool = True) -> str:
    """``key`` with its section where only one has it, and a pair's main as in specd.toml.

    ``by_part``: a word that means no installed model may be a part of a pair's main.
    """
    main, name = edit.split(key)
    if not main:
        sections = [each for each in allowed.sections() if key in allowed.names(each)]
        return f"{sections[0]}.{key}" if len(sections) == 1 and sections != ["pair"] else key
    mains = [pair.main for pair in config.read(path).config.pair]
    if main.isdecimal():  # a pair's place, counted from one
        at = int(main) - 1
        if not 0 <= at < len(mains) or mains.count(mains[at]) > 1:
            return key
        main = mains[at]
    if main.lower() in map(str.lower, mains):
        return ".".join(filter(None, ("pair", main, name)))
    installed = _installed(path)
    meant = names.lookup(main, installed)
    if meant is not None:
        same = [each for each in mains if names.lookup(each, installed) == meant]
    else:
        same = [each for each in mains if by_part and main.lower() in each.lower()]
    return ".".join(filter(None, ("pair", same[0] if len(same) == 1 else main, name)))


def _notes(path: Path, key: str, value: str) -> list[str]:
    """Warnings about names of models.

    Raises:
        edit.BadKey: the pair's name is a typo.
    """
    main, name = edit.split(key)
    if not (main and name):  # of another section, or no key at all
        return []
    installed = _installed(path)
    notes: list[str] = []
    if name in ("main", "draft") and value not in ("auto", OWN_HEADS):
        if problem := _problem(value, installed):
            notes.append(str(problem))
        elif name == "draft" and names.resolve(value, installed) == names.lookup(main, installed):
            notes.append(f"{value} cannot draft for itself")
    mains = [pair.main for pair in config.read(path).config.pair]
    if main.isdecimal() or main.lower() in map(str.lower, mains):
        return notes
    unknown = _problem(main, installed)
    if unknown is None:
        return notes
    if isinstance(unknown, names.Ambiguous):
        raise edit.BadKey(str(unknown))
    if not mains:
        return [*notes, f"{unknown}; the pair waits for it"]
    short_names = {each.lower().rpartition("/")[2]: each for each in mains}
    near = difflib.get_close_matches(main.lower().rpartition("/")[2], short_names, n=1, cutoff=0.5)
    if near:
        meant = f"pair.{short_names[near[0]]}.{name}"
        raise edit.BadKey(f"there is no pair and no installed model {main}; did you mean {meant}?")
    later = "`specd config edit` adds a pair for a model to come"
    raise edit.BadKey(f"specd.toml has no pair for {main}, and {unknown}; {later}")


def _refuse_second(path: Path, key: str, value: str) -> None:
    """Raise ``edit.BadKey`` where ``key`` is a pair's main, and another pair has that main."""
    main, name = edit.split(key)
    if name != "main":
        return
    installed = _installed(path)
    meant = names.lookup(value, installed)
    for each in (pair.main for pair in config.read(path).config.pair):
        same = meant is not None and names.lookup(each, installed) == meant
        if each.lower() != main.lower() and (same or each.lower() == value.lower()):
            raise edit.BadKey(f"specd.toml has a pair for {value} already: pair.{each}")


def _problem(name: str, installed: tuple[Model, ...]) -> names.NameProblem | None:
    """Why a name means no installed model; None if it means one."""
    try:
        names.resolve(name, installed)
    except names.NameProblem as problem:
        return problem
    return None


def _installed(path: Path) -> tuple[Model, ...]:
    home = homes.find_home(config.read(path).config.lmstudio.home)
    return survey.look(home, places.state_dir()).models

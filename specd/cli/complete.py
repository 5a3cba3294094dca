"""Shell completion of commands, options, models, keys, values and conditions.

The shell calls ``specd`` with ``$_ARGCOMPLETE`` set at every press of the tab key, so only the
command on the line is imported, and names are looked up only where one can stand.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection
from typing import TYPE_CHECKING

import argcomplete

from specd.cli.commands import ALIASES, COMMANDS
from specd.cli.parser import Parser, inner

if TYPE_CHECKING:
    import argparse

    from specd.config import SpecdConfig


def answer() -> None:
    """Print the completions for the shell, and exit."""
    line = os.environ.get("COMP_LINE", "")
    try:
        words = shlex.split(line)
    except ValueError:  # a quote is still open
        words = line.split()
    argcomplete.autocomplete(every(words[1:2]), always_complete_options=False)


def every(loaded: Collection[str]) -> Parser:
    """One parser of all commands; those in ``loaded`` with their arguments."""
    made = Parser(prog="specd", description="Keep speculative decoding in LM Studio right and on.")
    verbs = made.add_subparsers(dest="command", metavar="COMMAND")
    aliases = {word: COMMANDS[ALIASES[word]] for word in loaded if word in ALIASES}
    for name, command in (COMMANDS | aliases).items():
        if name not in loaded:
            verbs.add_parser(name, help=command.about)
            continue
        own = command.load().parser
        joined = verbs.add_parser(
            name, parents=[own], add_help=False, help=command.about, description=own.description
        )
        joined.epilog = own.epilog
        for each in inner(joined):
            for action in each._actions:  # noqa: SLF001 - argparse offers no public way to list them
                completer = _COMPLETERS.get(str(action.metavar))
                if completer is not None:
                    action.completer = completer  # type: ignore[attr-defined]
    return made


def _models(but: str = "", **_: object) -> list[str]:
    """The keys of the installed models, without that of the model that ``but`` means."""
    from specd import places  # noqa: PLC0415 - only where a model may stand
    from specd.lmstudio import models, names  # noqa: PLC0415
    from specd.lmstudio.home import Home, find_home  # noqa: PLC0415
    from specd.reconcile import survey  # noqa: PLC0415

    home = find_home(_configuration().lmstudio.home)
    if not isinstance(home, Home):
        return []
    known = models.stored(places.state_dir() / "models.json")
    installed = models.index(survey.models_folder(home), known).models
    without = names.lookup(but, installed) if but else None
    return [model.key for model in installed if model != without]


def _drafts(*, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    return _models(parsed_args.main or "")


def _keys(**_: object) -> list[str]:
    from specd.config import allowed  # noqa: PLC0415 - only where a key may stand

    mains = [pair.main for pair in _configuration().pair]
    return [
        f"{section}{main}.{key}"
        for section in allowed.sections()
        for main in ([f".{each}" for each in mains] if section == "pair" else [""])
        for key in allowed.names(section)
    ]


def _values(*, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    from specd.config import allowed  # noqa: PLC0415 - only where a value may stand

    section, _, rest = parsed_args.key.partition(".")
    main, _, name = rest.rpartition(".")
    if section not in allowed.sections() or name not in allowed.names(section):
        return []
    if section != "pair" or name not in ("main", "draft"):
        return list(allowed.values(section, name))
    return [*allowed.values(section, name), *_models(main if name == "draft" else "")]


def _writes(**_: object) -> dict[str, str]:
    from specd import places  # noqa: PLC0415 - only where a write may stand
    from specd.reconcile.journal import Journal  # noqa: PLC0415

    there = places.journal_dir(places.state_dir())
    entries = Journal(there).entries() if there.is_dir() else ()
    return {str(each.id): f"{each.time[:16]} {each.path.name}" for each in entries}


def _runs(**_: object) -> dict[str, str]:
    from specd import places  # noqa: PLC0415 - only where a run may stand
    from specd.bench.history import History  # noqa: PLC0415

    path = places.history_path(places.state_dir())
    runs = History(path).runs(100) if path.is_file() else ()
    return {str(each.id): f"{each.result.main} ← {each.result.draft}" for each in runs}


def _configuration() -> SpecdConfig:
    from specd.cli import world  # noqa: PLC0415 - only where a name may stand

    return world.configuration_or_default()


def _topics(**_: object) -> list[str]:
    from specd.reconcile.conditions import CONDITIONS  # noqa: PLC0415 - only where one may stand

    return [*(each.type for each in CONDITIONS), *_models()]


_COMPLETERS = {
    "MAIN": _models,
    "DRAFT": _drafts,
    "MODEL": _models,
    "KEY": _keys,
    "VALUE": _values,
    "ID": _writes,
    "RUN": _runs,
    "CONDITION|MODEL|PAIR": _topics,
}
"""By an argument's metavar."""

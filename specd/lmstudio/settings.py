"""The surface settings.json: what the app's own settings should say.

specd keeps at most three values there, and leaves every other byte alone:

- ``settings_key`` of specd.toml (a dotted path; "" leaves it out): ``true`` while speculation is
  wanted, ``false`` while it is not;
- ``chat.visualizeSpeculativeDecoding``: as wanted, also while speculation is off, since it colours
  the tokens of whatever draft a chat may have of its own;
- ``userInterfaceComplexityLevel``: only ever raised, only when a level was asked for.

A scalar of the wrong type where one of them belongs is replaced: the app reads it as broken anyway.
A list or an object in its place, or anything but an object on the way to it, is not understood, and
the file is left as it is. A file that is not there is not made: only the app knows what else must
stand in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from specd import config
from specd.files.pointer import ABSENT, Edit, Json
from specd.lmstudio import keys
from specd.lmstudio.surface import Content, Problem, Target, Wanted, Wish, mismatch

NAME: Final = "settings"


def path(home: Path) -> Path:
    """Where the app's settings are."""
    return home / keys.SETTINGS


def targets(wanted: Wanted) -> Iterable[Target]:
    """The one file there is."""
    return (
        Target(
            NAME,
            path(wanted.home),
            lambda current: wishes(wanted.home, wanted.speculation, current),
        ),
    )


def wishes(
    home: Path, speculation: config.Speculation, current: Content
) -> tuple[Wish, ...] | Problem:
    """What settings.json should hold, given what it holds (``ABSENT``: there is none)."""
    file = path(home)
    if current is ABSENT:
        return Problem(
            file,
            f"{file} does not exist; LM Studio writes it when it is first started, and specd "
            "fills in its values then",
        )
    if not isinstance(current, dict):
        return mismatch(file, "", current, "an object")
    wanted = _wanted(speculation, current)
    for at, _, _ in wanted:
        problem = _misfit(file, current, at)
        if problem is not None:
            return problem
    return tuple(Wish(NAME, file, _dotted(at), Edit(at, value), why) for at, value, why in wanted)


def _wanted(
    speculation: config.Speculation, current: dict[str, Json]
) -> list[tuple[tuple[str, ...], Json, str]]:
    switch = tuple(speculation.settings_key.split(".")) if speculation.settings_key else ()
    wanted: list[tuple[tuple[str, ...], Json, str]] = []
    if switch and switch != keys.VISUALIZE:
        why = "speculation is wanted" if speculation.enabled else "speculation is switched off"
        wanted.append((switch, speculation.enabled, f"{why} (specd.toml: enabled)"))
    wanted.append((keys.VISUALIZE, speculation.visualize, "specd.toml: visualize"))
    level = speculation.ui_level
    if level != "keep" and switch != keys.UI_LEVEL:
        found = current.get(keys.UI_LEVEL[0])
        high_enough = (
            isinstance(found, int | float) and not isinstance(found, bool) and found >= level
        )
        if not high_enough:
            wanted.append((keys.UI_LEVEL, level, "specd.toml: ui_level, the lowest wanted"))
    return wanted


def _misfit(file: Path, current: dict[str, Json], at: tuple[str, ...]) -> Problem | None:
    """What stands in the way of setting the scalar ``at``."""
    value: Content = current
    for depth, step in enumerate(at):
        if value is ABSENT:
            return None
        if not isinstance(value, dict):
            return mismatch(file, _dotted(at[:depth]), value, "an object")
        value = value.get(step, ABSENT)
    if isinstance(value, dict | list):
        return mismatch(file, _dotted(at), value, "a single value")
    return None


def _dotted(at: tuple[str, ...]) -> str:
    return ".".join(at)

"""The surface settings.json: specd's values in the app's own settings.

specd keeps at most three values there, and leaves every other byte alone:

- ``settings_key`` of specd.toml (a dotted path; "" leaves it out): ``true`` while speculation is
  enabled. Once speculation is switched off, or another key is configured, specd's value goes back
  to what stood there before;
- ``chat.visualizeSpeculativeDecoding``: as configured, also while speculation is off, since it
  colours the tokens of any draft that the user chose for a chat;
- the interface level, only with ``ui_level`` in specd.toml, and only raised: ``developerMode``
  where the file has it, since it replaced the levels, else ``userInterfaceComplexityLevel``.

A scalar of the wrong type in one of these places is replaced: the app cannot use it anyway. If a
list or an object stands there, or anything but an object above it, the file is left as it is.
settings.json is never created: only the app knows what else it must hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from specd import config
from specd.files.pointer import ABSENT, Edit, Json
from specd.lmstudio import keys
from specd.lmstudio.surface import Before, Content, Desired, DesiredValue, Misfit, Target, check
from specd.lmstudio.values import members

NAME: Final = "settings"
_LEVELS: Final = (keys.DEVELOPER_MODE, keys.UI_LEVEL)

_Value: TypeAlias = tuple[tuple[str, ...], Json, str]
"""(place, value, why) of a value that specd keeps."""


def path(home: Path) -> Path:
    """Where the app's settings are."""
    return home / keys.SETTINGS


def targets(desired: Desired) -> Iterator[Target]:
    """The settings of each app."""
    on = desired.speculation.enabled
    why = "specd.toml: settings_key" if on else "specd.toml: enabled = false"
    for app in desired.apps:
        own = app.settings == path(desired.home)
        values = partial(desired_values, desired.speculation, own=own)
        yield Target(NAME, app.settings, values, why)


def desired_values(
    speculation: config.Speculation, current: Content, _before: Before, *, own: bool = True
) -> tuple[DesiredValue, ...]:
    """What a settings file should hold, given its content (``ABSENT``: no file).

    ``own``: it is LM Studio's; whether the other app ever writes such a file is not known.

    Raises:
        Misfit: LM Studio has not written it yet, or it cannot be edited.
    """
    if current is ABSENT:
        if not own:
            return ()
        raise Misfit(
            "it does not exist; LM Studio writes it when it is first started, and specd fills in "
            "its values then"
        )
    held = members(current)
    wanted = [*_wanted(speculation), *_level(speculation, held)]
    for at, *_ in wanted:
        check(current, at, "a single value")
    # A level that need not change stays as it is, also where specd set it.
    levels = [(at, held[at[0]], "specd.toml: ui_level") for at in _LEVELS if at[0] in held]
    wanted += [each for each in levels if each[0] not in [at for at, _, _ in wanted]]
    return tuple(DesiredValue(".".join(at), Edit(at, value), why) for at, value, why in wanted)


def _wanted(speculation: config.Speculation) -> Iterator[_Value]:
    if speculation.settings_key and speculation.enabled:
        switch = tuple(speculation.settings_key.split("."))
        yield switch, True, "specd.toml: settings_key, while speculation is enabled"
    yield keys.VISUALIZE, speculation.visualize, "specd.toml: visualize"


def _level(speculation: config.Speculation, current: dict[str, Json]) -> Iterator[_Value]:
    level = speculation.ui_level
    if level == "keep":
        return
    why = "specd.toml: ui_level, the lowest wanted"
    if keys.DEVELOPER_MODE[0] in current:
        if level > 0 and current[keys.DEVELOPER_MODE[0]] is not True:
            yield keys.DEVELOPER_MODE, True, why
        return
    found = current.get(keys.UI_LEVEL[0])
    if isinstance(found, bool) or not isinstance(found, int | float) or found < level:
        yield keys.UI_LEVEL, level, why

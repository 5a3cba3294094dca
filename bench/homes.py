"""LM Studio homes to measure in, and a program that saves its settings in them as LM Studio does.

A save is the whole file with another counter in it, so that a restorer which writes back what it
read before the save is found out: the counter is an older one.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bench.seed_home import DRAFT, MAIN, seed_home
from specd.demo.place import Place

CONFIG = """\
[lmstudio]
server = "http://127.0.0.1:9"

[benchmark]
only_when_idle = false
schedule = ""
observe_conversations = false
"""
PAIR = '\n[[pair]]\nmain = "{main}"\ndraft = "{draft}"\ndraft_tokens = 3\n'

CONVERSATIONS = 1_000
CONVERSATION_BYTES = 1 << 20


@dataclass(frozen=True)
class Home(Place):
    """One contender's own world."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        """Python keeps what it compiled, also where the process that measures must not."""
        found = super().environment
        return {name: value for name, value in found.items() if not name.startswith("PYTHON")}


def lay_out(root: Path, *, pairs: int = 1) -> Home:
    """A home with the models of one Qwen3 user and ``pairs`` wanted pairs, the first of them real.

    The further mains are the first one under other names: hard links, which cost no space.
    """
    home = Home(root)
    seed_home(home.home)
    models = home.home / "models"
    wanted = [MAIN]
    for number in range(1, pairs):
        main = f"bench/Main-{number:03}-4bit"
        shutil.copytree(models / MAIN, models / main, copy_function=os.link)
        wanted.append(main)
    pairs_text = "".join(PAIR.format(main=main, draft=DRAFT) for main in wanted)
    home.config.write_text(CONFIG + (pairs_text if pairs else ""), encoding="utf-8")
    document = json.loads(home.settings.read_text(encoding="utf-8"))
    document["downloadsFolder"] = ""
    home.settings.write_text(json.dumps(document, indent=2, ensure_ascii=False), encoding="utf-8")
    return home


def fill(home: Home, *, conversations: int, files: int) -> None:
    """Put ``conversations`` of 1 MiB and ``files`` small files elsewhere into the home."""
    line = json.dumps({"type": "text", "text": "lorem ipsum " * 80, "fromDraftModel": False})
    text = ("[" + ",\n".join([line] * (CONVERSATION_BYTES // (len(line) + 2))) + "]").encode()
    folder = home.home / "conversations"
    folder.mkdir(exist_ok=True)
    for number in range(conversations):
        (folder / f"{1_764_000_000_000 + number}.conversation.json").write_bytes(text)
    for number in range(files):
        into = home.home / "hub" / f"{number // 100:03}"
        into.mkdir(parents=True, exist_ok=True)
        (into / f"{number:05}.json").write_bytes(b"{}")


Save: TypeAlias = Callable[[Path, bytes], float]
"""Saves and returns when the last step (closing, renaming) began, by ``time.perf_counter``.

What watches may be awake, and done, before the program that saved runs again.
"""


def save_in_place(path: Path, content: bytes) -> float:
    """Truncate and write, as most programs do."""
    with path.open("wb", buffering=0) as file:
        file.write(content)
        return time.perf_counter()


def save_by_rename(path: Path, content: bytes) -> float:
    """Write beside and rename over, as careful programs do."""
    beside = path.with_name(f"{path.name}.saving")
    beside.write_bytes(content)
    began = time.perf_counter()
    beside.replace(path)
    return began


SAVES: dict[str, Save] = {"in place": save_in_place, "by rename": save_by_rename}


class Settings:
    """settings.json as the app has it in memory: everything at the app's own values."""

    def __init__(self, home: Home) -> None:
        self._path = home.settings
        self._document: dict[str, Any] = json.loads(home.settings.read_bytes())
        self._document["configPresetInclusiveness"] = {"speculativeDecoding": False}
        self._document["chat"]["visualizeSpeculativeDecoding"] = False
        self.counter = 0

    def drifted(self) -> bytes:
        """The next save: another counter, and specd's values at the app's own."""
        self.counter += 1
        return json.dumps(
            {**self._document, "counter": self.counter}, indent=2, ensure_ascii=False
        ).encode()

    def restored(self) -> int | None:
        """The counter that stands in the file when both values are as wanted, else None."""
        try:
            document = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return None
        if document["configPresetInclusiveness"]["speculativeDecoding"] is not True:
            return None
        if document["chat"]["visualizeSpeculativeDecoding"] is not True:
            return None
        counter = document.get("counter")
        return counter if isinstance(counter, int) else 0

    def others_kept(self) -> bool:
        """Whether everything that is not specd's still says what the app last saved."""
        document = json.loads(self._path.read_bytes())
        expected = {**self._document, "counter": self.counter}
        for each in (document, expected):
            each.pop("configPresetInclusiveness")
        chat = {**document["chat"], "visualizeSpeculativeDecoding": False}
        return {**document, "chat": chat} == expected

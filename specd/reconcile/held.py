"""The values the user took back, which specd leaves alone until it is asked for them again.

They stand in one small file. One that is broken must not end in specd writing what the user does
not want: as long as it cannot be read, every value that the journal knows as taken back is held,
and before it is written anew it is moved aside.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from specd.files import private
from specd.reconcile.journal import Journal
from specd.reconcile.plan import HeldKey


class HeldKeys:
    """The held values, kept in the file at ``path``."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self._path = path
        self._journal = journal
        self._untold: str | None = None

    def read(self) -> frozenset[HeldKey]:
        """All of them; where the file cannot be read, at least all that the journal knows of."""
        try:
            held, problem = self._kept()
        except OSError:
            held, problem = frozenset(), "it cannot be read"
        return held | self._taken_back() if problem else held

    def hold(self, path: Path, keys: Iterable[str]) -> frozenset[HeldKey]:
        """Leave these values alone from now on; returns those that were not held before.

        Raises:
            OSError: it cannot be kept.
        """
        self._mend()
        known = self.read()
        newly = frozenset((str(path), key) for key in keys) - known
        if newly:
            self._write(known | newly)
        return newly

    def let_go(self, held: frozenset[HeldKey]) -> None:
        """Take these values under specd's care again."""
        if held:
            self._mend()
            self._write(self.read() - held)

    def release(self) -> None:
        """Take every value under specd's care again."""
        if self._path.exists():
            self._mend()
            self._write(frozenset())

    def mend(self) -> str | None:
        """Move a broken file aside, and keep what is known; a line for a person when there was one.

        Also when it was moved since the last call, by whatever had to write it anew.

        Raises:
            OSError: it cannot be read, moved or written; it is where it was.
        """
        self._mend()
        told, self._untold = self._untold, None
        return told

    def _mend(self) -> None:
        held, problem = self._kept()
        if problem is None:
            return
        known = held | self._taken_back()
        # Kept under both names until it is written anew: killed between, nothing is forgotten.
        aside = private.set_aside(self._path, by=private.name_twice)
        self._write(known)
        self._untold = (
            f"{self._path} was broken ({problem}) and lies at {aside} now; every value that was "
            "ever restored is left alone until `specd apply` or specd.toml asks for it"
        )

    def _kept(self) -> tuple[frozenset[HeldKey], str | None]:
        """What is understood of the file, and what is wrong with it."""
        try:
            listed = private.read_json(self._path)
        except private.Broken as broken:
            return frozenset(), str(broken)
        if not isinstance(listed, list | None):
            return frozenset(), "it holds no list"
        held = frozenset(
            (each[0], each[1])
            for each in listed or ()
            if isinstance(each, list) and len(each) == 2 and all(isinstance(e, str) for e in each)
        )
        whole = len(held) == len(listed or ())
        return held, None if whole else "not everything in it is a path with a key"

    def _taken_back(self) -> frozenset[HeldKey]:
        return frozenset(
            (str(entry.path), change.key)
            for entry in self._journal.entries()
            if entry.state == "restored"
            for change in entry.changes
        )

    def _write(self, held: frozenset[HeldKey]) -> None:
        private.write(self._path, json.dumps(sorted(held)).encode())

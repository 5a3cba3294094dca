"""Verdicts, cached by what the model files look like from outside.

One small JSON file per pair. It counts as long as every file that could change the verdict has the
size, time stamp and inode it had; looking one up costs a few ``stat`` calls and reads no model.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from specd.lmstudio.model import Model
from specd.tokenizer.verdict import Difference, Missing, Verdict

VERSION = 1

_TELLING = (".json", ".model", ".tiktoken", ".txt", ".safetensors", ".gguf", ".jinja")


class VerdictStore:
    """The verdicts under one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[str, tuple[list[Any], Verdict]] = {}

    def lookup(self, main: Model, draft: Model) -> Verdict | None:
        """The verdict on a pair, None when nobody has worked it out for these files."""
        found = self._find(main.path, draft.path)
        if found is None:
            return None
        return replace(found, main=main.key, draft=draft.key)

    def keep(self, main: Path, draft: Path, verdict: Verdict) -> None:
        """Keep a verdict for as long as the files stay as they are."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = self._file(main, draft)
        beside = kept.with_suffix(f".{os.getpid()}")
        record = {
            "version": VERSION,
            "identity": identity(main, draft),
            "verdict": asdict(verdict),
        }
        beside.write_text(json.dumps(record, ensure_ascii=True))
        beside.replace(kept)

    def _find(self, main: Path, draft: Path) -> Verdict | None:
        kept = self._file(main, draft)
        current = identity(main, draft)
        known = self._known.get(kept.name)
        if known is not None and known[0] == current:
            return known[1]
        try:
            record = json.loads(kept.read_bytes())
            if record["version"] != VERSION or record["identity"] != current:
                return None
            verdict = from_json(record["verdict"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        self._known[kept.name] = (current, verdict)
        return verdict

    def _file(self, main: Path, draft: Path) -> Path:
        name = hashlib.sha256(f"{main}\0{draft}".encode(errors="surrogateescape")).hexdigest()
        return self._directory / f"{name[:32]}.json"


def identity(main: Path, draft: Path) -> list[Any]:
    """What both models' telling files look like from outside: name, size, time stamp, inode."""
    return [_looks(main), _looks(draft)]


def _looks(path: Path) -> list[list[Any]]:
    try:
        files = [path] if path.is_file() else [e for e in path.iterdir() if e.suffix in _TELLING]
    except OSError:
        return []
    seen: list[list[Any]] = []
    for file in sorted(files):
        try:
            facts = file.stat()
        except OSError:
            continue
        seen.append([file.name, facts.st_size, facts.st_mtime_ns, facts.st_ino])
    return seen


def from_json(record: dict[str, Any]) -> Verdict:
    """A verdict from its own fields, as ``dataclasses.asdict`` gives them."""
    return Verdict(
        main=record["main"],
        draft=record["draft"],
        kind=record["kind"],
        reasons=tuple(record["reasons"]),
        differences=tuple(Difference(**each) for each in record["differences"]),
        difference_count=record["difference_count"],
        missing_in_draft=tuple(Missing(**each) for each in record["missing_in_draft"]),
        advice=tuple(record["advice"]),
        others=dict(record["others"]),
        validated=record["validated"],
    )

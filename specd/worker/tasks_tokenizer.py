"""Worker tasks about tokenizers: they read megabytes, and the daemon's memory should not move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from specd.tokenizer import fingerprint, store
from specd.tokenizer.compare import compare
from specd.tokenizer.fingerprint import Fingerprint, Unreadable
from specd.tokenizer.report import to_json
from specd.tokenizer.store import Known, VerdictStore
from specd.tokenizer.verdict import Verdict

HELD = 64
"""How many fingerprints are kept in memory at once; each takes some ten megabytes."""

Progress: TypeAlias = Callable[[dict[str, Any]], None]


def verdicts(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """``{"cache": dir, "pairs": [[main, draft], …]}`` (paths) → ``{"verdicts": […]}``."""
    reader = _Reader(VerdictStore(Path(request["cache"])))
    found: list[dict[str, Any]] = []
    pairs = [(Path(main), Path(draft)) for main, draft in request["pairs"]]
    for number, (main, draft) in enumerate(pairs):
        found.append(to_json(reader.judge(main, draft)))
        progress({"done": number + 1, "of": len(pairs)})
    return {"verdicts": found}


def classes(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """``{"cache": dir, "models": [path, …]}``: read them all, compare each tokenizer with each.

    ``{"classes": how many tokenizers they have between them}``.
    """
    reader = _Reader(VerdictStore(Path(request["cache"])))
    where: dict[str, Path] = {}
    paths = [Path(each) for each in request["models"]]
    for number, path in enumerate(paths):
        digest = reader.known(path).digest
        if digest is not None:
            where.setdefault(digest, path)
        progress({"done": number + 1, "of": len(paths)})
    for main in where.values():
        for draft in where.values():
            reader.judge(main, draft)
    return {"classes": len(where)}


class _Reader:
    """Reads each model once, and compares each two tokenizers once."""

    def __init__(self, kept: VerdictStore) -> None:
        self._store = kept
        self._held: dict[str, Fingerprint] = {}

    def known(self, path: Path) -> Known:
        """What is known of a model; it is read if need be."""
        return self._store.known(path) or self._read(path)

    def judge(self, main: Path, draft: Path) -> Verdict:
        """What the two models' files say of each other."""
        digests: list[str] = []
        for path in (main, draft):
            known = self.known(path)
            if known.digest is None:
                return Verdict(main.name, draft.name, "unknown", (f"{path.name}: {known.problem}",))
            digests.append(known.digest)
        one, other = digests
        verdict = self._store.verdict(one, other)
        if verdict is None:
            both = [self._fingerprint(path) for path in (main, draft)]
            verdict = compare(main.name, both[0], draft.name, both[1])
            self._store.keep_verdict(one, other, verdict)
        return verdict

    def _fingerprint(self, path: Path) -> Fingerprint:
        digest = self.known(path).digest or ""
        if digest not in self._held:
            self._hold(digest, fingerprint.read(path))
        return self._held[digest]

    def _read(self, path: Path) -> Known:
        looks, content = store.identity(path), store.content(path)
        try:
            read = fingerprint.read(path)
        except Unreadable as why:
            known = Known(None, str(why), content)
        else:
            digest = read.digest()
            self._hold(digest, read)
            known = Known(digest, "", content, read.family, read.count, read.vocab_size)
        self._store.keep_model(path, looks, known)
        return known

    def _hold(self, digest: str, read: Fingerprint) -> None:
        if len(self._held) >= HELD:
            self._held.pop(next(iter(self._held)))
        self._held[digest] = read

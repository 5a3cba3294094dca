"""Worker tasks about tokenizers: they read megabytes, and the daemon's memory should not move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from specd.tokenizer import fingerprint
from specd.tokenizer.compare import compare
from specd.tokenizer.fingerprint import Fingerprint, Unreadable
from specd.tokenizer.report import to_json
from specd.tokenizer.store import VerdictStore
from specd.tokenizer.verdict import Verdict


def verdicts(request: dict[str, Any], progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """``{"cache": dir, "pairs": [[main, draft], …]}`` (paths) → ``{"verdicts": […]}``."""
    store = VerdictStore(Path(request["cache"]))
    read: dict[Path, Fingerprint | Unreadable] = {}
    found: list[dict[str, Any]] = []
    pairs = [(Path(main), Path(draft)) for main, draft in request["pairs"]]
    for number, (main, draft) in enumerate(pairs):
        verdict = _judge(main, draft, read)
        store.keep(main, draft, verdict)
        found.append(to_json(verdict))
        progress({"done": number + 1, "of": len(pairs)})
    return {"verdicts": found}


def _judge(main: Path, draft: Path, read: dict[Path, Fingerprint | Unreadable]) -> Verdict:
    for path in (main, draft):
        if path not in read:
            try:
                read[path] = fingerprint.read(path)
            except Unreadable as error:
                read[path] = error
    one, other = read[main], read[draft]
    for each in (one, other):
        if isinstance(each, Unreadable):
            return Verdict(main.name, draft.name, "unknown", (str(each),))
    assert isinstance(one, Fingerprint)  # noqa: S101 - for the type checker: looked at above
    assert isinstance(other, Fingerprint)  # noqa: S101
    return compare(main.name, one, draft.name, other)

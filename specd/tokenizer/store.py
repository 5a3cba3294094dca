"""What was read, compared and proven, kept between runs in one SQLite file.

A model counts as read for as long as every telling file has the size, time stamp and inode it had.
What was read of it is named by a digest; verdicts are kept by the digests of main and draft, so a
thousand installed models with a dozen tokenizers between them need some hundred verdicts. A look-up
costs a few ``stat`` calls and reads no model. Everything here may be deleted; it is only work.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from specd.lmstudio.model import Model
from specd.tokenizer import engine, others
from specd.tokenizer.engine import Trimmable
from specd.tokenizer.verdict import Segmentation, Verdict, VerdictKind, from_record

VERSION = 1
"""Raised when the same files are to give other fingerprints or verdicts."""

_TELLING = (".json", ".model", ".tiktoken", ".txt", ".safetensors", ".gguf", ".jinja")
_WEIGHTS = (".safetensors", ".gguf")
_HASHED_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class Known:
    """What was read of one model.

    ``digest`` is its fingerprint's, None where the files do not tell, and ``problem`` says why.
    ``content`` is a digest of its files, weights by size and time stamp. ``family``, ``tokens``
    (how many) and ``vocab_size`` are the fingerprint's; ``config`` is a digest of config.json, ""
    where there is none.
    """

    digest: str | None
    problem: str
    content: str
    family: str = ""
    tokens: int = 0
    vocab_size: int = 0
    config: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """What MLX said of a pair: ``words`` for a person, ``refusal`` when it contradicts the files.

    ``whole`` tells that nothing is left to be tried when more memory is free; ``segmentation`` how
    differently the two split text.
    """

    words: str
    refusal: str = ""
    whole: bool = True
    segmentation: Segmentation | None = None


class VerdictStore:
    """The tokenizers' file under one directory; opened on first use."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "tokenizers.db"
        self._open: sqlite3.Connection | None = None
        self._known: dict[str, tuple[str, Known]] = {}
        self._verdicts: dict[tuple[str, str], Verdict] = {}

    def lookup(self, main: Model, draft: Model) -> Verdict | None:
        """The verdict on a pair, None when nobody has worked it out for these files."""
        for model in (main, draft):
            why = engine.unusable(model)
            if why is not None:
                return Verdict(main.key, draft.key, "unknown", (f"{model.key}: {why}",))
        why = engine.hopeless(main, draft)
        if why is not None:
            return Verdict(main.key, draft.key, "unsupported", (why,))
        one, other = self.known(main.path), self.known(draft.path)
        # One that does not tell decides, whether or not anybody has read the other.
        for model, known in ((main, one), (draft, other)):
            if known is not None and known.digest is None:
                reason = f"{model.key}: {known.problem}"
                return Verdict(main.key, draft.key, "unknown", (reason,))
        if one is None or other is None:
            return None
        found = self.verdict(one.digest or "", other.digest or "")
        if found is None:
            return None
        cache = self.cache(one) if main.format == "mlx" else None
        return _whole(main, draft, found, one, other, cache, self.proof(one, other))

    # -- models ---------------------------------------------------------------------------------

    def known(self, path: Path) -> Known | None:
        """What was read of the model at ``path``, None unless its files are as they were."""
        name, looks = str(path), identity(path)
        kept = self._known.get(name)
        if kept is None or kept[0] != looks:
            row = self._one("SELECT looks, record FROM models WHERE path = ?", name)
            if row is None or row[0] != looks:
                return None
            kept = looks, Known(**json.loads(row[1]))
            self._known[name] = kept
        return kept[1]

    def all_known(self) -> None:
        """Read every model's record at once, for callers who will ask for most of them."""
        for path, looks, record in self._database().execute(
            "SELECT path, looks, record FROM models"
        ):
            self._known[path] = looks, Known(**json.loads(record))

    def keep_model(self, path: Path, looks: str, known: Known) -> None:
        """Keep what was read; ``looks`` is the model's ``identity`` before it was read."""
        self._put("models", (str(path), looks, json.dumps(asdict(known))))

    # -- verdicts -------------------------------------------------------------------------------

    def verdict(self, main: str, draft: str) -> Verdict | None:
        """What two fingerprints, named by their digests, say of each other."""
        found = self._verdicts.get((main, draft))
        if found is None:
            row = self._one("SELECT record FROM verdicts WHERE main = ? AND draft = ?", main, draft)
            if row is None:
                return None
            found = self._verdicts[main, draft] = from_record(json.loads(row[0]))
        return found

    def kinds(self) -> dict[tuple[str, str], VerdictKind]:
        """Every kept verdict's kind, by the digests of main and draft."""
        rows = self._database().execute("SELECT main, draft, kind FROM verdicts")
        return {(main, draft): kind for main, draft, kind in rows}

    def keep_verdict(self, main: str, draft: str, verdict: Verdict) -> None:
        """Keep what two fingerprints say of each other."""
        self._put("verdicts", (main, draft, verdict.kind, json.dumps(asdict(verdict))))

    # -- what MLX says --------------------------------------------------------------------------

    def cache(self, main: Known) -> Trimmable | None:
        """What mlx-lm says of a main's KV cache, None when nobody has asked this version of it."""
        row = self._one("SELECT record FROM caches WHERE config = ?", _asked(main.config))
        if row is None:
            return None
        told = json.loads(row[0])
        return Trimmable(**{**told, "kinds": tuple(told["kinds"])})

    def keep_cache(self, main: Known, cache: Trimmable) -> None:
        """Keep what mlx-lm said."""
        self._put("caches", (_asked(main.config), json.dumps(asdict(cache))))

    def proof(self, main: Known, draft: Known) -> Proof | None:
        """What MLX said of models of this content, with the MLX that is installed now."""
        row = self._one(
            "SELECT record FROM proofs WHERE pair = ?", _asked(main.content, draft.content)
        )
        if row is None:
            return None
        told = json.loads(row[0])
        return Proof(
            **{
                **told,
                "segmentation": told["segmentation"] and Segmentation(**told["segmentation"]),
            }
        )

    def proven(self, main: Model, draft: Model) -> Proof | None:
        """What MLX said of a pair whose files are as they were then."""
        one, other = self.known(main.path), self.known(draft.path)
        return None if one is None or other is None else self.proof(one, other)

    def keep_proof(self, main: Known, draft: Known, proof: Proof) -> None:
        """Keep what MLX said."""
        self._put("proofs", (_asked(main.content, draft.content), json.dumps(asdict(proof))))

    # -- the file -------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _one(self, query: str, *values: str) -> Any:
        return self._database().execute(query, values).fetchone()

    def _put(self, table: str, values: tuple[str, ...]) -> None:
        places = ", ".join("?" * len(values))
        with self._database() as database:
            database.execute(f"INSERT OR REPLACE INTO {table} VALUES ({places})", values)  # noqa: S608 - the table names stand in this file

    def _database(self) -> sqlite3.Connection:
        if self._open is None:
            try:
                self._open = _connect(self._path)
            except sqlite3.DatabaseError:
                # Broken, or of another version: it holds nothing that cannot be worked out again.
                self._path.unlink(missing_ok=True)
                self._open = _connect(self._path)
        return self._open


def _whole(
    main: Model,
    draft: Model,
    found: Verdict,
    one: Known,
    other: Known,
    cache: Trimmable | None,
    proof: Proof | None,
) -> Verdict:
    """The fingerprints' verdict with what the engine, others and MLX have to say."""
    fits = found.usable
    opinions = {"mlx-engine": others.mlx_engine(one.vocab_size, other.vocab_size, fits=fits)}
    made = replace(
        found,
        main=main.key,
        draft=draft.key,
        advice=engine.advice(main, draft, cache),
        others={**opinions, **found.others},
    )
    refusal = engine.refusal(main, cache)
    if refusal is not None:
        kind: VerdictKind = "unsupported" if fits else found.kind
        reasons = (refusal, *found.reasons) if fits else (*found.reasons, refusal)
        made = replace(made, kind=kind, reasons=reasons)
    if proof is None:
        return made
    made = replace(
        made, validated=proof.words, segmentation=proof.segmentation or found.segmentation
    )
    if proof.refusal and made.usable:
        return replace(made, kind="incompatible", reasons=(proof.refusal, *made.reasons))
    return made


def identity(path: Path) -> str:
    """What a model's telling files look like from outside: name, size, time stamp, inode."""
    seen = [(name, facts.st_size, facts.st_mtime_ns, facts.st_ino) for name, facts in _files(path)]
    return json.dumps(seen, ensure_ascii=True, separators=(",", ":"))


def content(path: Path) -> str:
    """SHA-256 over a model's telling files; weights count by their size and time stamp."""
    hashed = hashlib.sha256()
    for name, facts in _files(path):
        hashed.update(f"{name}\0{facts.st_size}\0".encode("utf-8", "surrogateescape"))
        if name.endswith(_WEIGHTS) or facts.st_size > _HASHED_BYTES:
            hashed.update(f"{facts.st_mtime_ns}\0".encode())
            continue
        try:
            with (path / name).open("rb") as file:
                hashed.update(hashlib.file_digest(file, "sha256").digest())
        except OSError:
            continue
    return hashed.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """A model's telling files, by name: one GGUF file, or those in a folder."""
    try:
        with os.scandir(path) as entries:
            names = sorted(each.name for each in entries if each.name.endswith(_TELLING))
    except NotADirectoryError:
        yield path.name, os.stat(path)  # noqa: PTH116 - thousands of these
        return
    except OSError:
        return
    for name in names:
        try:
            facts = os.stat(f"{path}/{name}")  # noqa: PTH116 - thousands of these
        except OSError:
            continue
        yield name, facts


def _asked(*what: str) -> str:
    """Names what was asked of MLX: another version of it may say something else."""
    return hashlib.sha256("\0".join((*what, *_versions())).encode()).hexdigest()


@lru_cache(maxsize=1)
def _versions() -> tuple[str, ...]:
    from importlib.metadata import version  # noqa: PLC0415 - half of what a look-up imports

    return tuple(version(name) for name in ("mlx", "mlx-lm", "transformers"))


_TABLES = (
    "models (path TEXT PRIMARY KEY, looks TEXT NOT NULL, record TEXT NOT NULL)",
    "verdicts (main TEXT, draft TEXT, kind TEXT, record TEXT, PRIMARY KEY (main, draft))",
    "caches (config TEXT PRIMARY KEY, record TEXT NOT NULL)",
    "proofs (pair TEXT PRIMARY KEY, record TEXT NOT NULL)",
)


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=10)
    database.execute("PRAGMA journal_mode = WAL")
    (kept,) = database.execute("PRAGMA user_version").fetchone()
    if kept not in (0, VERSION):
        database.close()
        raise sqlite3.DatabaseError(f"{path} holds another version's work")
    if kept == 0:
        with database:
            for table in _TABLES:
                database.execute(f"CREATE TABLE IF NOT EXISTS {table} WITHOUT ROWID")
            database.execute(f"PRAGMA user_version = {VERSION}")
    return database

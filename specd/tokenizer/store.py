"""A cache of fingerprints, verdicts and proofs between runs, in one SQLite file.

A model's entry is valid while its relevant files keep their size, time stamp and inode. Verdicts
have the digests of main and draft as their key, so a thousand installed models with a dozen
tokenizers need about a hundred verdicts. A look-up costs a few ``stat`` calls and reads no model.
The file may be deleted; specd computes everything again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from msgspec import MsgspecError, convert

from specd.files import private
from specd.files.attributes import inode
from specd.lmstudio import gguf
from specd.lmstudio.model import Model
from specd.tokenizer import eligible
from specd.tokenizer.engines import llama_cpp, mlx
from specd.tokenizer.engines.mlx import Built
from specd.tokenizer.proof import Proof
from specd.tokenizer.verdict import (
    FITTING,
    EngineOpinion,
    Verdict,
    VerdictKind,
)

VERSION = 22
"""Increase this number when the same files give other fingerprints or verdicts."""

_Told = TypeVar("_Told")

_RELEVANT = (".json", ".model", ".tiktoken", ".txt", ".safetensors", ".gguf", ".jinja")
_WEIGHTS = (".safetensors", ".gguf")
_HASHED_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class Known:
    """The stored facts of one model.

    ``digest``: its fingerprint's, None if the files cannot be used; ``problem`` then says why.
    ``content``: a digest of its files, with weights by size and time stamp. ``family`` and
    ``tokens`` (their number) are the fingerprint's. ``config``: a digest of config.json and
    the weights' headers, "" for a GGUF file.
    """

    digest: str | None
    problem: str
    content: str
    family: str = ""
    tokens: int = 0
    config: str = ""


class Kinds(NamedTuple):
    """The verdict on two tokenizers by their tokens alone, and by each engine's rule."""

    tokens: VerdictKind
    mlx: VerdictKind
    gguf: VerdictKind


FILE = "tokenizers.db"


class VerdictStore:
    """The cache file in one directory; opened on first use.

    ``mlx_types`` are the model types that LM Studio's own mlx-lm loads, None if it was not found;
    ``llama_servers`` are its installed llama.cpp servers. ``kv_quantized`` returns the numbers
    that share a scale in a main's KV cache and the tokens after which it is quantized, None if new
    chats do not quantize it.
    """

    def __init__(self, directory: Path) -> None:
        self.mlx_types: frozenset[str] | None = None
        self.llama_servers: tuple[Path, ...] = ()
        self.kv_quantized: Callable[[Model], tuple[int, int] | None] = lambda _: None
        self._path = directory / FILE
        self._open: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._known: dict[str, tuple[str, Known]] = {}
        self._verdicts: dict[tuple[str, str], Verdict] = {}
        self._built: dict[str, Built] = {}

    def lookup(self, main: Model, draft: Model) -> Verdict | None:
        """The verdict on a pair; None if it was not computed for these files yet.

        For an MLX pair whose tokens fit, the records of ``built`` are needed too.
        """
        for model in (main, draft):
            why = eligible.unusable(model)
            if why is not None:
                return Verdict(main.key, draft.key, "unknown", (f"{model.key}: {why}",))
        why = eligible.hopeless(main, draft)
        if why is not None:
            return Verdict(main.key, draft.key, "unsupported", (why,))
        one, other = self.known(main.path), self.known(draft.path)
        # If one model is unreadable, the verdict is known without reading the other.
        for model, known in ((main, one), (draft, other)):
            if known is not None and known.digest is None:
                reason = f"{model.key}: {known.problem}"
                return Verdict(main.key, draft.key, "unknown", (reason,))
        if one is None or other is None:
            return None
        found = self.verdict(one.digest or "", other.digest or "")
        if found is None:
            return None
        built, drafting = self.built(one), self.built(other)
        both_built = built is not None and drafting is not None
        if main.format == "mlx" and found.kind in FITTING and not both_built:
            return None
        quantized = self.kv_quantized(main) if main.format == "mlx" else None
        pair = mlx.Pair(main, draft, built, drafting, self.mlx_types, *(quantized or (None, 0)))
        made = _with_engine(pair, found)
        return _with_proof(made, self.proof(one, other))

    def refuses_main(self, main: Model) -> str | None:
        """Why mlx-engine never speculates for a main; None if it may, or another engine runs it."""
        known = self.known(main.path) if main.format == "mlx" else None
        if known is None:
            return None
        return mlx.refuses_main(main, self.built(known), self.mlx_types)

    # -- models ---------------------------------------------------------------------------------

    def known(self, path: Path) -> Known | None:
        """The stored facts of the model at ``path``; None if its files have changed."""
        name, looks = str(path), identity(path)
        kept = self._known.get(name)
        if kept is None or kept[0] != looks:
            kept = self._one("SELECT looks, record FROM models WHERE path = ?", _seen, name)
            if kept is None or kept[0] != looks:
                return None
            self._known[name] = kept
        return kept[1]

    def all_known(self) -> None:
        """Read every model's records at once, for callers that need most of them."""
        query = "SELECT path, looks, record FROM models"
        self._known.update(self._rows(query, lambda row: (row[0], _seen(row[1:]))))
        query = "SELECT config, record FROM built WHERE versions = ?"
        self._built.update(
            self._rows(query, lambda row: (row[0], convert(json.loads(row[1]), Built)), _versions())
        )

    def keep_model(self, path: Path, looks: str, known: Known) -> None:
        """Store a model's facts; ``looks`` is the model's ``identity`` before it was read."""
        self._put("models", (str(path), looks, json.dumps(asdict(known))))

    # -- verdicts -------------------------------------------------------------------------------

    def verdict(self, main: str, draft: str) -> Verdict | None:
        """The verdict on two fingerprints, by their digests; None if it was not computed yet."""
        found = self._verdicts.get((main, draft))
        if found is None:
            query = "SELECT record FROM verdicts WHERE main = ? AND draft = ?"
            found = self._record(Verdict, query, main, draft)
            if found is not None:
                self._verdicts[main, draft] = found
        return found

    def kinds(self) -> dict[tuple[str, str], Kinds]:
        """The kinds of every stored verdict, by the digests of main and draft."""
        rows = self._rows("SELECT main, draft, tokens, mlx, gguf FROM verdicts", lambda row: row)
        return {(main, draft): Kinds(*kinds) for main, draft, *kinds in rows}

    def keep_verdict(self, main: str, draft: str, verdict: Verdict) -> None:
        """Store the verdict on two fingerprints."""
        kinds = [verdict.kind] * 2
        for number, name in enumerate((mlx.NAME, llama_cpp.NAME)):
            opinion = _named(verdict, name)
            if verdict.kind in FITTING and opinion.accepts is not True:
                kinds[number] = "unsupported" if opinion.objects else "unknown"
        self._put("verdicts", (main, draft, verdict.kind, *kinds, json.dumps(asdict(verdict))))

    # -- from MLX -------------------------------------------------------------------------------

    def built(self, model: Known) -> Built | None:
        """The model that the installed mlx-lm builds for a folder; None if not computed yet."""
        if not model.config:
            return None
        if model.config not in self._built:
            query = "SELECT record FROM built WHERE config = ? AND versions = ?"
            found = self._record(Built, query, model.config, _versions())
            if found is None:
                return None
            self._built[model.config] = found
        return self._built[model.config]

    def keep_built(self, model: Known, built: Built) -> None:
        """Store the model that mlx-lm builds."""
        self._built[model.config] = built
        self._put("built", (model.config, _versions(), json.dumps(asdict(built))))

    def proof(self, main: Known, draft: Known) -> Proof | None:
        """The proof of models with this content by the installed MLX; None if there is none."""
        query = "SELECT record FROM proofs WHERE main = ? AND draft = ? AND versions = ?"
        return self._record(Proof, query, main.content, draft.content, _versions())

    def proven(self, main: Model, draft: Model) -> Proof | None:
        """The proof of a pair whose files have not changed since; None if there is none."""
        one, other = self.known(main.path), self.known(draft.path)
        return None if one is None or other is None else self.proof(one, other)

    def disproven(self) -> frozenset[tuple[str, str]]:
        """The contents of mains and drafts whose proof failed."""
        query = "SELECT main, draft, record FROM proofs WHERE versions = ?"
        rows = self._rows(query, lambda row: row, _versions())
        return frozenset(
            (main, draft) for main, draft, record in rows if json.loads(record)["kind"] is not None
        )

    def keep_proof(self, main: Known, draft: Known, proof: Proof) -> None:
        """Store a proof."""
        record = json.dumps(asdict(proof))
        self._put("proofs", (main.content, draft.content, _versions(), record))

    # -- the file -------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _record(self, kind: type[_Told], query: str, *values: str) -> _Told | None:
        return self._one(query, lambda row: convert(json.loads(row[0]), kind), *values)

    def _one(self, query: str, understand: Callable[[Any], _Told], *values: str) -> _Told | None:
        """The parsed row; None if it is missing or damaged."""
        return next(iter(self._rows(query, understand, *values)), None)

    def _rows(self, query: str, understand: Callable[[Any], _Told], *values: str) -> list[_Told]:
        with self._sound():
            return [understand(row) for row in self._database().execute(query, values)]
        return []

    def _put(self, table: str, values: tuple[str, ...]) -> None:
        places = ", ".join("?" * len(values))
        for _ in range(2):
            with self._sound(), self._database() as database:
                database.execute(f"INSERT OR REPLACE INTO {table} VALUES ({places})", values)  # noqa: S608 - the table names stand in this file
                return

    @contextlib.contextmanager
    def _sound(self) -> Iterator[None]:
        """Run the block; if the file is damaged or of another version, start a new one and return.

        Everything in the file can be computed again.
        """
        try:
            yield
        except (sqlite3.Error, MsgspecError, ValueError, TypeError) as error:
            mine = isinstance(error, sqlite3.ProgrammingError | UnicodeEncodeError)
            if mine or getattr(error, "sqlite_errorcode", 0) & 0xFF in _NOT_THE_FILE:
                raise
            self._begin_anew()

    def _begin_anew(self) -> None:
        self.close()
        self._known.clear()
        self._verdicts.clear()
        self._built.clear()
        if inode(self._path) == self._inode:  # otherwise another process already started a new file
            for end in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + end).unlink(missing_ok=True)

    def _database(self) -> sqlite3.Connection:
        if self._open is not None and inode(self._path) != self._inode:
            self.close()  # the file was removed or replaced; the facts in memory stay valid
        if self._open is None:
            private.make_directory(self._path.parent)
            made = sqlite3.connect(self._path, timeout=10)
            self._inode = inode(self._path)
            try:
                _prepare(made)
            except BaseException:
                made.close()
                raise
            self._inode = inode(self._path)
            self._open = made
        return self._open


def _with_engine(pair: mlx.Pair, found: Verdict) -> Verdict:
    """The verdict on the tokens, completed by the engine that will run the pair."""
    main, draft = pair.main, pair.draft
    if main.format == "mlx":
        opinion = mlx.opinion(_named(found, mlx.NAME), pair)
    else:
        opinion = _named(found, llama_cpp.NAME)
    kind: VerdictKind = found.kind
    reasons = found.reasons
    if opinion.objects:
        fits = kind in FITTING
        kind = "unsupported" if fits else kind
        reasons = (opinion.why, *reasons) if fits else (*reasons, opinion.why)
    return replace(
        found,
        main=main.key,
        draft=draft.key,
        kind=kind,
        reasons=reasons,
        advice=eligible.advice(main, draft, pair.drafting),
        engines=(opinion,),
    )


def _named(found: Verdict, name: str) -> EngineOpinion:
    return next(each for each in found.engines if each.name == name)


def _with_proof(made: Verdict, proof: Proof | None) -> Verdict:
    if proof is None:
        return made
    made = replace(
        made, validated=proof.words, segmentation=proof.segmentation or made.segmentation
    )
    opinion = made.engine
    if opinion is None or not made.usable:
        return made
    if proof.kind is None:
        if opinion.text == "unknown" and proof.whole:
            seen = EngineOpinion(opinion.name, accepts=True, text="same", why="it was run")
            return replace(made, engines=(seen,))
        return made
    if proof.kind == "unsupported":
        accepts = proof.text == "may differ"
        opinion = EngineOpinion(opinion.name, accepts, proof.text, proof.refusal)
    reasons = (proof.refusal, *made.reasons)
    return replace(made, kind=proof.kind, reasons=reasons, engines=(opinion,))


def identity(path: Path) -> str:
    """Name, size, time stamp and inode of a model's relevant files, as one string."""
    seen = [(name, facts.st_size, facts.st_mtime_ns, facts.st_ino) for name, facts in files(path)]
    return json.dumps(seen, ensure_ascii=True, separators=(",", ":"))


def content(path: Path) -> str:
    """SHA-256 over a model's relevant files; weights count by their size and time stamp."""
    hashed = hashlib.sha256()
    for name, facts in files(path):
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


def files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """A model's relevant files, by name: a GGUF file with its other parts, or those in a folder."""
    if len(parts := gguf.parts(path.name)) > 1:
        yield from _existing(path.parent, parts)
        return
    try:
        with os.scandir(path) as entries:
            names = sorted(each.name for each in entries if each.name.endswith(_RELEVANT))
    except NotADirectoryError:
        yield path.name, os.stat(path)  # noqa: PTH116 - thousands of these
        return
    except OSError:
        return
    yield from _existing(path, names)


def _existing(path: Path, names: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
    for name in names:
        try:
            facts = os.stat(f"{path}/{name}")  # noqa: PTH116 - thousands of these
        except OSError:
            continue
        yield name, facts


@lru_cache(maxsize=1)
def _versions() -> str:
    """Of MLX: another version may give other results.

    Taken from the names of the packages' folders, where they are all there: importing
    importlib.metadata is a tenth of a daemon's start.
    """
    found: dict[str, str] = {}
    for folder in (each for place in sys.path for each in Path(place).glob("*.dist-info")):
        name, _, number = folder.stem.partition("-")
        found.setdefault(name, number)
    if not found.keys() >= set(_PACKAGES):
        from importlib.metadata import version  # noqa: PLC0415 - see above

        found = {name: version(name) for name in _PACKAGES}
    return " ".join(found[name] for name in _PACKAGES)


_PACKAGES = ("mlx", "mlx_lm", "transformers")


_TABLES = (
    "models (path TEXT PRIMARY KEY, looks TEXT NOT NULL, record TEXT NOT NULL)",
    """verdicts (main TEXT, draft TEXT, tokens TEXT, mlx TEXT, gguf TEXT, record TEXT,
        PRIMARY KEY (main, draft))""",
    "built (config TEXT, versions TEXT, record TEXT NOT NULL, PRIMARY KEY (config, versions))",
    """proofs (main TEXT, draft TEXT, versions TEXT, record TEXT NOT NULL,
        PRIMARY KEY (main, draft, versions))""",
)


_NOT_THE_FILE = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
)
"""Errors that do not mean a damaged file: another process, the disk, the permissions."""


def _prepare(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    (kept,) = database.execute("PRAGMA user_version").fetchone()
    if kept not in (0, VERSION):
        raise sqlite3.DatabaseError("another version's work")
    if kept == 0:
        with database:
            for table in _TABLES:
                database.execute(f"CREATE TABLE IF NOT EXISTS {table} WITHOUT ROWID")
            database.execute(f"PRAGMA user_version = {VERSION}")


def _seen(row: Any) -> tuple[str, Known]:
    return row[0], convert(json.loads(row[1]), Known)

"""Worker tasks about tokenizers: reading them takes memory, which the daemon must not keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from specd.llamacpp.engine import find
from specd.lmstudio.chat_settings import ChatSettings
from specd.tokenizer import fingerprint, prove_gguf, store, weights
from specd.tokenizer.compare import compare
from specd.tokenizer.engines.mlx import Built
from specd.tokenizer.fingerprint import Fingerprint, Unreadable
from specd.tokenizer.proof import Proof
from specd.tokenizer.store import Known, VerdictStore
from specd.tokenizer.verdict import FITTING, Verdict, to_json
from specd.worker import Progress

HELD = 64  # fingerprints in memory at once; each takes about ten megabytes


def verdicts(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """``{"cache": dir, "pairs": [[main, draft], …], "engine": bool}`` → ``{"verdicts": […]}``.

    Pairs are paths. With "engine", mlx-lm builds the model of every config.json whose tokens allow
    a pair, once for each config.json; its import takes seconds.
    """
    reader = _Reader(VerdictStore(Path(request["cache"])))
    found: list[Verdict] = []
    pairs = [(Path(main), Path(draft)) for main, draft in request["pairs"]]
    for number, (main, draft) in enumerate(pairs):
        found.append(reader.judge(main, draft))
        progress({"done": number + 1, "of": len(pairs)})
    if request.get("engine"):
        fitting = zip(pairs, found, strict=True)
        for path in dict.fromkeys(
            path for pair, verdict in fitting if verdict.kind in FITTING for path in pair
        ):
            reader.ask_mlx_lm(path)
    return {"verdicts": [to_json(verdict) for verdict in found]}


def classes(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """``{"cache": dir, "models": [path, …]}``: read all models, compare all their tokenizers.

    mlx-lm builds the model of every config.json. Returns ``{"classes": n}``, the number of
    different tokenizers.
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
    for path in paths:
        reader.ask_mlx_lm(path)
    return {"classes": len(where)}


def validate(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """``{"cache": dir, "pairs": [[main, draft], …]}``: prove each pair by running its engine.

    Folders run with MLX, GGUF files with one of the programs "llama_servers" of the request's
    "context", else xllamacpp; "settings" there are those of the main's new chats.
    ``{"proofs": [{"main", "draft", "words", "kind"}]}``, in the order of the pairs.
    """
    kept = VerdictStore(Path(request["cache"]))
    reader = _Reader(kept)
    proofs: list[dict[str, Any]] = []
    context = request.get("context", {})
    pairs = [(Path(main), Path(draft)) for main, draft in request["pairs"]]
    for number, (main, draft) in enumerate(pairs):
        known = [reader.known(path) for path in (main, draft)]
        reader.judge(main, draft)
        for path in (main, draft):
            reader.ask_mlx_lm(path)

        def tick(what: str, done: int = number) -> None:
            progress({"done": done, "of": len(pairs), "now": what})

        try:
            proof = _prove(main, draft, tick, context)
        except Unreadable as why:
            proof = Proof(f"not proven: {why}", whole=False)
        kept.keep_proof(known[0], known[1], replace(proof, context=context))
        names = {"main": main.name, "draft": draft.name}
        proofs.append({**names, "words": proof.words, "kind": proof.kind})
    return {"proofs": proofs}


def _prove(main: Path, draft: Path, tick: Callable[[str], None], context: dict[str, Any]) -> Proof:
    settings = ChatSettings(**context.get("settings", {}))
    if not main.is_file():
        from specd.tokenizer.validate import validate as prove  # noqa: PLC0415 - MLX takes seconds

        return prove(main, draft, tick, settings)
    engine = find([Path(each) for each in context.get("llama_servers", ())])
    if engine is None:
        return Proof(
            "not proven: there is no llama.cpp here; LM Studio installs one, or "
            "`pip install specd[gguf]`",
            whole=False,
        )
    return prove_gguf.validate(main, draft, engine, tick, settings)


class _Reader:
    """Reads each model once, and compares every two tokenizers once."""

    def __init__(self, kept: VerdictStore) -> None:
        self._store = kept
        self._held: dict[str, Fingerprint] = {}

    def known(self, path: Path) -> Known:
        """A model's stored facts; reads the model if there are none."""
        return self._store.known(path) or self._read(path)

    def judge(self, main: Path, draft: Path) -> Verdict:
        """The verdict on two models by their files."""
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

    def ask_mlx_lm(self, path: Path) -> None:
        """Store what mlx-lm makes of a folder, unless it is stored already."""
        known = self.known(path)
        if not known.config or self._store.built(known) is not None:
            return
        try:
            from specd.tokenizer.kv_cache import built  # noqa: PLC0415 - MLX takes seconds
        except (ImportError, OSError, RuntimeError) as error:
            self._store.keep_built(known, Built(None, problem=f"MLX does not start: {error}"))
        else:
            self._store.keep_built(known, built(path))

    def _fingerprint(self, path: Path) -> Fingerprint:
        digest = self.known(path).digest or ""
        if digest not in self._held:
            self._hold(digest, fingerprint.read(path))
        return self._held[digest]

    def _read(self, path: Path) -> Known:
        looks, content = store.identity(path), store.content(path)
        try:
            read, loads = fingerprint.read(path), weights.digest(path)
        except Unreadable as why:
            known = Known(None, str(why), content)
        else:
            digest = read.digest()
            self._hold(digest, read)
            known = Known(digest, "", content, read.family.name, read.count, loads)
        self._store.keep_model(path, looks, known)
        return known

    def _hold(self, digest: str, read: Fingerprint) -> None:
        if len(self._held) >= HELD:
            self._held.pop(next(iter(self._held)))
        self._held[digest] = read

"""Verdicts: reading two tokenizers and comparing them, beside loading both with transformers.

By turns, on real tokenizers: each against a copy of its own files that lacks its last added token,
as Qwen2.5's lacks Qwen3's. Imports are left out of the figures within one process; a second row
starts a process for each pair, as a person who checks one would.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.figures import Claim, Ratio, Section, at_least, at_most, ratio
from bench.seed_home import byte_alphabet, write_weights
from specd.cli import world
from specd.cli.models import pairs
from specd.config import SpecdConfig
from specd.demo.vocabulary import Vocabulary, tokenizer_config, tokenizer_json
from specd.lmstudio.home import Home
from specd.lmstudio.model import Model
from specd.tokenizer import fingerprint
from specd.tokenizer import tokenizer_json as reader
from specd.tokenizer.compare import compare
from specd.tokenizer.store import VerdictStore
from specd.worker.client import Limits, environment, run_task
from tests import real_tokenizers
from tests.npm import NotFetched

FASTER = 10.0
MODELS = 1_000
TOKENIZERS = 20
LOOKUPS = 500

THEIRS = """\
import sys
from transformers import AutoTokenizer
one, other = (AutoTokenizer.from_pretrained(path).get_vocab() for path in sys.argv[1:])
print(sum(other.get(token) != number for token, number in one.items()))
"""


def measure(root: Path, *, large: bool) -> Section:
    """Cold pairs of real tokenizers, one warm pair, and all pairs of many models."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    names = real_tokenizers.NAMES if large else ("qwen3", "llama3", "llama2")
    couples = {name: couple for name in names if (couple := _couple(root, name))}
    rows: dict[str, tuple[float | int | str | None, ...]] = {}
    claims: list[Claim] = []
    notes: list[str] = []
    if couples:
        inside = _by_turns(couples, _ours, _theirs(), rounds=5 if large else 2)
        outside = _by_turns(couples, _our_process, _their_process, rounds=3 if large else 1)
        for label, taken in (("", inside), (", whole processes", outside)):
            for name, (mine, others) in taken.items():
                gain = str(ratio(others, mine))
                rows[f"cold pair: {name}{label}"] = (median(mine), median(others), gain)
            overall = _geometric(taken)
            rows[f"cold pair: geometric mean{label}"] = (None, None, str(overall))
            claims.append(
                at_least(f"cold pair{label}: two AutoTokenizer loads ÷ specd", overall, FASTER)
            )
    else:
        notes.append("npm is not there, so no real tokenizer was measured")
    count = MODELS if large else MODELS // 10
    warm, all_pairs, command = _installed(root / "installed", count)
    quarter = _installed(root / "quarter", count // 4)[1]
    rows["warm pair"] = (warm, None, None)
    rows[f"all pairs of {count:,} models, warm"] = (median(all_pairs), None, None)
    rows[f"all pairs of {count // 4:,} models, warm"] = (median(quarter), None, None)
    rows[f"`specd pairs --json` on {count:,} models, warm"] = (command, None, None)
    claims += [
        Claim("warm pair", warm, "ms", "≤", 1),
        Claim("all pairs of 1,000 models, warm", median(all_pairs), "ms", "≤", 150),
        Claim("`specd pairs` on 1,000 models, warm", command, "ms", "≤", 1_000),
        at_most("all pairs: 4 times the models", ratio(all_pairs, quarter), 6),
    ]
    return Section(
        title="Verdicts",
        about=f"milliseconds; {TOKENIZERS} tokenizers among the installed models",
        columns=("specd", "AutoTokenizer, both", "times as fast"),
        rows=rows,
        claims=tuple(claims),
        notes=tuple(notes),
    )


# -- cold pairs -----------------------------------------------------------------------------------


def _couple(root: Path, name: str) -> tuple[Path, Path] | None:
    """Two model folders: one with the tokenizer ``name``, one that lacks its last added token.

    The rest of the file stays byte for byte, as between models of one publisher.
    """
    try:
        source = real_tokenizers.folder(name)
    except NotFetched:
        return None
    folders = root / f"{name}-main", root / f"{name}-draft"
    for folder in folders:
        shutil.copytree(source, folder)
        (folder / "config.json").write_text('{"model_type": "llama", "vocab_size": 300000}')
    path = folders[1] / "tokenizer.json"
    text = path.read_text(encoding="utf-8")
    start, end = text.index('"added_tokens"'), text.index('"normalizer"')
    kept = json.loads("{" + text[start:end].rstrip().rstrip(",") + "}")["added_tokens"][:-1]
    path.write_text(f'{text[:start]}"added_tokens": {json.dumps(kept)},{text[end:]}', "utf-8")
    return folders


def _by_turns(
    couples: dict[str, tuple[Path, Path]],
    mine: Callable[[Path, Path], object],
    other: Callable[[Path, Path], object],
    *,
    rounds: int,
) -> dict[str, tuple[list[float], list[float]]]:
    """Milliseconds of both on each couple, a round after the other."""
    taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in couples}
    for _ in range(rounds):
        for name, couple in couples.items():
            for samples, act in zip(taken[name], (mine, other), strict=True):
                started = time.perf_counter()
                act(*couple)
                samples.append((time.perf_counter() - started) * 1000)
    return taken


def _geometric(taken: dict[str, tuple[list[float], list[float]]]) -> Ratio:
    """The geometric mean of the gains; the interval spans those of single rounds."""
    rounds = [
        math.exp(sum(math.log(each) for each in gains) / len(gains))
        for gains in zip(
            *([o / m for m, o in zip(*both, strict=True)] for both in taken.values()), strict=True
        )
    ]
    return Ratio(median(rounds), min(rounds), max(rounds))


def _ours(main: Path, draft: Path) -> None:
    reader.forget()
    verdict = compare("main", fingerprint.read(main), "draft", fingerprint.read(draft))
    if not verdict.counts["same"]:
        raise RuntimeError("the tokenizers were not compared")


def _theirs() -> Callable[[Path, Path], object]:
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds, and only this needs it

    def load(path: Path) -> dict[str, int]:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(path))
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        return vocabulary

    def compare_both(main: Path, draft: Path) -> int:
        one, other = load(main), load(draft)
        return sum(other.get(token) != number for token, number in one.items())

    return compare_both


def _our_process(main: Path, draft: Path) -> None:
    cache = main.parent / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    request = {"cache": str(cache), "pairs": [[str(main), str(draft)]]}
    run_task("verdicts", request, limits=Limits(120))


def _their_process(main: Path, draft: Path) -> None:
    command = [sys.executable, "-c", THEIRS, str(main), str(draft)]
    subprocess.run(command, env=environment(), check=True, capture_output=True)


# -- many models ----------------------------------------------------------------------------------


def _installed(root: Path, count: int) -> tuple[float, list[float], float]:
    """Milliseconds of a warm pair, of all pairs (several times), and of the command."""
    home = Home(root / "lmstudio", "bench")
    for number in range(count):
        _model(home.path / "models" / "someone" / f"Model-{number}-8B-4bit", number)
    (root / "specd.toml").write_text("")
    told = {
        "SPECD_STATE_DIR": str(root / "state"),
        "SPECD_CONFIG": str(root / "specd.toml"),
        "LMSTUDIO_HOME": str(home.path),
    }
    command = [sys.executable, "-m", "specd", "pairs", "--json"]
    took: list[float] = []
    for _ in range(3):  # the first reads everything
        started = time.perf_counter()
        subprocess.run(command, env=os.environ | told, check=True, capture_output=True)
        took.append((time.perf_counter() - started) * 1000)
    os.environ["SPECD_STATE_DIR"] = told["SPECD_STATE_DIR"]
    seen = world.look(SpecdConfig(), home)
    del os.environ["SPECD_STATE_DIR"]
    all_pairs: list[float] = []
    for _ in range(15):
        fresh = VerdictStore(root / "state" / "tokenizers")
        again = replace(seen, stores=replace(seen.stores, verdicts=fresh))
        started = time.perf_counter()
        found = pairs.look(again)
        all_pairs.append((time.perf_counter() - started) * 1000)
        if len(found.suggestions) != count or len(found.classes) != min(count, TOKENIZERS):
            raise RuntimeError("not every pair was looked at")
    seen.stores.close()
    return _warm(fresh, seen.world.models), all_pairs, min(took[1:])


def _warm(store: VerdictStore, models: tuple[Model, ...]) -> float:
    taken: list[float] = []
    for number in range(LOOKUPS):
        main, draft = models[number % len(models)], models[(number * 7 + 1) % len(models)]
        started = time.perf_counter()
        store.lookup(main, draft)
        taken.append((time.perf_counter() - started) * 1000)
    return median(taken)


def _model(folder: Path, number: int) -> None:
    """A model as light as can be, with one of ``TOKENIZERS`` tokenizers."""
    folder.mkdir(parents=True)
    alphabet = byte_alphabet()
    special = tuple(f"<|{name}|>" for name in range(1 + number % TOKENIZERS))
    vocabulary = Vocabulary(
        tokens=(*alphabet, *special),
        merges=(),
        special=frozenset(range(len(alphabet), len(alphabet) + len(special))),
        chat_template="",
        bos=len(alphabet),
        eos=len(alphabet),
        pad=len(alphabet),
        unk=len(alphabet),
    )
    for name, document in (
        ("tokenizer.json", tokenizer_json(vocabulary)),
        ("tokenizer_config.json", tokenizer_config(vocabulary)),
        ("config.json", {"model_type": "qwen3", "vocab_size": 512}),
    ):
        (folder / name).write_text(json.dumps(document))
    shapes = {"model.embed_tokens.weight": [512, 8]}
    write_weights(folder / "model.safetensors", shapes, 1_000_000 * (1 + number))

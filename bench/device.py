"""``python -m bench.device``: specd's own benchmark of one pair on any MLX device, and its truth.

Runs specd's benchmark, then every draft length from 0 to 16 by itself, and prints one JSON object:
what was predicted, what real runs measured, at temperature 0 and at another, and how fast every
length really is. Without ``--main`` and ``--draft`` a pair is built: SmolLM2's where its weights
are installed, else random weights whose added layers change nothing. A process of its own, because
MLX stays out of the harness.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path
from mlx_lm.models.llama import Model, ModelArgs

from specd.bench import prompts
from specd.bench.confirm import answer_alone
from specd.bench.engine_mlx import MlxEngine, open_draft, open_main
from specd.bench.measure import Candidate, benchmark
from specd.bench.predict import LONGEST
from specd.bench.result import BenchRequest, BenchResult
from specd.demo.models import DEMO, SMALL, ensure
from specd.demo.weights import WeightsMissing

GRID = (0, 1, 2, 4, 8, 16)
OWN_SHARE = 0.6
"""Of the minutes, what specd's own benchmark gets; the rest is for every length."""

WIDTH = 2048
VOCABULARY = 32_000


def parser() -> argparse.ArgumentParser:
    """The arguments of ``python -m bench.device``."""
    made = argparse.ArgumentParser(prog="python -m bench.device", description=__doc__)
    made.add_argument("--main", type=Path, metavar="FOLDER", help="the main model")
    made.add_argument("--draft", type=Path, metavar="FOLDER", help="its draft")
    made.add_argument("--minutes", type=float, default=5.0, metavar="N", help="time for all (5)")
    made.add_argument("--suite", choices=sorted(prompts.SUITES), default="basic")
    made.add_argument("--temperature", type=float, default=0.8, help="beside 0 (0.8; 0: none)")
    made.add_argument("--layers", type=int, default=32, help="of a built main with random weights")
    made.add_argument("--noise", type=float, default=0.02, help="on the weights of its draft")
    made.add_argument("--random", action="store_true", help="build random weights in any case")
    made.add_argument("--small", action="store_true", help="the smallest pair, short answers")
    return made


def main() -> int:
    """Measure and print."""
    args = parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="specd-device-") as work:
        folders = _folders(args, Path(work))
        print(json.dumps(measure(args, *folders)))
    return 0


def measure(args: argparse.Namespace, main_folder: Path, draft_folder: Path) -> dict[str, Any]:
    """Model-seconds of both ways and the speed of every length, in tokens per second."""
    until = time.perf_counter() + args.minutes * 60
    started = time.perf_counter()
    main_model = open_main(main_folder)
    engine = MlxEngine(main_model, open_draft(draft_folder))
    loading = time.perf_counter() - started
    engine.warm_up()
    # Answers so short, for both sides, that every length answers every prompt once in its time.
    left = until - time.perf_counter()
    asked, _ = answer_alone(
        engine,
        prompts.suite(args.suite, quick=args.small),
        seconds=left * (1 - OWN_SHARE) / (LONGEST + 2),
    )
    (result,) = benchmark(
        BenchRequest(
            "main",
            asked,
            args.suite,
            {},
            seconds=left * OWN_SHARE,
            started_at="",
            temperature=args.temperature,
        ),
        [Candidate("draft", 0, lambda: MlxEngine(main_model, open_draft(draft_folder)))],
    )
    # Ended before its time, it has printed the benchmark's own figures.
    print(json.dumps(_summary(result)), file=sys.stderr)
    ran = tuple(each for each in asked if each.kind in result.by_class)
    passes = result.confirmation.passes if result.confirmation else 1
    spent = dict.fromkeys(range(LONGEST + 1), 0.0)
    tokens = dict.fromkeys(range(LONGEST + 1), 0)
    # Every length as often as specd ran the one it chose, the same certainty about each; whole
    # rounds of one prompt and all lengths, as far as the time allows.
    rounds = [(number, prompt) for number in range(passes) for prompt in ran]
    begun = time.perf_counter()
    made = 0
    for number, prompt in rounds:
        each_s = (time.perf_counter() - begun) / max(1, made)
        if made >= len(ran) and time.perf_counter() + each_s > until:
            break
        for length in sorted(spent, reverse=number % 2 == 1):
            timed = engine.answer(prompt, length)
            spent[length] += timed.seconds
            tokens[length] += timed.tokens
        made += 1
        print(f"{made} of {len(rounds)} rounds of every length", file=sys.stderr)
    whole = len(rounds) / made
    return {
        **_summary(result),
        "device": f"{mx.default_device()} {mx.device_info().get('device_name', '')}".strip(),
        "model_seconds": result.model_seconds,
        "exhaustive_seconds": loading + sum(spent.values()) * whole,
        "grid_seconds": loading + sum(spent[length] for length in GRID) * whole,
        "grid": list(GRID),
        "rounds_of_every_length": f"{made} of {len(rounds)}",
        "speeds": {length: tokens[length] / spent[length] for length in spent},
    }


def _summary(result: BenchResult) -> dict[str, Any]:
    best, sampled = result.best, result.at_temperature
    return {
        "chosen": best.draft_tokens,
        "tried": best.tried,
        "baseline_tps": result.baseline_tps,
        "predicted": best.predicted_speedup,
        "measured": best.measured_speedup,
        "interval": best.interval,
        "passes": result.confirmation.passes if result.confirmation else 0,
        "by_class": result.by_class,
        "at_temperature": sampled and {name: getattr(sampled, name) for name in sampled.__slots__},
        "answers_that_differ": {"by rounding": result.near_ties, "beyond": result.other_text},
        "notes": list(result.notes),
    }


def _folders(args: argparse.Namespace, work: Path) -> tuple[Path, Path]:
    if args.main and args.draft:
        return args.main, args.draft
    family = SMALL if args.small else DEMO
    if not args.random:
        try:
            return ensure(family.main), ensure(family.good)
        except WeightsMissing as problem:
            print(f"{problem}; random weights instead", file=sys.stderr)
    return _random_pair(work, layers=args.layers, noise=args.noise)


def _random_pair(work: Path, *, layers: int, noise: float) -> tuple[Path, Path]:
    """A draft of two layers, and a main of the same with ``layers`` more that add nothing.

    ``noise`` on the draft's weights makes it guess wrongly now and then.
    """
    args = ModelArgs(
        model_type="llama",
        hidden_size=WIDTH,
        num_hidden_layers=2,
        intermediate_size=4 * WIDTH,
        num_attention_heads=WIDTH // 128,
        rms_norm_eps=1e-5,
        vocab_size=VOCABULARY,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    mx.random.seed(7)
    draft = Model(args)
    # Strong enough weights that the text depends on all of what stands before.
    strong = tree_map_with_path(lambda _, weight: weight * 3, draft.parameters())
    main_model = Model(replace(args, num_hidden_layers=2 + layers, layer_types=None))
    idle = tree_map_with_path(
        lambda path, weight: weight * ("o_proj" not in path and "down_proj" not in path),
        main_model.parameters(),
    )
    main_model.update(idle)
    main_model.update(strong)
    noisy = tree_map_with_path(
        lambda _, weight: weight * (1 + noise * mx.random.normal(weight.shape)), strong
    )
    draft.update(noisy)
    folders = work / "main", work / "draft"
    for folder, model in zip(folders, (main_model, draft), strict=True):
        _write(folder, model)
    return folders


def _write(folder: Path, model: Model) -> None:
    folder.mkdir()
    weights: Any = tree_flatten(model.parameters())
    half = {name: weight.astype(mx.float16) for name, weight in weights}
    mx.save_safetensors(str(folder / "model.safetensors"), half, metadata={"format": "mlx"})
    words = {f"w{number}": number for number in range(VOCABULARY)}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "w0"},
    }
    documents = {
        "config.json": {
            **{name: value for name, value in vars(model.args).items() if value is not None},
            "eos_token_id": VOCABULARY - 1,
        },
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "w0"},
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

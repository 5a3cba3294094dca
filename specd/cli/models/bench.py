"""``specd bench``: measure now, in the foreground, with progress."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from specd import places
from specd.bench import preconditions, prompts
from specd.bench.outcome import costs, heat, ratio, sentence
from specd.bench.result import (
    DEFAULT_LENGTH,
    AtTemperature,
    BenchResult,
    Confirmation,
)
from specd.cli import alive, world
from specd.cli.models import bench_seed, charts, check, compare
from specd.cli.paint import complain, dumps, plural, safe, width, wrap
from specd.cli.parser import Parser, between
from specd.config import SpecdConfig
from specd.llamacpp.engine import packaged
from specd.lmstudio import backends, drafters, server
from specd.lmstudio import home as homes
from specd.lmstudio.home import Home
from specd.lmstudio.model import OWN_HEADS, Model
from specd.reconcile import engine, measuring, survey
from specd.reconcile.engine import Candidate
from specd.reconcile.facts import ServerSeen
from specd.reconcile.measuring import MORE_MINUTES, Task
from specd.reconcile.stores import Stores
from specd.tokenizer.engines.mlx import PARALLEL_ONE_COSTS
from specd.worker.client import Limits, WorkerError, run_task

MEASURED, NOT_MEASURED = 0, 1

GRACE_S = 30.0
"""How long a worker that plans with its time may overrun it before it is killed."""


parser = Parser(
    prog="specd bench",
    description="Measure whether a draft makes its main faster, and with which draft length. "
    "Without arguments, every pair of specd.toml.",
    examples=(
        "specd bench qwen3-8b qwen3-0.6b --quick",
        "specd bench compare 3 7 (two runs of `specd history`)",
    ),
    exit_codes={0: "measured", 1: "not everything was measured", 2: "bad input"},
)
parser.add_argument("main", nargs="?", metavar="MAIN", help="a model name or folder")
parser.add_argument(
    "drafts", nargs="*", metavar="DRAFT", help="drafts for MAIN; mtp: its own heads"
)
parser.add_argument(
    "--engine",
    choices=("auto", "mlx", "server"),
    help="mlx: the model folders; server: LM Studio's API or another's; auto: the server "
    "where it has the main loaded, else mlx (default: as specd.toml says)",
)
parser.add_argument(
    "--suite",
    choices=sorted(prompts.SUITES),
    default="standard",
    help="which prompts (standard)",
)
parser.add_argument("--quick", action="store_true", help="short answers: a rough look")
parser.add_argument(
    "--minutes",
    type=between(0.1, 24 * 60),
    metavar="N",
    help="time limit (max_minutes of specd.toml: 10)",
)
parser.add_argument(
    "--temperature",
    type=between(0.0, 5.0),
    metavar="T",
    help="measure, and judge, at this temperature beside 0 (that of your chats)",
)
parser.add_argument("--json", action="store_true", help="print JSON")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The pairs to measure, and the facts that this needs."""

    config: SpecdConfig
    home: Home | None
    stores: Stores
    installed: tuple[Model, ...]
    pairs: Sequence[Candidate]


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if args.main == "compare":
        words = [*args.drafts, *(["--json"] if args.json else [])]
        return compare.run(compare.parser.parse_args(words))
    wanted = _wanted(args)
    if not wanted.pairs:
        raise world.Unusable("there is no proven pair to measure; see `specd status`")
    choice = args.engine or wanted.config.benchmark.engine
    seen = None if choice == "mlx" else _server(wanted)
    plan = engine.plan(
        choice,
        wanted.pairs,
        wanted.installed,
        seen,
        preconditions.machine_memory(),
        llama_cpp=bool(_llama_servers(wanted)) or packaged(),
    )
    return _measure_and_print(args, wanted, plan, seen)


def _wanted(args: argparse.Namespace) -> _Wanted:
    words = [args.main, *args.drafts] if args.main else []
    if len(words) > 1 and all(map(check.is_path, words)):
        main, *drafts = (check.find(word, ()) for word in words)
        read, stores = world.configuration(), world.open_stores()
        found = homes.find_home(read.lmstudio.home)
        home = found if isinstance(found, Home) else None
        return _Wanted(read, home, stores, (main, *drafts), _candidates(stores, main, drafts))
    seen = world.see()
    the_main = check.find(args.main, seen.world.models) if args.main else None
    named = [
        None if each == OWN_HEADS else check.find(each, seen.world.models) for each in args.drafts
    ]
    pairs: Sequence[Candidate]
    if the_main is not None and named:
        pairs = _candidates(seen.stores, the_main, named)
    else:
        resolved = tuple(p for p in world.decide(seen) if the_main in (None, p.main))
        pairs = seen.stores.worth_measuring(resolved, seen.world.models)
    return _Wanted(seen.config, seen.home, seen.stores, seen.world.models, pairs)


def _llama_servers(wanted: _Wanted) -> tuple[Path, ...]:
    return backends.llama_servers(wanted.home.path) if wanted.home else ()


def _candidates(stores: Stores, main: Model, drafts: Sequence[Model | None]) -> list[Candidate]:
    """The pairs with their verdicts; a worker computes missing ones.

    Heads and sidecars made for the main draft in its own tokens and need no verdict.

    Raises:
        world.Unusable: a draft may not draft for the main.
    """
    found: list[Candidate] = []
    for draft in drafts:
        own = draft is None or (drafters.runs(draft) and drafters.fits(main, draft))
        verdict = None if draft is None or own else check.verdict(stores, main, draft)
        if draft is not None and verdict is not None and not verdict.usable:
            raise world.Unusable(
                f"{draft.key} may not draft for {main.key}: {verdict.reasons[0]}; see "
                f"`specd check {main.key} {draft.key}`"
            )
        found.append(Candidate(main, draft, verdict))
    return found


def _server(wanted: _Wanted) -> ServerSeen:
    lmstudio = wanted.config.lmstudio
    if wanted.home is not None:
        return survey.ask_server(wanted.home, lmstudio)
    if lmstudio.server == "auto":
        return ServerSeen(None, "there is no LM Studio home that names its port")
    return survey.ask_url(server.server_urls(Path(), lmstudio.server)[0], lmstudio)


def _measure_and_print(
    args: argparse.Namespace, wanted: _Wanted, plan: engine.BenchmarkPlan, seen: ServerSeen | None
) -> int:
    for problem in plan.problems:
        complain(problem)
    try:
        results, troubles = _measure(args, wanted, plan, seen)
    except WorkerError as error:
        complain(f"not measured: {error}")
        return NOT_MEASURED
    for trouble in troubles:
        complain(trouble)
    if results:
        alive.request_look()  # what was measured may change what is to be configured
    if args.json and results:
        shown = results[0] if len(results) == 1 else results
        print(dumps(shown))
    elif results:
        print("\n\n".join(render(each, width()) for each in results))
    return MEASURED if results and not troubles and not plan.problems else NOT_MEASURED


def _measure(
    args: argparse.Namespace, wanted: _Wanted, plan: engine.BenchmarkPlan, seen: ServerSeen | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """The results, and sentences about what could not be measured."""
    config = wanted.config
    weights, sampling = measuring.of_chats(
        config.benchmark, wanted.stores.observed, wanted.installed
    )
    request = measuring.Benchmark(
        places.history_path(wanted.stores.state),
        args.minutes or config.benchmark.max_minutes,
        suite=args.suite,
        quick=args.quick,
        weights=weights,
        temperature=args.temperature,
        sampling=sampling,
        home=wanted.home.path if wanted.home else None,
        token_env=config.lmstudio.token_env,
        engine_version=survey.look_for_app(wanted.home).version if wanted.home else None,
        llama_servers=_llama_servers(wanted),
    )
    found: list[dict[str, Any]] = []
    with _progress(show=not args.json) as bar:
        found += [_run(bar, task) for task in measuring.tasks(plan, seen, request)]
    results = [each for result in found for each in result["results"]]
    troubles = [each for result in found for each in result["troubles"]]
    troubles += [result["busy"] for result in found if result.get("busy")][:1]
    return results, troubles


def _progress(*, show: bool) -> Progress:
    return Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not show,
    )


def _run(bar: Progress, task: Task) -> dict[str, Any]:
    line: TaskID = bar.add_task("starting", total=1.0)

    def show(step: dict[str, Any]) -> None:
        bar.update(line, description=step["step"], completed=step["done"])

    limits = Limits(task.seconds + GRACE_S, more_time=MORE_MINUTES)
    result = run_task(task.name, task.request, limits=limits, on_progress=show)
    bar.update(line, completed=1.0)
    return result


def render(measured: dict[str, Any], columns: int) -> str:
    """One result for people; the last line is the conclusion."""
    result = msgspec.convert(measured, BenchResult)
    name = safe(f"{result.main} ← {result.draft}")
    lines = [
        f"{name}  (suite {result.suite}, {result.engine})",
        f"  without a draft   {result.baseline_tps:.1f} tokens/s",
    ]
    how = "predicted" if result.engine == "mlx" else "measured"
    lines.append(f"  draft tokens   acceptance   {how} tokens/s{heat(result)}")
    lines += [
        f"  {each.draft_tokens:>12}   {_share(each.acceptance):>10}   "
        f"{each.predicted_tps:>10.1f}  ({each.predicted_speedup:.2f}×)"
        for each in result.lengths
        if each.draft_tokens in _SHOWN
    ]
    if result.confirmation is not None:
        lines += _confirmed(result.confirmation, result)
    if result.at_temperature is not None:
        lines.append(_at_temperature(result.at_temperature))
    if not result.text_equal:
        lines.append("  caution           the texts with and without the draft differ")
    lines += [f"  note              {wrap(note, columns, ' ' * 20)}" for note in result.notes]
    for drawn in (charts.lengths(result, columns), charts.classes(result)):
        if drawn:
            lines += ["", drawn]
    if result.suite == "seed":
        lines += ["", bench_seed.table(result)]
    lines.append("")
    of_engine = (
        (f"in LM Studio's MLX engine: {PARALLEL_ONE_COSTS}",) if result.engine == "mlx" else ()
    )
    if spent := (*costs(result), *of_engine):
        lines.append(f"  costs             {wrap('; '.join(spent), columns, ' ' * 20)}")
    lines.append(f"  {wrap(safe(sentence(result)) + '.', columns, '  ')}")
    return "\n".join(lines)


def _at_temperature(found: AtTemperature) -> str:
    name = f"at temperature {found.temperature:g}"
    predicted = f"{found.predicted_speedup:.2f}× predicted" if found.predicted_speedup else ""
    measured = ratio(found.measured_speedup, found.interval) if found.measured_speedup else ""
    speed = ", ".join(filter(None, [measured, predicted])) or "not measured"
    return f"  {name:<17} {speed} with {plural(found.draft_tokens, 'draft token')}"


_ENDED = {
    "decided": "it was decided",
    "enough": "that is the most that are made",
    "time": "the time was up",
}


def _confirmed(runs: Confirmation, result: BenchResult) -> list[str]:
    """The real runs: the measured speed-up, that over the usual length, and outliers."""
    best = result.best
    name = "measured" if result.used is best else "at temperature 0"
    passes = f"{runs.passes} pass{'es'[: 2 * (runs.passes != 1)]}"
    speed = ratio(best.measured_speedup or 0.0, best.interval)
    how = f"with {plural(best.compared, 'draft token')} in {passes}; {_ENDED[runs.ended]}"
    lines = [f"  {name:<17} {speed} {how}"]
    if runs.over_default is not None:
        over = ratio(runs.over_default, runs.over_default_interval)
        lines.append(f"  over the usual {DEFAULT_LENGTH}  {over}")
    lines += [
        f"  outlier           {each.kind}, pass {each.run}: {each.times:.1f}× its usual time; it "
        "counts all the same"
        for each in runs.outliers
    ]
    return lines


def _share(value: float | None) -> str:
    return "not known" if value is None else f"{value:.0%}"


_SHOWN = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16)

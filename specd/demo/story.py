"""The steps of ``specd demo``: the real daemon, real models, an app that loses its settings.

Each step checks one promise of specd's. The first that fails ends the demo with exit code 1.
Outside the sandbox only the cache of built models is read and written.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from specd.demo import app
from specd.demo.daemon import Daemon, NotHeldError, log_tail, running, specd, until
from specd.demo.models import DEMO, Family, Recipe
from specd.demo.narrator import Narrator, Step
from specd.demo.sandbox import Sandbox, lay_out
from specd.demo.serving import StandInError, standin
from specd.lmstudio.connection import ServerError
from specd.lmstudio.server import Server

# Generous: the demo must also pass on a busy machine.
_START_S = 240.0
_RESTORE_S = 60.0
_COMPARE_S = 360.0
_PROOF_S = 300.0
"""Seconds to wait for the daemon's proof before `specd check --deep` makes one. A proof takes a
minute of processor time; two at once would be slower."""
_POLL_S = 0.0005
_BENCH_MINUTES = (1.2, 10.0)
"""The second try is for a machine too busy for the first."""
_LENGTHS_SHOWN = (1, 2, 4, 8)


def run(*, keep: bool, as_json: bool, family: Family = DEMO) -> int:
    """Run the demo with the models of ``family``; exit code 0 if every promise held, else 1.

    Raises:
        WeightsMissing: the models cannot be built.
    """
    console = Console(stderr=as_json, highlight=False)
    narrator = Narrator(console)
    began = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="specd-demo-"))
    sandbox = Sandbox(root, family)
    try:
        _story(narrator, sandbox)
        held = True
    except (NotHeldError, StandInError, ServerError) as problem:
        held = False
        console.print(f"[red]Not held:[/] {escape(str(problem))}", soft_wrap=True)
        narrator.show(log_tail(sandbox))
    finally:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)
    seconds = round(time.monotonic() - began, 1)
    if keep:
        _print_where(console, sandbox)
    if as_json:
        steps = [asdict(step) for step in narrator.steps]
        kept = str(root) if keep else None
        print(json.dumps({"ok": held, "seconds": seconds, "kept": kept, "steps": steps}, indent=2))
    elif held:
        console.print(f"\nAll held, in {seconds:.0f} s.")
    return 0 if held else 1


def _story(narrator: Narrator, sandbox: Sandbox) -> None:
    with ExitStack() as stack:
        with narrator.step("Models built from SmolLM2-135M, in a sandbox home") as step:
            lay_out(sandbox.root, sandbox.family)
            before = _read(sandbox.settings)
            step.says = str(sandbox.home)
        with narrator.step("LM Studio's API, over real generation") as step:
            url = stack.enter_context(standin(sandbox.home, sandbox.root / "server.log"))
            step.says = url
        with narrator.step("specd run: settings applied") as step:
            daemon = stack.enter_context(running(sandbox))
            _first_reconcile(step, sandbox)
        with narrator.step("specd check: may a draft speak for the main model?") as step:
            _verdicts(step, sandbox)
        for verdict in step.facts["verdicts"]:
            narrator.note(f"{verdict['verdict']:<13} {verdict['draft']}: {verdict['reasons'][0]}")
        with narrator.step("The pair stands in the main model's own config") as step:
            _configured(step, sandbox, daemon)
        with narrator.step("The app forgets, specd puts it back") as step:
            _restores(step, sandbox)
        for what, milliseconds in step.facts["restored_ms"].items():
            narrator.note(f"{milliseconds:6.1f} ms  {what}")
        with narrator.step("Everything else in settings.json is as the app left it") as step:
            _untouched(step, sandbox, before)
        with narrator.step("Asked over the API, the model really speculates") as step:
            _speculates(step, sandbox, url)
        with narrator.step("The daemon proves the pair with MLX, in the background") as step:
            _proven(step, sandbox)
        with narrator.step("specd bench: is it faster, here and now?") as step:
            _measured(step, sandbox, daemon)
        for line in step.facts["speeds"]:
            narrator.note(line)
        with narrator.step("specd status") as step:
            _conditions(step, daemon)
        narrator.show(specd(sandbox, "status")[1])
        with narrator.step("specd report") as step:
            _reported(step, sandbox)
        with narrator.step("Stopped, with nothing left behind") as step:
            if (code := daemon.stop()) != 0:
                raise NotHeldError(f"specd run ended with {code}")
            step.says = "exit code 0"


def _first_reconcile(step: Step, sandbox: Sandbox) -> None:
    until(
        lambda: app.switched_on(_read(sandbox.settings)),
        "settings.json holds what specd.toml wants",
        seconds=_START_S,
        pause_s=_POLL_S,
    )
    step.says = "speculation on, drafted tokens shown"


def _verdicts(step: Step, sandbox: Sandbox) -> None:
    family = sandbox.family
    expected = {
        family.good: ("identical", "compatible"),
        family.poor: ("identical", "compatible"),
        family.incompatible: ("incompatible",),
    }
    found: list[dict[str, Any]] = []
    step.facts["verdicts"] = found
    for draft, verdicts in expected.items():
        code, text = specd(sandbox, "check", _key(family.main), _key(draft), "--json")
        if code not in (0, 1):
            raise NotHeldError(f"specd check: {text}")
        verdict = json.loads(text)
        found.append(verdict)
        if verdict["verdict"] not in verdicts or code != (verdict["verdict"] == "incompatible"):
            raise NotHeldError(f"{_key(draft)} came out {verdict['verdict']}, exit code {code}")
    lacking = len(found[0]["missing_in_draft"])
    if lacking != len(family.main.extra_tokens):
        raise NotHeldError(f"the good draft lacks {lacking} tokens of the main's")
    step.says = f"{len(found)} pairs judged by every token they know"


def _configured(step: Step, sandbox: Sandbox, daemon: Daemon) -> None:
    until(
        lambda: daemon.holding("PairsConfigured"),
        "the pair is configured",
        seconds=_COMPARE_S,
        pause_s=0.2,
    )
    draft = app.draft_of(_read(sandbox.main_defaults))
    if draft not in (sandbox.family.good.identifier, sandbox.family.poor.identifier):
        raise NotHeldError(f"the draft in the main's config is {draft!r}")
    step.says = f"{draft}, picked by specd"


def _restores(step: Step, sandbox: Sandbox) -> None:
    """Let the app revert specd's values in each way it saves; specd puts them back."""
    settings, defaults = sandbox.settings, sandbox.main_defaults
    draft = app.draft_of(_read(defaults))

    def same_draft(document: dict[str, Any]) -> bool:
        return app.draft_of(document) == draft

    off = ("settings.json switched off", settings, app.switch_off, app.switched_on)
    removed = ("the main model's draft removed", defaults, app.drop_draft, same_draft)
    gone = ("settings.json", settings, app.forget, app.switched_on)
    took: dict[str, float] = {}
    for (what, path, change, restored), how, save in (
        (off, "written in place", app.save_in_place),
        (off, "written by rename", app.save_by_rename),
        (removed, "written in place", app.save_in_place),
        (removed, "written by rename", app.save_by_rename),
        (gone, "deleted and written without the key", app.delete_and_save),
    ):
        document = _read(path)
        change(document)
        save(path, document)
        saved = time.perf_counter()
        until(
            partial(_holds, path, restored),
            f"put back after: {what}, {how}",
            seconds=_RESTORE_S,
            pause_s=_POLL_S,
        )
        took[f"{what}, {how}"] = round((time.perf_counter() - saved) * 1000, 1)
    step.facts["restored_ms"] = took
    step.says = f"{len(took)} times, slowest {max(took.values()):.0f} ms"


def _holds(path: Path, restored: Callable[[dict[str, Any]], bool]) -> bool:
    return restored(_read(path))


def _untouched(step: Step, sandbox: Sandbox, before: dict[str, Any]) -> None:
    then, now = (_leaves(document) for document in (before, _read(sandbox.settings)))
    changed = {key for key in then.keys() | now.keys() if then.get(key) != now.get(key)}
    if changed != app.SPECDS_SETTINGS:
        raise NotHeldError(f"changed in settings.json: {', '.join(sorted(changed))}")
    step.says = f"{len(now) - len(changed)} values untouched, {len(changed)} are specd's"


def _speculates(step: Step, sandbox: Sandbox, url: str) -> None:
    question = [{"role": "user", "content": "Explain SQL injection in one sentence."}]
    answer = Server(url).chat(_key(sandbox.family.main), question, max_tokens=24)
    if answer.draft is None or not answer.draft.accepted:
        raise NotHeldError(f"no draft token was accepted: {answer}")
    step.facts["accepted"] = answer.draft.accepted
    step.says = f"{answer.draft.accepted} of {answer.tokens} tokens came from the draft"


def _proven(step: Step, sandbox: Sandbox) -> None:
    """Wait for the daemon's own proof: greedy answers with and without the draft are equal."""
    pair = (_key(sandbox.family.main), _key(sandbox.family.good))

    def proof() -> str:
        code, text = specd(sandbox, "check", *pair, "--json")
        if code != 0:
            raise NotHeldError(f"specd check: {text}")
        return str(json.loads(text)["validated"])

    try:
        step.says = until(proof, "the pair is proven", seconds=_PROOF_S, pause_s=0.5)
    except NotHeldError:
        code, text = specd(sandbox, "check", *pair, "--deep", "--json")
        if code != 0:
            raise NotHeldError(f"specd check --deep: {text}") from None
        step.says = f"{json.loads(text)['validated']} (by `specd check --deep`)"


def _measured(step: Step, sandbox: Sandbox, daemon: Daemon) -> None:
    """A short benchmark; "no gain" is a result too."""
    main, draft = _key(sandbox.family.main), _key(sandbox.family.good)
    options = ("--engine", "mlx", "--suite", "brief", "--temperature", "0", "--json")
    code, text = 1, ""
    for minutes in _BENCH_MINUTES:
        if code != 0:
            code, text = specd(sandbox, "bench", main, draft, *options, "--minutes", str(minutes))
    if code != 0:
        raise NotHeldError(f"specd bench: {text}")
    found = json.loads(text)
    lengths = {each["draft_tokens"]: each for each in found["lengths"]}
    if not found["text_equal"]:
        raise NotHeldError("the answers with and without the draft differ")
    step.facts["bench"] = found
    step.facts["speeds"] = [f"{found['baseline_tps']:5.1f} tokens/s without a draft"] + [
        f"{lengths[count]['predicted_tps']:5.1f} tokens/s predicted, {count} drafted at a time, "
        f"{lengths[count]['acceptance']:.0%} accepted"
        for count in _LENGTHS_SHOWN
    ]
    step.says = until(
        lambda: next(filter(None, (pair["gain"] for pair in daemon.pairs())), ""),
        "the daemon knows of the benchmark",
        seconds=_START_S,
        pause_s=0.2,
    )


_MUST_HOLD = (
    "ConfigValid",
    "HomeFound",
    "SettingsApplied",
    "PairsConfigured",
    "TokenizersCompatible",
    "EngineWillSpeculate",
    "ServerReachable",
    "Uncontended",
)


def _conditions(step: Step, daemon: Daemon) -> None:
    """Check that every condition of ``_MUST_HOLD`` is true."""
    step.facts["status"] = until(
        lambda: daemon.holding(*_MUST_HOLD),
        f"true: {', '.join(_MUST_HOLD)}",
        seconds=_START_S,
        pause_s=0.2,
    )
    state = step.facts["status"]["state"]
    step.says = f"{state}; all {len(_MUST_HOLD)} conditions of the demo are true"


def _reported(step: Step, sandbox: Sandbox) -> None:
    page = sandbox.root / "report.html"
    code, text = specd(sandbox, "report", "-o", str(page))
    if code != 0 or "<h1>" not in page.read_text(encoding="utf-8"):
        raise NotHeldError(f"specd report: {text}")
    step.says = f"{page}; `specd demo --keep` leaves it there"


def _key(recipe: Recipe) -> str:
    return recipe.identifier.rpartition("/")[2].lower()


def _read(path: Path) -> dict[str, Any]:
    """The object in ``path``; empty while it is being written."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _leaves(document: Any, path: str = "") -> dict[str, Any]:
    """Every value by its dotted path; a list is one value."""
    if not isinstance(document, dict):
        return {path: document}
    found: dict[str, Any] = {}
    for key, value in document.items():
        found |= _leaves(value, f"{path}.{key}".lstrip("."))
    return found


def _print_where(console: Console, sandbox: Sandbox) -> None:
    console.print(f"\nKept in {sandbox.root}. To look around:", markup=False, soft_wrap=True)
    for name, value in sandbox.variables.items():
        console.print(f"  export {name}={value}", markup=False, soft_wrap=True)
    console.print("  specd run &\n  specd status")

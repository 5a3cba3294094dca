"""``specd explain``: the reason for a state, what specd saw, and what it will do next."""

from __future__ import annotations

import argparse
import difflib
import shlex
import sys

from specd.bench.outcome import outcome
from specd.bench.result import BenchResult
from specd.cli import ask, world
from specd.cli.look.status import ago
from specd.cli.models.check import render
from specd.cli.paint import complain, paint, plural, safe, short, width, wrap
from specd.cli.parser import Parser
from specd.config import ConfigError
from specd.lmstudio import drafters, model_defaults, names
from specd.lmstudio.model import Model
from specd.reconcile.apply import show
from specd.reconcile.conditions import CONDITIONS, Definition
from specd.reconcile.desired import DesiredPair
from specd.reconcile.observe import read_file
from specd.tokenizer import suggest
from specd.tokenizer.verdict import Verdict

DONE, BAD_INPUT, NOT_RUNNING = 0, 2, 3

MANY = 8


parser = Parser(
    prog="specd explain",
    description="Explain a condition, a model or a pair: why it is so, what specd saw, and "
    "what it will do next.",
    examples=(
        "specd explain Faster",
        "specd explain qwen3-8b",
        "specd explain qwen3-8b qwen3-0.6b",
    ),
    exit_codes={
        0: "done",
        2: "bad input",
        3: "specd is not running (the meaning of a condition is shown all the same)",
    },
)
parser.add_argument("what", nargs="*", metavar="CONDITION|MODEL|PAIR", help="a pair is MAIN DRAFT")


def run(args: argparse.Namespace) -> int:
    """Find the condition, model or pair that the words mean, and explain it."""
    words = [word for text in args.what for word in text.split() if word not in ("←", "<-")]
    if not words:
        return _topics()
    if len(words) == 1:
        found = next((each for each in CONDITIONS if each.type.lower() == words[0].lower()), None)
        if found is not None:
            return _condition(found)
    if len(words) > 2:
        complain("give one condition, one model, or a main and a draft")
        return BAD_INPUT
    try:
        seen = world.see()
        models = [names.resolve(word, seen.world.models) for word in words]
    except (world.Unusable, ConfigError, names.NameProblem) as problem:
        near = _nearest(words[0].lower())
        # A list of models does not help with a misspelled condition.
        complain(f"there is no condition or model {words[0]!r}{near}" if near else problem)
        return BAD_INPUT
    if len(models) == 1:
        _model(seen, models[0])
    else:
        _pair(seen, models[0], models[1])
    return DONE


def _nearest(word: str) -> str:
    known = {each.type.lower(): each.type for each in CONDITIONS}
    near = [each for each in known if len(word) > 3 and word in each]
    near = near or difflib.get_close_matches(word, known, n=1, cutoff=0.75)
    return f"; did you mean the condition {known[near[0]]}?" if near else ""


def _topics() -> int:
    """Everything that can be explained."""
    _title("specd explain CONDITION")
    for each in CONDITIONS:
        name, indent = f"{each.type:<20} ", " " * 23
        if width() < 2 * len(indent):
            name, indent = f"{each.type}\n    ", " " * 4
        print(f"  {name}{wrap(each.true_when, width(), indent)}")
    _title("specd explain MODEL, or MAIN DRAFT")
    print("  `specd pairs` lists the models")
    return DONE


def _condition(meaning: Definition) -> int:
    kind = meaning.type
    problem: ask.CannotAsk | None = None
    now: dict[str, str] = {}
    try:
        status = ask.ask("GET", "/v1/status")
    except ask.CannotAsk as cannot:
        problem = cannot
        _title(kind)
    else:
        now = next(each for each in status["conditions"] if each["type"] == kind)
        _title(f"{kind} is {now['status']} ({now['reason']})")
        _say("why", now["message"])
        if now["remedy"]:
            _say("what to do", now["remedy"])
        _say("since", ago(now["since"]))
    if kind in ("SettingsApplied", "PairsConfigured"):
        _values(settings_alone=kind == "SettingsApplied")
    _say("true when", meaning.true_when)
    _say("looked at", meaning.looks_at)
    well = "nothing: the condition is true, and specd looks again whenever something changes"
    _say("what next", well if now.get("status") == "true" else meaning.what_specd_does)
    if problem is not None:
        complain(f"its state is not known: {problem}")
        return NOT_RUNNING
    return DONE


def _values(*, settings_alone: bool) -> None:
    """Every value of these files that differs from what specd.toml asks for."""
    try:
        seen = world.see()
    except (world.Unusable, ConfigError):
        return  # the condition's own message gives the reason
    for edit in world.reconciler(seen, _wanted(seen), by="specd explain").plan().edits:
        if (edit.path.name == "settings.json") is settings_alone:
            for change in edit.changes:
                found, wanted = show(change.shown_old), show(change.new)
                _say("found", f"{change.key} is {found}, wanted {wanted}, in {edit.path}")


def _model(seen: world.Seen, model: Model) -> None:
    _title(f"{model.key}: {model.format} {model.kind}")
    _say("identifier", model.identifier)
    _say("files", str(model.path))
    facts = [model.architecture or "architecture unknown", f"{model.size_bytes / 1e9:.2f} GB"]
    if model.quantization:
        facts.append(model.quantization)
    if model.vocab_size:
        facts.append(f"{model.vocab_size:,} logits")
    _say("what it is", ", ".join(facts))
    if model.problem:
        _say("not usable", model.problem)
        return
    _as_main(seen, model)
    mains = [str(pair.name) for pair in _wanted(seen) if pair.draft == model and pair.speculates]
    if mains:
        _say("as draft", f"in use by {', '.join(mains)}")
    _say("LM Studio", _standing(seen, model))


def _as_main(seen: world.Seen, model: Model) -> None:
    for pair in _wanted(seen):
        if pair.main == model:
            _say("as main", f"{pair.name} is {pair.state}: {pair.why}")
            break
    else:
        _say("as main", "specd.toml has no [[pair]] for it")
    for name in drafters.candidates(model, seen.world.models):
        _say("candidate", f"{name}: a drafter for this main; `specd bench` measures it")
    drafts = suggest.rank(model, seen.world.models, seen.stores.verdicts)
    for draft in drafts[:MANY]:
        _say("could draft", f"{draft.key}: {_word(seen.stores.verdicts.lookup(model, draft))}")
    if not drafts:
        _say("could draft", "no installed model")
    elif len(drafts) > MANY:
        _say("", f"and {len(drafts) - MANY} more; `specd pairs` lists them")


def _standing(seen: world.Seen, model: Model) -> str:
    for path in (model_defaults.file_in(app, model) for app in seen.apps):
        found = read_file(path)
        if found.problem is not None:
            return found.problem
        held = model_defaults.read(found.document)
        if held.draft_model is not None:
            tokens = held.draft_tokens
            length = f" with {plural(tokens, 'draft token')}" if tokens is not None else ""
            return f"the file of its defaults names {held.draft_model}{length} ({path})"
    return "the file of its defaults names no draft"


def _pair(seen: world.Seen, main: Model, draft: Model) -> None:
    verdict = seen.stores.verdicts.lookup(main, draft)
    if verdict is None:
        _title(f"{main.key} ← {draft.key}: {_word(verdict)}")
    else:
        print(render(verdict, width()))
    _say("measured", _speed(seen.stores.history.latest(main.key, draft.key), verdict))
    wanted = next((each for each in _wanted(seen) if each.main == main), None)
    if wanted is None:
        _say("what next", f"nothing: specd.toml has no [[pair]] for {main.key}")
    elif wanted.draft == draft and wanted.state == "wanted":
        _say("what next", "nothing: it is what specd.toml asks for here")
    elif wanted.draft == draft:
        _say("what next", f"it is {wanted.state}: {wanted.why}")
    else:
        _say("what next", f"nothing: {wanted.name} is what specd.toml asks for here ({wanted.why})")


def _speed(measured: BenchResult | None, verdict: Verdict | None) -> str:
    if measured is not None:
        return f"{outcome(measured).words}, {ago(measured.started_at)}"
    if verdict is None or not verdict.usable:
        return "not yet"
    return f"not yet; `specd bench {shlex.join((verdict.main, verdict.draft))}` does it now"


def _wanted(seen: world.Seen) -> tuple[DesiredPair, ...]:
    return seen.stores.resolve(seen.config, seen.world.models, seen.apps)


def _word(verdict: Verdict | None) -> str:
    return verdict.kind if verdict else "not compared yet; `specd check MAIN DRAFT` does it"


def _title(text: str) -> None:
    shown = wrap(text, width(), "  ") if sys.stdout.isatty() else safe(text)
    print(paint(shown, "bold"))


def _say(name: str, text: str) -> None:
    print(f"  {name:<12} {wrap(short(text), width(), ' ' * 15)}")

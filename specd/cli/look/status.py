"""``specd status``: the verdict in one sentence, then pairs, then what needs attention.

Imports nothing heavy: this command is typed often, and measured against an empty interpreter.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from specd.cli import ask
from specd.cli.paint import Ink, dumps, height, paint, plural, short, width, wrap
from specd.cli.parser import NO_ANSWER, Parser

HEALTHY, DEGRADED = 0, 1

ON = ("wanted", "adopted")
"""States of a pair whose draft should stand in LM Studio's files."""

WITHOUT = {
    "SwitchedOff": "speculation is switched off in specd.toml",
    "ChangesText": "the draft changes its answers",
}
"""Why a main runs without a draft, by the pair's reason; for any other, none was faster."""

WRITES = 3

LONGEST_VALUE = 60
"""Characters shown of a value that was written; the path of a model in two folders fits."""

# ECMA-48 and xterm: the alternate screen, without cursor, long lines clipped instead of wrapped.
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
# Overwriting the old screen line by line does not flicker; clearing it first would. A row is erased
# before it is drawn: after a full row the cursor still stands on its last character.
TO_TOP, NEWLINE, NEXT_ERASED = "\x1b[H\x1b[K", "\n", "\n\x1b[K"

_MARKS: dict[str, tuple[str, Ink]] = {
    "true": ("✓", "green"),
    "false": ("✗", "red"),
    "unknown": ("·", "grey"),
}


parser = Parser(
    prog="specd status",
    description="Say in one sentence whether LM Studio drafts and how much faster it is, then "
    "show the pairs, what needs attention, and what specd wrote last.",
    examples=("specd status", "specd status --watch", "specd status --json | jq .state"),
    exit_codes={
        0: "healthy",
        1: "you do not have what specd.toml asks for",
        3: "specd is not running",
        **NO_ANSWER,
    },
)
parser.add_argument("--all", action="store_true", help="also show every condition")
parser.add_argument("--json", action="store_true", help="print the daemon's answer as JSON")
parser.add_argument(
    "--watch",
    action="store_true",
    help="keep showing it until Ctrl-C; with --json, one line every second",
)


def run(args: argparse.Namespace) -> int:
    """Ask the daemon and print its answer."""
    live = args.watch and sys.stdout.isatty() and not args.json
    if not args.watch:
        code, shown = _look(args, indent=2)
        # An error is no answer: it must not reach a program that reads standard output.
        print(shown, file=sys.stdout if args.json or code in (HEALTHY, DEGRADED) else sys.stderr)
        return code
    code = HEALTHY
    with contextlib.suppress(KeyboardInterrupt), _screen() if live else contextlib.nullcontext():
        while True:
            code, shown = _look(args, indent=None)
            print(_clipped(shown) if live else shown, end="" if live else "\n", flush=True)
            time.sleep(1)
    return code


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    """The alternate screen, left as it was found however the command ends or is suspended."""
    import signal  # noqa: PLC0415 - only --watch needs it

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)

    def suspended(number: int, _frame: object) -> None:
        os.write(1, LEAVE.encode())
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)  # returns when the shell continues the command
        signal.signal(number, suspended)
        os.write(1, ENTER.encode())

    signal.signal(signal.SIGTSTP, suspended)
    os.write(1, ENTER.encode())
    try:
        yield
    finally:
        os.write(1, LEAVE.encode())


def _clipped(shown: str) -> str:
    """A screenful, over the old one, with the time of the look in its last line."""
    rows = height()
    lines = shown.split(NEWLINE)[: rows - 1]
    lines += [""] * (rows - 1 - len(lines))
    looked = f"looked at {datetime.now().astimezone():%H:%M:%S}; Ctrl-C ends"
    lines.append(paint(looked, "grey"))
    return f"{TO_TOP}{NEXT_ERASED.join(lines)}"


def _look(args: argparse.Namespace, *, indent: int | None) -> tuple[int, str]:
    """The exit code, and what to print."""
    try:
        answer = ask.ask("GET", "/v1/status")
    except ask.CannotAsk as problem:
        text = dumps({"state": "stopped", "error": str(problem)}, indent)
        return problem.exit_code, text if args.json else wrap(f"specd: {problem}", width(), "  ")
    code = HEALTHY if answer["state"] == "healthy" else DEGRADED
    if args.json:
        return code, dumps(answer, indent)
    # One row is the shell's prompt, or the watch's last line.
    rows = height() - 1 if sys.stdout.isatty() and not args.all else None
    return code, render(answer, width(), rows, everything=args.all)


def render(
    status: dict[str, Any],
    columns: int,
    rows: int | None = None,
    *,
    everything: bool = False,
) -> str:
    """The screen, with less detail where it would take more than ``rows`` lines."""
    ink: Ink = "green" if status["state"] == "healthy" else "red"
    lines: list[str] = []
    for detail in (2, 1, 0):
        blocks = [
            [paint(wrap(verdict(status), columns, ""), ink)],
            *_pairs(status, columns, detail),
            _attention(status, columns, detail),
            *([_conditions(status, columns)] if everything else []),
            _writes(status, columns, detail),
            _tail(status, columns, everything=everything),
        ]
        text = "\n\n".join("\n".join(block) for block in blocks if block)
        lines = text.split("\n")
        if rows is None or len(lines) <= rows:
            break
    return "\n".join(lines)


# -- the verdict ----------------------------------------------------------------------------------


def verdict(status: dict[str, Any]) -> str:
    """The state of everything, in one sentence."""
    wrong = len(faults(status))
    pairs = [each for each in status["pairs"] if each.get("reason") != "SameFile"]
    on = [each for each in pairs if _is_on(each)]
    needs = f"{plural(wrong, 'thing')} {'needs' if wrong == 1 else 'need'} attention"
    but = f"{', but' if on else ';'} {needs}"
    week = status["restores"]["week"]
    kept = f", kept {plural(week, 'time')} this week" if week and (on or not pairs) else ""
    end = f"{but if wrong else kept}."
    if status["paused"]:
        paused = "specd is paused and writes nothing until `specd resume` or a restart"
        return f"{paused}{but if wrong else ''}."
    if status["home"] is None:
        return f"specd waits for LM Studio's home{but if wrong else ''}."
    if not pairs:
        return f"specd keeps LM Studio's settings; no pair is configured{end}"
    if len(pairs) == 1:
        return f"{_of_one(pairs[0])}{end}"
    if not on:
        return f"None of {len(pairs)} models has a draft now{end}"
    speeds = sorted(each["speedup"] for each in on if each["speedup"] and each["interval"])
    ends = dict.fromkeys(f"{speed:.1f}×" for speed in (*speeds[:1], *speeds[-1:]))
    span = f"{' to '.join(ends)} as fast" if speeds else "not measured yet"
    of = f"{len(on)} of {plural(len(pairs), 'model')}"
    return f"LM Studio {_drafts(on)} for {of}: {span}{end}"


def _of_one(pair: dict[str, Any]) -> str:
    main, draft = pair["main"], pair["draft"]
    if pair["state"] == "waiting" and pair.get("reason") == "NotReadable":
        return f"specd cannot find a draft for {main}: {pair['why']}"
    if pair["state"] == "waiting" and pair.get("reason") == "NotProven":
        return f"specd does not write {draft} as the draft of {main} before it is proven"
    if pair["state"] == "waiting":
        return f"specd is comparing drafts for {main}"
    if pair["state"] == "withdrawn" and pair.get("reason") == "InTrial":
        return f"LM Studio is set to run {main} without a draft for now: a trial compares both"
    if pair["state"] not in ON and pair.get("set_by_user"):
        return f"LM Studio is set to draft for {main} with {pair['set_by_user']}: you set it there"
    if pair["state"] == "withdrawn":
        why = WITHOUT.get(pair.get("reason", ""), "none was faster")
        return f"LM Studio is set to run {main} without a draft: {why}"
    if not _is_on(pair):
        return _of_none(pair)
    gain = "not measured yet"
    if pair["speedup"] and pair["interval"]:
        gain = f"{pair['speedup']:.1f}× {'faster' if pair['speedup'] > 1 else 'as fast'}"
    if pair.get("reason") == "ChangesText":
        gain += ", and its answers change"
    return f"LM Studio {_drafts([pair])} for {main} with {draft}: {gain}"


def _of_none(pair: dict[str, Any]) -> str:
    main, draft = pair["main"], pair["draft"]
    if pair.get("left"):
        return f"LM Studio is still set to draft for {main} with {pair['left']}"
    if draft and pair.get("unwritten") and not pair.get("ignored"):
        return f"specd cannot set LM Studio to draft for {main} with {draft}"
    why = ": it ignores the file that is to name the draft" if pair.get("ignored") else ""
    return f"LM Studio does not draft for {main}{': you restored it' if pair.get('held') else why}"


def _is_on(pair: dict[str, Any]) -> bool:
    """Whether its draft stands in LM Studio's files."""
    kept_out = any(pair.get(each) for each in ("held", "ignored", "unwritten"))
    return pair["state"] in ON and bool(pair["draft"]) and not kept_out


def _drafts(pairs: list[dict[str, Any]]) -> str:
    """Whether drafting was seen, or is only configured."""
    proofs = [pair["observed"] for pair in pairs]
    seen = all(each and each["drafted"] and not each.get("silent") for each in proofs)
    return "drafts" if seen else "is set to draft"


def faults(status: dict[str, Any]) -> list[dict[str, Any]]:
    """False conditions that specd.toml asks for; a dangerous cache first."""
    wrong = [c for c in status["conditions"] if c["status"] == "false" and c["severity"] == "state"]
    return sorted(wrong, key=lambda condition: condition["type"] != "CacheAgrees")


# -- the blocks -----------------------------------------------------------------------------------


def _pairs(status: dict[str, Any], columns: int, detail: int) -> list[list[str]]:
    pairs = status["pairs"]
    if detail < 2:  # a short list must not leave out faults
        pairs = sorted(pairs, key=lambda each: each["state"] not in ("missing", "refused"))
    shown = pairs if detail >= 2 else pairs[: 4 if detail else 2]
    blocks = [line for each in shown for line in _pair(each, columns, detail)]
    if len(shown) < len(pairs):
        more = f"and {len(pairs) - len(shown)} more; `specd status --all` shows them"
        blocks.append(f"  {wrap(more, columns - 2, '  ')}")
    return [blocks]


def _figures(pair: dict[str, Any]) -> list[str]:
    """Verdict, draft length and gain, in one line; none for a pair that is switched off."""
    if pair.get("reason") == "SwitchedOff":
        return []
    if pair["state"] == "missing" or pair.get("reason") == "SameFile":
        return ["not in force; the reason is below"]
    facts = [pair["verdict"] or "no verdict yet"]
    if pair["draft_tokens"] is not None:
        facts.append(plural(pair["draft_tokens"], "draft token"))
    gain = pair.get("gain") or "not measured"
    if pair["speedup"] and pair["interval"]:
        low, high = pair["interval"]
        gain = f"measured {pair['speedup']:.2f}× [{low:.2f}, {high:.2f}]"
    if pair.get("measured_at"):
        gain += f", {ago(pair['measured_at'])}"
    if pair.get("stale"):
        gain += f", stale: {', '.join(pair['stale'])}"
    return [" · ".join([*facts, gain])]


def _pair(pair: dict[str, Any], columns: int, detail: int) -> list[str]:
    """One pair, and below it its facts, one a line."""
    name = wrap(f"{pair['main']} ← {pair['draft'] or '(no draft)'}", columns, " " * 4)
    lines = [f"  {paint(name, 'bold')}"]
    known = _figures(pair)
    # What is missing or refused is said below, with the remedy.
    below = ("wanted", "missing", "refused")
    shown_below = pair.get("state") in below and pair.get("reason") != "InTrial"
    if pair.get("why") and not shown_below:
        known.append(pair["why"])
    observed = pair.get("observed")
    if detail >= 2 and observed and observed["drafted"]:
        share = observed["accepted"] / observed["drafted"]
        since = "; most answers since show none" if observed.get("silent") else ""
        drafted = f"{share:.0%} of {observed['drafted']:,} draft tokens accepted"
        known.append(f"seen in use: {drafted}{since}")
    if detail >= 2 and pair.get("in_use"):
        known.append(in_use(pair["in_use"]))
    if not detail:
        known = known[:1]
    return [*lines, *(f"    {wrap(each, columns, ' ' * 4)}" for each in known)]


def in_use(used: dict[str, Any]) -> str:
    """The figures of the user's own answers with a pair, as a sentence."""
    sides = [
        f"{used[speed]:.1f} tokens/s {which} over {plural(used[count], 'answer')}"
        for count, speed, which in (
            ("answers", "tps", "with the draft"),
            ("baseline_answers", "baseline_tps", "without"),
        )
        if used[speed] is not None
    ]
    if not sides:
        return "your own chats: no speeds yet"
    ratio = f" ({used['speedup']:.2f}×)" if used["speedup"] is not None else ""
    caution = f"; caution: {used['caution']}" if used["caution"] else ""
    return f"your own chats: {', '.join(sides)}{ratio}{caution}"


def _attention(status: dict[str, Any], columns: int, detail: int) -> list[str]:
    """Faults with a cross and their remedy, then advice, dim."""
    lines: list[str] = []
    for each in faults(status):
        cross = paint("✗", "red")
        lines.append(f"{cross} {wrap(short(_sentence(each)), columns, '  ')}")
        step = wrap(f"→ {short(each['remedy'])}", columns, " " * 4)
        lines.append(f"  {paint(step, 'bold')}")
    advice = [each for each in status["conditions"] if each["severity"] == "advice"]
    advice.sort(key=lambda each: each["reason"] != "ListsUnusable")  # the dangerous one first
    for each in advice if detail >= 2 else []:
        text = wrap(f"{short(_sentence(each))}: {short(each['remedy'])}", columns, "  ")
        lines.append(paint(f"· {text}", "grey"))
    if advice and detail < 2:
        more = wrap(
            f"{plural(len(advice), 'piece')} of advice: `specd status --all`", columns, "  "
        )
        lines.append(paint(f"· {more}", "grey"))
    return lines


def _sentence(condition: dict[str, Any]) -> str:
    return f"{condition['type']}: {condition['message']}"


def _conditions(status: dict[str, Any], columns: int) -> list[str]:
    lines = [paint("Conditions", "bold")]
    for each in status["conditions"]:
        mark, ink = _MARKS[each["status"]]
        if each["severity"] == "advice":
            mark, ink = _MARKS["unknown"]
        text = wrap(short(_sentence(each)), columns, "    ")
        lines.append(f"  {paint(mark, ink)} {text}")
    return lines


def _writes(status: dict[str, Any], columns: int, detail: int) -> list[str]:
    if not status["last_writes"]:
        return [wrap("No value that specd wrote stands in the files now.", columns, "")]
    lines = [paint("Last writes", "bold")]
    for what, written in _folded(status["last_writes"])[: WRITES if detail >= 1 else 1]:
        times = f" ({len(written)} times)" if len(written) > 1 else ""
        text = f"{ago(written[0]['time'])}, {what}{times}"
        lines.append(f"{written[0]['id']:>5}  {wrap(text, columns, ' ' * 7)}")
    return lines


def _folded(writes: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The writes, newest first; those of the same values to the same file are one."""
    found: dict[str, list[dict[str, Any]]] = {}
    for write in writes:
        file = write["path"].rpartition("/")[2]
        if write.get("app") == "Bionic":
            file = f"Bionic's {file}"
        changes = ", ".join(_changed(change) for change in worth_showing(write["changes"]))
        found.setdefault(f"{file}: {changes}", []).append(write)
    return list(found.items())


def worth_showing(changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The changes without the empty parts of a new file, unless there is nothing else."""
    return [c for c in changes if c["old"] is not None or c["new"] not in ("", [], {})] or changes


def _changed(change: dict[str, Any]) -> str:
    """One value, with the last part of its key."""
    key = change["key"].rpartition(".")[2]
    return f"{key} {_value(change['old'])} → {_value(change['new'])}"


def _value(value: object) -> str:
    if value is None:
        return "(unset)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _tail(status: dict[str, Any], columns: int, *, everything: bool) -> list[str]:
    lines: list[str] = []
    if status.get("held"):
        held = ", ".join(key.rpartition(".")[2] for key in status["held"])
        text = f"left alone since you restored it: {held} (`specd apply` sets it again)"
        lines.append(wrap(text, columns, "  "))
    now = status.get("benchmark")
    about = f"benchmark: {now}" if now else f"next benchmark: {_when(status['next_benchmark'])}"
    me = f"specd {status['version']}, up {_span(status['uptime_s'])}"
    more = "" if everything else " · more: `specd status --all`"
    lines.append(wrap(f"{me} · {about}{more}", columns, "  "))
    return [paint(line, "grey") for line in lines]


def _when(time_of: str | None) -> str:
    if time_of is None:
        return "none"
    return datetime.fromisoformat(time_of).astimezone().strftime("%a %H:%M")


def ago(time_of: str) -> str:
    """How long ago an RFC 3339 time was, for a person."""
    passed = datetime.now().astimezone() - datetime.fromisoformat(time_of)
    return f"{_span(max(0.0, passed.total_seconds()))} ago"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

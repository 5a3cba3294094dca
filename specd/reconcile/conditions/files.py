"""Whether LM Studio's files hold the values that the user wants, and keep them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from specd.config import SpecdConfig
from specd.lmstudio import presets
from specd.lmstudio.home import Home
from specd.lmstudio.presets import Preset
from specd.reconcile.conditions.condition import (
    Definition,
    Judgement,
    advice,
    detail,
    false,
    true,
    unknown,
)
from specd.reconcile.desired import DesiredPair, Reason
from specd.reconcile.facts import Facts

PROPOSE = "`specd install` proposes one, `specd pairs` names drafts to download"
AUTO = 'draft = "auto" takes a proven one; `specd check MAIN DRAFT` says why'
REFUSED: dict[Reason, str] = {
    "SameFile": "remove one of the two from specd.toml",
    "SeveralSwitches": "leave one on in LM Studio, or name the draft in specd.toml",
    "NoDraft": "`specd pairs` names a draft to download",
}
SAVE_SETTINGS = "open and save LM Studio's settings: it writes them anew"
SAVE_DEFAULTS = "set the model's defaults in LM Studio: it writes them anew"


def each(pairs: Iterable[DesiredPair]) -> str:
    """Each pair's name and ``why``, a sentence each, for a message."""
    return ". ".join(f"{pair.name}: {pair.why}" for pair in pairs)


def remedy_of(pair: DesiredPair) -> str:
    """What to do about a pair that is missing or refused; "" for any other."""
    if pair.state == "missing":
        return "download it in LM Studio, or name another in specd.toml"
    return pair.instead or REFUSED.get(pair.reason, AUTO) if pair.state == "refused" else ""


def _hold(facts: Facts, mine: Callable[[Path], bool], name: str, mend: str) -> Judgement:
    for blocked in facts.blocked:
        if mine(blocked.path):
            remedy = "make it a file that specd can read" if blocked.unread else mend
            return false("Unreadable", f"{blocked.why}; specd does not write to it", remedy)
    for applied in facts.applied:
        if mine(applied.edit.path) and applied.problem is not None:
            if applied.permanent:
                remedy = "make it writable, or set the values where it is made"
                return false("ReadOnly", applied.problem, remedy)
            remedy = "specd tries again; `specd doctor` looks at the disk"
            return false("WriteFailed", applied.problem, remedy)
    for path in facts.pending:
        if mine(path):
            return _differs(facts, path)
    held = {change.key for path in facts.held if mine(path) for change in facts.held[path]}
    if held:
        return true("Held", f"left alone since you restored it: {', '.join(sorted(held))}")
    return true("Applied", f"every wanted value stands in {name}")


def _differs(facts: Facts, path: Path) -> Judgement:
    if facts.paused:
        return false("Paused", f"{path} differs, and specd is paused", "`specd resume`")
    patience = facts.patience.get(path)
    if patience is not None and patience.backing_off:
        why = f"another program keeps changing {path}"
        remedy = "stop the program that changes it; `specd explain Uncontended`"
        if patience.contended:  # Uncontended names the values and the program
            return detail("Contended", why, remedy)
        return false("BackingOff", f"{why}; specd tries every {patience.delay_s:.0f} s", remedy)
    remedy = "nothing: specd writes it at once; `specd diff` shows what"
    return false("Drifted", f"specd is about to restore {path}", remedy)


def _settings_applied(facts: Facts, _: SpecdConfig) -> Judgement:
    if not isinstance(facts.home, Home):
        return unknown("NoHome", "there is no LM Studio home to look into")
    if not facts.apps:
        return true("NothingWanted", "specd.toml asks for nothing in settings.json")
    files = {app.settings for app in facts.apps}
    return _hold(
        facts,
        lambda path: path in files,
        f"settings.json of {_names(facts)}",
        SAVE_SETTINGS,
    )


SETTINGS_APPLIED = Definition(
    "SettingsApplied",
    "LM Studio's settings.json holds every value that specd.toml asks for.",
    "settings.json; at once whenever it changes, and every resync_seconds in any case.",
    "specd writes the values that differ, and only those; every other byte stays. "
    "It does not touch a file that it cannot read.",
    _settings_applied,
    "option missing",
)


def _pairs_configured(facts: Facts, wanted: SpecdConfig) -> Judgement:
    if not isinstance(facts.home, Home):
        return unknown("NoHome", "there is no LM Studio home to look into")
    if not wanted.pair:
        none = "specd.toml has no [[pair]]"
        if not wanted.speculation.enabled:
            return unknown("NoPairs", none)
        return advice("unknown", "NoPairs", none, PROPOSE)
    missing = [pair for pair in facts.pairs if pair.state == "missing"]
    refused = [pair for pair in facts.pairs if pair.state == "refused"]
    if missing or refused:
        unread = facts.models_left_out if missing else ()
        return false(
            "ModelMissing" if missing else "PairRefused",
            "; ".join((each((*missing, *refused)), *unread)),
            "; ".join(dict.fromkeys(map(remedy_of, (*missing, *refused)))),
        )
    settings = {app.settings for app in facts.apps}
    files = _hold(
        facts,
        lambda path: path not in settings,
        "the models' defaults",
        SAVE_DEFAULTS,
    )
    if files.status != "true":
        return files
    return _as_resolved(facts, files)


def _names(facts: Facts) -> str:
    return " and ".join(app.name for app in facts.apps) or "LM Studio"


def _as_resolved(facts: Facts, held: Judgement) -> Judgement:
    for pair, preset in _undoing(facts):
        if pair.users.preset and preset == presets.chosen(pair.users.preset, facts.presets):
            return advice(
                "false",
                "PresetWins",
                f"new chats with {pair.name.main} begin with the preset "
                f"{preset.name}, which wins over the pair",
                f"set the draft in the preset {preset.name}, or choose none for the model",
            )
    waiting = [pair for pair in facts.pairs if pair.state == "waiting"]
    if waiting:
        return unknown(waiting[0].reason, each(waiting))
    unmeasured = [pair for pair in facts.pairs if pair.state == "unmeasured"]
    if unmeasured:
        return advice("unknown", "NotMeasured", each(unmeasured), "`specd bench` measures them")
    if held.reason == "Held":
        return held
    withdrawn = [pair for pair in facts.pairs if pair.state == "withdrawn"]
    if withdrawn:
        return true("Withdrawn", each(withdrawn))
    adopted = [pair for pair in facts.pairs if pair.state == "adopted"]
    if adopted:
        return true("Kept", each(adopted))
    pairs = "the pair stands" if len(facts.pairs) == 1 else f"all {len(facts.pairs)} pairs stand"
    others = sorted({preset.name for _, preset in _undoing(facts)})
    undone = f"; a chat that chooses the preset {' or '.join(others)} undoes it" if others else ""
    earlier = "a chat that you began earlier keeps its draft until you choose another in it"
    return true("Applied", f"{pairs} as wanted in {_names(facts)}; {earlier}{undone}")


def _undoing(facts: Facts) -> Iterator[tuple[DesiredPair, Preset]]:
    """The presets that would give a pair's main another draft in a chat that uses them."""
    older = any(app.by_request for app in facts.apps)
    for pair in facts.pairs:
        for preset in facts.presets:
            if (
                pair.main
                and pair.speculates
                and preset.undoes(pair.main, pair.draft, by_request=older)
            ):
                yield pair, preset


PAIRS_CONFIGURED = Definition(
    "PairsConfigured",
    "Every pair of specd.toml is set in its main model's defaults.",
    "The files of model defaults in LM Studio's home, and the installed models.",
    "specd writes a pair as soon as both models are there and their tokenizers are proven to "
    "agree. It never writes a pair whose draft would change the main's answers, nor a preset. "
    "A chat that you began earlier keeps its draft until you choose another in it.",
    _pairs_configured,
    "option missing",
)


def _uncontended(facts: Facts, _: SpecdConfig) -> Judgement:
    fights = [
        f"{', '.join(known.keys) or 'a value'} in {path} was set back {known.undone} times in a row"
        + (f"; specd writes it every {known.delay_s:.0f} s" if known.backing_off else "")
        for path, known in facts.patience.items()
        if known.contended
    ]
    if not fights:
        return true("Quiet", "no program undoes specd's writes")
    who = f" (likely by {facts.contender})" if facts.contender else ""
    return false(
        "Contended",
        f"{'; '.join(fights)}{who}",
        "if you set it yourself, change the key in brackets in specd.toml; else stop the program "
        "that sets it back, or run `specd pause`; `specd apply` writes at once",
    )


UNCONTENDED = Definition(
    "Uncontended",
    "No program keeps undoing what specd writes.",
    "How often a value that specd wrote was changed back soon after.",
    "After five times in a row specd waits 1 s before it writes again, then 2 s, 4 s, … up to 5 "
    "minutes, until a write lasts for a minute. If you change the value yourself in LM Studio, "
    "change it in specd.toml instead; else find the program that sets it back.",
    _uncontended,
    "settings do not stick",
)

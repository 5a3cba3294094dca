"""Drift → restored: how long a value the app overwrote stays overwritten, and what gets lost.

All contenders run at once, each in its own home, and drift by turns in a shuffled order; the next
one drifts when the last one is restored. The clock starts with the save's last step (closing the
file, or renaming it) and stops when the file holds the wanted values.

A second save racing the restore of the first tells who loses updates: it falls at a random moment
around the contender's own median, and what the app saved last must survive.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.figures import Claim, Ratio, Section, at_least, at_most, p99, ratio
from bench.homes import SAVES, Home, Save, Settings, fill, lay_out
from bench.running import FLOOR, PEERS, SPECD, Contender, Running, restored_within

LOST_AFTER_S = 5.0
QUIET_S = 0.05

P50_BOUND = 2.0
P99_BOUND = 3.0
PEER_BOUND = 8.0


@dataclass
class _Turn:
    """One contender's home, its process and what was seen of it."""

    running: Running
    settings: Settings
    took_ms: list[float] = field(default_factory=list)
    lost: int = 0
    undone: int = 4  # getting ready took some

    @property
    def home(self) -> Home:
        return self.running.home

    def drift(self, save: Save) -> None:
        """Save once and wait for the restore."""
        self._stay_friends()
        began = save(self.home.settings, self.settings.drifted())
        took = restored_within(self.settings, LOST_AFTER_S, began)
        if took is None or self.settings.restored() != self.settings.counter:
            self.lost += 1
        else:
            self.took_ms.append(took * 1000)

    def _stay_friends(self) -> None:
        # specd spaces its writes out from the fifth in a row that was undone: no fight is measured.
        self.undone += 2
        if self.undone >= 4:
            self.running.contender.forgive(self.home)
            self.undone = 0

    def race(self, save: Save, chance: random.Random) -> None:
        """Save twice, the second time while the first is likely being restored."""
        self._stay_friends()
        expected_s = median(self.took_ms) / 1000
        save(self.home.settings, self.settings.drifted())
        _wait(chance.uniform(0, 1.5 * expected_s))
        save(self.home.settings, self.settings.drifted())
        restored_within(self.settings, LOST_AFTER_S)
        time.sleep(max(QUIET_S, 3 * expected_s))
        if self.settings.restored() != self.settings.counter or not self.settings.others_kept():
            self.lost += 1


def measure(root: Path, *, drifts: int, races: int, contenders: Iterable[Contender]) -> Section:
    """``drifts`` saves of each kind and ``races`` races per contender."""
    rows: dict[str, tuple[float | int | str | None, ...]] = {}
    claims: list[Claim] = []
    raw: dict[str, list[float]] = {}
    for how, save in SAVES.items():
        turns = _compete(root / how.replace(" ", "-"), tuple(contenders), save, drifts, races)
        took = {name: turn.took_ms for name, (turn, _) in turns.items()}
        for name, (turn, lost) in turns.items():
            against = ratio(turn.took_ms, took[FLOOR.name])
            rows[f"{name}, {how}"] = (*_spread(turn.took_ms), turn.lost, lost, str(against))
            raw[f"{name}, {how}"] = turn.took_ms
        claims += _claims(how, took, lost=turns[SPECD.name][0].lost, races=turns[SPECD.name][1])
    return Section(
        title="Drift → restored",
        about=(
            f"milliseconds; {drifts} saves each, one contender after the other in shuffled order; "
            f"updates lost in {races} races of a second save with the restore of the first"
        ),
        columns=("p50", "p99", "max", "not restored", "updates lost", "p50 ÷ floor"),
        rows=rows,
        claims=tuple(claims),
        notes=_left_out(),
        raw=raw,
    )


def measure_homes(root: Path, *, drifts: int, large: bool) -> Section:
    """The same where the home is big: full of other files, or with 500 pairs wanted."""
    scale = 1 if large else 20
    homes = {
        "small home": lay_out(root / "small"),
        "1 GB of conversations, 10,000 other files": lay_out(root / "full"),
        "500 pairs wanted": lay_out(root / "pairs", pairs=500 // scale),
    }
    fill(
        homes["1 GB of conversations, 10,000 other files"],
        conversations=1_000 // scale,
        files=10_000 // scale,
    )
    with ExitStack() as stack:
        turns = {name: _start(stack, SPECD, home) for name, home in homes.items()}
        _take_turns(tuple(turns.values()), SAVES["in place"], drifts)
    small = turns["small home"].took_ms
    against = {name: ratio(turn.took_ms, small) for name, turn in turns.items()}
    return Section(
        title="Drift → restored in bigger homes",
        about=f"milliseconds; specd alone, {drifts} saves in place each, by turns",
        columns=("p50", "p99", "max", "not restored", "p50 ÷ small home"),
        rows={
            name: (*_spread(turn.took_ms), turn.lost, str(against[name]))
            for name, turn in turns.items()
        },
        claims=tuple(
            at_most(f"drift → restored, {name}, p50 ÷ small home", against[name], 1.5)
            for name in turns
            if name != "small home"
        ),
        raw={name: turn.took_ms for name, turn in turns.items()},
    )


def present() -> tuple[Contender, ...]:
    """specd, the floor, and the peers this machine has."""
    return (SPECD, FLOOR, *(peer for peer in PEERS if not peer.missing))


def _compete(
    root: Path, contenders: Sequence[Contender], save: Save, drifts: int, races: int
) -> dict[str, tuple[_Turn, int]]:
    with ExitStack() as stack:
        turns = [
            _start(stack, contender, lay_out(root / f"{number}"))
            for number, contender in enumerate(contenders)
        ]
        _take_turns(turns, save, drifts)
    # Fresh ones for the races.
    with ExitStack() as stack:
        racing = [
            _start(stack, contender, lay_out(root / f"{number}-races"))
            for number, contender in enumerate(contenders)
        ]
        for turn, before in zip(racing, turns, strict=True):
            turn.took_ms = list(before.took_ms)
        chance = random.Random(1)
        for _ in range(races):
            for turn in racing:
                turn.race(save, chance)
    return {
        turn.running.contender.name: (turn, raced.lost)
        for turn, raced in zip(turns, racing, strict=True)
    }


def _start(stack: ExitStack, contender: Contender, home: Home) -> _Turn:
    settings = Settings(home)
    running = stack.enter_context(Running(contender, home))
    running.get_ready(settings)
    return _Turn(running, settings)


def _take_turns(turns: Sequence[_Turn], save: Save, drifts: int) -> None:
    chance = random.Random(0)
    order = list(turns)
    for _ in range(drifts):
        chance.shuffle(order)
        for turn in order:
            turn.drift(save)


def _spread(took_ms: Sequence[float]) -> tuple[float, float, float]:
    return median(took_ms), p99(took_ms), max(took_ms)


def _claims(how: str, took: dict[str, list[float]], *, lost: int, races: int) -> list[Claim]:
    mine, floor = took[SPECD.name], took[FLOOR.name]
    claims = [
        at_most(f"drift → restored, {how}, p50 ÷ floor", ratio(mine, floor), P50_BOUND),
        at_most(f"drift → restored, {how}, p99 ÷ floor's", ratio(mine, floor, p99), P99_BOUND),
        Claim(f"drifts not restored, {how}", lost, "", "≤", 0),
        Claim(f"updates lost in races, {how}", races, "", "≤", 0),
    ]
    for peer in PEERS:
        if peer.name in took and peer.name in JUDGED:
            faster: Ratio = ratio(took[peer.name], mine)
            claims.append(at_least(f"{peer.name}, {how}, p50 ÷ specd's", faster, PEER_BOUND))
    return claims


JUDGED = frozenset({"inotifywait + jq", "watchman trigger + jq", "entr + jq", "watchfiles"})
"""The peers of the figure; watchfiles at its finest step is shown beside them for fairness."""


def _left_out() -> tuple[str, ...]:
    return tuple(
        f"{peer.name} left out: this machine lacks {', '.join(peer.missing)}"
        for peer in PEERS
        if peer.missing
    )


def _wait(seconds: float) -> None:
    """Sleep most of it and spin the rest, to the microsecond."""
    until = time.perf_counter() + seconds
    if seconds > 0.002:
        time.sleep(seconds - 0.001)
    while time.perf_counter() < until:
        pass

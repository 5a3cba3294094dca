"""What real use shows: the figures of the user's own conversations, kept and added up.

Every answer is kept once, by its identifier, as numbers: never a word, a title or a folder's name.
The worker reads and adds up; the daemon and the command line read the sums, a few hundred bytes.

Tokens per second are tokens ÷ time as LM Studio tells it for each answer, over whole answers: a
long answer weighs more than a short one.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

import msgspec

from specd.bench import database
from specd.lmstudio.conversations import AnswerStats, Cursor, Run

KEPT: Final = 200_000
"""Answers; with more, the oldest tenth makes room, and what is older is not taken again."""

UNTIMED: Final = 20_000
"""Of them, answers that do not say when they were made: they cannot be told old from new."""

RECENT: Final = 10
"""By so many of the latest answers it is judged whether a draft that is asked for runs."""

WEEK_S: Final = 7 * 86400

LONGEST_ROUND: Final = 64
"""More draft tokens in a row are no round: structural text between them was left out."""

DIFFERENT: Final = 2.0
"""Typical lengths with and without the draft apart by this factor: prompts of another kind."""

FEW: Final = 10
"""Fewer answers than this on either side say little."""


@dataclass(frozen=True, slots=True)
class Week:
    """One week of a ``Use``; ``start`` is seconds since 1970, ``tps`` tokens per second."""

    start: float
    answers: int
    tps: float | None
    drafted: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Use:
    """The answers of one main with one draft (None: without) at one draft length.

    Models are named as LM Studio names them. ``draft_tokens`` is None where it is not told. ``tps``
    is tokens per second over ``seconds`` of generating, None where no answer tells.
    ``prompt_tokens`` and ``tokens`` are medians, ``rounds[n]`` how many rounds accepted n draft
    tokens, ``first`` and ``last`` seconds since 1970.
    """

    main: str
    draft: str | None
    draft_tokens: int | None
    answers: int
    tps: float | None
    seconds: float
    prompt_tokens: float | None
    tokens: float | None
    drafted: int
    accepted: int
    first: float | None
    last: float | None
    rounds: tuple[int, ...] = ()
    weeks: tuple[Week, ...] = ()

    @property
    def acceptance(self) -> float | None:
        """Share of the drafted tokens that were accepted; None when none was drafted."""
        return self.accepted / self.drafted if self.drafted else None


@dataclass(frozen=True, slots=True)
class Asked:
    """The latest answers for which a draft was asked: did it run. Names as in ``Use``."""

    main: str
    draft: str
    answers: int
    ran: int
    drafted: int
    accepted: int
    last: float | None


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that conversations have shown so far; ``at`` is when they were read last."""

    at: float | None = None
    uses: tuple[Use, ...] = ()
    asked: tuple[Asked, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """The last answers a benchmark had from a server with a draft asked for.

    ``finding`` says, when no draft tokens were counted, why not.
    """

    main: str
    draft: str
    at: float
    answers: int
    drafted: int
    accepted: int
    finding: str | None = None


class ObservedStore:
    """The answers' figures in the benchmark history's file; opened on first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: sqlite3.Connection | None = None
        self._kept: tuple[Observed, tuple[Probe, ...]] | None = None
        self._seen_version = 0

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            self._open.close()
            self._open = None

    # -- for the worker that reads ------------------------------------------------------------

    def cursor(self) -> Cursor:
        """How far reading has come."""
        return Cursor({name: _stamp(text) for name, text in self._rows("chats")})

    def keep_cursor(self, cursor: Cursor, before: dict[str, tuple[int, int, int]]) -> None:
        """Keep what moved since ``before``, which becomes equal to the cursor's files."""
        moved = {n: s for n, s in cursor.files.items() if before.get(n) != s}
        gone = before.keys() - cursor.files.keys()
        answers = self._database()
        with answers:
            answers.executemany(
                "INSERT OR REPLACE INTO chats (name, stamp) VALUES (?, ?)",
                [(name, ":".join(map(str, stamp))) for name, stamp in moved.items()],
            )
            answers.executemany("DELETE FROM chats WHERE name = ?", [(name,) for name in gone])
        before.clear()
        before.update(cursor.files)

    def add(self, found: Iterable[AnswerStats]) -> int:
        """Keep the answers that are not there yet; how many those were."""
        answers = self._database()
        horizon = float(dict(self._rows("kept")).get("horizon", 0.0))
        rows = [_row(each) for each in found if (each.at is None or each.at > horizon)]
        with answers:
            before = answers.total_changes
            answers.executemany(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [row for row in rows if row is not None],
            )
            return answers.total_changes - before

    def finish(self, now: float, kept: int = KEPT) -> Observed:
        """Make room, add everything up, and keep the sums; ``now`` is seconds since 1970."""
        self._make_room(kept)
        sums = Observed(now, self._uses(), self._asked())
        answers = self._database()
        with answers:
            self._keep("observed", msgspec.json.encode(sums).decode())
        return sums

    def _make_room(self, kept: int) -> None:
        answers = self._database()
        (count,) = answers.execute("SELECT count(*) FROM answers").fetchone()
        with answers:
            if count > kept:
                (horizon,) = answers.execute(
                    "SELECT at FROM answers WHERE at IS NOT NULL ORDER BY at LIMIT 1 OFFSET ?",
                    (count - kept + kept // 10,),
                ).fetchone() or (None,)
                if horizon is not None:
                    answers.execute("DELETE FROM answers WHERE at <= ?", (horizon,))
                    self._keep("horizon", repr(horizon))
            answers.execute(
                "DELETE FROM answers WHERE id IN (SELECT id FROM answers WHERE at IS NULL"
                " ORDER BY id LIMIT -1 OFFSET ?)",
                (UNTIMED,),
            )

    def _uses(self) -> tuple[Use, ...]:
        groups: dict[tuple[str, str | None, int | None], list[_Figures]] = defaultdict(list)
        for main, draft, draft_tokens, *figures in self._database().execute(
            "SELECT main, draft, CASE WHEN draft IS NULL THEN NULL ELSE draft_tokens END,"
            " at, tokens, prompt_tokens, seconds, drafted, accepted, rounds FROM answers"
            " ORDER BY at"
        ):
            groups[main, draft, draft_tokens].append(_Figures(*figures))
        made = [_use(*key, group) for key, group in groups.items()]
        return tuple(sorted(made, key=lambda use: (use.main, use.draft or "", -use.answers)))

    def _asked(self) -> tuple[Asked, ...]:
        found: list[Asked] = []
        answers = self._database()
        for main, draft in answers.execute(
            "SELECT DISTINCT main, asked FROM answers WHERE asked IS NOT NULL ORDER BY main, asked"
        ).fetchall():
            latest = answers.execute(
                "SELECT draft IS NOT NULL AND coalesce(drafted, 1) > 0, coalesce(drafted, 0),"
                " coalesce(accepted, 0), at FROM answers WHERE main = ? AND asked = ?"
                " ORDER BY at DESC LIMIT ?",
                (main, draft, RECENT),
            ).fetchall()
            ran, drafted, accepted = (sum(row[n] for row in latest) for n in range(3))
            found.append(Asked(main, draft, len(latest), ran, drafted, accepted, latest[0][3]))
        return tuple(found)

    # -- for whoever shows --------------------------------------------------------------------

    def sums(self) -> Observed:
        """What was added up last."""
        return self._current()[0]

    def probes(self) -> tuple[Probe, ...]:
        """The last probe of every pair."""
        return self._current()[1]

    def keep_probe(self, probe: Probe) -> None:
        """Keep what a benchmark saw of a pair's draft, instead of what was seen before."""
        answers = self._database()
        self._kept = None
        with answers:
            answers.execute(
                "INSERT OR REPLACE INTO probes (main, draft, at, answers, drafted, accepted,"
                " finding) VALUES (?, ?, ?, ?, ?, ?, ?)",
                astuple(probe),
            )

    def _current(self) -> tuple[Observed, tuple[Probe, ...]]:
        answers = self._database()
        # SQLite counts the commits of other processes here, so that remembering is safe.
        (version,) = answers.execute("PRAGMA data_version").fetchone()
        if self._kept is None or version != self._seen_version:
            self._seen_version = version
            kept = dict(self._rows("kept")).get("observed")
            sums = Observed() if kept is None else msgspec.json.decode(kept, type=Observed)
            probes = answers.execute(
                "SELECT main, draft, at, answers, drafted, accepted, finding FROM probes"
            )
            self._kept = (sums, tuple(Probe(*row) for row in probes))
        return self._kept

    def _rows(self, table: str) -> list[tuple[str, str]]:
        return self._database().execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - own words

    def _keep(self, name: str, value: str) -> None:
        self._kept = None
        self._database().execute(
            "INSERT OR REPLACE INTO kept (name, value) VALUES (?, ?)", (name, value)
        )

    def _database(self) -> sqlite3.Connection:
        if self._open is None:
            self._open = database.connect(self._path)
        return self._open


@dataclass(frozen=True, slots=True)
class _Figures:
    at: float | None
    tokens: int | None
    prompt_tokens: int | None
    seconds: float | None
    drafted: int | None
    accepted: int | None
    rounds: str | None


def _stamp(text: str) -> tuple[int, int, int]:
    inode, size, modified = map(int, text.split(":"))
    return inode, size, modified


def _row(answer: AnswerStats) -> tuple[object, ...] | None:
    """An answer as its row; None for one that says nothing about speed or drafts."""
    if not answer.model or not answer.tokens:
        return None
    rounds = rounds_of(answer.runs)
    return (
        bytes.fromhex(answer.id),
        answer.at,
        answer.model,
        answer.asked_draft,
        answer.draft or (answer.asked_draft if answer.drafted else None),
        answer.draft_tokens,
        answer.tokens,
        answer.prompt_tokens,
        _seconds(answer),
        answer.drafted,
        answer.accepted,
        json.dumps(rounds) if rounds else None,
    )


def _seconds(answer: AnswerStats) -> float | None:
    """How long the tokens took, the prompt before them not counted."""
    if answer.tokens_per_second and answer.tokens:
        return answer.tokens / answer.tokens_per_second
    if answer.seconds is None or answer.time_to_first_token is None:
        return None
    left = answer.seconds - answer.time_to_first_token
    return left if left > 0 else None


def rounds_of(runs: Sequence[Run]) -> tuple[int, ...]:
    """How many rounds accepted 0, 1, 2 … draft tokens; () where the draft wrote nothing.

    A round is a run of the draft's tokens, which may be empty, and one of the main's own.
    """
    if not any(run.from_draft for run in runs):
        return ()
    counts = [0] * (LONGEST_ROUND + 1)
    accepted = 0
    for run in runs:
        if run.from_draft:
            accepted += run.tokens
            if accepted > LONGEST_ROUND:
                return ()
        else:
            counts[accepted] += 1
            counts[0] += run.tokens - 1
            accepted = 0
    if accepted:
        counts[accepted] += 1
    while counts[-1] == 0:
        counts.pop()
    return tuple(counts)


def accepted_per_round(rounds: Sequence[int], draft_tokens: int) -> float | None:
    """Draft tokens a round accepts with ``draft_tokens`` or fewer at a time, on these prompts.

    Σₖ P(a round accepts at least k), k = 1 … ``draft_tokens``: exact for the length the rounds were
    made with, and for a shorter one up to where its rounds begin. None for a longer one: how the
    draft would have gone on is not known.
    """
    total = sum(rounds)
    if not total or draft_tokens >= len(rounds):
        return None
    return sum(sum(rounds[k:]) for k in range(1, draft_tokens + 1)) / total


def _use(main: str, draft: str | None, draft_tokens: int | None, group: list[_Figures]) -> Use:
    times = [each.at for each in group if each.at is not None]
    return Use(
        main=main,
        draft=draft,
        draft_tokens=draft_tokens,
        answers=len(group),
        tps=_tps(group),
        seconds=sum(each.seconds or 0.0 for each in group),
        prompt_tokens=_median([each.prompt_tokens for each in group]),
        tokens=_median([each.tokens for each in group]),
        drafted=sum(each.drafted or 0 for each in group),
        accepted=sum(each.accepted or 0 for each in group),
        first=min(times, default=None),
        last=max(times, default=None),
        rounds=_added(json.loads(each.rounds) for each in group if each.rounds),
        weeks=_weeks(group),
    )


def _tps(group: Iterable[_Figures]) -> float | None:
    tokens, seconds = 0, 0.0
    for each in group:
        if each.seconds and each.tokens:
            tokens += each.tokens
            seconds += each.seconds
    return tokens / seconds if seconds else None


def _median(values: Iterable[int | None]) -> float | None:
    from statistics import median  # noqa: PLC0415 - 10 ms that only the worker needs to pay

    known = [value for value in values if value is not None]
    return float(median(known)) if known else None


def _added(counts: Iterable[Sequence[int]]) -> tuple[int, ...]:
    total: list[int] = []
    for each in counts:
        total += [0] * (len(each) - len(total))
        for number, count in enumerate(each):
            total[number] += count
    return tuple(total)


def _weeks(group: Iterable[_Figures]) -> tuple[Week, ...]:
    by_week: dict[int, list[_Figures]] = defaultdict(list)
    for each in group:
        if each.at is not None:
            by_week[int(each.at // WEEK_S)].append(each)
    return tuple(
        Week(
            float(week * WEEK_S),
            len(answers),
            _tps(answers),
            sum(each.drafted or 0 for each in answers),
            sum(each.accepted or 0 for each in answers),
        )
        for week, answers in sorted(by_week.items())
    )


# -- with and without -------------------------------------------------------------------------


def by_pair(uses: Sequence[Use]) -> list[tuple[str, str, list[Use], list[Use]]]:
    """(main, draft, its uses at any length, the main's uses without any) of every pair."""
    named = dict.fromkeys((use.main, use.draft) for use in uses)
    return [
        (
            main,
            draft,
            [use for use in uses if (use.main, use.draft) == (main, draft)],
            [use for use in uses if use.main == main and use.draft is None],
        )
        for main, draft in named
        if draft is not None
    ]


@dataclass(frozen=True, slots=True)
class InUse:
    """A pair in real use, with its draft and without any. Speeds are tokens per second.

    ``draft_tokens`` is the length most answers were made with. ``caution`` says why the two speeds
    should not be compared, None when they may.
    """

    answers: int
    tps: float | None
    draft_tokens: int | None
    acceptance: float | None
    baseline_answers: int
    baseline_tps: float | None
    speedup: float | None
    caution: str | None


def in_use(with_draft: Sequence[Use], without: Sequence[Use]) -> InUse:
    """Put the uses of one main with one draft, at any length, beside those without."""
    answers, tps = _together(with_draft)
    baseline_answers, baseline_tps = _together(without)
    drafted = sum(use.drafted for use in with_draft)
    longest = max(with_draft, key=lambda use: use.answers, default=None)
    return InUse(
        answers=answers,
        tps=tps,
        draft_tokens=longest.draft_tokens if longest else None,
        acceptance=sum(use.accepted for use in with_draft) / drafted if drafted else None,
        baseline_answers=baseline_answers,
        baseline_tps=baseline_tps,
        speedup=tps / baseline_tps if tps and baseline_tps else None,
        caution=_caution(with_draft, without) if answers and baseline_answers else None,
    )


def _together(uses: Sequence[Use]) -> tuple[int, float | None]:
    """Answers, and tokens per second over all of them."""
    answers = sum(use.answers for use in uses)
    seconds = sum(use.seconds for use in uses if use.tps)
    tokens = sum(use.tps * use.seconds for use in uses if use.tps)
    return answers, tokens / seconds if seconds else None


def _caution(with_draft: Sequence[Use], without: Sequence[Use]) -> str | None:
    few = min(sum(use.answers for use in uses) for uses in (with_draft, without))
    if few < FEW:
        return f"only {few} answers on one side: too few to compare"
    for what, name in (("prompt_tokens", "prompts"), ("tokens", "answers")):
        one, other = (_typical(uses, what) for uses in (with_draft, without))
        if one and other and abs(math.log(one / other)) > math.log(DIFFERENT):
            return (
                f"{name} differ in kind: typically {one:.0f} tokens with the draft and "
                f"{other:.0f} without"
            )
    return None


def _typical(uses: Sequence[Use], what: str) -> float | None:
    """The median of the use with most answers."""
    most = max(uses, key=lambda use: use.answers)
    value: float | None = getattr(most, what)
    return value

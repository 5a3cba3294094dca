"""The figures of the user's own conversations: stored and summed.

Every answer is stored once, by its identifier, as numbers: never a word, a title or a folder's
name. The worker stores and sums; the daemon and the command line read the sums, some hundred bytes.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

import msgspec

from specd.bench import database, trial
from specd.bench.use import DraftRequests, Figures, Observed, Probe, Use, rounds_of, use_of
from specd.lmstudio.conversations import AnswerStats, Kind, Read
from specd.lmstudio.model import OWN_HEADS

KEPT: Final = 200_000
"""Most answers; above it the oldest tenth is deleted, and older answers are not added again."""

UNTIMED: Final = 20_000
"""Most answers without a time: their age is unknown, so they cannot be deleted by age."""

RECENT: Final = 10
"""Whether a requested draft runs is judged by this many of the latest answers."""

SAMPLED: Final = 50
"""The sampling settings of chats are those of at most this many of the latest answers."""


@dataclass(frozen=True, slots=True)
class Sort:
    """Answers of one kind with prompts in one range of lengths; ``tokens`` are theirs in all."""

    context: int
    kind: Kind | None
    answers: int
    tokens: int


class ObservedStore:
    """The answers' figures in the benchmark history's file; opened on first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = database.Opened(path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    # -- for the worker that reads ------------------------------------------------------------

    def files_read(self) -> Read:
        """The conversations that were read."""
        return dict(self._rows("chats"))

    def keep_files_read(self, files: Read) -> None:
        """Store the conversations that were read."""
        before = self.files_read()
        gone = before.keys() - files.keys()
        answers = self._file.get()
        with answers:
            answers.executemany(
                "INSERT OR REPLACE INTO chats (name, stamp) VALUES (?, ?)",
                files.items() - before.items(),
            )
            answers.executemany("DELETE FROM chats WHERE name = ?", [(name,) for name in gone])

    def add(self, found: Iterable[AnswerStats]) -> int:
        """Store the answers that are new, or whose kind or sampling is; returns how many."""
        answers = self._file.get()
        horizon = float(dict(self._rows("kept")).get("horizon", 0.0))
        rows = [_row(each) for each in found if (each.at is None or each.at > horizon)]
        with answers:
            before = answers.total_changes
            answers.executemany(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET kind = coalesce(kind, excluded.kind),"
                " sampling = coalesce(sampling, excluded.sampling)"
                " WHERE kind IS NULL AND excluded.kind IS NOT NULL"
                " OR sampling IS NULL AND excluded.sampling IS NOT NULL",
                [row for row in rows if row is not None],
            )
            return answers.total_changes - before

    def finish(self, now: float, kept: int = KEPT) -> Observed:
        """Delete surplus answers, then compute and store the sums; ``now``: seconds since 1970."""
        self._make_room(kept)
        sums = Observed(now, self.uses(), self._asked())
        answers = self._file.get()
        with answers:
            self._keep("observed", msgspec.json.encode(sums).decode())
        return sums

    def _make_room(self, kept: int) -> None:
        answers = self._file.get()
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

    def uses(self, name: Callable[[str], str] = str) -> tuple[Use, ...]:
        """The sums of all stored answers; ``name`` gives a main's name for each name in chats."""
        groups: dict[tuple[str, str | None, int | None], list[Figures]] = defaultdict(list)
        # An older specd stored answers with draft tokens of an unnamed draft as without a draft.
        for main, draft, draft_tokens, *figures in self._file.get().execute(
            "SELECT main, coalesce(draft, CASE WHEN drafted > 0 THEN ? END),"
            " CASE WHEN draft IS NULL THEN NULL ELSE draft_tokens END,"
            " at, tokens, prompt_tokens, seconds, drafted, accepted, rounds FROM answers"
            " ORDER BY at",
            (OWN_HEADS,),
        ):
            groups[name(main), draft, draft_tokens].append(Figures(*figures))
        made = [use_of(*key, group) for key, group in groups.items()]
        return tuple(sorted(made, key=lambda use: (use.main, use.draft or "", -use.answers)))

    def _asked(self) -> tuple[DraftRequests, ...]:
        found: list[DraftRequests] = []
        answers = self._file.get()
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
            found.append(
                DraftRequests(main, draft, len(latest), ran, drafted, accepted, latest[0][3])
            )
        return tuple(found)

    def answers_since(self, at: float) -> list[tuple[str, trial.ChatAnswer]]:
        """The (main, figures) of the timed answers since ``at``, oldest first."""
        rows = self._file.get().execute(
            "SELECT main, at, tokens, prompt_tokens, seconds, draft IS NOT NULL FROM answers"
            " WHERE at >= ? AND tokens > 0 AND seconds > 0 ORDER BY at",
            (at,),
        )
        return [
            (main, trial.ChatAnswer(when, tokens, prompt, seconds, bool(drafted)))
            for main, when, tokens, prompt, seconds, drafted in rows
        ]

    def sorts(self, bounds: Sequence[int]) -> tuple[Sort, ...]:
        """The answers with a known prompt length, by range of prompt lengths and kind.

        ``bounds`` rise and separate the ranges.
        """
        found: dict[tuple[int, Kind | None], Sort] = {}
        for prompt_tokens, kind, tokens, answers in self._file.get().execute(
            "SELECT prompt_tokens, kind, sum(tokens), count(*) FROM answers"
            " WHERE prompt_tokens IS NOT NULL GROUP BY prompt_tokens, kind"
        ):
            of = bisect_right(bounds, prompt_tokens), kind
            before = found.get(of, Sort(*of, 0, 0))
            found[of] = Sort(*of, before.answers + answers, before.tokens + tokens)
        return tuple(found.values())

    def sampling(self, mains: Sequence[str]) -> dict[str, float] | None:
        """The most frequent settings in the latest answers of a main, by its names in chats.

        None if fewer than ``SAMPLED`` / 2 of them have any.
        """
        marks = ",".join("?" * len(mains))
        rows = self._file.get().execute(
            f"SELECT sampling FROM answers WHERE main IN ({marks})"  # noqa: S608 - own words
            " ORDER BY at DESC LIMIT ?",
            (*mains, SAMPLED),
        )
        counts = Counter(settings for (settings,) in rows if settings is not None)
        if counts.total() < SAMPLED / 2:
            return None
        found: dict[str, float] = json.loads(counts.most_common(1)[0][0])
        return found

    # -- for the daemon and the command line --------------------------------------------------

    def sums(self) -> Observed:
        """The stored sums."""

        def read() -> Observed:
            kept = dict(self._rows("kept")).get("observed")
            return Observed() if kept is None else msgspec.json.decode(kept, type=Observed)

        return self._file.kept("sums", read)

    def probes(self) -> tuple[Probe, ...]:
        """The last probe of every pair."""
        query = "SELECT main, draft, at, answers, drafted, accepted, finding FROM probes"
        return self._file.kept(
            "probes", lambda: tuple(Probe(*row) for row in self._file.get().execute(query))
        )

    def keep_probe(self, probe: Probe) -> None:
        """Store a benchmark's probe of a pair; it replaces the last one."""
        answers = self._file.get()
        with answers:
            answers.execute(
                "INSERT OR REPLACE INTO probes (main, draft, at, answers, drafted, accepted,"
                " finding) VALUES (?, ?, ?, ?, ?, ?, ?)",
                astuple(probe),
            )

    def _rows(self, table: str) -> list[tuple[str, str]]:
        return self._file.get().execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - own words

    def _keep(self, name: str, value: str) -> None:
        self._file.get().execute(
            "INSERT OR REPLACE INTO kept (name, value) VALUES (?, ?)", (name, value)
        )


def _row(answer: AnswerStats) -> tuple[object, ...] | None:
    """The answer's row; None for an answer without figures on speed or drafts."""
    if not answer.model or not answer.tokens:
        return None
    rounds = rounds_of(answer.runs)
    return (
        bytes.fromhex(answer.id),
        answer.at,
        answer.model,
        answer.configured_draft,
        answer.draft,
        answer.draft_tokens,
        answer.tokens,
        answer.prompt_tokens,
        _seconds(answer),
        answer.drafted,
        answer.accepted,
        json.dumps(rounds) if rounds else None,
        answer.kind,
        json.dumps(dict(answer.sampling), sort_keys=True) if answer.sampling else None,
    )


def _seconds(answer: AnswerStats) -> float | None:
    """Seconds of generating the tokens, without the prompt; None if unknown."""
    if answer.tokens_per_second and answer.tokens:
        return answer.tokens / answer.tokens_per_second
    if answer.seconds is None or answer.time_to_first_token is None:
        return None
    left = answer.seconds - answer.time_to_first_token
    return left if left > 0 else None

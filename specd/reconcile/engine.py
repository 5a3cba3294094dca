"""Which engine measures a pair, and the server's names for its two models (pure).

"auto" means the server if it has the main in memory, since a second copy might not fit; else MLX.
GGUF mains run in a llama.cpp server that specd starts, where one is installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from specd.bench.silence import Circumstances
from specd.lmstudio.model import OWN_HEADS, Model
from specd.reconcile import real_use
from specd.reconcile.facts import ServerSeen
from specd.tokenizer.verdict import Verdict

REPETITIONS: Final = "ngram"
"""The name in results of drafting without any model: from repetitions in the text so far."""

EngineChoice: TypeAlias = Literal["auto", "mlx", "server"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair to be measured; ``draft_tokens`` is the configured length.

    ``draft`` is None for the ways in which a GGUF main drafts without a second model.
    """

    main: Model
    draft: Model | None
    verdict: Verdict | None = None
    draft_tokens: int | None = None

    @property
    def drafts_with(self) -> str:
        """The draft's key, "mtp" for the main's own heads."""
        return self.draft.key if self.draft else OWN_HEADS


@dataclass(frozen=True, slots=True)
class ServedPair:
    """A pair to be measured on a server; ``served`` are the server's names for main and draft."""

    main: Model
    draft: Model
    served: tuple[str, str]
    known: Circumstances
    draft_tokens: int | None


@dataclass(frozen=True, slots=True)
class LocalPair:
    """A GGUF main for specd's own llama.cpp server; ``name`` is the draft's name in results.

    ``draft`` is None for the main's own heads, and for repetitions of the text.
    """

    main: Model
    name: str
    speculation: str
    draft: Model | None = None


@dataclass(frozen=True, slots=True)
class BenchmarkPlan:
    """The pairs for each engine, and sentences about pairs that none can measure."""

    mlx: tuple[tuple[Model, Model], ...] = ()
    gguf: tuple[LocalPair, ...] = ()
    server: tuple[ServedPair, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def pairs(self) -> int:
        """How many pairs there are to measure."""
        return len(self.mlx) + len(self.gguf) + len(self.server)


def plan(
    choice: EngineChoice,
    candidates: Iterable[Candidate],
    installed: Sequence[Model],
    server: ServerSeen | None,
    memory: int | None,
    *,
    llama_cpp: bool,
) -> BenchmarkPlan:
    """Share ``candidates`` among the engines; ``memory`` is the machine's, in bytes.

    ``llama_cpp``: a llama.cpp is installed for GGUF files, for which LM Studio takes no draft with
    a request.
    """
    mlx: list[tuple[Model, Model]] = []
    gguf: list[LocalPair] = []
    served: list[ServedPair] = []
    problems: list[str] = []
    # ``mlx_lm.server`` answers without a list on a machine that never downloaded a model.
    unlisted = choice == "server" and server is not None and server.url is not None
    listed = server if server is not None and server.problem is None else ServerSeen(None, None)
    for candidate in candidates:
        main, draft, verdict = candidate.main, candidate.draft, candidate.verdict
        found = listed.served(main, installed)
        if main.format == "gguf" and llama_cpp and choice != "server":
            gguf += _local(main, draft, alone=all(each.main != main for each in gguf))
            continue
        wants_server = choice == "server" or (
            choice == "auto" and (main.format == "gguf" or (found is not None and found.loaded))
        )
        if draft is None or draft.drafter is not None:
            how = (
                "LM Studio's MLX engine does not draft with it"
                if main.format == "mlx"
                else "only llama.cpp can measure it; `pip install specd[gguf]` brings one"
            )
            problems.append(f"{main.key} ← {candidate.drafts_with}: {how}")
        elif not wants_server and main.format == "mlx":
            mlx.append((main, draft))
        elif not wants_server:
            problems.append(f"{main.key} is {main.format}: only LM Studio's server can run it")
        elif server is None or (server.problem is not None and not unlisted):
            why = server.problem if server is not None else "specd has not asked it yet"
            problems.append(f"{main.key} is to be measured on the server: {why}")
        else:
            draft_served = listed.served(draft, installed)
            served.append(
                ServedPair(
                    main,
                    draft,
                    # A server that lists only what it downloaded takes a model's folder as a name.
                    (
                        found.key if found else str(main.path),
                        draft_served.key if draft_served else str(draft.path),
                    ),
                    real_use.circumstances(main, draft, installed, server, memory, verdict),
                    candidate.draft_tokens,
                )
            )
    return BenchmarkPlan(tuple(mlx), tuple(gguf), tuple(served), tuple(problems))


def _local(main: Model, draft: Model | None, *, alone: bool) -> Iterator[LocalPair]:
    """The pair; with a main's first pair also its ways of drafting without a second model."""
    if draft is not None:
        yield LocalPair(main, draft.key, f"draft-{draft.drafter or 'simple'}", draft)
    if alone and main.mtp_heads:
        yield LocalPair(main, OWN_HEADS, "draft-mtp")
    if alone:
        yield LocalPair(main, REPETITIONS, "ngram-simple")

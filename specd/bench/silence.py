"""The likely causes when a requested draft did not run, the most certain first (pure).

LM Studio drops a draft without a message (mlx-engine #280). The causes here are known from its
engines' sources and its users' reports.
"""

from __future__ import annotations

from dataclasses import dataclass

GUARDED = 0.75
"""LM Studio's guard-rail may refuse models that need more than this share of the memory."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Known facts about a pair; None means unknown.

    ``parallel``: requests that the loaded main serves at once, 1 where their number does not
    matter. ``weights``: bytes of both models' weights. ``memory``: bytes of the machine's memory.
    ``refused``: why the engine refuses the pair.
    """

    parallel: int | None = None
    vision: bool = False
    formats: tuple[str, str] | None = None
    refused: str | None = None
    weights: int | None = None
    memory: int | None = None
    draft_problem: str | None = None


def causes(known: Circumstances) -> tuple[str, ...]:
    """The likely causes as sentences; never empty."""
    found: list[str] = []
    if known.parallel is not None and known.parallel > 1:
        found.append(
            f"the main is loaded for {known.parallel} requests at once, and the engine speculates "
            "only for one: load it with parallel = 1"
        )
    if known.vision:
        found.append("the main can see images, and the MLX engine speculates for no such model")
    if known.formats is not None and known.formats[0] != known.formats[1]:
        found.append(f"the main is {known.formats[0]} and the draft {known.formats[1]}")
    if known.draft_problem:
        found.append(f"the draft cannot be loaded: {known.draft_problem}")
    if known.refused:
        found.append(known.refused)
    if known.weights is not None and known.memory and known.weights > GUARDED * known.memory:
        found.append(
            f"LM Studio's memory guard-rail may have refused the draft: both need "
            f"{known.weights / 2**30:.1f} GiB of this machine's {known.memory / 2**30:.1f}"
        )
    if not found:
        several = ", or the main is loaded for several requests at once"
        found.append(
            f"the draft failed to load{several if known.parallel is None else ''}; load the draft "
            "by hand in LM Studio to see its error"
        )
    return tuple(found)

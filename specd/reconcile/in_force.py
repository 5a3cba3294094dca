"""Whether a loaded main runs with the settings in its files (pure).

LM Studio reads a main's defaults when it loads the main, but not always: a load with explicit
options bypasses them, and after an unload for idleness (TTL) the model comes back with four
parallel requests. So specd compares the files with the server's list of loaded instances. For an
MLX main the list shows no draft, since the draft belongs to the request; for llama.cpp a new LM
Studio shows the switches, but no sidecar.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from specd.lmstudio import names
from specd.lmstudio.answers import Instance, ServedModel
from specd.lmstudio.model import Model
from specd.reconcile.desired import DesiredPair


@dataclass(frozen=True, slots=True)
class NotInForce:
    """A loaded instance that differs from its main's file, and the remedy.

    ``steps`` are the arguments of each call of LM Studio's ``lms``. ``parallel``: it serves too
    many requests at once for an MLX main to speculate. ``shown``: the server shows the difference;
    else it follows from the time of loading. ``length_only``: it drafts, with another draft length.
    """

    pair: DesiredPair
    instance: str
    differs: tuple[str, ...]
    steps: tuple[tuple[str, ...], ...]
    parallel: bool = False
    shown: bool = True
    length_only: bool = False

    @property
    def command(self) -> str:
        """The steps as a person types them."""
        return " && ".join(shlex.join(["lms", *words]) for words in self.steps)

    def __str__(self) -> str:
        return f"{self.instance}: {', '.join(self.differs)}"


def find(
    pairs: Sequence[DesiredPair],
    served: Sequence[ServedModel],
    installed: Sequence[Model],
    loaded_at: Mapping[Instance, datetime],
    written_at: Mapping[str, datetime],
) -> tuple[NotInForce, ...]:
    """Every loaded instance of a pair's main that does not run with its file's settings.

    ``loaded_at``: when each instance was first seen. ``written_at``: when specd last wrote each
    file of model defaults, by its name.
    """
    keys = [model.key for model in served]
    found: list[NotInForce] = []
    for pair in pairs:
        if pair.main is None or pair.state in ("waiting", "missing"):
            continue
        key = names.served_as(pair.main, keys, installed)
        written = written_at.get(pair.main.defaults)
        for model in served:
            for instance in model.loaded_instances if model.key == key else ():
                differs = dict(_differs(pair, pair.main, instance))
                shown = bool(differs)
                seen = loaded_at.get(instance)
                if not shown and written is not None and seen is not None and written > seen:
                    differs["it was loaded before specd wrote its defaults"] = True
                if differs:
                    found.append(
                        NotInForce(
                            pair,
                            instance.id,
                            tuple(differs),
                            _steps(pair, model.key, instance),
                            parallel=pair.main.format == "mlx" and _too_parallel(pair, instance),
                            shown=shown,
                            length_only=not any(differs.values()),
                        )
                    )
    return tuple(found)


def _differs(pair: DesiredPair, main: Model, instance: Instance) -> Iterator[tuple[str, bool]]:
    """Each difference, and whether it can keep the main from drafting."""
    if not pair.speculates:
        return
    if _too_parallel(pair, instance):
        yield f"loaded for {instance.parallel} parallel requests instead of 1", True
    if main.format != "gguf" or (instance.draft_mtp is None and instance.draft_simple is None):
        return
    if pair.mtp and instance.draft_mtp is not True:
        yield "its prediction heads are off", True
    if pair.draft is not None and pair.draft.drafter is None:
        if instance.draft_simple is not True:
            yield "it runs without the draft", True
        elif instance.draft_model not in (None, pair.draft.identifier, pair.draft.key):
            yield f"it runs with {instance.draft_model} as the draft", True
    length = instance.draft_max_tokens
    if None not in (pair.draft_tokens, length) and length != pair.draft_tokens:
        yield f"it drafts {length} tokens instead of {pair.draft_tokens}", False


def _too_parallel(pair: DesiredPair, instance: Instance) -> bool:
    """Whether it serves several requests although specd's file sets one."""
    one = pair.one_at_a_time and instance.parallel is not None
    return one and pair.speculates and (instance.parallel or 1) > 1


def _steps(pair: DesiredPair, key: str, instance: Instance) -> tuple[tuple[str, ...], ...]:
    """Unload the instance, and load the main with its file's settings.

    With options ``lms load`` may not read the file, so every setting becomes an option. A sidecar
    has no option: then there are none, and the file counts.
    """
    options: list[str] = []
    sidecar = pair.draft is not None and pair.draft.drafter is not None
    if pair.speculates and not sidecar:
        if pair.one_at_a_time:
            options += ["--parallel", "1"]
        if pair.main is not None and pair.main.format == "gguf":
            options += _speculation(pair)
        if options and instance.context_length is not None:
            options += ["--context-length", str(instance.context_length)]
    if instance.id.partition(":")[0] != key:  # LM Studio numbers a second one by itself
        options += ["--identifier", instance.id]
    return ("unload", instance.id), ("load", key, *options)


def _speculation(pair: DesiredPair) -> Iterator[str]:
    if pair.mtp:
        yield "--speculative-draft-mtp"
    elif pair.draft is not None:
        yield from ("--speculative-draft-simple", "--speculative-draft-model")
        yield pair.draft.identifier
    if pair.draft_tokens is not None:
        yield from ("--speculative-draft-max-tokens", str(pair.draft_tokens))

"""The surface of model defaults: the draft of every new chat with a main model.

LM Studio keeps one file per model under ``.internal/user-concrete-model-default-config/``:

    {"preset": "", "operation": {"fields": [{"key": …, "value": …}]}, "load": {"fields": []}}

``operation`` holds the settings of a prediction, ``load`` those of loading the model. Each list is
ordered and has at most one entry per key; entries that are not specd's stay where they are.

- **MLX**: ``draftModel`` and ``numDraftTokensExact`` under ``operation``, and one parallel session
  under ``load``. LM Studio's default is four. For more than one the engine uses its batching path,
  which does not speculate and refuses every request that names a draft (mlx-engine:
  ``load_model``, ``load_draft_model``): a draft alone would break the user's chats. With a
  quantized KV cache the engine takes one request at a time anyway, so that entry is not written.
- **GGUF**: one way of drafting under ``load``: ``draftSimple`` or a sidecar's switch with
  ``draftModel``, or the model's own ``draftMtp``. LM Studio allows one switch to be on, so another
  that is on is set to ``false``. With prediction heads llama.cpp is loaded for one request at a
  time: with more, users report mixed answers. Before LM Studio ran llama.cpp as a server of its
  own, the draft stood under ``operation`` as for MLX. If the llama.cpp in the home is that old,
  specd writes it there; a newer one refuses it there.

A value that is no longer desired goes back to what stood there before specd. A value that specd did
not write stays, also an explicit ``false``: it keeps the engine from starting heads by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from specd.files.pointer import ABSENT, Absent, Edit, Json, Match
from specd.lmstudio import keys
from specd.lmstudio.home import App, apps, bionic, lm_studio
from specd.lmstudio.model import Drafter, Model
from specd.lmstudio.surface import (
    Before,
    Content,
    Desired,
    DesiredDraft,
    DesiredValue,
    Misfit,
    Target,
    check,
    mismatch,
)
from specd.lmstudio.values import count, items, members, text

NAME: Final = "model-defaults"
ONE_AT_A_TIME: Final = 1
_SCAFFOLD: Final[tuple[tuple[tuple[str, ...], Json], ...]] = (
    (keys.PRESET, ""),
    (keys.OPERATION_FIELDS, []),
    (keys.LOAD_FIELDS, []),
)
"""What LM Studio writes into such a file when nothing is set."""

_Field: TypeAlias = "tuple[tuple[str, ...], str, Json]"
"""(section, key, value) of an entry that specd keeps."""


def folders(home: Path) -> tuple[Path, ...]:
    """Each app's folder of model defaults."""
    return tuple(app.internal / keys.MODEL_DEFAULTS for app in (lm_studio(home), bionic(home)))


def config_path(home: Path, model: Model) -> Path:
    """Where LM Studio keeps the defaults of ``model``; where Bionic does, if it is alone."""
    return file_in(apps(home)[0], model)


def file_in(app: App, model: Model) -> Path:
    """Where an app keeps the defaults of ``model``."""
    return app.internal.joinpath(keys.MODEL_DEFAULTS, *f"{model.defaults}.json".split("/"))


def drafts(key: str) -> bool:
    """Whether the value of ``key`` turns drafting on."""
    return key in keys.DRAFTING


def targets(desired: Desired) -> Iterator[Target]:
    """The files of every desired main, one for each app."""
    for app in desired.apps:
        for each in desired.drafts:
            file = file_in(app, each.main)
            values = partial(desired_values, each, by_request=app.by_request)
            yield Target(NAME, file, values, each.why, within=desired.home, app=app.name)


def desired_values(
    desired: DesiredDraft, current: Content, before: Before, *, by_request: bool = False
) -> tuple[DesiredValue, ...]:
    """The values for a file, given its content and the values before specd's first write.

    ``by_request``: a GGUF main's draft goes where an older LM Studio reads it.

    Raises:
        Misfit: the file cannot be edited.
    """
    kept = desired.adopted and _leaves_drafting(desired, current, before)
    fields = [
        each
        for each in _fields(desired, current, before, by_request=by_request)
        # The user's drafting keys stay; so does a switch that specd turned on for them.
        if not (kept and each[1] in keys.DRAFTING and each[1] not in before)
    ]
    _check(current, [(section, key) for section, key, _ in fields])
    costs = f"{desired.why}, at the price of {desired.parallel_costs}"
    dear = desired.main.format == "mlx" and desired.parallel_costs
    made = [
        DesiredValue(
            key,
            Edit((*section, Match("key", key), "value"), value),
            costs if dear and key == keys.PARALLEL_SESSIONS else desired.why,
        )
        for section, key, value in fields
    ]
    if current is ABSENT and made:
        shape = "a new file of LM Studio's shape"
        made = [DesiredValue(".".join(at), Edit(at, v), shape) for at, v in _SCAFFOLD] + made
    return tuple(made)


def _leaves_drafting(desired: DesiredDraft, current: Content, before: Before) -> bool:
    """Whether this file's drafting keys stay as they are when the user's draft is adopted.

    They stay in a file in which the user set one. The other app's file, which sets none, gets the
    draft model too, but never heads or a sidecar: they were not measured.
    """
    if desired.draft is None or desired.draft.drafter is not None:
        return True
    users = {key: before.get(key, value) for key, value in drafting(current).items()}
    return any(value is not ABSENT for value in users.values())


def _fields(
    desired: DesiredDraft, current: Content, before: Before, *, by_request: bool
) -> Iterator[_Field]:
    if desired.draft is None and not desired.mtp:
        return
    gguf = desired.main.format == "gguf"
    if gguf and not (by_request and desired.draft is not None):
        yield from _llama_fields(desired, current, before)
        return
    if desired.draft is not None:
        yield keys.OPERATION_FIELDS, keys.DRAFT_MODEL, desired.draft.identifier
    if desired.draft_tokens is not None:
        length = keys.MAX_TOKENS_TO_DRAFT if gguf else keys.DRAFT_TOKENS_EXACT
        yield keys.OPERATION_FIELDS, length, desired.draft_tokens
    if not gguf and not _quantized_cache(_entries(current, keys.LOAD_FIELDS)):
        yield keys.LOAD_FIELDS, keys.PARALLEL_SESSIONS, ONE_AT_A_TIME


def _llama_fields(desired: DesiredDraft, current: Content, before: Before) -> Iterator[_Field]:
    load = keys.LOAD_FIELDS
    switch = switch_of(desired.draft)
    if desired.draft is not None:
        yield load, keys.LLAMA_DRAFT_MODEL, desired.draft.identifier
    yield load, switch, True
    standing = _entries(current, load)
    for other in keys.LLAMA_DRAFT_SWITCHES:
        # A switch that specd turned on goes back to its former value; the user's becomes false.
        users = before[other] if other in before else standing.get(other)
        if other != switch and users is True:
            yield load, other, False
    if desired.draft_tokens is not None:
        yield load, keys.LLAMA_DRAFT_MAX_TOKENS, desired.draft_tokens
    if switch in keys.LLAMA_PREDICTION_HEADS:
        yield load, keys.PARALLEL_SESSIONS, ONE_AT_A_TIME


def switch_of(draft: Model | None) -> str:
    """llama.cpp's switch for a draft, None for the main's own heads."""
    if draft is None:
        return keys.LLAMA_DRAFT_MTP
    return keys.LLAMA_DRAFT_SIDECARS.get(draft.drafter or "other", keys.LLAMA_DRAFT_SIMPLE)


def _quantized_cache(load: dict[str, Json]) -> bool:
    cache = load.get(keys.MLX_CACHE_QUANTIZATION)
    return isinstance(cache, dict) and cache.get("enabled") is True


def _check(current: Content, mine: Sequence[tuple[tuple[str, ...], str]]) -> None:
    """Raise ``Misfit`` if a key of specd's occurs twice, or holds a list or an object."""
    for section in dict.fromkeys(at for at, _ in mine):
        check(current, section, "a list")
        seen: set[str] = set()
        for key, value in _pairs(current, section):
            if (section, key) not in mine:
                continue
            if key in seen:
                raise Misfit(
                    f"{'.'.join(section)} has {key} twice, and LM Studio allows one; specd leaves "
                    "the file alone until one of them is removed"
                )
            seen.add(key)
            if isinstance(value, dict | list):
                raise mismatch(key, value, "a single value")


@dataclass(frozen=True, slots=True)
class DraftDefaults:
    """The drafting in a file of defaults; None where it sets nothing.

    ``mtp`` and ``sidecar`` are drafters that are switched on; ``draft_model`` then names the
    sidecar. ``several``: more than one of llama.cpp's switches is on, and LM Studio allows one.
    ``quantized_cache``: the KV cache is quantized. ``preset`` names the preset of new chats with
    the model. ``of_request``: the draft stands under ``operation``, which for a GGUF main only
    older LM Studios read. ``app`` keeps the file; ``also`` names the drafts in the other app's.
    """

    draft_model: str | None = None
    draft_tokens: int | None = None
    mtp: bool = False
    sidecar: Drafter | None = None
    quantized_cache: bool = False
    preset: str = ""
    of_request: bool = False
    several: bool = False
    app: str = "LM Studio"
    also: str = ""

    @property
    def drafts_with(self) -> str:
        """The draft, for messages."""
        return self.draft_model or "the main's own heads"

    @property
    def drafts(self) -> bool:
        """Whether it sets a draft, heads or a sidecar."""
        return self.mtp or self.sidecar is not None or self.draft_model is not None


def read(document: Content, before: Before = MappingProxyType({})) -> DraftDefaults:
    """The drafting that ``document`` sets, with specd's values set back to ``before``.

    A switch that specd turned on stays on for a draft that the user has named since.
    """
    operation = _entries(document, keys.OPERATION_FIELDS)
    load = _entries(document, keys.LOAD_FIELDS)
    renamed = keys.LLAMA_DRAFT_MODEL in load.keys() - before.keys()
    for key, value in before.items():
        if renamed and key in keys.LLAMA_OF_DRAFT_MODEL and load.get(key) is True:
            continue
        for entries in (operation, load):
            if key in entries:
                entries[key] = None if isinstance(value, Absent) else value
    preset = document.get(keys.PRESET[0]) if isinstance(document, dict) else None
    return from_fields(operation, load, text(preset))


def from_fields(
    operation: dict[str, Json], load: dict[str, Json], preset: str = ""
) -> DraftDefaults:
    """The drafting that the fields of the two sections set; both map keys to values.

    For GGUF the newer keys are read first, then the older ones.
    """
    simple = load.get(keys.LLAMA_DRAFT_SIMPLE) is True
    sidecars = keys.LLAMA_DRAFT_SIDECARS.items()
    sidecar = next((kind for kind, key in sidecars if load.get(key) is True), None)
    newer = text(load.get(keys.LLAMA_DRAFT_MODEL)) or None if simple or sidecar else None
    mtp = load.get(keys.LLAMA_DRAFT_MTP) is True
    older = text(operation.get(keys.DRAFT_MODEL)) or None
    lengths = (
        load.get(keys.LLAMA_DRAFT_MAX_TOKENS) if newer or mtp else None,
        operation.get(keys.DRAFT_TOKENS_EXACT),
        operation.get(keys.MAX_TOKENS_TO_DRAFT),
    )
    length = next((found for each in lengths if (found := count(each)) is not None), None)
    return DraftDefaults(
        newer or older,
        length,
        mtp,
        sidecar,
        _quantized_cache(load),
        preset,
        of_request=newer is None and older is not None,
        several=sum(load.get(key) is True for key in keys.LLAMA_DRAFT_SWITCHES) > 1,
    )


def drafting(document: Content) -> dict[str, Json]:
    """The values in ``document`` of the keys that choose the draft."""
    both = {**_entries(document, keys.OPERATION_FIELDS), **_entries(document, keys.LOAD_FIELDS)}
    return {key: value for key, value in both.items() if key in keys.DRAFTING}


def sampling(document: Content) -> dict[str, Any]:
    """The valid sampling settings in ``document``, by their names in ``ChatSettings``."""
    return sampling_of(_entries(document, keys.OPERATION_FIELDS))


def sampling_of(held: Mapping[str, Json]) -> dict[str, Any]:
    """The same of the fields of a prediction, by key."""
    return {
        name: int(usable) if name == "top_k" else usable
        for name, key, off, most in _SAMPLING
        if (usable := _sampled(held.get(key), off, most)) is not None
    }


_SAMPLING: Final = (
    ("temperature", keys.TEMPERATURE, 0.0, 5.0),
    ("top_k", keys.TOP_K, 0.0, 500.0),
    ("top_p", keys.TOP_P, 1.0, 1.0),
    ("min_p", keys.MIN_P, 0.0, 1.0),
)
"""Name, key, the value that turns it off, the largest value."""

SAMPLING: Final = frozenset(key for _, key, _, _ in _SAMPLING)
"""The keys of sampling settings."""


def _sampled(value: object, off: float, most: float) -> float | None:
    if isinstance(value, dict):
        value = value.get("value") if value.get("checked") else off
    usable = isinstance(value, int | float) and not isinstance(value, bool) and -1 <= value <= most
    return max(0.0, float(value)) if usable and isinstance(value, int | float) else None


_KV_BITS: Final = (2, 3, 4, 6, 8)
_KV_GROUPS: Final = (32, 64, 128)
_KV_TYPES: Final = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
"""The values that LM Studio offers."""


def kv_quantization(document: Content) -> dict[str, Any]:
    """What the KV cache holds, by its names in ``ChatSettings``; without LM Studio's defaults."""
    load = _entries(document, keys.LOAD_FIELDS)
    found: dict[str, Any] = {}
    for name, key in keys.LLAMA_CACHE_TYPES.items():
        held = members(load.get(key))
        if held.get("checked") is True and held.get("value") in _KV_TYPES:
            found[name] = held["value"]
    cache = members(load.get(keys.MLX_CACHE_QUANTIZATION))
    bits, group = cache.get("bits", 8), cache.get("groupSize", 64)
    start = cache.get("quantizedStart")
    if not _quantized_cache(load) or bits not in _KV_BITS or group not in _KV_GROUPS:
        return found
    start = start if isinstance(start, int) and start > 0 else 0
    return {**found, "kv_bits": bits, "kv_group": group, "kv_start": int(start)}


def _entries(document: Content, section: tuple[str, ...]) -> dict[str, Json]:
    """The values at ``section`` by their keys; of a key that occurs twice, the first."""
    return dict(reversed(list(_pairs(document, section))))


def _pairs(document: Content, section: tuple[str, ...]) -> Iterator[tuple[str, Json]]:
    value: Any = document
    for step in section:
        value = members(value).get(step)
    for entry in map(members, items(value)):
        if isinstance(key := entry.get("key"), str):
            yield key, entry.get("value")

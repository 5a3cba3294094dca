"""What each condition means, what specd looks at for it, and what it does when it is not so."""

from __future__ import annotations

from dataclasses import dataclass

from specd.reconcile.conditions import ConditionType


@dataclass(frozen=True, slots=True)
class Meaning:
    """Three sentences for a person: what is so, what was looked at, what happens next."""

    true_when: str
    looks_at: str
    next_step: str


MEANINGS: dict[ConditionType, Meaning] = {
    "ConfigValid": Meaning(
        "specd.toml parses, and every key and value in it is one that specd knows.",
        "specd.toml, and the machine-wide policy where there is one; again whenever it is saved.",
        "The last configuration that was valid stays in force until the file is mended. "
        "`specd config validate` names each mistake with its line.",
    ),
    "HomeFound": Meaning(
        "LM Studio's home directory exists and can be read.",
        "$LMSTUDIO_HOME, then home in specd.toml, then where LM Studio itself looks.",
        "specd waits and watches for the home to appear; nothing is written until then.",
    ),
    "SettingsApplied": Meaning(
        "LM Studio's settings.json holds every value that specd.toml asks for.",
        "settings.json; at once whenever it changes, and every resync_seconds in any case.",
        "specd writes the values that differ, and only those; every other byte stays. "
        "A file that cannot be understood is left alone until it can be.",
    ),
    "PairsConfigured": Meaning(
        "Every pair of specd.toml stands in its main model's default configuration.",
        "The per-model configuration files in LM Studio's home, and the installed models.",
        "specd writes a pair as soon as both models are there and their tokenizers are proven to "
        "agree. It never writes a pair whose draft would make the main say something else.",
    ),
    "TokenizersCompatible": Meaning(
        "In every pair, each token the draft can emit means the same to the main model.",
        "The tokenizer and configuration files of both models, id by id.",
        "A pair that is not proven is not configured. `specd check MAIN DRAFT` shows the first "
        'tokens that differ; choose another draft, or draft = "auto".',
    ),
    "EngineWillSpeculate": Meaning(
        "Nothing in the model or the way it is loaded switches speculation off.",
        "The main model's config.json, and how the server has it loaded.",
        "specd cannot change how a model is built; load it with parallel = 1, or choose another.",
    ),
    "ServerReachable": Meaning(
        "LM Studio's local server answers. Not known while LM Studio is not running: no fault.",
        "The server's list of models, at its port in LM Studio's own configuration.",
        "Nothing else waits for it but the measurements through the server. "
        "`lms server start` starts it.",
    ),
    "SpeculationObserved": Meaning(
        "Draft tokens were seen at work.",
        "The statistics of the server's answers, and those LM Studio keeps with conversations "
        "and in its server log (figures only, never text).",
        "A draft that fails is dropped without a word by the engine: when it is configured and no "
        "draft tokens show, restart LM Studio and look again.",
    ),
    "Faster": Meaning(
        "The last benchmark's confidence interval lies above 1: the draft really is faster.",
        "The benchmark history; `specd bench` adds to it at once.",
        'With on_slower = "disable" specd takes a draft out that slows down; with "warn" it says '
        "so and leaves it.",
    ),
    "CacheAgrees": Meaning(
        "LM Studio's own compatibility cache contradicts none of specd's verdicts.",
        "LM Studio's draft-model compatibility cache.",
        "specd never changes it by itself. `specd cache refresh` moves it aside, keeping a copy, "
        "so that LM Studio builds it anew.",
    ),
    "AppUpToDate": Meaning(
        "LM Studio was started after specd's last write, or is not running.",
        "When LM Studio's process was started, and the journal.",
        "Restart LM Studio: it reads some of its settings at start only.",
    ),
    "Uncontended": Meaning(
        "Nobody keeps undoing what specd writes.",
        "How often a value that specd wrote was changed back soon after.",
        "specd waits longer and longer between writes (up to 5 minutes) rather than fight. Find "
        "the program that sets it back, or `specd pause`.",
    ),
}

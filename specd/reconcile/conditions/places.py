"""Whether specd.toml, LM Studio's home and specd's own files can be used."""

from __future__ import annotations

from specd.config import SpecdConfig
from specd.lmstudio.home import NoHome
from specd.reconcile.conditions.condition import Definition, Judgement, false, true, unknown
from specd.reconcile.facts import Facts


def _config_valid(facts: Facts, _: SpecdConfig) -> Judgement:
    if facts.config_problem is not None:
        return false(
            "Invalid",
            f"{facts.config_problem}; the last good configuration stays in force",
            "mend specd.toml; `specd config validate` names each mistake",
        )
    if not facts.config_there:
        return true("Defaults", f"there is no {facts.config_path}: every default counts")
    return true("Parsed", f"{facts.config_path} is valid")


CONFIG_VALID = Definition(
    "ConfigValid",
    "specd.toml parses, and specd knows every key and value in it.",
    "specd.toml, and the machine-wide policy where there is one; again whenever it is saved.",
    "The last configuration that was valid stays in force until the file is mended. "
    "`specd config validate` names each mistake with its line.",
    _config_valid,
)


def _home_found(facts: Facts, _: SpecdConfig) -> Judgement:
    if not isinstance(facts.home, NoHome):
        found = f"{facts.home.path} ({facts.home.how})"
        return true("Found", "; ".join((found, *facts.models_left_out)))
    if not facts.home.looked:
        return unknown("NotLooked", "specd has not looked for LM Studio's home yet")
    looked = ", ".join(str(path) for path in facts.home.looked)
    return false(
        "NoHome",
        f"no LM Studio home: {facts.home.reason} (looked at {looked})",
        "start LM Studio once, or `specd config set lmstudio.home PATH`",
    )


HOME_FOUND = Definition(
    "HomeFound",
    "LM Studio's home directory exists and can be read.",
    "$LMSTUDIO_HOME, then home in specd.toml, then where LM Studio itself looks.",
    "specd waits and watches for the home to appear; nothing is written until then.",
    _home_found,
)


def _specd_works(facts: Facts, _: SpecdConfig) -> Judgement:
    if not facts.faults:
        return true("NoFault", "no work of specd's own fails")
    return false(
        "Fault",
        "; ".join(facts.faults),
        "`specd logs` shows where, `specd doctor` looks at the disk",
    )


SPECD_WORKS = Definition(
    "SpecdWorks",
    "None of specd's own work fails.",
    "Everything that specd does beside writing: comparing, measuring, asking the server, keeping "
    "its own files.",
    "specd goes on with everything else, and tries again at the next look.",
    _specd_works,
)

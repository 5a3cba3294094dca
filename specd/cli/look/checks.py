"""The checks of ``specd doctor``: one small function each, listed once with its name.

A check changes nothing. "note" means worth knowing and no fault; "fail" always has a remedy.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from specd import __version__, config, places
from specd.cli import alive, ask
from specd.cli.look import logbook
from specd.cli.paint import plural
from specd.cli.world import configuration_or_default
from specd.config import ConfigError, SpecdConfig
from specd.files import private
from specd.lmstudio import app, settings
from specd.lmstudio import home as homes
from specd.lmstudio.home import Home, NoHome
from specd.reconcile import survey
from specd.reconcile.conditions import CONDITIONS, Complaint
from specd.reconcile.conditions.files import SAVE_SETTINGS
from specd.reconcile.journal import FILE as JOURNAL
from specd.reconcile.observe import read_file
from specd.service import program
from specd.service.command import ServiceError
from specd.service.platforms import here

Grade: TypeAlias = Literal["ok", "note", "fail"]

Result: TypeAlias = tuple[Grade, str, str]
"""The grade, the finding, and the remedy with "fail"."""

ROOM_BYTES = 200 << 20
"""With less free space a log or a history may not fit."""

MLX_S = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, with its name."""

    name: str
    grade: Grade
    says: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """Facts that several checks need, read once; ``status`` is the daemon's answer, if any."""

    state: Path
    config: SpecdConfig
    home: Home | NoHome
    status: dict[str, Any] | None = None
    problem: ask.CannotAsk | None = None


def examine() -> list[Finding]:
    """Every check's finding, in order; an exception in a check becomes its finding."""
    read = configuration_or_default()
    patient = Patient(places.state_dir(), read, homes.find_home(read.lmstudio.home))
    try:
        patient = replace(patient, status=ask.ask("GET", "/v1/status"))
    except ask.CannotAsk as problem:
        patient = replace(patient, problem=problem)
    found = [safely(name, check, patient) for name, check in CHECKS]
    complaints = (each for each in get_args(Complaint) if each)
    return [*found, *(Finding(f"{each}?", *_complaint(each, patient)) for each in complaints)]


def safely(name: str, check: Callable[[Patient], Result], patient: Patient) -> Finding:
    """The finding of a check, also where it raises."""
    try:
        return Finding(name, *check(patient))
    except Exception as error:  # noqa: BLE001 - the other checks must still run
        says = f"could not be looked at: {type(error).__name__}: {error}"
        return Finding(name, *_fail(says, "please report this"))


def _ok(says: str) -> Result:
    return "ok", says, ""


def _note(says: str) -> Result:
    return "note", says, ""


def _fail(says: str, remedy: str) -> Result:
    return "fail", says, remedy


# -- this machine, and specd's own files and processes --------------------------------------------


def _python(_: Patient) -> Result:
    version = platform.python_version()
    return _ok(f"specd {__version__} with Python {version} at {sys.executable}")


def _machine(_: Patient) -> Result:
    if sys.platform != "darwin":
        return _ok(f"{platform.system()} {platform.release()}, {platform.machine()}")
    says = f"macOS {platform.mac_ver()[0]} on {platform.machine()}"
    if platform.machine() != "arm64":
        return _note(f"{says}: MLX needs Apple silicon; GGUF models only")
    return _ok(says)


def _specd_toml(_: Patient) -> Result:
    path = places.config_file()
    try:
        loaded = config.read(path)
    except ConfigError as error:
        return _fail(str(error), "correct it; `specd config validate` checks it")
    if not loaded.exists:
        return _note(f"there is none at {path}: all defaults")
    if loaded.overruled:
        return _note(f"valid; {loaded.managed} overrules {', '.join(loaded.overruled)}")
    return _ok(f"{path} is valid")


def _state_directory(patient: Patient) -> Result:
    state = patient.state
    try:
        private.reach(places.journal_dir(state))
    except private.LeadsNowhere as error:
        return _fail(f"{error.filename}: {error.strerror}", "what `specd restore` needs is there")
    if not state.exists():
        return _note(f"{state} is not there yet; `specd run` makes it")
    facts = state.stat()
    if facts.st_uid != os.getuid():
        command = f'sudo chown -R "$USER" {shlex.quote(str(state))}'
        remedy = f"run specd as the owner, or `{command}`"
        return _fail(f"{state} belongs to user {facts.st_uid}", remedy)
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        return _fail(f"{state} cannot be written", f"chmod u+rwx {state}")
    if facts.st_mode & 0o077:
        return _fail(f"{state} is open to other users", f"chmod 700 {state}")
    for kept in (places.journal_dir(state) / JOURNAL, places.history_path(state)):
        if not private.usable(kept):
            return _fail(f"{kept} is no file that specd can read and write", "move it elsewhere")
    return _ok(f"{state} is private")


def _room(patient: Patient) -> Result:
    written = [patient.state]
    if isinstance(patient.home, Home):
        written.append(patient.home.path)
    for place in written:
        there = next(each for each in (place, *place.parents) if each.exists())
        free = shutil.disk_usage(there).free
        if free < ROOM_BYTES:
            says = f"{free >> 20} MB are free where {place} is"
            return _fail(says, "free some: writes may fail")
    return _ok(f"more than {ROOM_BYTES >> 20} MB are free")


def _daemon(patient: Patient) -> Result:
    if patient.status is None:
        return _no_answer(patient)
    says = f"process {patient.status['pid']} answers, up {patient.status['uptime_s']:.0f} s"
    running = patient.status["version"]
    if running != __version__:
        return _fail(f"{says}, but is version {running}", "`specd restart` starts the new one")
    path = places.socket_path(patient.state)
    if path.stat().st_mode & 0o077 and path.parent.stat().st_mode & 0o077:
        return _fail(f"{says}; {path} is open to others", f"chmod 600 {path}")
    return _ok(says)


def _no_answer(patient: Patient) -> Result:
    """Why the daemon does not answer, with its process if it hangs."""
    path = places.lock_path(patient.state)
    try:
        holder = alive.at_work() if path.exists() else None
    except OSError as error:
        return _fail(f"{path}: {error.strerror}", f"chmod 600 {path}")
    problem = patient.problem or ask.NotRunning("specd is not running")
    if holder is None:
        return _fail(problem.why, problem.remedy or "`specd start`, or `specd install`")
    says = f"{problem.why}; process {holder} works with {patient.state}"
    return _fail(says, "`specd stop` ends it, `specd start` starts it afresh")


def _service(patient: Patient) -> Result:
    """Whether the login service is installed, runs, and starts this very specd."""
    try:
        platform_ = here()
        file = platform_.file()
        if not file.is_file():
            return _note("not installed; `specd install` starts it at login")
        detail = platform_.detail()
        current = file.read_bytes()
        update = "`specd install` brings it up to date"
        if str(program.this_one(patient.home).python).encode() not in current:
            return _fail(f"{file} starts another specd than this", update)
        if platform_.pid() is None:
            return _fail(detail, "`specd start`; then `specd logs`")
        if isinstance(patient.home, Home) and _cannot_write(current, patient.home):
            return _fail(f"{file} does not let specd write to {patient.home.path}", update)
    except (ServiceError, OSError) as problem:
        return _fail(str(problem), "`specd run` works without it")
    return _ok(detail)


def _cannot_write(unit: bytes, home: Home) -> bool:
    written = f"-{home.path}".replace("%", "%%").encode()
    return b"ProtectSystem=strict" in unit and written not in unit


def _log(patient: Patient) -> Result:
    path = places.log_path(patient.state)
    since = datetime.now().astimezone() - timedelta(days=1)
    try:
        graves = logbook.last(path, math.inf, "warning", since, logbook.end(path))
    except OSError as error:
        return _fail(f"{path} cannot be read: {error.strerror}", f"chmod 600 {path}")
    errors = [entry for entry in graves if entry.level == "error"]
    warnings = plural(len(graves) - len(errors), "warning")
    says = f"{plural(len(errors), 'error')} and {warnings} in the last day"
    if errors:
        last = errors[-1].as_json()["message"]
        return _note(f"{says}; `specd logs --level error` shows them: {last}")
    return _ok(says)


# -- LM Studio ------------------------------------------------------------------------------------


def _lm_studio_home(patient: Patient) -> Result:
    if isinstance(patient.home, NoHome):
        remedy = "start LM Studio once, or `specd config set lmstudio.home PATH`"
        return _fail(patient.home.reason, remedy)
    path = patient.home.path
    try:
        os.listdir(path)  # noqa: PTH208 - macOS may deny a listing that os.access() allows
    except PermissionError:
        return _fail(f"{path} may not be read", _permission())
    except OSError as error:
        return _fail(f"{path}: {error.strerror}", "is its disk mounted?")
    if not os.access(path, os.W_OK):
        return _fail(f"{path} may not be written", _permission())
    return _ok(f"{path} ({patient.home.how})")


def _permission() -> str:
    if sys.platform == "darwin":
        return (
            "System Settings → Privacy & Security → Full Disk Access (or Files and Folders): allow "
            f"{sys.executable}, then `specd restart`"
        )
    return "check the directory's owner and permissions (`ls -ld`)"


def _settings_file(patient: Patient) -> Result:
    """Whether it can be read and replaced; a running daemon's SettingsApplied is the fault."""

    def wrong(says: str, remedy: str) -> Result:
        return _fail(says, remedy) if patient.status is None else _note(says)

    if isinstance(patient.home, NoHome):
        return _note("not looked at: there is no home")
    path = settings.path(patient.home.path)
    seen = read_file(path)
    if seen.problem is not None:
        return wrong(seen.problem, SAVE_SETTINGS)
    if seen.content is None:
        return _note(f"{path} is not there yet")
    real = Path(os.path.realpath(path))
    if not os.access(real, os.W_OK) or not os.access(real.parent, os.W_OK):
        remedy = "make it writable, or set its values where it is made (nix, dotfiles)"
        return wrong(f"{real} cannot be replaced", remedy)
    link = f" (a link to {real})" if path.is_symlink() else ""
    return _ok(f"{path}{link} is understood")


def _lm_studio_app(patient: Patient) -> Result:
    found = app.running(patient.home.path if isinstance(patient.home, Home) else None)
    words = [
        f"{each.kind} {each.version or 'of unknown version'} (process {each.pid}, "
        f"since {each.started.astimezone():%a %H:%M})"
        for each in found
    ]
    return _ok(", ".join(words)) if words else _note("is not running")


def _server(patient: Patient) -> Result:
    if isinstance(patient.home, NoHome):
        return _note("skipped: there is no home")
    seen = survey.ask_server(patient.home, patient.config.lmstudio)
    if seen.remedy:
        return _fail(seen.problem or "refuses", seen.remedy)
    if seen.problem is not None:
        return _note(f"{seen.problem}; `lms server start` starts it")
    loaded = [model.key for model in seen.models if model.loaded]
    return _ok(f"{seen.url} answers; loaded: {', '.join(loaded) or 'nothing'}")


def _mlx(_: Patient) -> Result:
    """Whether MLX works here, tried in a separate process, like specd's workers."""
    code = (
        "import json, mlx.core as mx, mlx_lm; mx.eval(mx.ones((2, 2)) @ mx.ones((2, 2)));"
        "print(json.dumps([mx.__version__, mlx_lm.__version__, str(mx.default_device())]))"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            capture_output=True,
            text=True,
            check=False,
            timeout=MLX_S,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    except subprocess.TimeoutExpired:
        return _fail(f"did not start within {MLX_S:g} s", "is the machine busy?")
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
        return _fail(last[0], "install specd again, the way you installed it")
    core, lm, device = json.loads(done.stdout)
    return _ok(f"MLX {core}, mlx-lm {lm}, on {device}")


CHECKS: tuple[tuple[str, Callable[[Patient], Result]], ...] = (
    ("Python", _python),
    ("machine", _machine),
    ("specd.toml", _specd_toml),
    ("state", _state_directory),
    ("disk space", _room),
    ("daemon", _daemon),
    ("service", _service),
    ("log", _log),
    ("LM Studio", _lm_studio_home),
    ("settings.json", _settings_file),
    ("LM Studio app", _lm_studio_app),
    ("server", _server),
    ("MLX", _mlx),
)


def _complaint(name: str, patient: Patient) -> Result:
    """The conditions that would explain a frequent complaint of users."""
    if patient.status is None:
        return _note("cannot be known without the daemon")
    kinds = [each.type for each in CONDITIONS if each.complaint == name]
    found = [each for each in patient.status["conditions"] if each["type"] in kinds]
    wrong = [each for each in found if each["status"] == "false"]
    faults = [each for each in wrong if each["severity"] == "state"]
    listed = faults or wrong or [each for each in found if each["status"] == "unknown"]
    if not listed:
        return _ok(f"no: {', '.join(kinds)} {'is' if len(kinds) == 1 else 'are'} true")
    says = "; ".join(f"{each['type']}: {each['message']}" for each in listed)
    remedies = dict.fromkeys(each["remedy"] for each in listed if each["remedy"])
    return "fail" if faults else "note", says, "; ".join(remedies)

"""What ``specd doctor`` looks at: one small function per check, listed once.

A check never raises and never changes anything. "note" is for what is worth knowing and no fault;
"fail" always comes with a remedy.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from specd import __version__, config, places
from specd.cli import ask, orders
from specd.cli.look import logbook
from specd.config import ConfigError, SpecdConfig
from specd.lmstudio import app, server_log
from specd.lmstudio import home as homes
from specd.lmstudio.home import Home, NoHome
from specd.reconcile import survey
from specd.reconcile.conditions import CONDITIONS, Complaint
from specd.reconcile.observe import read_file
from specd.service import program
from specd.service.command import ServiceError
from specd.service.platforms import here

Grade: TypeAlias = Literal["ok", "note", "fail"]

ROOM_BYTES = 200 << 20
"""Less free space than this and a log or a history may not fit."""

MLX_S = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: what was found, and with "fail" what to do."""

    name: str
    grade: Grade
    says: str
    remedy: str = ""


@dataclass(slots=True)
class Patient:
    """What several checks need, looked at once."""

    state: Path
    config_path: Path
    config: SpecdConfig = field(default_factory=SpecdConfig)
    home: Home | NoHome = field(default_factory=lambda: NoHome("not looked for", ()))
    status: dict[str, Any] | None = None
    problem: ask.CannotAsk | None = None


def admit() -> Patient:
    """Look at what several checks need."""
    patient = Patient(places.state_dir(), places.config_file())
    # A broken specd.toml has a check of its own; the others go on with the defaults.
    with contextlib.suppress(ConfigError):
        patient.config = config.load(patient.config_path)
    patient.home = homes.find_home(patient.config.lmstudio.home)
    try:
        patient.status = ask.ask("GET", "/v1/status")
    except ask.CannotAsk as problem:
        patient.problem = problem
    return patient


def python(_: Patient) -> Finding:
    """Which Python runs specd."""
    version = platform.python_version()
    return Finding("Python", "ok", f"specd {__version__} with Python {version} at {sys.executable}")


def machine(_: Patient) -> Finding:
    """Which system this is, and whether MLX can use its GPU."""
    if sys.platform == "darwin":
        says = f"macOS {platform.mac_ver()[0]} on {platform.machine()}"
        if platform.machine() != "arm64":
            return Finding("machine", "note", f"{says}: MLX needs Apple silicon; GGUF models only")
        return Finding("machine", "ok", says)
    return Finding(
        "machine", "ok", f"{platform.system()} {platform.release()}, {platform.machine()}"
    )


def home_directory(_: Patient) -> Finding:
    """Whether there is a HOME to keep anything under."""
    try:
        return Finding("$HOME", "ok", str(Path.home()))
    except RuntimeError:
        return Finding("$HOME", "fail", "is not set", "set HOME to your home directory")


def specd_toml(patient: Patient) -> Finding:
    """Whether specd.toml is valid."""
    try:
        loaded = config.read(patient.config_path)
    except ConfigError as error:
        return Finding("specd.toml", "fail", str(error), "mend it; `specd config validate` checks")
    if not loaded.exists:
        return Finding(
            "specd.toml", "note", f"there is none at {patient.config_path}: all defaults"
        )
    if loaded.overruled:
        keys = ", ".join(loaded.overruled)
        return Finding("specd.toml", "note", f"valid; {loaded.managed} overrules {keys}")
    return Finding("specd.toml", "ok", f"{patient.config_path} is valid")


def state_directory(patient: Patient) -> Finding:
    """Whether specd's own directory is private and usable."""
    state = patient.state
    if not state.exists():
        return Finding("state", "note", f"{state} is not there yet; `specd run` makes it")
    facts = state.stat()
    if facts.st_uid != os.getuid():
        remedy = f"run specd as the owner, or `sudo chown -R $USER {state}`"
        return Finding("state", "fail", f"{state} belongs to user {facts.st_uid}", remedy)
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        return Finding("state", "fail", f"{state} cannot be written", f"chmod u+rwx {state}")
    if facts.st_mode & 0o077:
        return Finding("state", "fail", f"{state} is open to other users", f"chmod 700 {state}")
    return Finding("state", "ok", f"{state} is private")


def room(patient: Patient) -> Finding:
    """Whether there is room on the disks specd writes to."""
    places_ = [patient.state]
    if isinstance(patient.home, Home):
        places_.append(patient.home.path)
    for place in places_:
        there = next(each for each in (place, *place.parents) if each.exists())
        free = shutil.disk_usage(there).free
        if free < ROOM_BYTES:
            says = f"{free >> 20} MB are free where {place} is"
            return Finding("disk space", "fail", says, "free some: writes may fail")
    return Finding("disk space", "ok", f"more than {ROOM_BYTES >> 20} MB are free")


def socket(patient: Patient) -> Finding:
    """Whether the socket is private, and nobody's leftover."""
    path = places.socket_path(patient.state)
    try:
        facts = path.lstat()
    except OSError:
        grade: Grade = "note" if patient.status is None else "fail"
        remedy = "" if grade == "note" else "restart specd: `specd restart`"
        return Finding("socket", grade, f"there is none at {path}", remedy)
    if not stat.S_ISSOCK(facts.st_mode):
        return Finding("socket", "fail", f"{path} is no socket", f"remove {path}")
    if facts.st_uid != os.getuid():
        says = f"{path} belongs to user {facts.st_uid}"
        return Finding("socket", "fail", says, "give specd a state directory of your own")
    if facts.st_mode & 0o077 and path.parent.stat().st_mode & 0o077:
        return Finding("socket", "fail", f"{path} is open to others", f"chmod 600 {path}")
    if patient.status is None:
        says = f"{path} was left behind by a daemon that is gone"
        return Finding("socket", "note", f"{says}; the next start takes it over")
    return Finding("socket", "ok", f"{path} is private")


def lock(patient: Patient) -> Finding:
    """Whether a process holds the state directory without answering."""
    path = places.lock_path(patient.state)
    try:
        if not path.exists():
            return Finding("lock", "ok", "no daemon has worked here yet")
        holder = orders.at_work(patient.state)
    except OSError as error:
        return Finding("lock", "fail", f"{path}: {error.strerror}", f"chmod 600 {path}")
    if holder is None:
        return Finding("lock", "ok", "no process holds it")
    if patient.status is None:
        says = f"process {holder} holds {path.parent.parent} and does not answer"
        return Finding("lock", "fail", says, f"`specd restart`, or `kill {holder}`")
    return Finding("lock", "ok", f"process {holder} holds it")


def daemon(patient: Patient) -> Finding:
    """Whether the daemon answers, and is of this version."""
    if patient.status is None:
        problem = patient.problem or ask.NotRunning("specd is not running")
        remedy = problem.remedy or "`specd start`, or `specd install`"
        return Finding("daemon", "fail", problem.why, remedy)
    running = patient.status["version"]
    says = f"process {patient.status['pid']} answers, up {patient.status['uptime_s']:.0f} s"
    if running != __version__:
        what = f"{says}, but is version {running}"
        return Finding("daemon", "fail", what, "`specd restart` starts the new one")
    return Finding("daemon", "ok", says)


def service(patient: Patient) -> Finding:
    """Whether the login service is installed, runs, and starts this very specd."""
    try:
        platform_ = here()
        file = platform_.file()
        if not file.is_file():
            return Finding("service", "note", "not installed; `specd install` starts it at login")
        detail = platform_.detail()
        current = file.read_bytes()
        if str(program.this_one(patient.home).python).encode() not in current:
            remedy = "`specd install` brings it up to date"
            return Finding("service", "fail", f"{file} starts another specd than this", remedy)
        if platform_.pid() is None:
            return Finding("service", "fail", detail, "`specd start`; then `specd logs`")
        if isinstance(patient.home, Home) and _cannot_write(current, patient.home):
            says = f"{file} does not let specd write to {patient.home.path}"
            return Finding("service", "fail", says, "`specd install` brings it up to date")
    except (ServiceError, OSError) as problem:
        return Finding("service", "fail", str(problem), "`specd run` works without it")
    return Finding("service", "ok", detail)


def _cannot_write(unit: bytes, home: Home) -> bool:
    return (
        b"ProtectSystem=strict" in unit and f"-{home.path}".replace("%", "%%").encode() not in unit
    )


def log(patient: Patient) -> Finding:
    """Whether the log of the last day holds errors."""
    path = places.log_path(patient.state)
    since = datetime.now().astimezone() - timedelta(days=1)
    try:
        graves = list(logbook.after(path, "warning", since, logbook.mark(path)))
    except OSError as error:
        return Finding(
            "log", "fail", f"{path} cannot be read: {error.strerror}", f"chmod 600 {path}"
        )
    errors = [entry for entry in graves if entry.level == "error"]
    warnings = len(graves) - len(errors)
    says = (
        f"{len(errors)} error{'s'[: len(errors) != 1]} and {warnings} "
        f"warning{'s'[: warnings != 1]} in the last day"
    )
    if errors:
        last = errors[-1].as_json()["message"]
        return Finding("log", "note", f"{says}; `specd logs --level error` shows them: {last}")
    return Finding("log", "ok", says)


def lm_studio_home(patient: Patient) -> Finding:
    """Whether LM Studio's home is there and may be read and written."""
    if isinstance(patient.home, NoHome):
        remedy = "start LM Studio once, or `specd config set lmstudio.home PATH`"
        return Finding("LM Studio", "fail", patient.home.reason, remedy)
    path = patient.home.path
    try:
        os.listdir(path)  # noqa: PTH208 - macOS denies access when listing, not when asked
    except PermissionError:
        return Finding("LM Studio", "fail", f"{path} may not be read", _permission())
    except OSError as error:
        return Finding("LM Studio", "fail", f"{path}: {error.strerror}", "is its disk mounted?")
    if not os.access(path, os.W_OK):
        return Finding("LM Studio", "fail", f"{path} may not be written", _permission())
    return Finding("LM Studio", "ok", f"{path} ({patient.home.how})")


def _permission() -> str:
    if sys.platform == "darwin":
        return (
            "System Settings → Privacy & Security → Full Disk Access (or Files and Folders): allow "
            f"{sys.executable}, then `specd restart`"
        )
    return "check the directory's owner and permissions (`ls -ld`)"


def settings_file(patient: Patient) -> Finding:
    """Whether settings.json can be understood and replaced."""
    if isinstance(patient.home, NoHome):
        return Finding("settings.json", "note", "not looked at: there is no home")
    path = homes.apps(patient.home.path)[0].settings
    seen = read_file(path)
    if seen.problem is not None:
        remedy = "open and save LM Studio's settings, so that it writes the file anew"
        return Finding("settings.json", "fail", seen.problem, remedy)
    if seen.content is None:
        return Finding("settings.json", "note", f"{path} is not there yet")
    real = Path(os.path.realpath(path))
    if not os.access(real, os.W_OK) or not os.access(real.parent, os.W_OK):
        remedy = "make it writable, or set its values where it is made (nix, dotfiles)"
        return Finding("settings.json", "fail", f"{real} cannot be replaced", remedy)
    link = f" (a link to {real})" if path.is_symlink() else ""
    return Finding("settings.json", "ok", f"{path}{link} is understood")


def lm_studio_app(patient: Patient) -> Finding:
    """Whether LM Studio runs, and with which version."""
    home = patient.home.path if isinstance(patient.home, Home) else None
    found = app.running(home)
    if not found:
        return Finding("LM Studio app", "note", "is not running")
    words = [
        f"{each.kind} {each.version or 'of unknown version'} (process {each.pid}"
        + (f", since {each.started.astimezone():%a %H:%M}" if each.started else "")
        + ")"
        for each in found
    ]
    return Finding("LM Studio app", "ok", ", ".join(words))


def server(patient: Patient) -> Finding:
    """Whether LM Studio's local server answers."""
    if isinstance(patient.home, NoHome):
        return Finding("server", "note", "not asked: there is no home")
    seen = survey.ask_server(patient.home, patient.config.lmstudio)
    if seen.refused:
        remedy = f"put the token into ${patient.config.lmstudio.token_env} where specd runs"
        return Finding("server", "fail", seen.problem or "refuses", remedy)
    if seen.problem is not None:
        return Finding("server", "note", f"{seen.problem}; `lms server start` starts it")
    loaded = [model.key for model in seen.models if model.loaded]
    return Finding("server", "ok", f"{seen.url} answers; loaded: {', '.join(loaded) or 'nothing'}")


def drafts_in_the_server_log(patient: Patient) -> Finding:
    """Whether LM Studio's own log tells of draft tokens; it need not, so it is never a fault."""
    name = "server log"
    if isinstance(patient.home, NoHome):
        return Finding(name, "note", "not looked at: there is no home")
    newest = server_log.newest(patient.home.path)
    if newest is None:
        return Finding(name, "note", "LM Studio has written none")
    logged = server_log.read(newest)
    if not logged:
        return Finding(name, "note", f"{newest} tells of no draft tokens; that proves nothing")
    drafted, accepted = sum(each.total for each in logged), sum(each.accepted for each in logged)
    drafts = ", ".join(sorted({each.draft for each in logged if each.draft})) or "a draft"
    says = f"{newest}: {accepted} of {drafted} draft tokens of {drafts} accepted"
    return Finding(name, "ok" if accepted else "note", says)


def mlx(_: Patient) -> Finding:
    """Whether MLX works here; it runs in a process of its own, as specd's workers do."""
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
        return Finding("MLX", "fail", f"did not start within {MLX_S:g} s", "is the machine busy?")
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
        return Finding("MLX", "fail", last[0], "install specd again, the way you installed it")
    core, lm, device = json.loads(done.stdout)
    return Finding("MLX", "ok", f"MLX {core}, mlx-lm {lm}, on {device}")


def _complaint(name: Complaint, fine: str) -> Callable[[Patient], Finding]:
    """A complaint people have, answered by the conditions that would explain it."""
    kinds = [each.type for each in CONDITIONS if each.complaint == name]

    def look(patient: Patient) -> Finding:
        if patient.status is None:
            return Finding(f"{name}?", "note", "cannot be known without the daemon")
        found = [each for each in patient.status["conditions"] if each["type"] in kinds]
        wrong = [each for each in found if each["status"] == "false"]
        faults = [each for each in wrong if each["severity"] == "state"]
        open_ = [each for each in found if each["status"] == "unknown"]
        for grade, those in (("fail", faults), ("note", wrong), ("note", open_)):
            if those:
                says = "; ".join(f"{each['type']}: {each['message']}" for each in those)
                remedies = dict.fromkeys(each["remedy"] for each in those if each["remedy"])
                return Finding(f"{name}?", cast("Grade", grade), says, "; ".join(remedies))
        return Finding(f"{name}?", "ok", fine)

    return look


CHECKS: tuple[Callable[[Patient], Finding], ...] = (
    python,
    machine,
    home_directory,
    specd_toml,
    state_directory,
    room,
    daemon,
    lock,
    socket,
    service,
    log,
    lm_studio_home,
    settings_file,
    lm_studio_app,
    server,
    drafts_in_the_server_log,
    mlx,
    _complaint("option missing", "the settings stand; LM Studio reads them when it starts"),
    _complaint("draft called incompatible", "every pair's tokenizers are proven to agree"),
    _complaint("no faster", "drafts are used, and measured to be faster"),
    _complaint("settings do not stick", "no program undoes them"),
)


def examine() -> list[Finding]:
    """Every check's finding, in order; one that breaks is a finding of its own."""
    patient = admit()
    return [_safely(check, patient) for check in CHECKS]


def _safely(check: Callable[[Patient], Finding], patient: Patient) -> Finding:
    try:
        return check(patient)
    except Exception as error:  # noqa: BLE001 - the doctor sees every patient through
        name = getattr(check, "__name__", "check")
        says = f"could not be looked at: {type(error).__name__}: {error}"
        return Finding(name, "fail", says, "please report this")

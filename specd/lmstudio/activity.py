"""Whether LM Studio is in use: when it last wrote, and whether its processes are busy.

A request leaves lines in the server log, and an answer changes a conversation file, so their time
stamps show the last use. A generation under way shows in the processor time of its processes, even
where a GPU does most of the work.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from specd.lmstudio import app, conversations, keys, server_log
from specd.lmstudio.home import bionic, lm_studio

if TYPE_CHECKING:
    import psutil

AT_WORK: Final = 0.25  # share of one core; an idle LM Studio takes a few hundredths
OWN_S: Final = 5.0  # a log line this close to a request of specd's counts as specd's


def last_logged(home: Path, asked_at: float | None = None) -> float | None:
    """When LM Studio or Bionic last wrote into its server log, in seconds since 1970.

    ``asked_at`` is the time of specd's own last request; its log lines do not count.
    """
    times: list[float] = []
    for app_ in (lm_studio(home), bionic(home)):
        with contextlib.suppress(OSError):
            if (log := server_log.newest(app_.internal.parent)) is not None:
                times.append(log.stat().st_mtime)
    return max((at for at in times if not asked_at or abs(at - asked_at) >= OWN_S), default=None)


def last_used(home: Path, asked_at: float | None = None) -> float | None:
    """When LM Studio was last used, in seconds since 1970, as ``last_logged``; None for never."""
    chats = [
        facts.st_mtime
        for each in (lm_studio(home), bionic(home))
        for _, facts in conversations.files(each.internal.parent / keys.CONVERSATIONS)
    ]
    return max((*filter(None, [last_logged(home, asked_at)]), *chats), default=None)


def generating(home: Path, over_s: float) -> bool | None:
    """Watch LM Studio's processes for ``over_s`` seconds: are they busy? None if none runs."""
    family = _family(home)
    if not family:
        return None
    before = _processor_seconds(family)
    started = time.monotonic()
    time.sleep(over_s)
    after = _processor_seconds(family)
    spent = sum(after[pid] - before[pid] for pid in before.keys() & after.keys())
    return spent / (time.monotonic() - started) > AT_WORK


def clients(home: Path, port: int) -> tuple[str, ...]:
    """The programs connected to LM Studio's server, but specd's, as ``name (pid 7)``.

    One on another machine is named by its address.
    """
    import psutil  # noqa: PLC0415 - as in app

    own = {os.getpid(), *(each.pid for each in _family(home))}
    found: dict[str, None] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            for each in process.net_connections("tcp"):
                if each.status != psutil.CONN_ESTABLISHED:
                    continue
                here = each.raddr.ip == each.laddr.ip
                if here and each.raddr.port == port and process.pid not in own:
                    found[f"{process.name()} (pid {process.pid})"] = None
                elif not here and each.laddr.port == port:
                    found[f"a program on {each.raddr.ip}"] = None
    return tuple(found)


def _family(home: Path) -> list[psutil.Process]:
    import psutil  # noqa: PLC0415 - as in app

    found: list[psutil.Process] = []
    for each in app.running(home):
        with contextlib.suppress(psutil.Error):
            oldest = psutil.Process(each.pid)
            found += [oldest, *oldest.children(recursive=True)]
    return found


def _processor_seconds(family: list[psutil.Process]) -> dict[int, float]:
    import psutil  # noqa: PLC0415 - as in app

    found: dict[int, float] = {}
    for process in family:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found

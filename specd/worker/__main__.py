"""The worker's side: one task, one request on standard input, JSON lines on standard output."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import threading
from typing import Any

from specd.worker import Task

PR_SET_PDEATHSIG = 1
NICENESS = 10


TASKS = (
    "verdicts", "classes", "validate", "bench", "bench-server", "bench-gguf", "observe",
    "self-test",
)  # fmt: skip


def _bound_limits() -> None:
    """Let mlx-lm be imported where fewer than 4,096 open files are allowed.

    Its import sets that limit, which raises ValueError above the one that stands.
    """
    really = resource.setrlimit

    def within(kind: int, limits: tuple[int, int]) -> None:
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            limits = min(limits[0], hard), min(limits[1], hard)
        really(kind, limits)

    resource.setrlimit = within


def _task(name: str) -> Task:
    """The task, imported alone: MLX takes seconds."""
    _bound_limits()
    task: Task
    match name:
        case "verdicts":
            from specd.worker.tasks_tokenizer import verdicts as task
        case "classes":
            from specd.worker.tasks_tokenizer import classes as task
        case "validate":
            from specd.worker.tasks_tokenizer import validate as task
        case "bench":
            from specd.worker.tasks_bench import bench as task
        case "bench-server":
            from specd.worker.tasks_server import bench_server as task
        case "bench-gguf":
            from specd.worker.tasks_gguf import bench_gguf as task
        case "observe":
            from specd.worker.tasks_observe import observe as task
        case _:
            from specd.worker.tasks_selftest import self_test as task
    return task


def main() -> int:
    """Run the task named on the command line."""
    if len(sys.argv) != 2 or sys.argv[1] not in TASKS:
        print(f"usage: python -m specd.worker {{{','.join(TASKS)}}}", file=sys.stderr)
        return 2
    _die_with_parent()
    os.nice(NICENESS)
    # Libraries may print to standard output, so the protocol uses a duplicate of the real one.
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        with lock:
            protocol.write(json.dumps(message, ensure_ascii=True) + "\n")
            protocol.flush()

    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_watch_parent, name="specd-parent", daemon=True).start()
    try:
        result = _task(sys.argv[1])(request, lambda step: say({"progress": step}))
    except MemoryError:
        say({"error": "out of memory"})
        return 1
    except Exception as error:
        say({"error": str(error) or type(error).__name__})
        raise
    say({"result": result})
    return 0


def _die_with_parent() -> None:
    # On Linux the kernel sends a signal; elsewhere standard input ends.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch_parent() -> None:
    while os.read(0, 1 << 12):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())

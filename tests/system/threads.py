"""Threads of other processes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000  # __WALL of waitpid(2)
libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def standing_still(thread: int) -> Iterator[None]:
    """One thread of a process stopped, the others not."""
    assert libc.ptrace(PTRACE_SEIZE, thread, None, None) == 0, os.strerror(ctypes.get_errno())
    try:
        assert libc.ptrace(PTRACE_INTERRUPT, thread, None, None) == 0
        os.waitpid(thread, WALL)
        yield
    finally:
        if libc.ptrace(PTRACE_DETACH, thread, None, None) != 0:  # it was killed meanwhile, and is ours to bury
            os.waitpid(thread, WALL)


def told_of_threads(process: int, file: str) -> dict[int, str]:
    """The text of /proc/.../FILE of each thread; one that ends meanwhile is left out."""
    told = {}
    for task in Path(f"/proc/{process}/task").iterdir():
        with suppress(OSError):
            told[int(task.name)] = (task / file).read_text()
    return told


def processor_seconds(process: int, workers: bool) -> float:
    """Processor time of a sluiced's workers, or of its other threads."""
    ticks = 0
    for stat in told_of_threads(process, "stat").values():
        name, _, rest = stat.rpartition(")")
        if ("worker" in name) == workers:
            fields = rest.split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def worker_thread(process: int) -> int:
    """One of a sluiced's workers."""
    names = {thread: name.strip() for thread, name in told_of_threads(process, "comm").items()}
    workers = [thread for thread, name in names.items() if name.startswith("rte-worker")]
    assert workers, f"no worker among {names}"
    return workers[0]

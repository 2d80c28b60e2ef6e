"""What the system under test takes of its processor.

- the kernel's account of the thread that works: user and system seconds, with those softirqs that come while it runs
- the processor's, of everything that ran there: the other softirqs, and other programs
- sluice's own: cycles of the time stamp counter of loops that moved a packet, the drivers of its ports and their system
  calls among them, without the time it waits
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from between import Between

TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Used:
    seconds: float = 0.0
    user: float = 0.0
    system: float = 0.0
    processor: float = 0.0  # seconds in which the processor of the system under test was not idle
    machine: float = 0.0  # the same of all processors together
    busy_cycles: int | None = None


def thread_seconds(thread: int) -> tuple[float, float]:
    fields = Path(f"/proc/{thread}/task/{thread}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / TICK, int(fields[12]) / TICK


def processor_seconds(cpu: int | None) -> float:
    """Of user, nice, system, irq and softirq; of all processors without one."""
    name = "cpu" if cpu is None else f"cpu{cpu}"
    words = re.search(rf"^{name} +(.*)$", Path("/proc/stat").read_text(), re.M)[1].split()
    return sum(int(words[place]) for place in (0, 1, 2, 5, 6)) / TICK


class Meter(contextlib.AbstractContextManager):
    """Measures while it is entered; `used` is complete afterwards."""

    def __init__(self, between: Between):
        self.between = between
        self.used = Used()

    def account(self) -> list[float]:
        cpu = self.between.cpus.system
        return [time.monotonic(), *thread_seconds(self.between.thread()), processor_seconds(cpu),
                processor_seconds(None)]

    def __enter__(self) -> "Meter":
        self.cycles = self.between.busy_cycles()
        self.before = self.account()
        return self

    def __exit__(self, *_: object) -> None:
        used = self.used
        used.seconds, used.user, used.system, used.processor, used.machine = (
            after - before for before, after in zip(self.before, self.account()))
        if self.cycles is not None:
            used.busy_cycles = self.between.busy_cycles() - self.cycles

"""Which runs met the machine in the same state.

The virtual CPUs of a virtual machine move about the host's cores. What a system and the generator pass to each other
goes through a cache that both share in one minute and from socket to socket in the next, and a system that met the one
does not compare with a system that met the other. tests/bench/line_exchange.cpp tells how long a cache line takes from
the generator's CPU to the system's and back; the runner looks directly before and directly after each measurement.

No threshold in nanoseconds tells a near CPU from a far one on every machine. Two looks saw the same state if one is less
than SAME times the other. Of 1769 looks in ten minutes at a virtual machine with two CPUs, with compilers beside them,
402 found 55 to 66 ns and 1367 found 316 to 415 ns (all but one at most 375), with 17 changes between the two: the factor
is above the spread within a state (1.2, once 1.3) and far below the distance of the two (5). Where CPUs stay where they
are there is one state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner import Run

SAME = 1.5
NOBODY_LOOKED = 0.0  # as a time of exchange: a state of its own, that of runs without looks


def alike(one: float, other: float) -> bool:
    """Whether two times of exchange are of the same state."""
    return max(one, other) < min(one, other) * SAME or one == other


def met(run: Run) -> float | None:
    """The time of exchange, ns, that a run met from its first look to its last one; None if that is not known or the
    state changed."""
    if not run.exchange:
        return NOBODY_LOOKED
    if None in run.exchange or not alike(min(run.exchange), max(run.exchange)):
        return None
    return math.exp(sum(map(math.log, run.exchange)) / len(run.exchange))


@dataclass(frozen=True)
class State:
    """Times of exchange, ns, of which each is alike each other."""

    low: float
    high: float
    rounds: int  # in which all systems met it
    runs: int

    @property
    def exchange(self) -> float:
        return math.sqrt(self.low * self.high)

    def holds(self, run: Run) -> bool:
        time = met(run)
        return time is not None and self.low <= time <= self.high

    def __str__(self) -> str:
        return f"{self.exchange:.0f} ns" if self.exchange else "not looked at"


def states(runs: Iterable[Run]) -> list[State]:
    """Of the runs of one scenario that were right: the states they met, that of most whole rounds first."""
    right = [run for run in runs if not run.error]
    ranges: list[list[float]] = []
    for time in sorted(time for time in map(met, right) if time is not None):
        if ranges and alike(ranges[-1][0], time):
            ranges[-1][1] = time
        else:
            ranges.append([time, time])
    made = []
    for low, high in ranges:
        held = {id(run) for run in right if (time := met(run)) is not None and low <= time <= high}
        others = {run.round for run in right if id(run) not in held}
        made.append(State(low, high, len({run.round for run in right} - others), len(held)))
    return sorted(made, key=lambda state: (-state.rounds, -state.runs, state.low))


def lacking(runs: Iterable[Run], rounds: int) -> int:
    """How many of `rounds` whole rounds of one state there are not yet. Rounds without a right run are none that
    another state would have spoiled."""
    runs = list(runs)
    failed = {run.round for run in runs} - {run.round for run in runs if not run.error}
    found = states(runs)
    return max(rounds - len(failed) - (found[0].rounds if found else 0), 0)


def seen(run: Run) -> str:
    """For people: what a run met; empty if nobody looked."""
    if not run.exchange:
        return ""
    time = met(run)
    if time is not None:
        return f"{time:.0f} ns"
    return " → ".join("?" if look is None else f"{look:.0f}" for look in run.exchange) + " ns"

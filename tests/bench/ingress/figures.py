"""What was measured, on disk and summed up: ingress.json has machine, command and every run as it was."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from load import Answered, Scenario
from results import Value, value
from router import Json
from usage import Used

FILE = "ingress.json"


@dataclass
class Run:
    scenario: str
    system: str
    round: int
    answered: Answered
    used: Used
    tsc_hz: float
    load: float = 0.0  # of the machine, average of the minute before
    error: str = ""

    @property
    def rate(self) -> float:
        """Requests, or with large bodies megabytes, a second."""
        return self.work / self.answered.seconds

    @property
    def work(self) -> float:
        return self.answered.bytes / 1e6 if self.scenario == "bulk" else self.answered.requests

    @property
    def cpu(self) -> float:
        """Seconds of the thread that works."""
        return self.used.user + self.used.system

    @property
    def worked(self) -> float:
        """Seconds that it did not wait, by the kernel's account; of a router that polls by its own, if that is less: what
        others do while it is interrupted is in its own, what it does in vain is in the kernel's."""
        return self.cpu if self.used.busy_cycles is None else min(self.cpu, self.used.busy_cycles / self.tsc_hz)

    @property
    def per_core(self) -> float:
        return self.work / self.worked if self.worked else 0.0

    @property
    def micros(self) -> float:
        """Of a processor, for one request or megabyte."""
        return self.worked / self.work * 1e6 if self.work else 0.0

    @property
    def cpu_micros(self) -> float:
        return self.cpu / self.work * 1e6 if self.work else 0.0

    @property
    def processor_micros(self) -> float:
        return self.used.processor / self.work * 1e6 if self.work else 0.0


class Results:
    def __init__(self, machine: dict[str, str], command: list[str], started: str, runs: list[Run], content: Json):
        self.machine, self.command, self.started, self.runs, self.content = machine, command, started, runs, content

    @staticmethod
    def begin(machine: dict[str, str], command: list[str]) -> "Results":
        return Results(machine, command, time.strftime("%Y-%m-%d %H:%M:%S %Z"), [], {})

    @staticmethod
    def load(folder: Path) -> "Results":
        read = json.loads((folder / FILE).read_text())
        runs = [Run(**{**run, "answered": Answered(**run["answered"]), "used": Used(**run["used"])})
                for run in read["runs"]]
        return Results(read["machine"], read["command"], read["started"], runs, read.get("content") or {})

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        content = {"machine": self.machine, "command": self.command, "started": self.started, "content": self.content,
                   "runs": [asdict(run) for run in self.runs]}
        partial = folder / f"{FILE}.part"
        partial.write_text(json.dumps(content, indent=1) + "\n")
        partial.replace(folder / FILE)

    def of(self, scenario: str, system: str) -> list[Run]:
        """Those that were right."""
        return [run for run in self.runs if (run.scenario, run.system) == (scenario, system) and not run.error]

    def figure(self, scenario: str, system: str, name: str) -> Value | None:
        return value([getattr(run, name) for run in self.of(scenario, system)])

    def latency(self, scenario: str, system: str, quantile: str) -> Value | None:
        return value([getattr(run.answered, quantile) for run in self.of(scenario, system)])

    def ratio(self, scenario: str, system: str, other: str, name: str) -> Value | None:
        """Of pairs from the same round."""
        others = {run.round: run for run in self.of(scenario, other)}
        return value([getattr(run, name) / getattr(others[run.round], name) for run in self.of(scenario, system)
                      if run.round in others and getattr(others[run.round], name)])

    def systems(self) -> list[str]:
        return list(dict.fromkeys(run.system for run in self.runs))


def make_run(scenario: Scenario, system: str, number: int, answered: Answered, used: Used, tsc_hz: float) -> Run:
    return Run(scenario.name, system, number, answered, used, tsc_hz, os.getloadavg()[0], answered.complaint())

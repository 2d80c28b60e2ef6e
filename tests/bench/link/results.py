"""What was measured, on disk and summed up. One file, results.json: machine, command, every run as it was."""

from __future__ import annotations

import copy
import functools
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from runner import Run
from scenario import Json
from states import State, alike, states

FILE = "results.json"


class Record:
    """Grows by every run and is written after each: what an interrupt leaves is complete up to there."""

    def __init__(self, folder: Path, machine: dict[str, str], command: list[str]):
        self.folder = folder
        self.machine = machine
        self.command = command
        self.started = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        self.runs: list[Run] = []
        self.unsupported: dict[str, str] = {}
        self.inprocess: Json = None

    def add(self, run: Run) -> None:
        self.runs.append(run)
        self.write()

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / FILE
        content = {"machine": self.machine, "command": self.command, "started": self.started,
                   "unsupported": self.unsupported, "inprocess": self.inprocess,
                   "runs": [asdict(run) for run in self.runs]}
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(content, indent=1))
        partial.replace(path)


@dataclass(frozen=True)
class Value:
    """Of several runs: the median, and between which values they lay."""

    median: float
    low: float
    high: float
    count: int

    @property
    def spread(self) -> float:
        """Half of the range, relative to the median."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0


def value(numbers: list[float]) -> Value | None:
    return Value(statistics.median(numbers), min(numbers), max(numbers), len(numbers)) if numbers else None


class Results:
    def __init__(self, content: Json):
        self.machine: dict[str, str] = content["machine"]
        self.command: list[str] = content["command"]
        self.started: str = content["started"]
        self.unsupported: dict[str, str] = content.get("unsupported", {})
        self.inprocess: Json = content.get("inprocess")
        self.runs = [Run(**run) for run in content["runs"]]
        self.states = {name: states(run for run in self.runs if run.scenario == name)
                       for name in dict.fromkeys(run.scenario for run in self.runs)}

    def state(self, scenario: str) -> State | None:
        """Of the machine, which a scenario's figures are of: that of most whole rounds. None: there was no state."""
        return next(iter(self.states.get(scenario, [])), None)

    def right(self, scenario: str, system: str) -> list[Run]:
        return [run for run in self.runs if (run.scenario, run.system) == (scenario, system) and not run.error]

    def of(self, scenario: str, system: str) -> list[Run]:
        """Those that were right and met that state of the machine."""
        state = self.state(scenario)
        return [run for run in self.right(scenario, system) if state is not None and state.holds(run)]

    def in_state(self, scenario: str, state: State) -> Results:
        """The same, but one scenario's figures are of another of its states."""
        made = copy.copy(self)
        made.states = self.states | {scenario: [state]}
        return made

    def rounds(self, scenario: str) -> int:
        return len({run.round for run in self.runs if run.scenario == scenario})

    def failed(self) -> list[Run]:
        return [run for run in self.runs if run.error]

    def figure(self, scenario: str, system: str, name: str) -> Value | None:
        return value([run.figures[name] for run in self.of(scenario, system) if run.figures.get(name)])

    def cycles(self, scenario: str, system: str) -> Value | None:
        return value([run.cycles_per_packet for run in self.of(scenario, system) if run.cycles_per_packet])

    def bytes_per_flow(self, scenario: str, system: str) -> Value | None:
        return value([run.bytes_per_flow for run in self.of(scenario, system) if run.bytes_per_flow is not None])

    def open_flows(self, scenario: str, system: str) -> Value | None:
        return value([run.open_flows for run in self.of(scenario, system) if run.open_flows is not None])

    def latency(self, scenario: str, system: str, share: str, quantile: str) -> Value | None:
        return value([run.latency[share][quantile] for run in self.of(scenario, system)
                      if quantile in run.latency.get(share, {})])

    def loss_free(self, scenario: str, system: str) -> Value | None:
        return value([run.loss_free_rate for run in self.of(scenario, system) if run.loss_free_rate])

    def ratio(self, scenario: str, system: str, peer: str, name: str) -> Value | None:
        """Of pairs from the same round that met the same state, in which the machine was most alike."""
        peers = {run.round: run for run in self.of(scenario, peer)}
        return value([run.figures[name] / peers[run.round].figures[name] for run in self.of(scenario, system)
                      if run.round in peers and peers[run.round].figures.get(name)])

    def generator_limited(self, scenario: str, system: str) -> bool:
        runs = self.of(scenario, system)
        return bool(runs) and 2 * sum(bool(run.figures["generator_limited"]) for run in runs) > len(runs)


def in_shared_state(first: Results, one: str, second: Results, other: str) -> tuple[Results, Results] | None:
    """Results of a scenario each, of a state of the machine that both met: of those, the one of most rounds. None if
    they met different ones."""
    shared = [(a, b) for a in first.states.get(one, []) for b in second.states.get(other, [])
              if alike(a.exchange, b.exchange)]
    if not shared:
        return None
    a, b = max(shared, key=lambda pair: (min(pair[0].rounds, pair[1].rounds), min(pair[0].runs, pair[1].runs)))
    return first.in_state(one, a), second.in_state(other, b)


def load(*folders: Path) -> Results:
    """Of several runs, each scenario is taken from the last one that measured it; what the runs do not share is told."""
    contents = [json.loads((folder / FILE).read_text()) for folder in folders]
    return Results(functools.reduce(joined, contents))


def joined(older: Json, newer: Json) -> Json:
    measured_again = {run["scenario"] for run in newer["runs"]}

    def both(key: str) -> str:
        one, other = older["machine"].get(key, ""), newer["machine"].get(key, "")
        return one if one == other else "; ".join(filter(None, (one, other)))
    return {"machine": {key: both(key) for key in older["machine"] | newer["machine"]},
            "command": [*older["command"], ";", *newer["command"]],
            "started": f"{older['started']}; {newer['started']}",
            "unsupported": older["unsupported"] | newer["unsupported"],
            "inprocess": newer.get("inprocess") or older.get("inprocess"),
            "runs": [run for run in older["runs"] if run["scenario"] not in measured_again] + newer["runs"]}

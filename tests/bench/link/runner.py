"""Measuring: every scenario in rounds, in each round every system once, so that whatever drifts drifts for all."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from machine import reserve_hugepages
from netns import CommandFailed
from scenario import Json, Scenario
from system import Bench, Counters, System, Unsupported
from trafgen import Figures, Generator, GeneratorFailed, figures

HUGEPAGES_MIB = 1280  # the largest system's and the generator's
MARGIN = 0.25  # seconds at both ends of the measured part in which the system's books are not read
Say = Callable[[str], None]


@dataclass
class Run:
    """One system, once, in one scenario."""

    scenario: str
    system: str
    round: int
    figures: Json = None
    cycles_per_packet: float | None = None
    bytes_per_flow: float | None = None
    latency: dict[str, Json] = field(default_factory=dict)  # share of the loss-free rate → figures
    loss_free_rate: float | None = None
    generator: Json = None  # its whole result, without what repeats the profile
    error: str = ""

    @property
    def brief_error(self) -> str:
        """Its first and its last line: what failed, and the reason where a program said one."""
        lines = self.error.strip().splitlines() or [""]
        return lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"


@dataclass
class Plan:
    scenarios: list[Scenario]
    rounds: int
    speed: float = 1.0  # durations are multiplied by it
    tolerance_ppm: int = 1000  # loss that still counts as none in the search for the loss-free rate


class Runner:
    def __init__(self, bench: Bench, systems: dict[str, System], plan: Plan, say: Say,
                 finished: Callable[[Run], None]):
        self.bench = bench
        self.systems = systems
        self.plan = plan
        self.say = say
        self.finished = finished
        self.unsupported: dict[tuple[str, str], str] = {}  # (scenario, system) → why

    def run(self) -> list[Run]:
        runs: list[Run] = []
        for number, scenario in enumerate(self.plan.scenarios, 1):
            self.say(f"[{number}/{len(self.plan.scenarios)}] {scenario.name}: {scenario.title}")
            runs += self.rounds(scenario)
        return runs

    def rounds(self, scenario: Scenario) -> list[Run]:
        names = [name for name in scenario.systems if name in self.systems]
        runs: list[Run] = []
        running: set[str] = set()
        try:
            for round_number in range(self.plan.rounds):
                for name in names:
                    if (scenario.name, name) in self.unsupported:
                        continue
                    run = self.once(scenario, self.systems[name], round_number, running)
                    if run is None:
                        continue
                    runs.append(run)
                    self.finished(run)
                    self.say(f"    {name:16} {describe(run, scenario)}")
        finally:
            for name in running:
                self.systems[name].stop()
        return runs

    def once(self, scenario: Scenario, system: System, round_number: int, running: set[str]) -> Run | None:
        run = Run(scenario.name, system.name, round_number)
        try:
            if system.name in running:
                system.forget_flows()
            else:
                running.add(system.name)
                if self.bench.hugepages:
                    reserve_hugepages(HUGEPAGES_MIB)  # others on the machine may have taken some meanwhile
                system.start(scenario)
            if scenario.measure == "latency":
                self.measure_latency(scenario, system, run)
            else:
                self.measure(scenario, system, run)
        except Unsupported as reason:
            self.unsupported[scenario.name, system.name] = str(reason)
            self.say(f"    {system.name:16} – {reason}")
            run = None
        except (AssertionError, CommandFailed, GeneratorFailed, OSError, RuntimeError) as error:
            run.error = f"{type(error).__name__}: {error}"
        finally:
            if not system.keeps_running or run is None or run.error:
                running.discard(system.name)
                system.stop()
        return run

    # ---- one measurement ----

    def measure(self, scenario: Scenario, system: System, run: Run) -> None:
        traffic = scenario.traffic
        warmup, duration = self.warmup(scenario, system), traffic.duration * self.plan.speed
        before = system.counters()
        memory_before = system.memory()
        generator = Generator(self.bench, scenario, system, warmup, duration)
        try:
            self.wait_for_traffic(generator, system, before)
            time.sleep(warmup + MARGIN)
            first = system.counters()
            time.sleep(max(duration - 2 * MARGIN, 0.1))
            last = system.counters()
            memory_after, open_flows = system.memory(), system.flows()
            result = generator.result(duration + 30)
        finally:
            generator.stop()
        self.bench.tsc_hz = result.get("tscHz", self.bench.tsc_hz)
        measured = figures(result)
        run.figures = asdict(measured)
        run.generator = without_profile(result)
        run.cycles_per_packet = per_packet(first, last)
        if scenario.measure == "memory":
            run.bytes_per_flow = (memory_after - memory_before) / open_flows if open_flows else None
        run.error = complaint(measured)

    def warmup(self, scenario: Scenario, system: System) -> float:
        fill = 0.0 if system.forwards_only else scenario.traffic.fill
        return fill + scenario.traffic.warmup * self.plan.speed

    def wait_for_traffic(self, generator: Generator, system: System, before: Counters) -> None:
        limit = time.monotonic() + 30
        while system.counters().packets < before.packets + 1000:
            if not generator.running():
                generator.result(1)
                raise GeneratorFailed("it ended before its packets reached the system")
            if time.monotonic() > limit:
                raise GeneratorFailed("no packet reached the system within 30 s")
            time.sleep(0.05)

    def measure_latency(self, scenario: Scenario, system: System, run: Run) -> None:
        """The loss-free rate by binary search, then what packets wait at half and at nine tenths of it."""
        duration = scenario.traffic.duration * self.plan.speed
        if scenario.traffic.fill and not system.forwards_only:
            Generator(self.bench, scenario, system, scenario.traffic.fill, 0.1).result(scenario.traffic.fill + 30)
        search = ("--search", "loss-free", "--tolerance", str(self.plan.tolerance_ppm), "--resolution", "3")
        warmup = scenario.traffic.warmup * self.plan.speed
        found = Generator(self.bench, scenario, system, warmup, min(duration, 1.0), search).result(180)
        rate = (found.get("search") or {}).get("rate", 0.0)
        if not rate:
            raise GeneratorFailed("no rate without loss was found")
        run.loss_free_rate = rate
        run.figures = asdict(figures(found))
        streams = len(found["streams"])
        run.error = complaint(figures(found))
        for name, share in (("half", 0.5), ("nine-tenths", 0.9)):
            result = Generator(self.bench, scenario, system, warmup, duration,
                               streams={"mode": "rate", "rate": round(rate * share / streams)}).result(duration + 60)
            made = figures(result)
            run.latency[name] = {"offered": rate * share, "lost_share": made.lost_share, **(made.latency or {})}
            run.error = run.error or complaint(made)


def per_packet(first: Counters, last: Counters) -> float | None:
    packets = last.packets - first.packets
    return (last.busy_cycles - first.busy_cycles) / packets if packets > 0 else None


def complaint(measured: Figures) -> str:
    """A fast result that is wrong is no result."""
    found = [f"{count} {name}" for name, count in measured.faults.items() if count]
    if found:
        return f"wrong packets: {', '.join(found)}"
    return "" if measured.rate > 0 or measured.connections_rate > 0 else "no packet came back"


def without_profile(result: Json) -> Json:
    return {key: value for key, value in result.items() if key not in ("samples", "command")}


def describe(run: Run, scenario: Scenario) -> str:
    if run.error:
        return f"FAILED: {run.brief_error}"
    if scenario.measure == "latency":
        parts = [f"loss-free {run.loss_free_rate / 1e6:.2f} M/s"]
        parts += [f"{name}: p50 {part.get('p50', 0) / 1000:.0f} µs, p99 {part.get('p99', 0) / 1000:.0f} µs"
                  for name, part in run.latency.items()]
        return "; ".join(parts)
    key = {"opened": "opened_rate", "connections": "connections_rate"}.get(scenario.measure, "rate")
    parts = [f"{run.figures[key] / 1e6:8.3f} M/s"]
    if run.cycles_per_packet:
        parts.append(f"{run.cycles_per_packet:7.0f} cycles per packet")
    if run.bytes_per_flow:
        parts.append(f"{run.bytes_per_flow:.0f} bytes per flow")
    if run.figures["generator_limited"]:
        parts.append("(the generator is the limit)")
    with contextlib.suppress(KeyError, TypeError):
        parts.append(f"lost {run.figures['lost_share']:.1%}")
    return ", ".join(parts)

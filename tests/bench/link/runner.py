"""Measuring: every scenario in rounds, in each round every system once, so that whatever drifts drifts for all. Rounds in
which the systems met different states of the machine (states.py) are followed by others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

import states
from machine import reserve_hugepages
from netns import CommandFailed
from scenario import LATENCY_PAIR, Json, Scenario
from system import Bench, Counters, System, Unsupported
from trafgen import Figures, Generator, GeneratorFailed, figures

HUGEPAGES_MIB = 1280  # the largest system's and the generator's
STALLED = 0.002  # of the time: a generator that had lost its CPU for longer tells nothing about latency
MARGIN = 0.25  # seconds at both ends of the measured part in which the system's books are not read
SETTLE = 0.2  # seconds after a generator has left, in which a system notices
EXTRA_SECONDS = 900  # no round of a scenario is added after so long, or after as long as those that were asked for took
Say = Callable[[str], None]
Look = Callable[[], float | None]  # how long a cache line takes to the system's CPU and back, ns; None: it is not known


@dataclass
class Run:
    """One system, once, in one scenario."""

    scenario: str
    system: str
    round: int
    figures: Json = None
    cycles_per_packet: float | None = None
    bytes_per_flow: float | None = None
    open_flows: int | None = None  # when sending ended, in scenarios of openings: those of before have aged out
    latency: dict[str, Json] = field(default_factory=dict)  # "half", "nine-tenths", "common" (of the pair) → figures
    loss_free_rate: float | None = None
    generator: Json = None  # its whole result, without what repeats the profile
    error: str = ""
    # What looks at the machine found, ns, before and after each of its measurements; empty: nobody looked.
    exchange: list[float | None] = field(default_factory=list)

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
                 finished: Callable[[Run], None], look: Look | None = None):
        self.bench = bench
        self.systems = systems
        self.plan = plan
        self.say = say
        self.finished = finished
        self.look = look
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
            for number in self.round_numbers(scenario, runs):
                runs += self.one_round(scenario, names, number, running)
        finally:
            for name in running:
                self.systems[name].stop()
        return runs

    def round_numbers(self, scenario: Scenario, runs: list[Run]) -> Iterator[int]:
        """As many as asked for, then at most as many again while too few of them are whole rounds of one state."""
        begin = time.monotonic()
        yield from range(self.plan.rounds)
        asked = time.monotonic() - begin
        for number in range(self.plan.rounds, 2 * self.plan.rounds):
            missing = states.lacking(runs, self.plan.rounds)
            if not missing:
                return
            if time.monotonic() - begin - asked > min(asked, EXTRA_SECONDS):
                break
            self.say(f"    round {number + 1} is added: of one state of the machine {missing} are lacking")
            yield number
        if missing := states.lacking(runs, self.plan.rounds):
            self.say(f"    of one state of the machine {missing} rounds are lacking, but no more are added")

    def one_round(self, scenario: Scenario, names: list[str], number: int, running: set[str]) -> list[Run]:
        runs: list[Run] = []
        for name in names:
            if (scenario.name, name) in self.unsupported:
                continue
            system, run = self.systems[name], Run(scenario.name, name, number)
            work = self.measure_latency if scenario.measure == "latency" else self.measure
            if not self.once(scenario, system, run, running, work):
                continue
            runs.append(run)
            if scenario.measure != "latency":
                self.finished(run)
            self.say(f"    {name:16} {describe(run, scenario)}{at(run)}")
        if scenario.measure == "latency":
            self.compare_latency(scenario, runs, running)
            for run in runs:
                self.finished(run)
        return runs

    def once(self, scenario: Scenario, system: System, run: Run, running: set[str],
             work: Callable[[Scenario, System, Run], None]) -> bool:
        """What is measured and what goes wrong is in `run`. False: the system cannot do this at all."""
        supported = True
        try:
            if system.name in running:
                system.forget_flows()
            else:
                running.add(system.name)
                if self.bench.hugepages:
                    reserve_hugepages(HUGEPAGES_MIB)  # others on the machine may have taken some meanwhile
                system.start(scenario)
            self.look_at_machine(run)
            work(scenario, system, run)
            self.look_at_machine(run)
        except Unsupported as reason:
            self.unsupported[scenario.name, system.name] = str(reason)
            self.say(f"    {system.name:16} – {reason}")
            supported = False
        except (AssertionError, CommandFailed, GeneratorFailed, OSError, RuntimeError) as error:
            run.error = f"{type(error).__name__}: {error}"
        finally:
            if not system.keeps_running or not supported or run.error:
                running.discard(system.name)
                system.stop()
        return supported

    def look_at_machine(self, run: Run) -> None:
        if self.look is not None:
            run.exchange.append(self.look())

    # ---- one measurement ----

    def measure(self, scenario: Scenario, system: System, run: Run) -> None:
        warmup, duration = self.warmup(scenario, system), self.duration(scenario)
        streams = None if scenario.owner is None else self.owned(scenario, system, run)
        before = system.counters()
        memory_before = system.memory()
        generator = Generator(self.bench, scenario, system, warmup, duration, streams=streams)
        try:
            self.wait_for_traffic(generator, system, before)
            time.sleep(warmup + MARGIN)
            first, handed_before = system.counters(), system.handed_over()
            time.sleep(max(duration - 2 * MARGIN, 0.1))
            last, handed = system.counters(), system.handed_over() - handed_before
            open_flows, memory_after = system.flows(), system.memory()
            result = generator.result(duration + 30)
        finally:
            generator.stop()
        self.bench.tsc_hz = result.get("tscHz", self.bench.tsc_hz)
        measured = figures(result)
        run.figures = asdict(measured)
        run.generator = without_profile(result)
        run.cycles_per_packet = per_packet(first, last)
        if scenario.measure in ("opened", "connections"):
            run.open_flows = open_flows
        if scenario.measure == "memory":
            run.bytes_per_flow = (memory_after - memory_before) / open_flows if open_flows else None
        run.error = run.error or complaint(measured)
        if scenario.owner is not None and not run.error:
            run.error = wrong_workers(scenario.owner, handed, last.packets - first.packets)

    def owned(self, scenario: Scenario, system: System, run: Run) -> Json:
        """Opens every flow, with answers, and leaves those of one worker, without: a translated flow's answers have
        another hash than its requests, so half of the answers would come to the right worker whichever owns the flow."""
        self.fill(scenario, system, run)
        (stream,) = scenario.traffic.streams()
        # The generator knows of flows from a file no more than their tuples, not which service they are for.
        expect = {key: found for key, found in stream["expect"].items() if key != "perDestination"}
        tuples = system.flows_of(scenario.owner)
        return {"flows": {"order": "random", "tuples": tuples}, "expect": expect, "answer": None}

    def warmup(self, scenario: Scenario, system: System) -> float:
        fill = 0.0 if system.forwards_only else scenario.traffic.fill
        return fill + scenario.traffic.warmup * self.plan.speed

    def duration(self, scenario: Scenario) -> float:
        return max(scenario.traffic.duration * self.plan.speed, scenario.traffic.shortest)

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
        self.fill(scenario, system, run)
        search = ("--search", "loss-free", "--tolerance", str(self.plan.tolerance_ppm), "--resolution", "3")
        warmup = scenario.traffic.warmup * self.plan.speed
        self.revive(scenario, system, run)
        found = Generator(self.bench, scenario, system, warmup, min(self.duration(scenario), 1.0), search).result(180)
        rate = (found.get("search") or {}).get("rate", 0.0)
        if not rate:
            raise GeneratorFailed("no rate without loss was found")
        run.loss_free_rate = rate
        run.figures = asdict(figures(found))
        run.error = run.error or complaint(figures(found))
        for name, share in (("half", 0.5), ("nine-tenths", 0.9)):
            self.measure_waiting(scenario, system, run, name, rate * share)

    def fill(self, scenario: Scenario, system: System, run: Run) -> None:
        """Opens every flow, before what is not to meet openings."""
        seconds = scenario.traffic.fill
        if seconds and not system.forwards_only:
            filling = Generator(self.bench, scenario, system, seconds, 0.1)
            run.error = run.error or complaint(figures(filling.result(seconds + 30)))

    def revive(self, scenario: Scenario, system: System, run: Run) -> None:
        """Between two generators."""
        time.sleep(SETTLE)
        for _ in range(3):
            if not system.lost_its_peer():
                return
            self.say(f"    {system.name:16} ended when the generator left, and is started again")
            system.stop()
            system.start(scenario)
            self.fill(scenario, system, run)

    def measure_waiting(self, scenario: Scenario, system: System, run: Run, name: str, rate: float) -> None:
        """At a fixed rate. Again while the generator had lost its CPU, at most twice; the quietest trial counts."""
        warmup, duration = scenario.traffic.warmup * self.plan.speed, self.duration(scenario)
        each = round(rate / len(scenario.traffic.streams()))
        for _ in range(3):
            self.revive(scenario, system, run)
            result = Generator(self.bench, scenario, system, warmup, duration,
                               streams={"mode": "rate", "rate": each}).result(duration + 60)
            made, stalled = figures(result), result["generator"]["stalledShare"]
            run.error = run.error or complaint(made)
            if name not in run.latency or stalled < run.latency[name]["stalled_share"]:
                run.latency[name] = {"offered": rate, "lost_share": made.lost_share, "stalled_share": stalled,
                                     **(made.latency or {})}
            if stalled < STALLED:
                break

    def compare_latency(self, scenario: Scenario, runs: list[Run], running: set[str]) -> None:
        """Of the pair at half of the lower of their loss-free rates in this round."""
        pair = [run for run in runs if run.system in LATENCY_PAIR and not run.error and run.loss_free_rate]
        if len(pair) < len(LATENCY_PAIR):
            return
        rate = min(run.loss_free_rate for run in pair) / 2

        def work(scenario: Scenario, system: System, run: Run) -> None:
            self.fill(scenario, system, run)
            self.measure_waiting(scenario, system, run, "common", rate)
        for run in pair:
            if self.once(scenario, self.systems[run.system], run, running, work):
                self.say(f"    {run.system:16} at {rate / 1e6:.2f} M/s: {waited(run.latency.get('common', {}))}")


def per_packet(first: Counters, last: Counters) -> float | None:
    packets = last.packets - first.packets
    return (last.busy_cycles - first.busy_cycles) / packets if packets > 0 else None


def wrong_workers(owner: int, handed_over: int, packets: int) -> str:
    """Whether it was measured what was meant. The second worker owns flows all of whose packets are handed over."""
    share = handed_over / packets if packets else 0.0
    right = share > 0.98 if owner == 1 else share < 0.02
    return "" if right else f"{share:.1%} of the packets were handed over"


def complaint(measured: Figures) -> str:
    """A fast result that is wrong is no result."""
    found = [f"{count} {name}" for name, count in measured.faults.items() if count]
    if found:
        return f"wrong packets: {', '.join(found)}"
    if not measured.clean:
        return "the generator says that not all was right"
    return "" if measured.rate > 0 or measured.connections_rate > 0 else "no packet came back"


def without_profile(result: Json) -> Json:
    return {key: value for key, value in result.items() if key not in ("samples", "command")}


def waited(latency: Json) -> str:
    return f"p50 {latency.get('p50', 0) / 1000:.0f} µs, p99 {latency.get('p99', 0) / 1000:.0f} µs"


def at(run: Run) -> str:
    """The state of the machine that a run met, marked if it changed meanwhile."""
    text = states.seen(run)
    return text and f"  [{text}{'' if states.met(run) is not None else ': not of one state'}]"


def describe(run: Run, scenario: Scenario) -> str:
    if run.error:
        return f"FAILED: {run.brief_error}"
    if scenario.measure == "latency":
        parts = [f"loss-free {run.loss_free_rate / 1e6:.2f} M/s"]
        parts += [f"{name}: {waited(part)}" for name, part in run.latency.items()]
        return "; ".join(parts)
    key = {"opened": "opened_rate", "connections": "connections_rate"}.get(scenario.measure, "rate")
    parts = [f"{run.figures[key] / 1e6:8.3f} M/s"]
    if run.cycles_per_packet:
        parts.append(f"{run.cycles_per_packet:7.0f} cycles per packet")
    if run.bytes_per_flow:
        parts.append(f"{run.bytes_per_flow:.0f} bytes per flow")
    if run.open_flows is not None:
        parts.append(f"{run.open_flows / 1e6:.2f} M flows at the end")
    if run.figures["generator_limited"]:
        parts.append("(the generator is the limit)")
    with contextlib.suppress(KeyError, TypeError):
        parts.append(f"lost {run.figures['lost_share']:.1%}")
    return ", ".join(parts)

"""The router alone, without a link: the Google Benchmark programs pipeline_bench and conntrack_bench."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from results import Results, Value, value
from router import BUILD
from scenario import Json
from tables import markdown, written

FOLDER = BUILD / "tests" / "bench"
PROGRAMS = ("pipeline_bench", "conntrack_bench")
REPETITIONS = 5
GOAL_HZ = 2e9  # of the clock in which goals are written
BURSTS = (1, 4, 16, 32, 64)


def measure(say: Callable[[str], None], tsc_hz: float, repetitions: int = REPETITIONS) -> Json:
    """Their benchmarks as Google Benchmark writes them, every repetition; None if none of them is built."""
    benchmarks: list[Json] = []
    for name in PROGRAMS:
        program = FOLDER / name
        if not program.exists():
            say(f"in-process: {name} is not built, left out")
            continue
        say(f"in-process: {name}")
        done = subprocess.run([str(program), "--benchmark_format=json", f"--benchmark_repetitions={repetitions}",
                               "--benchmark_enable_random_interleaving=true"],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=7200)
        if done.returncode != 0:
            raise RuntimeError(f"{name} ended with code {done.returncode}: {done.stderr[-2000:]}")
        benchmarks += [each | {"program": name} for each in json.loads(done.stdout)["benchmarks"]]
    return {"tscHz": tsc_hz, "benchmarks": benchmarks} if benchmarks else None


# ---- reading ----

@dataclass(frozen=True)
class Alone:
    """What was measured in process: a benchmark's name, without what Google Benchmark appends, → its counters."""

    tsc_hz: float
    counters: dict[str, dict[str, Value]]

    def of(self, name: str, counter: str = "cycles") -> Value | None:
        return self.counters.get(name, {}).get(counter)

    def at_goal_clock(self, name: str) -> Value | None:
        """Cycles of 2 GHz."""
        found = self.of(name)
        return scaled(found, GOAL_HZ / self.tsc_hz) if found else None

    def ratio(self, name: str, other: str) -> Value | None:
        """Of medians; the ends are of the lowest and the highest that may be, as repetitions are no pairs."""
        one, base = self.of(name), self.of(other)
        if one is None or base is None:
            return None
        return Value(one.median / base.median, one.low / base.high, one.high / base.low, min(one.count, base.count))


def scaled(found: Value, factor: float) -> Value:
    return Value(found.median * factor, found.low * factor, found.high * factor, found.count)


def read(results: Results) -> Alone | None:
    content = results.inprocess
    if not content or not content.get("tscHz"):
        return None
    numbers: dict[str, dict[str, list[float]]] = {}
    for each in content["benchmarks"]:
        if each.get("run_type") != "iteration" or each.get("error_occurred"):
            continue
        counters = numbers.setdefault(plain(each["run_name"]), {})
        for name in COUNTERS:
            if name in each:
                counters.setdefault(name, []).append(each[name])
        if each["program"] == "conntrack_bench" and "sum" not in each:
            counters.setdefault("nanoseconds", []).append(each["real_time"])
    return Alone(content["tscHz"], {name: {counter: value(found) for counter, found in counters.items()}
                                    for name, counters in numbers.items()})


COUNTERS = ("cycles", "hash", "find", "use", "sum")


def plain(name: str) -> str:
    return re.sub(r"/(manual_time|real_time|repeats:\d+)", "", name)


# ---- the tables ----

ROWS = (
    ("IPv4 forwarding, 1 route", "forward/routes:1/burst:64"),
    ("IPv4 forwarding, 100 000 routes", "forward/routes:100000/burst:64"),
    ("route into a VXLAN", "vxlan/encapsulate/burst:64"),
    ("route into an IPIP tunnel", "ipip/encapsulate/burst:64"),
    ("out of a VXLAN", "vxlan/decapsulate/burst:64"),
    ("out of an IPIP tunnel", "ipip/decapsulate/burst:64"),
    ("ClusterIP established over UDP, both directions, 1 k flows", "service/flows:1000/burst:64"),
    ("… 10 k flows", "service/flows:10000/burst:64"),
    ("… 100 k flows", "service/flows:100000/burst:64"),
    ("… 1 M flows", "service/flows:1000000/burst:64"),
    ("… 4 M flows", "service/flows:4000000/burst:64"),
    ("ClusterIP established over TCP, 1 k flows", "service/tcp/flows:1000/burst:64"),
    ("… 100 k flows", "service/tcp/flows:100000/burst:64"),
    ("… 1 M flows", "service/tcp/flows:1000000/burst:64"),
    ("NodePort, DNAT and SNAT, 1 k flows", "nodeport/flows:1000/burst:64"),
    ("… 100 k flows", "nodeport/flows:100000/burst:64"),
    ("… 1 M flows", "nodeport/flows:1000000/burst:64"),
    ("VXLAN in, DNAT, IPIP out, 1 k flows", "vxlan/service/ipip/flows:1000/burst:64"),
    ("… 100 k flows", "vxlan/service/ipip/flows:100000/burst:64"),
    *((f"100 k flows to {words} services", f"services/flows:100000/burst:64/services:{count}")
      for words, count in (("10", 10), ("1 000", 1000), ("10 000", 10000), ("100 000", 100000))),
    ("TCP past the depth of content rules, no patterns", "service/tcp/behind/flows:1000/burst:64/patterns:0"),
    ("… 1 000 patterns", "service/tcp/behind/flows:1000/burst:64/patterns:1000"),
    ("a new UDP flow, full table of 64 k", "new/udp/table:65536"),
    ("a new UDP flow, full table of 1 M", "new/udp/table:1048576"),
    ("a new UDP flow, those of a second ago aging out", "new/udp/aging"),
    ("a whole TCP connection (6 packets)", "new/tcp"),
    ("two workers, every packet handed over, cycles of both: forwarding", "two_workers/forward/burst:64/handed_over:1"),
    ("… none handed over", "two_workers/forward/burst:64/handed_over:0"),
    ("two workers, every packet handed over: ClusterIP", "two_workers/service/burst:64/handed_over:1"),
    ("… none handed over", "two_workers/service/burst:64/handed_over:0"),
)
BY_BURST = (
    ("IPv4 forwarding, 1 route", "forward/routes:1/burst:{}"),
    ("IPv4 forwarding, 100 000 routes", "forward/routes:100000/burst:{}"),
    ("ClusterIP, 1 k flows", "service/flows:1000/burst:{}"),
    ("the flow table's share of it, 1 k flows", "lookup<V4>/flows:1000/miss:0/burst:{}"),
    ("… 4 M flows", "lookup<V4>/flows:4000000/miss:0/burst:{}"),
)


def section(results: Results) -> str:
    """Everything that was measured in process; empty if nothing was."""
    alone = read(results)
    if alone is None or not alone.counters:
        return ""
    count = max(found.count for counters in alone.counters.values() for found in counters.values())
    parts = [f"One worker of the real data plane between two rings, no driver, bursts of 64 random packets of 64 bytes: "
             f"receive ring, all passes,\ntimers, flush. TSC cycles per packet at {alone.tsc_hz / 1e9:.3f} GHz, medians of "
             f"{count} repetitions in random order; a goal is in cycles of 2 GHz.\n"
             f"{results.machine.get('processor', '')}, {results.started}, commit "
             f"`{results.machine.get('commit', '')}`.",
             main_table(alone), burst_table(alone), lookup_table(alone)]
    return "\n\n".join(filter(None, parts))


def main_table(alone: Alone) -> str:
    in_bursts = {template.format(burst) for _, template in BY_BURST for burst in BURSTS}
    labelled = {name for _, name in ROWS}
    rows = [*ROWS, *((f"`{name}`", name) for name, counters in alone.counters.items()
                     if "cycles" in counters and name not in labelled | in_bursts)]
    return markdown(["work", "cycles", "of 2 GHz"],
                    [[words, written(alone.of(name), 1, 0), written(alone.at_goal_clock(name), 1, 0)]
                     for words, name in rows if alone.of(name)])


def burst_table(alone: Alone) -> str:
    rows = []
    for words, template in BY_BURST:
        found = [alone.of(template.format(burst)) or alone.of(template.format(burst), "sum") for burst in BURSTS]
        if any(found):
            rows.append([words, *(written(each, 1, 0) for each in found)])
    return markdown(["cycles per packet, bursts of", *map(str, BURSTS)], rows) if rows else ""


def lookup_table(alone: Alone) -> str:
    """The flow table by itself: hash and prefetch, search, first use of the record; then opening and closing."""
    passes = [[f"`{name.removesuffix('/burst:64')}`", *(written(counters.get(part), 1, 1) for part in COUNTERS[1:])]
              for name, counters in alone.counters.items() if "sum" in counters and name.endswith("/burst:64")]
    life = [[f"`{name}`", written(counters["nanoseconds"], 1, 0)]
            for name, counters in alone.counters.items() if "nanoseconds" in counters]
    return "\n\n".join(filter(None, (
        markdown(["flow table, bursts of 64, cycles per packet", "hash", "find", "use", "together"], passes)
        if passes else "",
        markdown(["flow table", "ns per iteration"], life) if life else "")))

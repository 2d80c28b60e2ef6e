"""What sluice is to reach, on the link and in process, and whether it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import inprocess
from results import Results, Value, in_shared_state, value
from tables import markdown



@dataclass(frozen=True)
class Measure:
    """A figure of the results, and of which runs it is made: (scenario, system)."""

    found: Callable[[Results], Value | None]
    runs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Goal:
    id: str
    words: str
    limit: float
    measured: Measure
    at_least: bool = True
    scale: float = 1.0

    def met(self, found: Value) -> bool:
        return found.median >= self.limit if self.at_least else found.median <= self.limit


def rate_against(scenario: str, peer: str) -> Measure:
    """As a multiple of a peer's rate in the same round."""
    return Measure(lambda results: results.ratio(scenario, "sluice", peer, "rate"),
                   ((scenario, "sluice"), (scenario, peer)))


def rate_of(scenario: str, name: str) -> Measure:
    return Measure(lambda results: results.figure(scenario, "sluice", name), ((scenario, "sluice"),))


def between(scenario: str, other: str, name: str = "rate", inverse: bool = False) -> Measure:
    """Of sluice alone: one scenario's figure as a multiple of another's. Of the same state of the machine, by round, and
    where they met it in different rounds in their order. Inverse: of its time per packet."""
    def found(results: Results) -> Value | None:
        shared = in_shared_state(results, scenario, results, other)
        if not shared:
            return None
        runs = {run.round: run.figures[name] for run in shared[0].of(scenario, "sluice")}
        others = {run.round: run.figures[name] for run in shared[1].of(other, "sluice")}
        both = [number for number in runs if number in others]
        pairs = [*zip(both, both), *zip([number for number in runs if number not in both],
                                        [number for number in others if number not in both])]
        ratios = [runs[number] / others[against] for number, against in pairs if runs[number] and others[against]]
        return value([1 / ratio for ratio in ratios] if inverse else ratios)
    return Measure(found, ((scenario, "sluice"), (other, "sluice")))


def latency_against(scenario: str, peer: str, quantile: str) -> Measure:
    """At half of the lower of their loss-free rates, as a multiple of a peer's in the same round."""
    def found(results: Results) -> Value | None:
        def of(system: str) -> dict[int, float]:
            return {run.round: run.latency["common"][quantile] for run in results.of(scenario, system)
                    if run.latency.get("common", {}).get(quantile)}
        peers = of(peer)
        return value([found / peers[number] for number, found in of("sluice").items() if number in peers])
    return Measure(found)


def alone(name: str) -> Measure:
    """In process, cycles of 2 GHz per packet."""
    return Measure(lambda results: (read := inprocess.read(results)) and read.at_goal_clock(name))


def alone_ratio(name: str, other: str) -> Measure:
    """In process, cycles of one as a multiple of those of another."""
    return Measure(lambda results: (read := inprocess.read(results)) and read.ratio(name, other))


CLUSTER_IP = "service/flows:{}/burst:64"

GOALS = (
    Goal("P1", "IPv4, 1 route: of testpmd macswap's rate", 0.85, rate_against("forward4-1-64", "testpmd-macswap")),
    Goal("P1", "IPv4, 100 000 routes: of testpmd macswap's rate", 0.75,
         rate_against("forward4-100k-64", "testpmd-macswap")),
    Goal("P1", "in process: IPv4, 1 route, cycles of 2 GHz", 50, alone("forward/routes:1/burst:64"), at_least=False),
    *(Goal("P2", f"ClusterIP, {words} flows: of testpmd macswap's rate", 0.7,
           rate_against(f"clusterip-{name}", "testpmd-macswap"))
      for words, name in (("1 000", "1k"), ("100 000", "100k"), ("1 000 000", "1M"))),
    Goal("P2", "ClusterIP, 100 000 flows: times Open vSwitch's rate", 4.0, rate_against("clusterip-100k", "ovs-dpdk")),
    *(Goal("P2", f"in process: ClusterIP, {words} flows, cycles of 2 GHz", limit, alone(CLUSTER_IP.format(flows)),
           at_least=False)
      for words, flows, limit in (("1 000", 1000, 100), ("100 000", 100000, 120), ("1 000 000", 1000000, 170))),
    Goal("P3", "in process: route into a VXLAN, cycles of 2 GHz", 70, alone("vxlan/encapsulate/burst:64"),
         at_least=False),
    Goal("P3", "in process: route into an IPIP tunnel, cycles of 2 GHz", 65, alone("ipip/encapsulate/burst:64"),
         at_least=False),
    Goal("P3", "VXLAN in, DNAT, IPIP out: times the time of a ClusterIP packet", 1.6,
         between("vxlan-dnat-ipip-1k", "clusterip-1k", inverse=True), at_least=False),
    Goal("P3", "in process: VXLAN in, DNAT, IPIP out: times the cycles of a ClusterIP packet", 1.6,
         alone_ratio("vxlan/service/ipip/flows:1000/burst:64", CLUSTER_IP.format(1000)), at_least=False),
    Goal("P4", "NodePort: times the time of a ClusterIP packet", 1.1,
         between("nodeport-1k", "clusterip-1k", inverse=True), at_least=False),
    Goal("P4", "in process: NodePort: times the cycles of a ClusterIP packet", 1.1,
         alone_ratio("nodeport/flows:1000/burst:64", CLUSTER_IP.format(1000)), at_least=False),
    Goal("P5", "new UDP flows, M/s", 1.5, rate_of("new-services-10", "opened_rate"), scale=1e6),
    Goal("P5", "new UDP flows from new clients, M/s", 1.5, rate_of("new-clients", "opened_rate"), scale=1e6),
    Goal("P5", "TCP connections, M/s", 0.5, rate_of("tcp-connections", "connections_rate"), scale=1e6),
    Goal("P6", "4 M flows: of the rate with 10 000", 0.6, between("clusterip-4M", "clusterip-10k")),
    Goal("P7", "100 000 services: of the rate with 10", 0.95, between("services-100k", "services-10")),
    Goal("P7", "100 000 services: of the new flows per second with 10", 0.95,
         between("new-services-100k", "new-services-10", "opened_rate")),
    Goal("P8", "forwarding at half of the lower loss-free rate, p50: times testpmd macswap's", 1.3,
         latency_against("latency-forward4", "testpmd-macswap", "p50"), at_least=False),
    Goal("P8", "forwarding at half of the lower loss-free rate, p99: times testpmd macswap's", 2.0,
         latency_against("latency-forward4", "testpmd-macswap", "p99"), at_least=False),
    Goal("P9", "two workers, all handed over: of the rate with none", 0.6, between("two-workers", "two-workers-none")),
    *(Goal("P9", f"in process: two workers, {words}, all handed over: of the rate with none", 0.6,
           alone_ratio(f"two_workers/{name}/burst:64/handed_over:0", f"two_workers/{name}/burst:64/handed_over:1"))
      for words, name in (("forwarding", "forward"), ("ClusterIP", "service"))),
)


def section(results: Results) -> str:
    rows = []
    for goal in GOALS:
        found = goal.measured.found(results)
        if found is None:
            continue
        scaled = Value(*(number / goal.scale for number in (found.median, found.low, found.high)), found.count)
        mark = " ᵍ" if any(results.generator_limited(*run) for run in goal.measured.runs) else ""
        digits = 2 if goal.limit < 10 else 1
        rows.append([goal.id, goal.words, f"{'≥' if goal.at_least else '≤'} {goal.limit:g}",
                     f"{scaled.median:.{digits}f} ({scaled.low:.{digits}f} to {scaled.high:.{digits}f}){mark}",
                     "yes" if goal.met(scaled) else "no"])
    return markdown(["", "goal", "limit", "measured", "met"], rows) if rows else ""

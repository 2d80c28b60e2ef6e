"""What sluice is to reach on the link, and whether it does. In-process goals are read off the router-alone table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from results import Results, Value, value
from tables import markdown

Measured = Callable[[Results], Value | None]


@dataclass(frozen=True)
class Goal:
    id: str
    words: str
    limit: float
    measured: Measured
    at_least: bool = True
    scale: float = 1.0

    def met(self, found: Value) -> bool:
        return found.median >= self.limit if self.at_least else found.median <= self.limit


def rate_against(scenario: str, peer: str) -> Measured:
    """As a multiple of a peer's rate in the same round."""
    return lambda results: results.ratio(scenario, "sluice", peer, "rate")


def rate_of(scenario: str, name: str) -> Measured:
    return lambda results: results.figure(scenario, "sluice", name)


def between(scenario: str, other: str, name: str = "rate", inverse: bool = False) -> Measured:
    """Of sluice alone: one scenario's figure as a multiple of another's, by round. Inverse: of its time per packet."""
    def measured(results: Results) -> Value | None:
        others = {run.round: run.figures[name] for run in results.of(other, "sluice")}
        ratios = [run.figures[name] / others[run.round] for run in results.of(scenario, "sluice")
                  if others.get(run.round) and run.figures[name]]
        return value([1 / ratio for ratio in ratios] if inverse else ratios)
    return measured


def latency_against(scenario: str, peer: str, quantile: str) -> Measured:
    """At half of the loss-free rate, as a multiple of a peer's in the same round."""
    def measured(results: Results) -> Value | None:
        def of(system: str) -> dict[int, float]:
            return {run.round: run.latency["half"][quantile] for run in results.of(scenario, system)
                    if run.latency.get("half", {}).get(quantile)}
        peers = of(peer)
        return value([found / peers[number] for number, found in of("sluice").items() if number in peers])
    return measured


GOALS = (
    Goal("P1", "IPv4, 1 route: of testpmd macswap's rate", 0.85, rate_against("forward4-1-64", "testpmd-macswap")),
    Goal("P1", "IPv4, 100 000 routes: of testpmd macswap's rate", 0.75,
         rate_against("forward4-100k-64", "testpmd-macswap")),
    Goal("P2", "ClusterIP, 1 000 flows: of testpmd macswap's rate", 0.7,
         rate_against("clusterip-1k", "testpmd-macswap")),
    Goal("P2", "ClusterIP, 100 000 flows: times Open vSwitch's rate", 4.0, rate_against("clusterip-100k", "ovs-dpdk")),
    Goal("P3", "VXLAN in, DNAT, IPIP out: times the time of a ClusterIP packet", 1.6,
         between("vxlan-dnat-ipip-1k", "clusterip-1k", inverse=True), at_least=False),
    Goal("P4", "NodePort: times the time of a ClusterIP packet", 1.1,
         between("nodeport-1k", "clusterip-1k", inverse=True), at_least=False),
    Goal("P5", "new UDP flows, M/s", 1.5, rate_of("new-services-10", "opened_rate"), scale=1e6),
    Goal("P5", "new UDP flows from new clients, M/s", 1.5, rate_of("new-clients", "opened_rate"), scale=1e6),
    Goal("P5", "TCP connections, M/s", 0.5, rate_of("tcp-connections", "connections_rate"), scale=1e6),
    Goal("P6", "4 M flows: of the rate with 10 000", 0.6, between("clusterip-4M", "clusterip-10k")),
    Goal("P7", "100 000 services: of the rate with 10", 0.95, between("services-100k", "services-10")),
    Goal("P7", "100 000 services: of the new flows per second with 10", 0.95,
         between("new-services-100k", "new-services-10", "opened_rate")),
    Goal("P8", "forwarding at half load, p50: times testpmd macswap's", 1.3,
         latency_against("latency-forward4", "testpmd-macswap", "p50"), at_least=False),
    Goal("P8", "forwarding at half load, p99: times testpmd macswap's", 2.0,
         latency_against("latency-forward4", "testpmd-macswap", "p99"), at_least=False),
)


def section(results: Results) -> str:
    rows = []
    for goal in GOALS:
        found = goal.measured(results)
        if found is None:
            continue
        scaled = Value(*(number / goal.scale for number in (found.median, found.low, found.high)), found.count)
        rows.append([goal.id, goal.words, f"{'≥' if goal.at_least else '≤'} {goal.limit:g}",
                     f"{scaled.median:.2f} ({scaled.low:.2f} to {scaled.high:.2f})",
                     "yes" if goal.met(scaled) else "no"])
    return markdown(["", "goal", "limit", "measured", "met"], rows) if rows else ""

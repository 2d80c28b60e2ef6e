"""Tables of medians, in Markdown, one section for each group of scenarios."""

from __future__ import annotations

from collections.abc import Callable

from results import Results, Value
from scenario import Scenario

FIGURE = {"opened": "opened_rate", "connections": "connections_rate"}  # of Scenario.measure; otherwise "rate"
# Of the loss-free rate; "common": half of the lower one of sluice and testpmd's macswap.
SHARES = {"half": "½", "nine-tenths": "9/10", "common": "½ of the lower"}
TITLES = {
    "forward-64": "Forwarding, 64-byte frames",
    "forward-imix": "Forwarding, IMIX",
    "forward-1500": "Forwarding, 1500-byte frames",
    "tunnel-64": "Tunnels, 64-byte frames",
    "tunnel-imix": "Tunnels, IMIX",
    "tunnel-1500": "Tunnels, 1500-byte frames",
    "clusterip": "ClusterIP, established flows",
    "clusterip-frames": "ClusterIP, frame sizes",
    "nodeport": "NodePort with DNAT and SNAT",
    "nodeport-frames": "NodePort, frame sizes",
    "overlay-service": "VXLAN in, DNAT, IPIP out",
    "overlay-service-frames": "VXLAN in, DNAT, IPIP out, frame sizes",
    "services": "Number of services, established flows",
    "new-services": "Number of services, new flows",
    "opening": "Opening",
    "latency": "Latency",
    "memory": "Memory per flow",
    "workers": "Two workers",
}


def groups(scenarios: list[Scenario]) -> dict[str, list[Scenario]]:
    made: dict[str, list[Scenario]] = {}
    for scenario in scenarios:
        made.setdefault(scenario.group, []).append(scenario)
    return made


def figure_of(scenario: Scenario) -> str:
    return FIGURE.get(scenario.measure, "rate")


def systems_of(scenarios: list[Scenario]) -> list[str]:
    return list(dict.fromkeys(name for scenario in scenarios for name in scenario.systems))


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] + ["--:"] * (len(head) - 1), *rows]]
    return "\n".join(lines)


def written(found: Value | None, scale: float, digits: int) -> str:
    if found is None:
        return "–"
    return f"{found.median / scale:.{digits}f} ±{found.spread * 100:.0f} %"


def section(results: Results, scenarios: list[Scenario]) -> str:
    """Everything about one group; empty if nothing of it was measured."""
    scenarios = [scenario for scenario in scenarios
                 if any(results.of(scenario.name, name) for name in scenario.systems)]
    names = [name for name in systems_of(scenarios) if any(results.of(scenario.name, name) for scenario in scenarios)]
    if not names:
        return ""
    measure = scenarios[0].measure
    if measure == "latency":
        parts = [latency(results, scenarios, names)]
    elif measure == "memory":
        parts = [table(scenarios, names, "bytes per flow", lambda scenario, name:
                       written(results.bytes_per_flow(scenario.name, name), 1, 0))]
    else:
        parts = [rates(results, scenarios, names), cycles(results, scenarios, names), ratios(results, scenarios, names),
                 table(scenarios, names, "million flows open at the end", lambda scenario, name:
                       written(results.open_flows(scenario.name, name), 1e6, 2))]
    return "\n\n".join(filter(None, parts))


def table(scenarios: list[Scenario], names: list[str], what: str, cell: Callable[[Scenario, str], str]) -> str:
    rows = [[scenario.row, *(cell(scenario, name) for name in names)] for scenario in scenarios]
    if all(text == "–" for row in rows for text in row[1:]):
        return ""
    return markdown([what, *names], rows)


def rates(results: Results, scenarios: list[Scenario], names: list[str]) -> str:
    unit = {"opened": "M new flows/s", "connections": "M connections/s"}.get(scenarios[0].measure, "M packets/s")

    def cell(scenario: Scenario, name: str) -> str:
        text = written(results.figure(scenario.name, name, figure_of(scenario)), 1e6, 3)
        return text + (" ᵍ" if results.generator_limited(scenario.name, name) else "")
    return table(scenarios, names, unit, cell)


def cycles(results: Results, scenarios: list[Scenario], names: list[str]) -> str:
    return table(scenarios, names, "busy cycles per packet", lambda scenario, name:
                 written(results.cycles(scenario.name, name), 1, 0))


def ratios(results: Results, scenarios: list[Scenario], names: list[str]) -> str:
    if "sluice" not in names:
        return ""
    peers = [name for name in names if name != "sluice"]
    if not peers:
        return ""

    def cell(scenario: Scenario, name: str) -> str:
        if name == "rounds":
            return rounds_used(results, scenario)
        return written(results.ratio(scenario.name, "sluice", name, figure_of(scenario)), 1, 2)
    looked = any(run.exchange for scenario in scenarios for run in results.right(scenario.name, "sluice"))
    return table(scenarios, [*peers, *(["rounds"] if looked else [])], "sluice as a multiple of", cell)


def rounds_used(results: Results, scenario: Scenario) -> str:
    """How many rounds the ratios of a row are of, of how many, and in which state of the machine: the time in which a
    cache line goes to the system's CPU and back."""
    state = results.state(scenario.name)
    found = [results.ratio(scenario.name, "sluice", name, figure_of(scenario)) for name in scenario.systems
             if name != "sluice" and results.right(scenario.name, name)]
    counts = sorted({ratio.count if ratio else 0 for ratio in found})
    if state is None or not counts:
        return "–"
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) + f" of {results.rounds(scenario.name)}, {state}"


def latency(results: Results, scenarios: list[Scenario], names: list[str]) -> str:
    parts = []
    for scenario in scenarios:
        rows = []
        for name in names:
            if not results.of(scenario.name, name):
                continue
            cells = [written(results.loss_free(scenario.name, name), 1e6, 2)]
            cells += [written(results.latency(scenario.name, name, share, quantile), 1000, 1)
                      for share in SHARES for quantile in ("p50", "p99", "p999")]
            rows.append([name, *cells])
        parts.append(markdown([scenario.row, "loss-free, M/s", *(f"{share} {quantile}, µs" for share in SHARES.values()
                                                                 for quantile in ("p50", "p99", "p99.9"))], rows))
    return "\n\n".join(parts)

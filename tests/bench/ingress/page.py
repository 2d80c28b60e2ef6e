"""The part of docs/performance.md about Ingress: what stands between its two markers is made of the figures."""

from __future__ import annotations

import shlex
from pathlib import Path

import content
import plots
from figures import Results
from load import SCENARIOS
from results import Value
from tables import markdown, written

BEGIN = "<!-- ingress: begin, written by scripts/bench ingress -->"
END = "<!-- ingress: end -->"
PAGE = Path("docs/performance.md")
PLOTS = Path("docs/plots/ingress")
PEERS = ("nginx", "haproxy")
COLOURS = {"sluice-busy": "#56b4e9", "sluice-offloads": "#7fb2d9", "nginx": "#009e73", "haproxy": "#d55e00", "nginx-offloads": "#8fcfb8",
           "haproxy-offloads": "#f0a878"}
GOALS = (("kept", "per_core", 5.0, "kept-alive requests per core: times {}'s"),
         ("bulk", "per_core", 5.0, "bulk per core: times {}'s"),
         ("new", "rate", 3.0, "new connections a second: times {}'s"),
         ("new", "per_core", 3.0, "new connections per core: times {}'s"))


def refresh(project: Path, results: Results) -> None:
    """Writes plots and the page's part between the markers; the rest of the page stays as it is."""
    page = project / PAGE
    before, between, after = page.read_text().partition(BEGIN)
    _, end, after = after.partition(END)
    if not between or not end:
        raise RuntimeError(f"{page} has no place for these results: it needs the lines {BEGIN} and {END}")
    (project / PLOTS).mkdir(parents=True, exist_ok=True)
    drawn = plot(results)
    if drawn:
        (project / PLOTS / "per-core.svg").write_text(drawn)
    picture = f"![Per core]({PLOTS.relative_to(PAGE.parent)}/per-core.svg)\n\n" if drawn else ""
    page.write_text(f"{before}{BEGIN}\n\n{picture}{text(results)}\n\n{END}{after}")


def text(results: Results) -> str:
    parts = [head(results), goals(results), *(section(results, scenario.name, scenario.title) for scenario in SCENARIOS
                                              if not scenario.rate), latencies(results), alone(results.content), looked_into(results.content),
             faults(results)]
    return "\n\n".join(part for part in parts if part)


def head(results: Results) -> str:
    loads = [run.load for run in results.runs]
    facts = {**results.machine, "measured": results.started,
             "rounds": str(max((run.round for run in results.runs), default=-1) + 1),
             "load average meanwhile": f"{min(loads):.1f} to {max(loads):.1f}" if loads else "",
             "command": f"`{shlex.join(results.command)}`"}
    return markdown(["", ""], [[name, fact] for name, fact in facts.items() if fact]).replace("--:", "---")


def goals(results: Results) -> str:
    rows = []
    for scenario, name, limit, words in GOALS:
        for peer in PEERS:
            rows.append(goal(words.format(peer), limit, results.ratio(scenario, "sluice", peer, name), True))
            rows.append(goal(words.format(peer) + ", both with offloads", limit,
                             results.ratio(scenario, "sluice-offloads", f"{peer}-offloads", name), True))
    found = content.pairs(*(results.content.get("behind", {}).get(str(count), []) for count in content.PATTERNS[::-1]))
    rows.append(goal("established flows past the depth, 1 000 patterns: cycles, times those without", 1.02, found, False))
    scans = results.content.get("scan", {})
    rows.append(goal("looking for 1 000 patterns: times Hyperscan's own rate", 0.9,
                     content.pairs(scans.get("inspector", []), scans.get("hyperscan", [])), True))
    rows = [row for row in rows if row]
    return markdown(["goal", "limit", "measured", "met"], rows) if rows else ""


def goal(words: str, limit: float, found: Value | None, at_least: bool) -> list[str]:
    if found is None:
        return []
    met = found.median >= limit if at_least else found.median <= limit
    return [words, f"{'≥' if at_least else '≤'} {limit:g}", f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})",
            "yes" if met else "no"]


def section(results: Results, scenario: str, title: str) -> str:
    unit = "MB" if scenario == "bulk" else "requests"
    rows = []
    for name in results.systems():
        if not results.of(scenario, name):
            continue
        same_frames = "sluice-offloads" if name.endswith("-offloads") else "sluice"
        ratio = None if name == same_frames else results.ratio(scenario, same_frames, name, "per_core")
        rows.append([name, written(results.figure(scenario, name, "rate"), 1, 0),
                     written(results.figure(scenario, name, "micros"), 1, 1),
                     written(results.figure(scenario, name, "cpu_micros"), 1, 1),
                     written(results.figure(scenario, name, "processor_micros"), 1, 1),
                     written(results.figure(scenario, name, "per_core"), 1, 0),
                     "–" if ratio is None else f"{ratio.median:.2f} ±{ratio.spread * 100:.0f} %",
                     *(written(results.latency(scenario, name, quantile), 1000, 1) for quantile in ("p50", "p99"))])
    if not rows:
        return ""
    one = "MB" if scenario == "bulk" else "request"
    return f"#### {title}\n\n" + markdown(
        ["", f"{unit}/s", f"µs of work per {one}", "µs of its thread", "µs of its processor", f"{unit}/s of work",
         "sluice with the same frames as a multiple", "p50, ms", "p99, ms"], rows)


def latencies(results: Results) -> str:
    scenario = next(each for each in SCENARIOS if each.rate)
    rows = [[name, *(written(results.latency(scenario.name, name, quantile), 1, 0) for quantile in ("p50", "p99")),
             written(results.figure(scenario.name, name, "cpu_micros"), 1, 0)]
            for name in results.systems() if results.of(scenario.name, name)]
    return f"#### {scenario.title}\n\n" + markdown(["", "p50, µs", "p99, µs", "µs of its thread per request"], rows) \
        if rows else ""


def looked_into(found: dict) -> str:
    if not found:
        return ""
    rows = [[f"established TCP flows past the depth, {count} patterns", written(content.value(figures), 1, 1) + " cycles",
             f"{min(found['behind-fastest'][count]):.1f} cycles"] for count, figures in found["behind"].items()]
    rows += [[f"1 000 patterns, {name}", written(content.value(figures), 1e6, 0) + " MB/s",
              f"{max(figures) / 1e6:.0f} MB/s"] for name, figures in found["scan"].items()]
    return "#### Content rules, in process\n\n" + markdown(["", "median", "best"], rows)


def alone(found: dict) -> str:
    """Ingress in process."""
    words = {"kept": "cycles per request on kept-alive connections", "new": "cycles per request with a connection of its own",
             "bulk": "cycles per MB of bodies"}
    rows = [[words[name], written(content.value(figures), 1, 0), f"{min(figures):.0f}"]
            for name, figures in (found or {}).get("router", {}).items() if figures]
    return "#### The router alone, in process\n\n" + markdown(["", "median", "best"], rows) if rows else ""


def faults(results: Results) -> str:
    return "\n".join(f"- Left out: {run.scenario}, {run.system}, round {run.round + 1}: {run.error}"
                     for run in results.runs if run.error)


def plot(results: Results) -> str:
    """Requests, and megabytes, per second of work: as multiples of nginx's, since they have different units."""
    plots.COLOURS.update(COLOURS)
    shown = [scenario for scenario in SCENARIOS if not scenario.rate]
    names = [name for name in results.systems() if name != "sluice-busy"]
    values = {(scenario.name, name): results.ratio(scenario.name, name, "nginx", "per_core")
              for scenario in shown for name in names}
    found = [each for each in values.values() if each]
    if not found or "nginx" not in names:
        return ""
    drawing = plots.Drawing("Ingress: work done per second of a core", "times nginx", plots.vertical_axis(found))
    drawing.legend(names)
    return plots.bars(drawing, [Row(scenario.name) for scenario in shown], names, values)


class Row:
    """As plots.bars wants a scenario."""

    def __init__(self, name: str):
        self.name = self.row = name

"""The same services for sluiced and for Linux with the rule sets of kube-proxy, all in one run: how long it takes until
they are in place, until one change is, and to open a connection through them."""

from __future__ import annotations

import argparse
import os
import statistics
from dataclasses import asdict, dataclass, field

from wiring import Between, Iptables, Nftables, Services, Sluice, close_namespaces

from netns import Lab, raise_on_signals
from plots import BOTTOM, COLOURS, HEIGHT, WIDTH, Axis, Drawing, vertical_axis
from results import Value

SYSTEMS: tuple[type[Between], ...] = (Sluice, Nftables, Iptables)
CHANGES = 20  # measured for each; fewer where they take long
LONGEST = 60.0  # seconds of changes
CONNECTIONS = 300


@dataclass
class Row:
    system: str
    services: int
    endpoints: int  # of each
    install: float  # seconds, all of these
    changes: list[float] = field(default_factory=list)
    connects: list[float] = field(default_factory=list)

    def text(self) -> str:
        return (f"{self.system:15} {self.services:6} services  install {self.install * 1e3:10.1f} ms  change "
                f"{statistics.median(self.changes) * 1e3:9.2f} ms ({len(self.changes)})  connect "
                f"{statistics.median(self.connects) * 1e6:7.0f} us, p99 {quantile(self.connects, .99) * 1e6:7.0f} us")


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def measure_one(kind: type[Between], count: int, endpoints: int, number: int) -> Row:
    services = Services(count, endpoints, protocol="tcp")
    with Lab(f"sluice-bench-{os.getpid()}-c{number}-") as lab:
        between = kind(lab, services)
        try:
            row = Row(between.name, count, endpoints, between.install())
            between.connect(20, seed=0)
            row.connects = between.connect(CONNECTIONS, seed=1)
            while len(row.changes) < min(CHANGES, count) and (not row.changes or sum(row.changes) < LONGEST):
                row.changes.append(between.change(len(row.changes) * 7919 % count))
        finally:
            close_namespaces(between)
    return row


def run(counts: list[int], endpoints: int, systems: tuple[type[Between], ...] = SYSTEMS) -> list[Row]:
    raise_on_signals()
    rows = []
    for count in counts:
        for kind in systems:
            rows.append(measure_one(kind, count, endpoints, len(rows)))
            print(rows[-1].text(), flush=True)
    return rows


# ---- plots ----

FIGURES = {
    "control-install": ("Until all services are in place", "seconds", lambda row: [row.install]),
    "control-change": ("Until one more endpoint is in place", "seconds", lambda row: row.changes),
    "control-connect": ("Opening a connection to a service", "seconds", lambda row: row.connects),
}


def plot(name: str, rows: list[Row]) -> str:
    """Medians over the number of services; bars from the tenth to the ninetieth percentile."""
    title, unit, figures = FIGURES[name]
    values = {(row.system, row.services): Value(statistics.median(figures(row)), quantile(figures(row), .1),
                                                quantile(figures(row), .9), len(figures(row))) for row in rows}
    names = [kind.name for kind in SYSTEMS if any(row.system == kind.name for row in rows)]
    counts = sorted({row.services for row in rows})
    drawing = Drawing(f"{title} ({rows[0].endpoints} endpoints each)", unit, vertical_axis(list(values.values())))
    drawing.legend(names)
    axis = Axis(counts[0], max(counts[-1], counts[0] * 10), True)
    for count in counts:
        drawing.parts.append(drawing.text(drawing.x(axis.place(count)), HEIGHT - BOTTOM + 20, f"{count:,}",
                                          'text-anchor="middle"'))
    drawing.parts.append(drawing.text(WIDTH / 2, HEIGHT - 12, "services", 'text-anchor="middle" fill="#555555"'))
    for system in names:
        points = [(drawing.x(axis.place(count)), values[system, count]) for count in counts
                  if (system, count) in values]
        way = " ".join(f"{x:.1f},{drawing.y(found.median):.1f}" for x, found in points)
        drawing.parts.append(f'<polyline points="{way}" fill="none" stroke="{COLOURS[system]}" stroke-width="2"/>')
        for x, found in points:
            drawing.error_bar(x, found, COLOURS[system])
            drawing.parts.append(f'<circle cx="{x:.1f}" cy="{drawing.y(found.median):.1f}" r="3.5" '
                                 f'fill="{COLOURS[system]}"/>')
    return drawing.finish()


def measure(arguments: argparse.Namespace) -> list[dict]:
    rows = run(arguments.counts, arguments.peer_endpoints)
    if arguments.plots:
        for name in FIGURES:
            (arguments.plots / f"{name}.svg").write_text(plot(name, rows))
    return [asdict(row) for row in rows]

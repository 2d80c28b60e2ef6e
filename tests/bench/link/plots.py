"""Plots as SVG, written by hand: lines over a logarithmic axis, or groups of bars. Readable on light and dark pages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

from catalogue import short
from results import Results, Value
from scenario import Scenario
from tables import TITLES, figure_of, systems_of

COLOURS = {"sluice": "#0072b2", "testpmd-io": "#999999", "testpmd-macswap": "#666666", "ovs-dpdk": "#e69f00",
           "linux-nftables": "#009e73", "linux-iptables": "#d55e00"}  # distinguishable for the colour-blind
WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 80, 55
LINES = {"clusterip": "established flows", "services": "services", "new-services": "services"}
BARS = ("forward-64", "tunnel-64", "nodeport", "overlay-service", "opening")


@dataclass
class Axis:
    low: float
    high: float
    logarithmic: bool

    def place(self, number: float) -> float:
        """0 at the low end, 1 at the high end."""
        if self.logarithmic:
            return (math.log10(number) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (number - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            return [10.0 ** power for power in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]
        step = 10 ** math.floor(math.log10(self.high))
        step = next(step * part for part in (0.1, 0.2, 0.5, 1, 2) if self.high / (step * part) <= 8)
        return [number * step for number in range(int(self.high / step) + 1)]


def vertical_axis(values: list[Value]) -> Axis:
    """Logarithmic where the systems are more than a hundred times apart."""
    high, low = max(found.high for found in values), min(found.low for found in values)
    if low > 0 and high / low > 100:
        return Axis(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)), True)
    return Axis(0, high * 1.05, False)


class Drawing:
    def __init__(self, title: str, unit: str, vertical: Axis):
        self.vertical = vertical
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" font-family="sans-serif" font-size="13">',
            f'<title>{escape(title)}</title>', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            self.text(LEFT, 24, title, 'font-size="16" font-weight="bold"')]
        self.parts.append(self.text(LEFT, TOP - 10, unit, 'fill="#555555"'))
        for tick in vertical.ticks():
            height = self.y(tick)
            self.parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}" '
                              f'stroke="#dddddd"/>')
            self.parts.append(self.text(LEFT - 8, height + 4, f"{tick:g}", 'text-anchor="end"'))

    @staticmethod
    def text(x: float, y: float, words: str, style: str = "") -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'

    def x(self, share: float) -> float:
        return LEFT + 30 + share * (WIDTH - LEFT - RIGHT - 60)

    def y(self, number: float) -> float:
        return HEIGHT - BOTTOM - self.vertical.place(max(number, self.vertical.low)) * (HEIGHT - TOP - BOTTOM)

    def legend(self, names: list[str]) -> None:
        x = LEFT
        for name in names:
            self.parts.append(f'<rect x="{x}" y="38" width="12" height="12" fill="{COLOURS[name]}"/>')
            self.parts.append(self.text(x + 17, 49, name))
            x += 30 + 8 * len(name)

    def error_bar(self, x: float, found: Value, colour: str) -> None:
        self.parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{self.y(found.low):.1f}" y2="{self.y(found.high):.1f}" '
                          f'stroke="{colour}" stroke-width="1.5"/>')

    def finish(self) -> str:
        base = HEIGHT - BOTTOM
        self.parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}" stroke="#333333"/>')
        return "\n".join([*self.parts, "</svg>", ""])


def plot(results: Results, group: str, scenarios: list[Scenario]) -> str:
    """The SVG of a group; empty if it has no plot or too little was measured."""
    values = {(scenario.name, name): scaled(results.figure(scenario.name, name, figure_of(scenario)))
              for scenario in scenarios for name in systems_of(scenarios)}
    found = [value for value in values.values() if value]
    names = [name for name in systems_of(scenarios) if any(values[scenario.name, name] for scenario in scenarios)]
    if not found:
        return ""
    unit = {"opened": "million new flows per second", "connections": "million per second"}.get(
        scenarios[0].measure, "million packets per second")
    if group == "opening":
        unit = "million per second"
    drawing = Drawing(TITLES[group], unit, vertical_axis(found))
    drawing.legend(names)
    if group in LINES:
        return lines(drawing, scenarios, names, values, LINES[group])
    return bars(drawing, scenarios, names, values) if group in BARS else ""


def scaled(found: Value | None) -> Value | None:
    return Value(found.median / 1e6, found.low / 1e6, found.high / 1e6, found.count) if found else None


def lines(drawing: Drawing, scenarios: list[Scenario], names: list[str], values: dict[tuple[str, str], Value | None],
          label: str) -> str:
    places = [scenario.x for scenario in scenarios]
    if len(places) < 2:
        return ""
    axis = Axis(min(places), max(places), True)
    for scenario in scenarios:
        drawing.parts.append(drawing.text(drawing.x(axis.place(scenario.x)), HEIGHT - BOTTOM + 20,
                                          short(int(scenario.x)), 'text-anchor="middle"'))
    drawing.parts.append(drawing.text(WIDTH / 2, HEIGHT - 12, label, 'text-anchor="middle" fill="#555555"'))
    for name in names:
        points = [(drawing.x(axis.place(scenario.x)), values[scenario.name, name]) for scenario in scenarios
                  if values[scenario.name, name]]
        way = " ".join(f"{x:.1f},{drawing.y(found.median):.1f}" for x, found in points)
        drawing.parts.append(f'<polyline points="{way}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
        for x, found in points:
            drawing.error_bar(x, found, COLOURS[name])
            drawing.parts.append(f'<circle cx="{x:.1f}" cy="{drawing.y(found.median):.1f}" r="3.5" '
                                 f'fill="{COLOURS[name]}"/>')
    return drawing.finish()


def bars(drawing: Drawing, scenarios: list[Scenario], names: list[str],
         values: dict[tuple[str, str], Value | None]) -> str:
    room = (WIDTH - LEFT - RIGHT) / len(scenarios)
    width = room * 0.8 / len(names)
    for number, scenario in enumerate(scenarios):
        start = LEFT + room * (number + 0.1)
        drawing.parts.append(drawing.text(start + room * 0.4, HEIGHT - BOTTOM + 20, scenario.row,
                                          'text-anchor="middle" font-size="12"'))
        for place, name in enumerate(names):
            found = values[scenario.name, name]
            if not found:
                continue
            x, top = start + place * width, drawing.y(found.median)
            drawing.parts.append(f'<rect x="{x:.1f}" y="{top:.1f}" width="{width * 0.9:.1f}" '
                                 f'height="{max(HEIGHT - BOTTOM - top, 0):.1f}" fill="{COLOURS[name]}"/>')
            drawing.error_bar(x + width * 0.45, found, "#000000")
    return drawing.finish()

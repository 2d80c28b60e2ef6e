"""Two runs of the bench beside each other: how far what one run says about sluice and its peers is what another says. Only
what both measured in the same state of the machine (states.py) is compared."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from results import Results, Value, in_shared_state
from scenario import Scenario
from states import State
from tables import figure_of, markdown

TOLERANCE = 0.15  # of a ratio, between the runs


@dataclass(frozen=True)
class Ratio:
    """sluice as a multiple of `peer`, in both runs, in a state of the machine that both met."""

    scenario: Scenario
    peer: str
    state: State
    first: Value
    second: Value

    @property
    def change(self) -> float:
        return self.second.median / self.first.median - 1

    @property
    def agrees(self) -> bool:
        return abs(self.change) <= TOLERANCE


def ratios(first: Results, second: Results, scenarios: list[Scenario]) -> list[Ratio]:
    made = []
    for scenario in scenarios:
        shared = in_shared_state(first, scenario.name, second, scenario.name)
        for peer in scenario.systems if shared else ():
            if peer == "sluice":
                continue
            found = [results.ratio(scenario.name, "sluice", peer, figure_of(scenario)) for results in shared]
            if all(found):
                made.append(Ratio(scenario, peer, shared[0].state(scenario.name), *found))
    return made


def not_compared(first: Results, second: Results, scenarios: list[Scenario]) -> list[str]:
    """What both runs have measured and no ratio is compared of, and why."""
    made = []
    for scenario in scenarios:
        peers = [peer for peer in scenario.systems if peer != "sluice"
                 and all(results.right(scenario.name, name) for results in (first, second) for name in ("sluice", peer))]
        if not peers:
            continue
        shared = in_shared_state(first, scenario.name, second, scenario.name)
        if not shared:
            made.append(f"{scenario.name}: not compared, the states of the machine differ: first {met(first, scenario)}, "
                        f"second {met(second, scenario)}")
            continue
        without = [peer for peer in peers if not all(
            results.ratio(scenario.name, "sluice", peer, figure_of(scenario)) for results in shared)]
        if without:
            made.append(f"{scenario.name}: not compared with {', '.join(without)}: not in both runs is there a round in "
                        f"which both systems met the state of {shared[0].state(scenario.name)}")
    return made


def met(results: Results, scenario: Scenario) -> str:
    return " or ".join(str(state) for state in results.states[scenario.name]) or "none that lasted for a measurement"


def swapped(first: Results, second: Results, scenario: Scenario) -> list[tuple[str, str]]:
    """Pairs of systems whose medians stand in another order in the second run, and that were apart in one of them."""
    shared = in_shared_state(first, scenario.name, second, scenario.name) or ()
    figures = {name: [results.figure(scenario.name, name, figure_of(scenario)) for results in shared]
               for name in scenario.systems}
    made = []
    for one, other in combinations([name for name, found in figures.items() if found and all(found)], 2):
        pairs = list(zip(figures[one], figures[other]))
        turned = (pairs[0][0].median > pairs[0][1].median) != (pairs[1][0].median > pairs[1][1].median)
        if turned and any(a.low > b.high or b.low > a.high for a, b in pairs):
            made.append((one, other))
    return made


def report(first: Results, second: Results, scenarios: list[Scenario]) -> str:
    found = ratios(first, second, scenarios)
    shared = list(dict.fromkeys(ratio.scenario.name for ratio in found))
    orders = {scenario.name: swapped(first, second, scenario) for scenario in scenarios if scenario.name in shared}
    agreeing = sum(ratio.agrees for ratio in found)
    lines = [f"{agreeing} of {len(found)} ratios of {len(shared)} scenarios are the same within {TOLERANCE:.0%}; the "
             f"order of the systems is the same in {sum(not pairs for pairs in orders.values())} of {len(orders)}."]
    rows = [[ratio.scenario.name + (f" ({ratio.state})" if ratio.state.exchange else ""), ratio.peer, f"{ratio.first.median:.2f} ±{ratio.first.spread:.0%}",
             f"{ratio.second.median:.2f} ±{ratio.second.spread:.0%}", f"{ratio.change:+.0%}"]
            for ratio in sorted(found, key=lambda ratio: -abs(ratio.change)) if not ratio.agrees]
    if rows:
        lines.append(markdown(["sluice as a multiple of", "", "first", "second", "change"], rows))
    lines += [f"{name}: {one} and {other} have changed places" for name, pairs in orders.items()
              for one, other in pairs]
    lines += not_compared(first, second, scenarios)
    return "\n\n".join(lines)

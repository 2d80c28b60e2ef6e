"""docs/performance.md: what stands between its two markers is made of the results, the rest is written by people."""

from __future__ import annotations

import shlex
from pathlib import Path

import goals
import inprocess
from catalogue import catalogue
from plots import plot
from results import Results
from tables import TITLES, groups, section

BEGIN = "<!-- results: begin, written by scripts/bench -->"
END = "<!-- results: end -->"
ALONE_BEGIN = "<!-- router alone: begin, written by scripts/bench when it has measured in process -->"
ALONE_END = "<!-- router alone: end -->"
PAGE = Path("docs/performance.md")
EMPTY_PAGE = Path(__file__).with_name("performance.md")
PLOTS = Path("docs/plots")


def text(results: Results) -> str:
    """All tables, without plots: what the terminal shows."""
    return "\n\n".join(filter(None, [head(results), *parts(results, {}), inprocess.section(results)]))


def refresh(project: Path, results: Results) -> None:
    """Writes the plots and what stands between the markers; of the router alone only if that was measured. Everything
    else of the page stays as it is."""
    page = project / PAGE
    if not page.exists():
        page.write_text(EMPTY_PAGE.read_text())
    text = page.read_text()
    for line in (BEGIN, END, ALONE_BEGIN, ALONE_END):
        if line not in text:
            raise RuntimeError(f"{page} has no place for results: it needs the line {line}")
    plots = write_plots(project / PLOTS, results)
    text = between(text, BEGIN, END, "\n\n".join([head(results), *parts(results, plots)]))
    if router_alone := inprocess.section(results):
        text = between(text, ALONE_BEGIN, ALONE_END, router_alone)
    page.write_text(text)


def between(text: str, begin: str, end: str, content: str) -> str:
    before, after = text.split(begin, 1)[0], text.split(end, 1)[1]
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def write_plots(folder: Path, results: Results) -> dict[str, str]:
    """Group → path of its plot, as the page links it."""
    made = {}
    folder.mkdir(parents=True, exist_ok=True)
    for group, scenarios in groups(catalogue()).items():
        (folder / f"{group}.svg").unlink(missing_ok=True)  # and no plot of a group that was not measured
        drawn = plot(results, group, scenarios)
        if drawn:
            (folder / f"{group}.svg").write_text(drawn)
            made[group] = f"{folder.name}/{group}.svg"
    return made


def head(results: Results) -> str:
    rounds = sorted({results.rounds(run.scenario) for run in results.runs} or {0})
    facts = {**results.machine, "measured": results.started,
             "rounds": " to ".join(map(str, dict.fromkeys((rounds[0], rounds[-1])))),
             "command": f"`{shlex.join(results.command)}`".replace(" ';' ", "`, `")}
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {fact} |" for name, fact in facts.items() if fact)])


def parts(results: Results, plots: dict[str, str]) -> list[str]:
    made = []
    for group, scenarios in groups(catalogue()).items():
        content = section(results, scenarios)
        if not content:
            continue
        picture = f"![{TITLES[group]}]({plots[group]})\n\n" if group in plots else ""
        made.append(f"### {TITLES[group]}\n\n{picture}{content}")
    reached = goals.section(results)
    if reached:
        made.insert(0, f"### Goals\n\n{reached}")
    made.append(notes(results))
    return [part for part in made if part]


def fell_apart(results: Results, scenario: str) -> str:
    """What is told of a scenario in which the machine did not stay in one state; empty if it did."""
    found, rounds = results.states[scenario], results.rounds(scenario)
    runs = [run for run in results.runs if run.scenario == scenario and not run.error]
    if sum(state.runs for state in found) == len(runs) and len(found) < 2:
        return ""
    if not found:
        return f"{scenario}: the machine changed its state during every measurement, so there are no figures."
    whole = ", ".join(f"in {state.rounds} all systems met the state of {state}" for state in found)
    mixed = rounds - sum(state.rounds for state in found)
    return f"{scenario}: of {rounds} rounds {whole}, in {mixed} they did not all meet one. The figures are of {found[0]}."


def notes(results: Results) -> str:
    lines = []
    if any(results.generator_limited(run.scenario, run.system) for run in results.runs):
        lines.append("ᵍ the generator was the limit in most rounds; the system can do at least this much.")
    reasons: dict[tuple[str, str], list[str]] = {}
    for pair, why in results.unsupported.items():
        scenario, system = pair.split(" ", 1)
        reasons.setdefault((system, why), []).append(scenario)
    for (system, why), scenarios in reasons.items():
        lines.append(f"{system} is not in {', '.join(scenarios)}: {why}.")
    lines += filter(None, (fell_apart(results, name) for name in results.states))
    for run in results.failed():
        lines.append(f"Left out: {run.scenario}, {run.system}, round {run.round + 1}: {run.brief_error}")
    return "\n".join(f"- {line}" for line in lines)

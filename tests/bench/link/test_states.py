"""States of the machine: which runs met the same one, what is repeated, what is compared. All looks are made up."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "system")]

import compare  # noqa: E402
import document  # noqa: E402
import goals  # noqa: E402
import machine  # noqa: E402
import runner  # noqa: E402
import states  # noqa: E402
from catalogue import catalogue  # noqa: E402
from inprocess import FOLDER  # noqa: E402
from machine import Cpus  # noqa: E402
from runner import Run  # noqa: E402
from test_link import made_up, rate  # noqa: E402
from test_runner import Generator, Pretended, bench, measured, scenario  # noqa: E402, F401

NEAR, FAR = 57.0, 330.0
CHOSEN = scenario("clusterip-1k")
PAIR = ("sluice", "testpmd-macswap")


def run(system: str, number: int, looks: Iterable[float | None], packets: float = 1e6, **more) -> Run:
    return rate(CHOSEN, system, number, packets, exchange=list(looks), **more)


def both(number: int, exchange: float, one: float = 1e6, other: float = 1e6) -> list[Run]:
    """A round in which both systems met one state."""
    return [run(name, number, [exchange] * 2, packets) for name, packets in zip(PAIR, (one, other))]


# ---- classification ----

@pytest.mark.parametrize("looks, found", [
    ([], states.NOBODY_LOOKED), ([57.0, 57.0], 57.0), ([50.0, 72.0], 60.0), ([330.0, 360.0], 344.7),
    ([50.0, 75.0], None), ([FAR, NEAR], None), ([NEAR, NEAR, FAR, NEAR], None), ([NEAR, None], None), ([None, None], None)])
def test_a_run_met_one_state_if_all_its_looks_are_alike(looks, found):
    assert states.met(run("sluice", 0, looks)) == (found if found is None else pytest.approx(found, abs=0.1))


def test_times_that_differ_by_less_than_a_factor_are_one_state_wherever_they_are():
    for scale in (1.0, 10.0):
        runs = [run("sluice", number, [time * scale] * 2) for number, time in enumerate((60, 50, 70, 300, 320, 400))]
        found = states.states(runs)
        assert [state.runs for state in found] == [3, 3]
        assert [edge / scale for state in found for edge in (state.low, state.high)] == pytest.approx([50, 70, 300, 400])


def test_a_round_is_whole_if_all_systems_that_were_right_met_one_state():
    runs = [*both(0, FAR), run("sluice", 1, [NEAR] * 2), run("testpmd-macswap", 1, [FAR] * 2),
            run("sluice", 2, [NEAR, FAR]), run("testpmd-macswap", 2, [FAR] * 2), *both(3, FAR * 1.1),
            run("sluice", 4, [NEAR], error="wrong packets: 1 corrupted"), run("testpmd-macswap", 4, [FAR] * 2)]
    first, second = states.states(runs)
    assert (first.rounds, first.runs, str(first)) == (3, 7, "346 ns")
    assert (second.rounds, second.runs, str(second)) == (0, 1, "57 ns")
    assert states.lacking(runs, 5) == 2


def test_runs_without_looks_are_one_state():
    (found,) = states.states([run(name, number, []) for number in range(3) for name in PAIR])
    assert found.rounds == 3 and found.exchange == 0
    assert states.lacking([run("sluice", number, []) for number in range(3)], 3) == 0


def test_rounds_that_failed_are_not_what_another_state_has_spoiled():
    runs = [*both(0, NEAR), *(run(name, 1, [NEAR], error="no packet came back") for name in PAIR)]
    assert states.lacking(runs, 2) == 0


# ---- repetition ----

def rounds_of(bench, monkeypatch, looks: Iterable[float | None], rounds: int, seconds: Iterable[float] = (1.0,)):
    """Runs, and what was said, of a machine that is seen so; the last look lasts, and each takes so many seconds."""
    looks, seconds, clock = list(looks), list(seconds), [0.0]
    following, lasting = itertools.chain(looks, itertools.repeat(looks[-1])), itertools.chain(
        seconds, itertools.repeat(seconds[-1]))

    def look() -> float | None:
        clock[0] += next(lasting)
        return next(following)
    monkeypatch.setattr(runner.time, "monotonic", lambda: clock[0])
    _, runs = measured(bench, monkeypatch, CHOSEN, [Pretended(bench, name) for name in PAIR], Generator(), rounds, look)
    return runs


def numbers(runs: list[Run]) -> list[int]:
    return sorted({each.round for each in runs})


def test_on_a_machine_of_one_state_nothing_is_repeated(bench, monkeypatch):
    noisy = [NEAR, NEAR * 1.2, NEAR * 0.95, NEAR * 1.1]
    runs = rounds_of(bench, monkeypatch, itertools.chain(*[noisy] * 3), 3)
    assert numbers(runs) == [0, 1, 2] and all(len(each.exchange) == 2 for each in runs)


def test_without_a_look_nothing_is_repeated_or_stored(bench, monkeypatch):
    _, runs = measured(bench, monkeypatch, CHOSEN, [Pretended(bench, name) for name in PAIR], Generator(), 3)
    assert numbers(runs) == [0, 1, 2] and all(each.exchange == [] for each in runs)


def test_rounds_are_added_until_enough_are_of_one_state(bench, monkeypatch):
    # Rounds: near; changing during the second system; one near and one far; then all far.
    looks = [NEAR] * 4 + [NEAR] * 3 + [FAR] + [NEAR] * 2 + [FAR] * 2 + [FAR]
    runs = rounds_of(bench, monkeypatch, looks, 3)
    assert numbers(runs) == [0, 1, 2, 3, 4, 5]
    assert states.lacking(runs, 3) == 0 and states.states(runs)[0].exchange == pytest.approx(FAR)


def test_no_more_rounds_are_added_than_were_asked_for(bench, monkeypatch):
    runs = rounds_of(bench, monkeypatch, [NEAR, FAR] * 100, 2)
    assert numbers(runs) == [0, 1, 2, 3] and states.lacking(runs, 2) == 2


def test_added_rounds_take_no_longer_than_those_that_were_asked_for(bench, monkeypatch):
    # Twelve looks of a second in three rounds; four of ten in the first that is added.
    runs = rounds_of(bench, monkeypatch, [NEAR, FAR] * 100, 3, [1.0] * 12 + [10.0])
    assert numbers(runs) == [0, 1, 2, 3]
    runs = rounds_of(bench, monkeypatch, [NEAR, FAR] * 100, 3, [runner.EXTRA_SECONDS / 3])
    assert numbers(runs) == [0, 1, 2, 3]


def test_a_probe_that_fails_marks_its_run(bench, monkeypatch):
    runs = rounds_of(bench, monkeypatch, [None] + [NEAR] * 100, 1)
    assert numbers(runs) == [0, 1] and not any(each.error for each in runs)
    assert runner.at(runs[0]) == "  [? → 57 ns: not of one state]" and runner.at(runs[1]) == "  [57 ns]"


def test_each_measurement_of_a_latency_run_is_looked_at(bench, monkeypatch):
    _, runs = measured(bench, monkeypatch, scenario("latency-forward4"), [Pretended(bench, name) for name in PAIR],
                       Generator(), look=lambda: NEAR)
    assert [len(each.exchange) for each in runs] == [4, 4]


# ---- results ----

def test_figures_and_ratios_are_of_the_state_of_most_rounds_and_it_is_told():
    runs = [*both(0, FAR, 4e6, 5e6), *both(1, NEAR, 9e6, 9e6), *both(2, FAR, 4e6, 5e6),
            run("sluice", 3, [NEAR] * 2, 9e6), run("testpmd-macswap", 3, [FAR] * 2, 5e6),
            run("sluice", 4, [FAR, NEAR], 7e6), run("testpmd-macswap", 4, [NEAR] * 2, 9e6)]
    found = made_up(runs)
    ratio = found.ratio(CHOSEN.name, *PAIR, "rate")
    assert (ratio.low, ratio.high, ratio.count) == (0.8, 0.8, 2)
    assert found.figure(CHOSEN.name, "sluice", "rate").high == 4e6
    text = document.text(found)
    assert "| 1 000 flows | 0.80 ±0 % | 2 of 5, 330 ns |" in text
    assert ("- clusterip-1k: of 5 rounds in 2 all systems met the state of 330 ns, in 1 all systems met the state of 57 ns, in 2 "
            "they did not all meet one. The figures are of 330 ns.") in text


def test_on_a_machine_of_one_state_there_is_nothing_to_tell():
    looked = [each for number in range(3) for each in both(number, NEAR)]
    assert document.notes(made_up(looked)) == ""
    unlooked = [run(name, number, []) for number in range(3) for name in PAIR]
    text = document.text(made_up(unlooked))
    assert "rounds |" not in text.split("sluice as a multiple")[1]


def test_where_no_run_met_one_state_there_are_no_figures():
    found = made_up([run(name, 0, [NEAR, FAR]) for name in PAIR])
    assert found.ratio(CHOSEN.name, *PAIR, "rate") is None
    assert "clusterip-1k: the machine changed its state during every measurement" in document.notes(found)


def test_goals_between_scenarios_are_of_one_state():
    measure = goals.between("nodeport-1k", "clusterip-1k")

    def of(name: str, packets: dict[int, tuple[float, float]]) -> list[Run]:
        return [rate(scenario(name), "sluice", number, figure, exchange=[look, look])
                for number, (look, figure) in packets.items()]
    runs = of("nodeport-1k", {0: (NEAR, 8e6), 1: (NEAR, 8e6), 2: (FAR, 3e6)})
    # Most rounds of the one are near and of the other far; the rounds of the state they share differ.
    found = measure.found(made_up(runs + of("clusterip-1k", {0: (FAR, 4e6), 1: (FAR, 4e6), 2: (FAR, 4e6)})))
    assert (found.low, found.high, found.count) == (0.75, 0.75, 1)
    found = measure.found(made_up(runs + of("clusterip-1k", {3: (NEAR, 4e6), 1: (NEAR, 16e6)})))
    assert sorted((found.low, found.high)) == [0.5, 2.0]
    assert measure.found(made_up(runs + of("clusterip-1k", {0: (900.0, 1e6)}))) is None


# ---- comparison ----

def test_ratios_of_one_state_are_compared():
    first = made_up([*both(0, NEAR, 9e6, 9e6), *both(1, NEAR, 9e6, 9e6), *both(2, FAR, 4e6, 5e6)])
    second = made_up([*both(0, FAR, 4e6, 5e6), *both(1, FAR, 4e6, 5e6)])
    (ratio,) = compare.ratios(first, second, catalogue())
    assert (ratio.first.median, ratio.second.median, ratio.agrees) == (0.8, 0.8, True)
    assert ratio.state.exchange == pytest.approx(FAR)
    text = compare.report(first, second, catalogue())
    assert text.startswith("1 of 1 ratios of 1 scenarios are the same within 15%") and "not compared" not in text


@pytest.mark.parametrize("exchange, words", [(FAR, "second 330 ns"), (None, "second none that lasted for a measurement"),
                                             (states.NOBODY_LOOKED, "second not looked at")])
def test_what_was_measured_in_different_states_is_not_compared(exchange, words):
    first = made_up(both(0, NEAR, 9e6, 9e6))
    looks = [] if exchange == states.NOBODY_LOOKED else [exchange] * 2
    second = made_up([run(name, 0, looks) for name in PAIR])
    assert compare.ratios(first, second, catalogue()) == []
    assert compare.swapped(first, second, CHOSEN) == []
    text = compare.report(first, second, catalogue())
    assert text.startswith("0 of 0 ratios") and "clusterip-1k: not compared" in text
    assert "first 57 ns" in text and words in text


def test_a_peer_without_a_round_in_the_shared_state_is_told():
    peer = [run("ovs-dpdk", 0, [NEAR] * 2), run("ovs-dpdk", 1, [FAR] * 2)]
    first = made_up([*both(0, NEAR), *both(1, NEAR), *peer])
    second = made_up([*both(0, NEAR), *both(1, NEAR), run("ovs-dpdk", 0, [FAR] * 2)])
    assert [ratio.peer for ratio in compare.ratios(first, second, catalogue())] == ["testpmd-macswap"]
    assert "clusterip-1k: not compared with ovs-dpdk" in compare.report(first, second, catalogue())


def test_the_order_is_asked_within_one_state():
    first = made_up([*both(0, NEAR, 9e6, 8e6), *both(1, FAR, 3e6, 4e6), *both(2, FAR, 3e6, 4e6)])
    second = made_up([*both(0, NEAR, 9e6, 8e6)])
    assert compare.swapped(first, second, CHOSEN) == []


# ---- the probe ----

def test_the_probe_tells_a_time_or_that_it_cannot():
    program = FOLDER / "line_exchange"
    if not program.exists():
        pytest.skip("line_exchange is not built")
    available = machine.processors()
    if len(available) < 2:
        pytest.skip("there is one CPU")
    found = machine.line_exchange(program, Cpus(available[0], available[1], available[0]))
    assert 1 < found < 1e6
    assert machine.line_exchange(program, Cpus(available[0], available[0], available[0])) is None
    assert machine.line_exchange(FOLDER / "nothing-like-that", Cpus(0, 1, 0)) is None
    for words in ([], ["0"], ["0", "x"], ["0", "1", "20", "more"], ["0", "100000"]):
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and done.stderr.startswith("line_exchange: ")

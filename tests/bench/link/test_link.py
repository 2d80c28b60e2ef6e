"""The bench itself: what it makes of scenarios and results. Nothing here measures anything."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as xml
from dataclasses import asdict
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "system")]

import compare  # noqa: E402
import document  # noqa: E402
import goals  # noqa: E402
import inprocess  # noqa: E402
import kube_proxy  # noqa: E402
import ovs  # noqa: E402
import plots  # noqa: E402
import results  # noqa: E402
import tables  # noqa: E402
import trafgen  # noqa: E402
from catalogue import catalogue  # noqa: E402
from goals import GOALS  # noqa: E402
from main import SYSTEMS  # noqa: E402
from machine import Cpus, KernelSettings  # noqa: E402
from netns import Lab  # noqa: E402
from router import SLUICED  # noqa: E402
from runner import Run, complaint, per_packet  # noqa: E402
from scenario import Scenario, Services  # noqa: E402
from sluice import Sluice  # noqa: E402
from system import Bench, Counters  # noqa: E402


@pytest.fixture
def bench(tmp_path):
    return Bench(Lab("sluice-benchtest-", tmp_path), Cpus(0, 1, 0), KernelSettings())


def rate(scenario: Scenario, system: str, number: int, packets_per_second: float, **more) -> Run:
    figures = {"rate": packets_per_second, "opened_rate": packets_per_second, "connections_rate": packets_per_second,
               "generator_limited": False}
    return Run(scenario.name, system, number, figures, cycles_per_packet=100.0 + number, **more)


def made_up(runs: list[Run]) -> results.Results:
    return results.Results({"machine": {"processor": "P"}, "command": ["scripts/bench"], "started": "now",
                            "runs": [asdict(run) for run in runs]})


def everything() -> results.Results:
    runs = []
    for scenario in catalogue():
        for place, name in enumerate(scenario.systems):
            for number in range(5):
                run = rate(scenario, name, number, 1e6 * (place + 1) * (1 + number / 10), bytes_per_flow=200.0)
                if scenario.measure in ("opened", "connections"):
                    run.open_flows = 3_000_000
                if scenario.measure == "latency":
                    run.loss_free_rate = 1e6
                    run.latency = {share: {"p50": 10_000.0, "p99": 20_000.0, "p999": 30_000.0}
                                   for share in tables.SHARES}
                runs.append(run)
    made = made_up(runs)
    made.inprocess = in_process()
    return made


def in_process(cycles: float = 90.0) -> dict:
    """Five repetitions of everything that has a row: cycles, cycles + 1, …"""
    names = [*(name for _, name in inprocess.ROWS),
             *(template.format(burst) for _, template in inprocess.BY_BURST for burst in inprocess.BURSTS)]
    benchmarks = []
    for name in dict.fromkeys(names):
        program = "conntrack_bench" if name.startswith("lookup") else "pipeline_bench"
        counters = {"hash": 1.0, "find": 2.0, "use": 3.0} if name.startswith("lookup") else {}
        total = "sum" if counters else "cycles"
        for number in range(5):
            counters[total] = cycles + number
            benchmarks.append({"run_name": f"{name}/manual_time", "run_type": "iteration", "program": program,
                               "real_time": 5.0, **counters})
        benchmarks.append({"run_name": f"{name}/manual_time", "run_type": "aggregate", "aggregate_name": "cv",
                           "program": program, "real_time": 5.0, "cycles": 0.01})
    return {"tscHz": 2.25e9, "benchmarks": benchmarks}


# ---- scenarios ----

def test_scenarios_have_names_of_their_own_and_known_systems():
    made = catalogue()
    assert len({scenario.name for scenario in made}) == len(made)
    assert all(set(scenario.systems) <= set(SYSTEMS) for scenario in made)
    assert all(scenario.group in tables.TITLES for scenario in made)
    assert {"clusterip-1k", "clusterip-4M", "services-100k", "tcp-connections"} <= {each.name for each in made}


@pytest.mark.skipif(not SLUICED.exists(), reason="sluiced is not built")
@pytest.mark.parametrize("scenario", [each for each in catalogue() if each.work.connections < 10**6
                                      and len(each.work.routes) < 1000 and not (
                                          each.work.services and each.work.services.count > 1000)],
                         ids=lambda scenario: scenario.name)
def test_sluiced_accepts_the_document_of_a_scenario(scenario, bench, tmp_path):
    path = tmp_path / "sluice.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": Sluice(bench).objects(scenario.work)}))
    done = subprocess.run([SLUICED, "--check", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not trafgen.PROGRAM.exists(), reason="sluice-trafgen is not built")
@pytest.mark.parametrize("scenario", catalogue(), ids=lambda scenario: scenario.name)
@pytest.mark.parametrize("name", ["sluice", "testpmd-io"])
def test_the_generator_accepts_the_profile_of_a_scenario(scenario, name, bench, tmp_path):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(trafgen.profile(scenario, SYSTEMS[name](bench), tmp_path)))
    done = subprocess.run([trafgen.PROGRAM, "--profile", path, "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# ---- rules ----

def test_iptables_services_are_a_list_with_a_chain_for_each_service_and_endpoint():
    rules = list(kube_proxy.iptables_rules(Services(count=3, endpoints=2)))
    declared = {line[1:].split()[0] for line in rules if line.startswith(":")}
    jumps = {word for line in rules for word in re.findall(r"-j (KUBE-\S+)", line)}
    assert jumps <= declared
    assert sum(line.startswith("-A KUBE-SERVICES -d") for line in rules) == 3
    assert sum("DNAT --to-destination" in line for line in rules) == 6
    assert sum("--probability 0.5000000000" in line for line in rules) == 3
    assert rules.count("COMMIT") == 2


def test_a_change_names_one_service_and_its_new_endpoint():
    services = Services(count=3, endpoints=2, protocol="tcp")
    first = list(kube_proxy.iptables_rules(services))
    change = list(kube_proxy.iptables_change(services, 1, "10.31.255.1"))
    assert change[0] == "*nat" and change[-1] == "COMMIT"
    other = {kube_proxy.service_chain(services, number) for number in (0, 2)}
    assert not [line for line in change if any(chain in line for chain in other)]
    # What it says of the endpoints that stay is what the first input said, but for their number.
    kept = [line for line in change if "DNAT" in line and "10.31.255.1" not in line]
    assert len(kept) == 2 and set(kept) <= set(first)
    assert sum("10.31.255.1" in line and "DNAT" in line for line in change) == 1
    text = kube_proxy.nftables_change(services, 1, "10.31.255.1")
    assert f"flush chain ip kube-proxy {kube_proxy.nft_chain(services, 1)}\n" in text
    assert "numgen random mod 3" in text and "dnat to 10.31.255.1:8080" in text
    assert kube_proxy.nft_chain(services, 0) not in text


def test_nftables_services_are_a_map_and_their_hooks_come_last():
    transactions = list(kube_proxy.nftables_transactions(Services(count=3, endpoints=2, node_port=True)))
    text = "\n".join(transactions)
    chains = set(re.findall(r"chain (\S+)", text))
    assert set(re.findall(r"(?:goto|jump) ([\w/.-]+)", text)) <= chains
    assert len(re.findall(r"\d+ : goto service-", text)) == 3
    assert text.count("dnat to") == 6
    assert "hook" in transactions[-1] and not any("hook" in each for each in transactions[:-1])


def test_open_vswitch_has_a_group_for_each_service_and_routes_by_prefix_length():
    scenario = next(each for each in catalogue() if each.name == "services-10")
    flows = list(ovs.flows(scenario.work))
    groups = list(ovs.groups(scenario.work.services))
    assert len(groups) == 10 and all("type=select" in group and group.count("bucket=") == 2 for group in groups)
    assert {re.search(r"group:(\d+)", flow)[1] for flow in flows if "group:" in flow} == set(map(str, range(1, 11)))
    assert any("priority=10,ip,nw_dst=10.128.0.0/9" in flow and "dec_ttl" in flow for flow in flows)


# ---- results ----

def test_a_value_is_the_median_and_its_spread_half_of_the_range():
    found = results.value([3.0, 1.0, 2.0, 10.0, 2.5])
    assert (found.median, found.low, found.high, found.count) == (2.5, 1.0, 10.0, 5)
    assert found.spread == pytest.approx(1.8)
    assert results.value([]) is None


def test_ratios_are_of_the_same_round_and_wrong_runs_do_not_count():
    scenario = catalogue()[0]
    runs = [rate(scenario, "sluice", 0, 2e6), rate(scenario, "testpmd-macswap", 0, 4e6),
            rate(scenario, "sluice", 1, 3e6), rate(scenario, "testpmd-macswap", 1, 3e6),
            rate(scenario, "sluice", 2, 9e6, error="wrong packets: 1 corrupted"),
            rate(scenario, "testpmd-macswap", 2, 3e6), rate(scenario, "sluice", 3, 5e6)]
    found = made_up(runs).ratio(scenario.name, "sluice", "testpmd-macswap", "rate")
    assert (found.low, found.high, found.count) == (0.5, 1.0, 2)


RIGHT = {"clean": True, "wrong": dict.fromkeys(("corrupted", "misrouted", "duplicated", "unreadable", "damaged"), 0)}


@pytest.mark.parametrize("fault", RIGHT["wrong"])
def test_a_single_wrong_packet_anywhere_spoils_a_run(fault):
    """`wrong` is of the whole run: warm-up, answers and all trials are the generator's business (trafgen_result_test)."""
    stream = {"sent": 10, "sentRate": 1.0, "forward": {"receivedRate": 1.0, "lost": 0}}
    assert complaint(trafgen.figures({**RIGHT, "streams": [stream]})) == ""
    wrong = {"clean": False, "wrong": RIGHT["wrong"] | {fault: 1}}
    assert f"1 {fault}" in complaint(trafgen.figures({**wrong, "streams": [stream]}))
    # Whatever the generator may come to look for besides.
    assert complaint(trafgen.figures({**RIGHT, "clean": False, "streams": [stream]}))


def test_rates_are_of_both_directions_and_latency_of_the_slower_stream():
    fast, slow = {"count": 1, "p50": 7}, {"count": 1, "p50": 9}
    streams = [{"sent": 10, "sentRate": 5.0, "forward": {"receivedRate": 4.0, "lost": 2, "latency": fast},
                "answers": {"receivedRate": 3.0}},
               {"sent": 10, "sentRate": 5.0, "forward": {"receivedRate": 1.0, "lost": 0, "latency": slow}}]
    found = trafgen.figures({**RIGHT, "streams": streams, "generatorLimited": True})
    assert (found.rate, found.opened_rate, found.sent_rate, found.lost_share) == (8.0, 5.0, 10.0, 0.1)
    assert found.latency["p50"] == 9 and found.generator_limited


@pytest.mark.parametrize("refused, lost, limited", [(0, 0, True), (100, 0, False), (100, 50, True)])
def test_the_generator_is_not_the_limit_if_the_system_keeps_packets_waiting(refused, lost, limited):
    stream = {"sent": 1000, "sendRefused": refused, "forward": {"receivedRate": 1.0, "lost": lost}}
    assert trafgen.figures({**RIGHT, "streams": [stream], "generatorLimited": True}).generator_limited is limited
    assert not trafgen.figures({**RIGHT, "streams": [stream], "generatorLimited": False}).generator_limited


def test_cycles_per_packet_are_of_the_measured_part():
    assert per_packet(Counters(1000, 10), Counters(5000, 30)) == 200
    assert per_packet(Counters(1000, 10), Counters(1000, 10)) is None


# ---- what is written ----

def test_every_plot_is_an_image_and_says_what_it_shows():
    found = everything()
    drawn = {group: plots.plot(found, group, scenarios) for group, scenarios in tables.groups(catalogue()).items()}
    assert {*plots.LINES, *plots.BARS} == {group for group, text in drawn.items() if text}
    for group in (*plots.LINES, *plots.BARS):
        root = xml.fromstring(drawn[group])
        assert root.find("{http://www.w3.org/2000/svg}title").text == tables.TITLES[group]
        for element in root.iter():
            for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"):
                assert 0 <= float(element.get(name, 0)) <= plots.WIDTH, xml.tostring(element)


def test_the_page_keeps_what_people_wrote(tmp_path):
    page = tmp_path / document.PAGE
    page.parent.mkdir()
    page.write_text(f"# Before\n{document.BEGIN}\nold\n{document.END}\n# Between\n{document.ALONE_BEGIN}\nby hand\n"
                    f"{document.ALONE_END}\nAfter\n")
    without = everything()
    without.inprocess = None
    document.refresh(tmp_path, without)
    assert "\nby hand\n" in page.read_text() and "\nold\n" not in page.read_text()
    document.refresh(tmp_path, everything())
    first = page.read_text()
    document.refresh(tmp_path, everything())
    assert page.read_text() == first
    assert first.startswith("# Before\n") and first.endswith("After\n") and "\nold\n" not in first
    assert "\n# Between\n" in first and "\nby hand\n" not in first and "| … 4 M flows | 92 ±2 % | 82 ±2 % |" in first
    for link in re.findall(r"!\[[^]]*\]\(([^)]+)\)", first):
        assert (page.parent / link).exists()
    assert "### Goals" in first and "sluice as a multiple of" in first


def test_a_page_that_is_not_there_is_made(tmp_path):
    (tmp_path / "docs").mkdir()
    document.refresh(tmp_path, everything())
    text = (tmp_path / document.PAGE).read_text()
    assert "How it is measured" in text and "### ClusterIP, established flows" in text
    assert text.count("million flows open at the end") == 2 and "| TCP connections | 3.00 ±0 % |" in text


def test_every_goal_is_measured_by_some_scenario():
    found = everything()
    assert [goal.words for goal in GOALS if goal.measured.found(found) is None] == []
    assert {goal.id for goal in GOALS} == {f"P{number}" for number in range(1, 10)}


def test_goals_in_process_are_of_two_gigahertz_and_ratios_of_medians():
    found = everything()
    for each in found.inprocess["benchmarks"]:
        if each["run_name"].startswith("two_workers/forward/burst:64/handed_over:1"):
            each["cycles"] += 92
    text = goals.section(found)
    # 92 cycles at 2.25 GHz.
    assert "| P1 | in process: IPv4, 1 route, cycles of 2 GHz | ≤ 50 | 81.8 (80.0 to 83.6) | no |" in text
    assert "| P2 | in process: ClusterIP, 1 000 flows, cycles of 2 GHz | ≤ 100 | 81.8 (80.0 to 83.6) | yes |" in text
    assert "| P9 | in process: two workers, forwarding, all handed over: of the rate with none | ≥ 0.6 | 0.50" in text
    assert "| P9 | in process: two workers, ClusterIP, all handed over: of the rate with none | ≥ 0.6 | 1.00" in text
    found.inprocess = None
    assert "in process" not in goals.section(found)


def test_a_goal_is_marked_where_the_generator_was_the_limit():
    def rows(limited: str) -> list[str]:
        found = everything()
        for run in found.runs:
            run.figures["generator_limited"] = run.scenario == "forward4-1-64" and run.system == limited
        return [line for line in goals.section(found).splitlines() if "ᵍ" in line]
    assert rows("ovs-dpdk") == []
    for system in ("sluice", "testpmd-macswap"):
        (row,) = rows(system)
        assert "IPv4, 1 route: of testpmd macswap's rate" in row


def test_the_bench_knows_every_benchmark_that_the_programs_have():
    """So that no row is empty because a benchmark was given another name."""
    known = {benchmark["run_name"].removesuffix("/manual_time") for benchmark in in_process()["benchmarks"]}
    for program in inprocess.PROGRAMS:
        if not (inprocess.FOLDER / program).exists():
            pytest.skip(f"{program} is not built")
    listed = set()
    for program in inprocess.PROGRAMS:
        done = subprocess.run([inprocess.FOLDER / program, "--benchmark_list_tests"], capture_output=True, text=True,
                              timeout=60, check=True)
        listed |= {inprocess.plain(name) for name in done.stdout.split()}
    assert known <= listed


def test_what_was_not_measured_is_not_in_the_tables():
    scenario = next(each for each in catalogue() if each.name == "clusterip-1k")
    text = document.text(made_up([rate(scenario, "sluice", 0, 1e6)]))
    assert "1 000 flows" in text and "100 000 flows" not in text and "NodePort" not in text


def test_two_runs_are_compared_by_their_ratios_and_by_the_order_of_systems():
    steady, turned = catalogue()[0], catalogue()[1]
    first = made_up([rate(scenario, name, number, packets) for number in range(3) for scenario in (steady, turned)
                     for name, packets in (("sluice", 4e6), ("testpmd-macswap", 5e6), ("ovs-dpdk", 2e6 + number))])
    second = made_up([rate(steady, name, number, packets) for number in range(3)
                      for name, packets in (("sluice", 2.2e6), ("testpmd-macswap", 2.5e6), ("ovs-dpdk", 1e6))] +
                     [rate(turned, name, number, packets) for number in range(3)
                      for name, packets in (("sluice", 6e6), ("testpmd-macswap", 5e6), ("ovs-dpdk", 2e6))])
    assert [(ratio.scenario.name, ratio.peer, ratio.agrees) for ratio in compare.ratios(first, second, catalogue())] == [
        (steady.name, "testpmd-macswap", True), (steady.name, "ovs-dpdk", True),
        (turned.name, "testpmd-macswap", False), (turned.name, "ovs-dpdk", False)]
    assert compare.swapped(first, second, steady) == []
    assert compare.swapped(first, second, turned) == [("sluice", "testpmd-macswap")]
    text = compare.report(first, second, catalogue())
    assert text.startswith("2 of 4 ratios of 2 scenarios are the same within 15%; the order of the systems is the same in 1 of 2.")
    assert f"| {turned.name} | testpmd-macswap | 0.80 ±0% | 1.20 ±0% | +50% |" in text
    assert f"{turned.name}: sluice and testpmd-macswap have changed places" in text

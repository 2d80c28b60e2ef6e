"""Measuring, with systems and a generator that are made up: what is run how long, what is repeated, what fails."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "system")]

import linux  # noqa: E402
import main  # noqa: E402
import ovs  # noqa: E402
import runner  # noqa: E402
from catalogue import AGING, catalogue  # noqa: E402
from linux import Linux  # noqa: E402
from machine import Cpus, KernelSettings  # noqa: E402
from netns import CommandFailed, Lab  # noqa: E402
from ovs import OpenVSwitch  # noqa: E402
from runner import Look, Plan, Run, Runner  # noqa: E402
from scenario import LATENCY_PAIR, Json, Scenario  # noqa: E402
from sluice import Sluice  # noqa: E402
from system import Bench, Counters, System, Unsupported  # noqa: E402

RIGHT = {"clean": True, "interrupted": False, "generatorLimited": False, "generator": {"stalledShare": 0.0},
         "wrong": dict.fromkeys(("corrupted", "misrouted", "duplicated", "unreadable", "damaged"), 0)}
WRONG = {"clean": False, "wrong": RIGHT["wrong"] | {"corrupted": 1}}
QUICK = 0.2


@pytest.fixture
def bench(tmp_path):
    made = Bench(Lab("sluice-benchtest-", tmp_path), Cpus(0, 1, 0), KernelSettings())
    made.hugepages = False
    return made


def scenario(name: str) -> Scenario:
    return next(each for each in catalogue() if each.name == name)


class Pretended(System):
    """Counts its starts; forwards what a pretended generator says."""

    def __init__(self, bench: Bench, name: str, cannot: str = ""):
        super().__init__(bench)
        self.name, self.cannot, self.starts = name, cannot, 0

    def start(self, scenario: Scenario) -> None:
        self.starts += 1
        if self.cannot:
            raise Unsupported(self.cannot)

    def stop(self) -> None: ...

    def counters(self) -> Counters:
        return Counters(1000.0, 10)

    def memory(self) -> int:
        return 0

    def flows(self) -> int:
        return 7


class Generator:
    """What runner.Generator was asked for, and prepared results: those of `answers` first, then all is right."""

    def __init__(self, answers: list[Json] = (), loss_free: dict[str, float] = {}):
        self.asked: list[Json] = []
        self.answers = iter(answers)
        self.loss_free = loss_free

    def __call__(self, bench: Bench, scenario: Scenario, system: System, warmup: float, duration: float,
                 extra: tuple[str, ...] = (), streams: Json | None = None) -> Generator:
        self.asked.append({"system": system.name, "warmup": warmup, "duration": duration,
                           "search": "--search" in extra, "rate": (streams or {}).get("rate"), "streams": streams})
        return self

    def result(self, seconds: float) -> Json:
        latency = {"count": 1, "p50": 10, "p99": 20, "p999": 30}
        stream = {"sent": 10, "sentRate": 1.0, "forward": {"receivedRate": 1.0, "lost": 0, "latency": latency}}
        return {**RIGHT, "streams": [stream], "search": {"rate": self.loss_free.get(self.asked[-1]["system"], 1e6)},
                **next(self.answers, {})}

    def running(self) -> bool:
        return True

    def stop(self) -> None: ...


def measured(bench: Bench, monkeypatch, chosen: Scenario, systems: list[System], generator: Generator,
             rounds: int = 1, look: Look | None = None) -> tuple[Runner, list[Run]]:
    monkeypatch.setattr(runner, "Generator", generator)
    monkeypatch.setattr(Runner, "wait_for_traffic", lambda *_: None)
    monkeypatch.setattr(runner.time, "sleep", lambda _: None)
    finished: list[Run] = []
    made = Runner(bench, {system.name: system for system in systems}, Plan([chosen], rounds, QUICK), lambda _: None,
                  finished.append, look)
    runs = made.run()
    assert finished == runs
    return made, runs


# ---- sustained openings ----

OPENINGS = [each for each in catalogue() if each.measure in ("opened", "connections")]


@pytest.mark.parametrize("chosen", OPENINGS, ids=lambda chosen: chosen.name)
def test_openings_are_measured_while_old_ones_age_out_at_any_speed(chosen, bench, monkeypatch):
    generator = Generator()
    _, runs = measured(bench, monkeypatch, chosen, [Pretended(bench, "sluice")], generator)
    (asked,) = generator.asked
    assert not runs[0].error and runs[0].open_flows == 7
    # Nothing that was opened before the measured part is there at its end, and as many go as come from its beginning.
    assert asked["warmup"] > AGING and asked["duration"] > 2 * AGING
    assert asked["warmup"] + asked["duration"] < 10


@pytest.mark.parametrize("chosen", OPENINGS, ids=lambda chosen: chosen.name)
def test_every_system_forgets_in_the_same_time(chosen, bench):
    key, linux_key, ovs_keys = (
        ("tcpTimeWait", "net.netfilter.nf_conntrack_tcp_timeout_time_wait", {"tcp_time_wait=2", "tcp_close=2"})
        if chosen.measure == "connections" else
        ("udp", "net.netfilter.nf_conntrack_udp_timeout", {"udp_first=2", "udp_single=2", "udp_multiple=2"}))
    assert AGING == 2
    assert Sluice(bench).specification(chosen.work)["conntrack"]["timeouts"][key] == "2s"
    assert linux.conntrack_timeouts(chosen.work) == {linux_key: 2}
    assert set(ovs.connection_timeouts(chosen.work)) == ovs_keys


def test_other_scenarios_keep_what_systems_do_of_themselves():
    work = scenario("clusterip-1k").work
    assert linux.conntrack_timeouts(work) == {} and ovs.connection_timeouts(work) == []


# ---- what a system cannot do ----

def test_what_cannot_be_done_is_tried_once_noted_and_no_failure(bench, monkeypatch, capsys):
    unable, able = Pretended(bench, "ovs-dpdk", "it has no time"), Pretended(bench, "sluice")
    made, runs = measured(bench, monkeypatch, scenario("clusterip-1k"), [unable, able], Generator(), rounds=3)
    assert (unable.starts, able.starts) == (1, 3)
    assert made.unsupported == {("clusterip-1k", "ovs-dpdk"): "it has no time"}
    assert [run.system for run in runs] == ["sluice"] * 3 and main.verdict(runs) == 0


def test_open_vswitch_says_that_it_has_no_ipip(bench):
    chosen = scenario("vxlan-dnat-ipip-1k")
    assert "ovs-dpdk" in chosen.systems
    with pytest.raises(Unsupported, match="no IPIP"):
        OpenVSwitch(bench).start(chosen)


class Namespace:
    """Of a kernel that needs `seconds` for each command."""

    def __init__(self, clock: list[float], seconds: float):
        self.clock, self.seconds, self.commands = clock, seconds, 0

    def run(self, *command: str, timeout: float) -> None:
        self.commands += 1
        self.clock[0] += min(self.seconds, timeout)
        if self.seconds >= timeout:
            raise CommandFailed(f"{command[0]}: no end within {timeout:g} s")


@pytest.mark.parametrize("mode, seconds", [("iptables", 3600), ("nftables", 3600), ("nftables", 400)])
def test_rules_that_take_too_long_are_tried_once(mode, seconds, bench, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(linux.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(linux.kube_proxy, "nftables_transactions", lambda _: iter(["one", "two", "three"]))
    system, services = Linux(bench, mode), scenario("services-1k").work.services
    system.router = Namespace(clock, seconds)
    with pytest.raises(Unsupported, match="its rules were not in place after 10 minutes"):
        system.load_rules(services)
    # All of them together, not each.
    assert clock[0] == 600
    with pytest.raises(Unsupported):
        system.load_rules(scenario("new-services-1k").work.services)
    assert clock[0] == 600
    assert not list(bench.directory.glob("*.rules"))


def test_rules_that_are_refused_are_a_failure(bench):
    class Refusing(Namespace):
        def run(self, *command: str, timeout: float) -> None:
            raise CommandFailed("nft: exit code 1")
    system = Linux(bench, "nftables")
    system.router = Refusing([0.0], 0)
    with pytest.raises(CommandFailed):
        system.load_rules(scenario("services-10").work.services)


# ---- latency ----

def pair(bench: Bench) -> list[System]:
    return [Pretended(bench, name) for name in LATENCY_PAIR]


def test_both_of_a_pair_are_measured_at_half_of_the_lower_rate(bench, monkeypatch):
    generator = Generator(loss_free={"sluice": 3e6, "testpmd-macswap": 2e6})
    _, runs = measured(bench, monkeypatch, scenario("latency-forward4"), pair(bench), generator)
    assert [run.latency["half"]["offered"] for run in runs] == [1.5e6, 1e6]
    assert [run.latency["common"]["offered"] for run in runs] == [1e6, 1e6]
    # Both directions together.
    assert [asked["rate"] for asked in generator.asked[-2:]] == [500_000, 500_000]
    assert all(asked["duration"] >= 1 for asked in generator.asked)


def test_a_trial_in_which_the_generator_had_lost_its_cpu_is_repeated(bench, monkeypatch):
    def stalled(*shares: float) -> list[Json]:
        return [{"generator": {"stalledShare": share}} for share in shares]
    generator = Generator([*stalled(0), *stalled(0.05, 0.001), *stalled(0.05, 0.02, 0.03)])
    _, (run,) = measured(bench, monkeypatch, scenario("latency-forward4"), [Pretended(bench, "sluice")], generator)
    assert len(generator.asked) == 1 + 2 + 3
    assert run.latency["half"]["stalled_share"] == 0.001 and run.latency["nine-tenths"]["stalled_share"] == 0.02
    assert not run.error


def test_a_peer_that_ends_when_the_generator_leaves_is_started_again(bench, monkeypatch):
    class Fragile(Pretended):
        """Ends after the search; the filling that follows its second start is its own."""
        ended = iter([False, True, False])

        def lost_its_peer(self) -> bool:
            return next(self.ended, False)
    fragile, generator = Fragile(bench, "ovs-dpdk"), Generator()
    _, (run,) = measured(bench, monkeypatch, scenario("latency-clusterip"), [fragile], generator)
    assert fragile.starts == 2 and not run.error
    assert [asked["search"] for asked in generator.asked] == [False, True, False, False, False]
    assert [asked["rate"] is None for asked in generator.asked] == [True, True, True, False, False]


def test_sluice_must_not_end(bench):
    assert Sluice(bench).lost_its_peer() is False


@pytest.mark.parametrize("bad", range(6))
def test_a_wrong_packet_in_any_part_of_a_latency_run_spoils_it(bad, bench, monkeypatch):
    """The filling, the search, half, nine tenths; the filling and the trial at the pair's rate."""
    answers = [WRONG if number == bad else {} for number in range(6)]
    # The pair's other system is measured between the first four parts and the last two.
    prepared = [*answers[:4], *itertools.repeat({}, 4), *answers[4:]]
    _, runs = measured(bench, monkeypatch, scenario("latency-clusterip"), pair(bench), Generator(prepared))
    assert runs[0].error == "wrong packets: 1 corrupted"
    assert not runs[1].error


# ---- two workers ----

class Owning(Pretended):
    """Of two workers; every `share` of what comes to it is handed over."""

    def __init__(self, bench: Bench, share: float):
        super().__init__(bench, "sluice")
        self.share, self.packets = share, 0

    def counters(self) -> Counters:
        self.packets += 1000
        return Counters(0.0, self.packets)

    def handed_over(self) -> int:
        return int(self.packets * self.share)

    def flows_of(self, worker: int) -> list[tuple[str, str, int, int]]:
        return [("10.128.0.2", "10.96.0.1", 1000 + worker, 80)]


@pytest.mark.parametrize("name, share, error", [
    ("two-workers", 1.0, ""), ("two-workers", 0.5, "50.0% of the packets were handed over"),
    ("two-workers-none", 0.0, ""), ("two-workers-none", 0.5, "50.0% of the packets were handed over")])
def test_only_flows_of_one_worker_are_measured_and_it_is_seen_that_they_were(name, share, error, bench, monkeypatch):
    generator = Generator()
    _, (run,) = measured(bench, monkeypatch, scenario(name), [Owning(bench, share)], generator)
    filling, measuring = generator.asked
    assert filling["streams"] is None and run.error == error
    assert measuring["streams"]["flows"]["tuples"] == [("10.128.0.2", "10.96.0.1", 1001 if name == "two-workers" else
                                                        1000, 80)]
    # Flows of a file have no destination of a range.
    assert measuring["streams"]["answer"] is None
    assert "perDestination" not in measuring["streams"]["expect"] and measuring["streams"]["expect"]["dst"]


def test_which_worker_owns_a_flow_is_what_the_router_says(bench, monkeypatch):
    def flow(worker: int, port: int) -> Json:
        return {"worker": worker, "original": {"src": "10.128.0.2", "dst": "10.96.0.1", "sport": port, "dport": 80}}
    system = Sluice(bench)
    monkeypatch.setattr(system, "ask", lambda path: (200, json.dumps({"flows": [flow(0, 1), flow(1, 2), flow(1, 3)]})))
    assert system.flows_of(1) == [("10.128.0.2", "10.96.0.1", 2, 80), ("10.128.0.2", "10.96.0.1", 3, 80)]


# ---- choosing ----

def chosen(*patterns: str) -> set[str]:
    words = [word for pattern in patterns for word in ("--only", pattern)]
    return {each.name for each in main.chosen_scenarios(main.parse_arguments(words))}


def test_larger_frames_can_be_left_out():
    everything, without = chosen(), chosen("!frames")
    assert {"forward6-1-imix", "nodeport-100k-1500", "vxlan-dnat-ipip-100k-imix"} <= everything - without
    assert all(each.set == "frames" for each in catalogue() if each.name in everything - without)
    assert {"forward4-1-imix", "clusterip-100k-imix", "two-workers"} <= without
    assert chosen("frames") == everything - without
    assert chosen("clusterip*", "!frames") == {name for name in without if name.startswith("clusterip")}
    with pytest.raises(main.Refusal):
        chosen("!nothing-like-that")

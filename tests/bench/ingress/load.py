"""What is measured, and the clients that do it: wrk, and h2load for a fixed rate."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from between import LEFT, Between
from rules import BULK, Rule, endpoints, rules

SCRIPT = Path(__file__).with_name("load.lua")
FAULTS = ("connect", "read", "write", "status", "timeout", "wrong")


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    connections: int
    threads: int = 1
    seconds: float = 3.0
    words: tuple[str, ...] = ()  # of load.lua
    bulk: bool = False
    rate: int = 0  # requests a second; 0: as many as there can be


CHECK = Scenario("check", "every rule, each answer read", 16, 16, 1.5, ("check",))
CHECK_NEW = Scenario("check-new", "every rule over connections of its own, each answer read", 16, 16, 1.5,
                     ("check", "close"))
SCENARIOS = (
    Scenario("kept", "Kept-alive connections, each with one rule", 64, 8, words=("rule",)),
    Scenario("mixed", "Kept-alive connections, each request another rule", 64, 1),
    Scenario("new", "A new connection for each request", 64, 1, words=("close",)),
    Scenario("bulk", "Bodies of 10 MB", 8, 8, words=("rule",), bulk=True),
    Scenario("slow", "200 requests a second", 4, rate=200),
)


def with_connections(scenario: Scenario, number: int | None) -> Scenario:
    if number is None or scenario.name != "kept":
        return scenario
    return replace(scenario, connections=number, threads=min(number, scenario.threads))


@dataclass
class Answered:
    """What a client says. Latencies in microseconds."""

    requests: int = 0
    seconds: float = 0.0
    bytes: int = 0
    p50: float = 0.0
    p99: float = 0.0
    checked: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    example: str = ""  # a wrong answer

    def complaint(self) -> str:
        if self.faults:
            return ", ".join(f"{count} {name}" for name, count in self.faults.items()) + f" {self.example}".rstrip()
        return "" if self.requests else "no request was answered"


def write_rules(path: Path, wanted: list[Rule], bulk: bool) -> None:
    path.write_text("".join(f"{rule.host} {rule.path}{BULK if bulk else ''} ,{','.join(endpoints(rule.service))},\n"
                            for rule in wanted))


def run(between: Between, scenario: Scenario, seed: int, seconds: float) -> Answered:
    return steady(between, scenario, seed, seconds) if scenario.rate else flood(between, scenario, seed, seconds)


def flood(between: Between, scenario: Scenario, seed: int, seconds: float) -> Answered:
    path = between.lab.directory / "rules.txt"
    write_rules(path, rules(), scenario.bulk)
    done = between.client.run(
        "taskset", "-c", str(between.cpus.generator), "wrk", "-t", str(scenario.threads), "-c",
        str(scenario.connections), "-d", f"{max(1, round(seconds))}s", "--timeout", "8s", "-s", str(SCRIPT),
        f"http://{LEFT}/", "--", str(path), f"seed={seed}", *scenario.words, timeout=seconds + 40)
    return read_wrk(done.stdout)


def read_wrk(text: str) -> Answered:
    found = re.search(r"^RESULT (.*)$", text, re.M)
    if not found:
        raise RuntimeError(f"wrk has no result: {text[-1000:]}")
    said = json.loads(found[1])
    return Answered(said["requests"], said["micros"] / 1e6, said["bytes"], said["p50"], said["p99"], said["checked"],
                    {name: said[name] for name in FAULTS if said[name]}, said["example"])


def steady(between: Between, scenario: Scenario, seed: int, seconds: float) -> Answered:
    """One rule; h2load writes a line for each request: when, status, microseconds."""
    rule = rules()[seed % len(rules())]
    log = between.lab.directory / "h2load.log"
    log.unlink(missing_ok=True)
    done = between.client.run(
        "taskset", "-c", str(between.cpus.generator), "h2load", "--h1", "-t", "1", "-c", str(scenario.connections),
        f"--rps={scenario.rate / scenario.connections:g}", "-D", f"{max(1, round(seconds))}", f"--log-file={log}",
        "-H", f":authority: {rule.host}", f"http://{LEFT}{rule.path}", timeout=seconds + 40)
    if not log.exists():
        raise RuntimeError(f"h2load has no result: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return read_h2load(log.read_text(), seconds)


def read_h2load(text: str, seconds: float) -> Answered:
    lines = [line.split() for line in text.splitlines()]
    times = sorted(int(line[2]) for line in lines if line[1] == "200")
    wrong = len(lines) - len(times)
    at = [times[min(len(times) - 1, int(len(times) * share))] for share in (0.5, 0.99)] if times else [0, 0]
    return Answered(len(times), seconds, 0, at[0], at[1], 0, {"status": wrong} if wrong else {})

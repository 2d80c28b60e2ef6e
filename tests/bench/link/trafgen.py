"""sluice-trafgen as the bench runs it: a scenario's streams made into a profile, a result made into figures."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from machine import Cpus
from netns import Process
from network import LENGTH4, LENGTH6, LINKS
from router import BUILD
from scenario import Json, Scenario
from system import Bench, System, end

PROGRAM = Path(os.environ.get("SLUICE_TRAFGEN", BUILD / "tools" / "sluice-trafgen"))


class GeneratorFailed(Exception):
    """The generator did not run; the message is what it said."""


def profile(scenario: Scenario, system: System, directory: Path) -> Json:
    ports = [{"name": link.name, "device": device, "mac": link.peer_mac,
              "addresses": [f"{link.peer4}/{LENGTH4}", f"{link.peer6}/{LENGTH6}"]}
             for link, device in zip(LINKS, system.devices())]
    if system.send_queues > 1:
        ports = [port | {"receiveQueues": system.send_queues} for port in ports]
    streams = []
    for made in scenario.traffic.streams():
        made = dict(made)
        if "tuples" in made["flows"]:
            made["flows"] = flow_file(made, directory / f"flows-{made['name']}.txt")
        if system.forwards_only:
            forget_rewrite(made)
        streams.append(made)
    return {"ports": ports, "streams": streams}


def forget_rewrite(made: Json) -> None:
    """For a system that hands packets through: they must arrive as they were sent."""
    made["expect"] = {"tunnel": "any"} if "tunnel" in made else "same"
    if "answer" in made:
        made["answer"] = {"every": made["answer"]["every"], "expect": {"tunnel": "any"}}


def flow_file(made: Json, path: Path) -> Json:
    flows = dict(made["flows"])
    tuples = flows.pop("tuples")
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in tuples))
    return flows | {"file": str(path)}


class Generator:
    """One run of the generator against a system that is up."""

    def __init__(self, bench: Bench, scenario: Scenario, system: System, warmup: float, duration: float,
                 extra: tuple[str, ...] = (), streams: dict[str, Json] | None = None):
        """`streams`: what is other than in the scenario, of every stream; None takes a key away."""
        self.bench = bench
        self.result_path = bench.directory / "trafgen-result.json"
        self.result_path.unlink(missing_ok=True)
        document = profile(scenario, system, bench.directory)
        for made in document["streams"]:
            made.update(streams or {})
            for key in [key for key, found in made.items() if found is None]:
                del made[key]
            if "tuples" in made["flows"]:
                made["flows"] = flow_file(made, bench.directory / f"flows-{made['name']}.txt")
        profile_path = bench.directory / "trafgen-profile.json"
        profile_path.write_text(json.dumps(document, indent=1))
        cpus: Cpus = bench.cpus
        command = [str(PROGRAM), "--profile", str(profile_path), "--warmup", f"{warmup:g}", "--duration",
                   f"{duration:g}", "--lcores", str(cpus.generator), "--json", str(self.result_path), "--no-live",
                   "--huge" if bench.hugepages else "--no-huge", "--memory", "256", "--file-prefix", f"sluice-bench-{os.getpid()}", *extra]
        if system.generator_namespace():
            command = ["ip", "netns", "exec", system.generator_namespace(), *command]
        self.process: Process = bench.lab.start(command, "trafgen")

    def running(self) -> bool:
        return self.process.running()

    def stop(self) -> None:
        end(self.bench, self.process)

    def result(self, seconds: float) -> Json:
        """Waits for the end. GeneratorFailed if there is no result."""
        try:
            code = self.process.wait(seconds)
        except AssertionError as error:
            raise GeneratorFailed(str(error)) from None
        finally:
            end(self.bench, self.process)
        if code not in (0, 2) or not self.result_path.exists():
            raise GeneratorFailed(f"exit code {code}: {self.process.stderr()[-2000:]}{self.process.stdout()[-1000:]}")
        result = json.loads(self.result_path.read_text())
        if result["interrupted"]:
            raise GeneratorFailed("it was interrupted")
        return result


@dataclass
class Figures:
    """Of all streams together, both directions."""

    rate: float = 0.0  # packets per second that came out of the system
    sent_rate: float = 0.0  # that were sent into it
    opened_rate: float = 0.0  # first packets that came out (scenarios in which every packet opens a flow)
    connections_rate: float = 0.0
    lost_share: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)  # in all parts of the run: warm-up, fill, every trial
    clean: bool = False  # the generator found nothing wrong anywhere
    latency: Json = None  # nanoseconds: p50, p99, …
    generator_limited: bool = False


def figures(result: Json) -> Figures:
    made = Figures(faults=dict(result["wrong"]), clean=result["clean"])
    sent = lost = refused = 0
    for each in result["streams"]:
        directions = [each[name] for name in ("forward", "answers") if name in each]
        made.rate += sum(direction.get("receivedRate", 0.0) for direction in directions)
        made.opened_rate += each["forward"].get("receivedRate", 0.0)
        made.sent_rate += each.get("sentRate", 0.0)
        made.connections_rate += each.get("connections", {}).get("rate", 0.0)
        sent += each.get("sent", 0)
        lost += each["forward"].get("lost", 0)
        refused += each.get("sendRefused", 0)
        measured = each.get("answers", each["forward"]).get("latency") or each["forward"].get("latency")
        if measured and measured.get("count"):
            made.latency = worse(made.latency, measured)
    made.lost_share = lost / sent if sent else 0.0
    # Full receive bursts alone do not make the generator the limit: a system that sends in bursts fills them. It is
    # not, if the system kept packets waiting and what it took came back.
    waited = refused > 0.05 * (sent + refused) and made.lost_share < 0.01
    made.generator_limited = result.get("generatorLimited", False) and not waited
    return made


def worse(one: Json, other: Json) -> Json:
    """Of streams in two directions, the larger latencies."""
    return other if one is None else {key: max(one[key], other[key]) for key in other if key in one}

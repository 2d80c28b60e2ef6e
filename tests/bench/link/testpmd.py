"""DPDK's testpmd in io and macswap mode: what the link itself can carry. It forwards between the links unchanged."""

from __future__ import annotations

import re

from network import LINKS
from scenario import Scenario
from system import Bench, Counters, Interactive, System, end


class Testpmd(System):
    forwards_only = True

    def __init__(self, bench: Bench, mode: str):
        super().__init__(bench)
        self.mode = mode
        self.name = f"testpmd-{mode}"
        self.process: Interactive | None = None

    def start(self, scenario: Scenario) -> None:
        self.remove_sockets()
        cpus = self.bench.cpus
        command = ["dpdk-testpmd", "--lcores", f"0@{cpus.control},1@{cpus.system}", "--in-memory", "--no-pci",
                   "--no-telemetry", "--log-level=*:error", "-m", "256"]
        for link in LINKS:
            command += ["--vdev", self.device(link)]
        command += ["--", "--interactive", "--auto-start", f"--forward-mode={self.mode}", "--nb-cores=1",
                    "--record-core-cycles", "--total-num-mbufs=16384", "--mbuf-size=2176", "--max-pkt-len=1700",
                    "--rxd=1024", "--txd=1024", "--burst=32"]
        self.process = Interactive(self.bench.lab, command, self.name)
        self.wait_for_sockets(self.process)
        self.process.ask("show config fwd", "testpmd>")

    def stop(self) -> None:
        end(self.bench, self.process)
        self.process = None
        self.remove_sockets()

    def counters(self) -> Counters:
        text = self.process.ask("show fwd stats all", "testpmd>")
        found = re.search(r"total cycles=(\d+) / total RX packets=(\d+)", text)
        return Counters(float(found[1]), int(found[2])) if found else Counters(0.0, 0)

    def memory(self) -> int:
        return 0

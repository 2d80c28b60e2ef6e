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
        # Its answers come with the command that asks for them, not when a buffer is full.
        command = ["stdbuf", "-oL", "dpdk-testpmd", "--lcores", f"0@{cpus.control},1@{cpus.system}",
                   "--no-pci", "--no-telemetry", "--log-level=*:error", "-m", "256",
                   *(["--in-memory"] if self.bench.hugepages else ["--no-huge", "--no-shconf"])]
        for link in LINKS:
            command += ["--vdev", self.device(link)]
        command += ["--", "--interactive", "--auto-start", f"--forward-mode={self.mode}", "--nb-cores=1",
                    "--record-core-cycles", "--total-num-mbufs=16384", "--rxd=1024", "--txd=1024",
                    "--burst=32"]
        self.process = Interactive(self.bench.lab, command, self.name)
        self.wait_for_sockets(self.process)
        self.ask("show config fwd")

    def ask(self, command: str) -> str:
        """A second command with a well-known answer says that the first one is done."""
        return self.process.ask(f"{command}\nshow port summary all", "Number of available ports")

    def stop(self) -> None:
        end(self.bench, self.process)
        self.process = None
        self.remove_sockets()

    def lost_its_peer(self) -> bool:
        return not self.process.running()

    def counters(self) -> Counters:
        text = self.ask("show fwd stats all")
        found = re.search(r"total cycles=(\d+) / total \S+ packets=(\d+)", text)
        return Counters(float(found[1]), int(found[2])) if found else Counters(0.0, 0)

    def memory(self) -> int:
        return 0

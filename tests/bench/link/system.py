"""A system under test: what the runner asks of each."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from machine import Cpus, KernelSettings
from netns import Lab, Process, die_with_parent, start_time, RECORD, wait_until
from network import LINKS, Link
from scenario import Scenario


class Unsupported(Exception):
    """A system cannot do the work of a scenario; the message says why."""


@dataclass(frozen=True)
class Counters:
    """Since the system's start, from its own books. Cycles are of the time stamp counter and without waiting."""

    busy_cycles: float
    packets: int


@dataclass
class Bench:
    """What systems need to run: a place for processes and files, processors, the machine's clock."""

    lab: Lab
    cpus: Cpus
    settings: KernelSettings
    tsc_hz: float = 0.0  # known after the first run of the generator
    hugepages: bool = True  # False: everything goes without, which is slow and just as right

    @property
    def directory(self) -> Path:
        return self.lab.directory


class System(ABC):
    name: str
    keeps_running = False  # costs nothing while others are measured, and starting it takes long
    forwards_only = False  # hands packets through as they are: no rewrite may be expected
    send_queues = 1  # of each of its ports; memif's two ends must agree

    def __init__(self, bench: Bench):
        self.bench = bench

    @abstractmethod
    def start(self, scenario: Scenario) -> None:
        """Until it forwards. Unsupported if it cannot do this work."""

    @abstractmethod
    def stop(self) -> None:
        """Whatever start() has made is gone. Safe to call again, and after a failed start."""

    def lost_its_peer(self) -> bool:
        """Whether it ended when the last generator left: where DPDK's memif unmaps rings that are being polled. Of one
        that must not, that is a failure of the run and not asked."""
        return False

    @abstractmethod
    def counters(self) -> Counters: ...

    @abstractmethod
    def memory(self) -> int:
        """Bytes that grow with its flows."""

    def flows(self) -> int:
        """Connections that it tracks now."""
        return 0

    def flows_of(self, worker: int) -> list[tuple[str, str, int, int]]:
        """Source, destination and ports, as they were sent, of the open flows that one of its workers owns."""
        raise Unsupported("it does not tell which worker owns a flow")

    def handed_over(self) -> int:
        """Packets that came to another worker than their flow's, since the start, also if that one had no room."""
        return 0

    def devices(self) -> list[str]:
        """What the generator opens as its ports."""
        return [f"net_memif{link.index},role=client,id={link.index},socket={self.socket(link)},socket-abstract=no,"
                f"mac={link.peer_mac}" for link in LINKS]

    def generator_namespace(self) -> str:
        """Where the generator must run; empty: where we are."""
        return ""

    def forget_flows(self) -> None:
        """Between runs of one that keeps running."""

    def device(self, link: Link) -> str:
        """What the system itself opens."""
        return (f"net_memif{link.index},role=server,id={link.index},socket={self.socket(link)},socket-abstract=no,"
                f"mac={link.router_mac}")

    def socket(self, link: Link) -> Path:
        return self.bench.directory / f"{self.name}-{link.name}.sock"

    def remove_sockets(self) -> None:
        for link in LINKS:
            self.socket(link).unlink(missing_ok=True)

    def wait_for_sockets(self, process: Process) -> None:
        def there() -> bool:
            if not process.running():
                raise AssertionError(f"{process.name} ended:\n{process.stdout()[-2000:]}{process.stderr()[-2000:]}")
            return all(self.socket(link).exists() for link in LINKS)
        wait_until(there, 20, f"{self.name} to open its links")


class Interactive(Process):
    """A process that takes commands on its standard input."""

    def __init__(self, lab: Lab, command: list[str], name: str):
        self.command = command
        self.name = name
        self.stdout_path = lab.directory / f"{name}.out"
        self.stderr_path = lab.directory / f"{name}.err"
        with open(self.stdout_path, "wb") as out, open(self.stderr_path, "wb") as err:
            self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err,
                                          start_new_session=True, preexec_fn=die_with_parent)
        self.pid = self.popen.pid
        lab.processes.append(self)
        with open(lab.directory / RECORD, "a") as record:
            record.write(f"{self.pid} {start_time(self.pid)}\n")

    def ask(self, command: str, until: str, seconds: float = 10) -> str:
        """What it prints after a command, up to a word that ends the answer."""
        before = len(self.stdout())
        self.popen.stdin.write(command.encode() + b"\n")
        self.popen.stdin.flush()
        wait_until(lambda: until in self.stdout()[before:], seconds, f"{self.name} to answer '{command}'")
        return self.stdout()[before:]


def end(bench: Bench, process: Process | None) -> None:
    """Ends a process of the lab before the lab does."""
    if process is None:
        return
    process.stop()
    if process in bench.lab.processes:
        bench.lab.processes.remove(process)

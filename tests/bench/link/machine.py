"""The machine that measures: its processors, hugepages, kernel settings, and how it calls itself in reports."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from netns import processors

HUGEPAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")


@dataclass(frozen=True)
class Cpus:
    """Who runs where. With two processors the control threads share the generator's, which they hardly need."""

    generator: int
    system: int
    control: int
    second_worker: int | None = None  # for scenarios with two workers


def assign_cpus() -> Cpus:
    available = processors()
    if len(available) < 2:
        raise RuntimeError("a benchmark needs two processors, one for the generator and one for the system under test")
    generator, system, *others = available
    # The last one is the second worker's; a third one is only the control threads' if there is a fourth.
    return Cpus(generator, system, others[0] if len(others) > 1 else generator, others[-1] if others else None)


def reserve_hugepages(mebibytes: int) -> None:
    """So many MiB are free in pages of 2 MiB; reserves what lacks, and says so if the machine has not enough."""
    wanted, count = (mebibytes + 1) // 2, HUGEPAGES / "nr_hugepages"
    if not count.exists():
        raise RuntimeError("this kernel has no hugepages of 2 MiB, which DPDK needs to be measured")
    free = int((HUGEPAGES / "free_hugepages").read_text())
    if free < wanted:
        count.write_text(str(int(count.read_text()) + wanted - free))
        free = int((HUGEPAGES / "free_hugepages").read_text())
    if free < wanted:
        raise RuntimeError(f"{wanted * 2} MiB of hugepages are needed and {free * 2} MiB are free: end whoever uses "
                           f"them, or free memory so that the kernel can reserve more")


class KernelSettings(contextlib.AbstractContextManager):
    """Machine-wide kernel settings for the time of a measurement; leaving puts back what was there."""

    def __init__(self) -> None:
        self.before: dict[Path, str] = {}

    def raise_to(self, path: str, value: int) -> None:
        """Never lowers a value; a setting this kernel does not have is left alone."""
        file = Path(path)
        if not file.exists():
            return
        old = file.read_text().strip()
        if int(old) < value:
            self.before.setdefault(file, old)
            file.write_text(str(value))

    def __exit__(self, *_: object) -> None:
        for file, old in self.before.items():
            with contextlib.suppress(OSError):
                file.write_text(old)
        self.before.clear()


def softirq_and_system_seconds(cpu: int) -> float:
    """Time that a processor has spent in the kernel."""
    words = re.search(rf"^cpu{cpu} (.*)$", Path("/proc/stat").read_text(), re.M)[1].split()
    ticks = sum(int(words[field]) for field in (2, 5, 6))  # system, irq, softirq
    return ticks / os.sysconf("SC_CLK_TCK")


def slab_bytes() -> int:
    """What the kernel's own objects occupy."""
    return int(re.search(r"^Slab:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)[1]) * 1024


def resident_bytes(pid: int) -> int:
    """As the kernel counts it; hugepages are not in it."""
    return int(re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)[1]) * 1024


def output_of(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except OSError:
        return ""
    return done.stdout.strip()


def package_version(name: str) -> str:
    return output_of("dpkg-query", "-W", "-f=${Version}", name)


def line_exchange(program: Path, cpus: Cpus) -> float | None:
    """How long a cache line takes from the generator's CPU to the system's and back, ns; None if it cannot be told."""
    try:
        done = subprocess.run([str(program), str(cpus.generator), str(cpus.system)], capture_output=True, text=True,
                              timeout=10, stdin=subprocess.DEVNULL)
        return float(json.loads(done.stdout)["median"])
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None


def describe(project: Path) -> dict[str, str]:
    """For the head of a report."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.M)
    hypervisor = "hypervisor" in re.search(r"^flags\s*: (.*)$", cpuinfo, re.M)[1].split()
    memory = int(re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)[1])
    commit = output_of("git", "-C", str(project), "rev-parse", "--short=12", "HEAD")
    changed = output_of("git", "-C", str(project), "status", "--porcelain", "--untracked-files=no")
    release = re.search(r'^PRETTY_NAME="(.*)"$', Path("/etc/os-release").read_text(), re.M)
    return {
        "processor": f"{model[1] if model else platform.machine()}, {len(processors())} CPUs"
                     + (", in a virtual machine" if hypervisor else ""),
        "memory": f"{memory / 1024 / 1024:.0f} GiB",
        "system": f"{release[1] if release else ''}, Linux {platform.release()}",
        "commit": commit + (" with changes" if changed else ""),
        "DPDK": package_version("libdpdk-dev"),
        "Open vSwitch": package_version("openvswitch-switch-dpdk"),
        "nftables": package_version("nftables"),
        "iptables": package_version("iptables"),
    }


def tsc_hz() -> float:
    """Of the time stamp counter: on x86 Linux's BogoMIPS are twice its megahertz."""
    return float(re.search(r"^bogomips\s*: ([\d.]+)$", Path("/proc/cpuinfo").read_text(), re.M)[1]) / 2 * 1e6

"""The systemd unit under systemd itself, which is process 1 of a container on the machine's own /usr."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns import Lab, Process, wait_until
from router import BUILD, PROJECT, SLUICECTL, SLUICED
from threads import standing_still, worker_thread

WATCHDOG = 2  # seconds; the unit's own is longer
DOCUMENT = {"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
     "spec": {"nodeName": "gw", "conntrack": {"max": 65536},
              "interfaces": [{"name": "uplink0", "device": "net_tap0,iface=up-tap", "addresses": ["192.0.2.1/24"],
                              "hostInterface": "up-host"}]}}]}


class Machine:
    def __init__(self, lab: Lab):
        self.name = f"{lab.prefix}machine".replace("_", "-")[:60]
        local = lab.directory / "local"
        for source, target in ((SLUICED, "bin/sluiced"), (SLUICECTL, "bin/sluicectl"),
                               (BUILD / "packaging" / "sluiced.service", "lib/systemd/system/sluiced.service"),
                               (PROJECT / "packaging" / "sysusers.conf", "lib/sysusers.d/sluice.conf")):
            (local / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, local / target)
        quicker = local / "lib/systemd/system/sluiced.service.d/test.conf"
        quicker.parent.mkdir()
        quicker.write_text(f"[Service]\nWatchdogSec={WATCHDOG}s\n")
        document = lab.directory / "document.json"
        document.write_text(json.dumps(DOCUMENT))
        options = lab.directory / "options"
        options.write_text("SLUICED_OPTIONS=--memory 256 --mbufs 8192\n")
        self.process: Process = lab.start(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--machine={self.name}", "--directory=/",
             "--volatile=yes", "--private-network", f"--bind-ro={local}:/usr/local", "--bind-ro=/sys/module",
             f"--bind-ro={document}:/etc/sluice.json", f"--bind-ro={options}:/etc/default/sluiced", "--bind=/dev/net/tun",
             "--capability=all", "--console=pipe", "--boot", "systemd.unit=sluiced.service"], "machine")
        self.init = wait_until(self.find_init, 30, lambda: f"systemd to start: {self.process.stderr()}")

    def find_init(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            # Before it becomes systemd it is another systemd-nspawn, beside others that only prepare and end meanwhile.
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/cmdline").read_text().split("\0")[0].endswith("/systemd"):
                    return int(child)
        assert self.process.running(), self.process.stderr()
        return 0

    def run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(["nsenter", "-t", str(self.init), "-m", "-u", "-i", "-n", "-p", *command],
                              capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def property(self, name: str) -> str:
        return self.run("systemctl", "show", "sluiced", "--property", name, "--value", check=False).strip()

    def active(self) -> bool:
        return self.property("ActiveState") == "active"

    def journal(self) -> str:
        return self.run("journalctl", "--unit", "sluiced", "--no-pager", "--output", "cat")

    def router_process(self) -> int:
        """As this machine numbers it."""
        inside = self.property("MainPID")
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                status = (folder / "status").read_text()
            except OSError:
                continue
            if f"\nNSpid:\t{folder.name}\t{inside}\n" in status and "Name:\tsluiced\n" in status:
                return int(folder.name)
        raise AssertionError(f"no process {inside} in the container")


@pytest.fixture
def machine(lab: Lab) -> Iterator[Machine]:
    made = Machine(lab)
    wait_until(made.active, 40, lambda: f"the service; {made.journal()}")
    yield made
    made.process.stop(20)  # which is an orderly shutdown


def test_the_unit_serves_restarts_and_stops(machine: Machine) -> None:
    assert machine.property("StatusText") == "waiting for a configuration"
    applied = machine.run("sluicectl", "apply", "-f", "/etc/sluice.json")
    assert "generation 1" in applied
    wait_until(lambda: "serving generation 1" in machine.property("StatusText"), 5, "the status to follow")
    assert "192.0.2.1/24" in machine.run("ip", "-brief", "address", "show", "dev", "up-host")

    # It is another user by now, behind systemd's own filters, and takes SIGHUP.
    process = machine.router_process()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines()
                  if ":\t" in line)
    assert set(status["Uid"].split()) == {machine.run("id", "--user", "sluice").strip()}
    assert status["CapEff"] == f"{1 << 12 | 1 << 13:016x}" and status["Seccomp"] == "2"
    machine.run("systemctl", "reload", "sluiced")

    # Killed: it forwards again with what it was told.
    began = time.monotonic()
    os.kill(process, 9)
    wait_until(lambda: machine.property("NRestarts") == "1" and machine.active(), 10, machine.journal)
    assert time.monotonic() - began < 5
    assert "serving generation 1" in machine.property("StatusText")

    # Hung: systemd ends it.
    hanging = machine.router_process()
    with standing_still(worker_thread(hanging)):
        wait_until(lambda: "Watchdog timeout" in machine.journal(), WATCHDOG + 10, machine.journal)
    wait_until(lambda: machine.property("NRestarts") == "2" and machine.active(), 10, machine.journal)
    assert "stands still" in machine.journal()

    machine.run("systemctl", "stop", "sluiced")
    assert (machine.property("Result"), machine.property("ExecMainStatus")) == ("success", "0")

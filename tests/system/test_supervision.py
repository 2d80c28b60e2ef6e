"""What systemd is told, asked for as systemd does (sd_notify(3)), and the units as systemd-analyze(1) reads them."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns import Lab, execute, wait_until
from router import BUILD, Options, Router
from threads import standing_still, worker_thread
from two_hosts import TwoHosts

WATCHDOG = 0.9  # seconds


class Systemd:
    """The socket that services report to, and the variables that tell them of it."""

    def __init__(self, directory: Path):
        self.path = directory / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.path.chmod(0o777)
        self.socket.setblocking(False)
        self.told: list[tuple[float, str]] = []

    def read(self) -> list[str]:
        """Everything so far, as lines."""
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except BlockingIOError:
                return [line for _, line in self.told]
            self.told += [(time.monotonic(), line) for line in text.splitlines() if line]

    def count(self, line: str) -> int:
        return self.read().count(line)


@pytest.fixture
def systemd(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    made = Systemd(lab.directory)
    monkeypatch.setenv("NOTIFY_SOCKET", str(made.path))
    monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG * 1e6)))
    yield made
    made.socket.close()


def test_ready_when_it_serves_and_told_that_it_stops(lab: Lab, systemd: Systemd) -> None:
    hosts = TwoHosts(lab, ipv6=False, options=Options(workers=2)).start()
    wait_until(lambda: systemd.count("READY=1"), 5, "READY=1")
    assert "STATUS=serving generation 1 with 2 worker(s), 0 warning(s)" in systemd.read()
    hosts.router.apply(hosts.document(routes=[{"destination": "198.51.100.0/24", "type": "blackhole"}]))
    wait_until(lambda: any("generation 2" in line for line in systemd.read()), 5, "the status to follow")
    assert systemd.count("STOPPING=1") == 0
    assert hosts.router.stop() == 0
    assert systemd.count("STOPPING=1") == 1 and systemd.count("READY=1") == 1


def test_ready_before_there_is_a_configuration(lab: Lab, systemd: Systemd) -> None:
    router = Router(lab.namespace("gw"), "gw")
    router.launch()
    wait_until(lambda: systemd.count("READY=1"), 20, "READY=1")
    assert "STATUS=waiting for a configuration" in systemd.read()
    assert router.stop() == 0


def test_the_watchdog_hears_of_it_in_time(lab: Lab, systemd: Systemd) -> None:
    TwoHosts(lab, ipv6=False).start()
    wait_until(lambda: systemd.count("WATCHDOG=1") >= 4, 10, "four signs of life")
    signs = [when for when, line in systemd.told if line == "WATCHDOG=1"]
    # Read late by at most one turn of wait_until, so a little more than a third of the time.
    assert max(b - a for a, b in zip(signs, signs[1:])) < WATCHDOG


def test_a_worker_that_hangs_is_no_life(lab: Lab, systemd: Systemd) -> None:
    router = TwoHosts(lab, ipv6=False, options=Options(workers=2)).start().router
    wait_until(lambda: systemd.count("WATCHDOG=1") >= 2, 10, "signs of life")
    with standing_still(worker_thread(router.process.pid)):
        wait_until(lambda: "stands still" in router.log(), 10, "the complaint")
        before = systemd.count("WATCHDOG=1")
        end = time.monotonic() + 2 * WATCHDOG
        while time.monotonic() < end:
            assert systemd.count("WATCHDOG=1") == before
            time.sleep(0.05)
        assert router.status()["ready"]  # the control thread answers all the same
    wait_until(lambda: systemd.count("WATCHDOG=1") > before, 10, "life again")
    assert re.search(r"worker [01] stands still: the watchdog is not told", router.log())


def test_units_are_what_systemd_understands(tmp_path: Path) -> None:
    paths = []
    for name, instance in (("sluiced.service", "sluiced.service"), ("sluice-nic@.service", "sluice-nic@nic0.service")):
        text = (BUILD / "packaging" / name).read_text()
        # The programs need not be installed where this runs.
        text = re.sub(r"^(Exec\w+)=/usr/local/\S+", r"\1=/bin/true", text, flags=re.M)
        paths.append(tmp_path / instance)
        paths[-1].write_text(text)
    checked = subprocess.run(["systemd-analyze", "verify", "--man=no", *map(str, paths)], capture_output=True, text=True,
                             timeout=60)
    complaints = [line for line in checked.stderr.splitlines() if "sluice" in line]
    assert checked.returncode == 0 and not complaints, checked.stderr


def test_hardening_is_what_systemd_calls_ok(tmp_path: Path) -> None:
    unit = BUILD / "packaging" / "sluiced.service"
    told = execute("systemd-analyze", "security", "--offline=true", str(unit), check=False, timeout=60).stdout
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert level and float(level[1]) < 5.0, told

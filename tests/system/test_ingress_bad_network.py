"""Ingress over links that lose segments and let others overtake them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from netns import Lab
from web_programs import WebPods

SIZE = 100 << 20


@pytest.fixture(scope="module", params=[1, 2], ids=["1worker", "2workers"])
def web(request: pytest.FixtureRequest) -> Iterator[WebPods]:
    with Lab(f"slt-{os.getpid()}-bad{request.param}-") as lab:
        pods = WebPods(lab, request.param, "net_tap")
        pods.lose(1)
        pods.reorder(2)
        yield pods
        assert pods.router.stop() == 0, pods.router.log()


def test_SPL2_SPL5_SPL6_100_megabytes_both_ways(web: WebPods) -> None:
    there, here, back = web.files / "large", web.lab.directory / "large", web.nginx.folder / "puts" / "large"
    block = bytearray(os.urandom(1 << 20))
    with open(there, "wb") as file:
        for number in range(SIZE >> 20):
            block[:4] = number.to_bytes(4, "big")
            file.write(block)
    times = [time.monotonic()]
    web.curl(["/files/large"], "-o", str(here), timeout=40)
    times.append(time.monotonic())
    web.curl(["/puts/large"], "-T", str(here), "-o", "/dev/null", timeout=40)
    times.append(time.monotonic())
    print(f"100 MiB down in {times[1] - times[0]:.1f} s, up in {times[2] - times[1]:.1f} s")
    sums = subprocess.run(["sha256sum", there, here, back], capture_output=True, text=True, check=True).stdout
    assert len({line.split()[0] for line in sums.splitlines()}) == 1, sums
    for path in (there, here, back):
        path.unlink()

    for end, counters in (("client", web.left.snmp()), ("server", web.right.snmp())):
        assert counters["TcpRetransSegs"] > 0, f"the {end} has lost nothing"
        assert counters["TcpExtTCPSACKReorder"] + counters["TcpExtTCPTSReorder"] > 0, f"the {end}: nothing was overtaken"


def test_SPL2_SPL5_SPL7_pipelining(web: WebPods) -> None:
    script = web.pipeline("/a", "/more/b", "/c", "/d", "/more/e")
    assert web.wrk("-s", str(script), connections=30, seconds=2) > 100


def test_SPL2_SPL4_a_connection_for_each_request(web: WebPods) -> None:
    assert web.wrk("-H", "Connection: close", connections=50, seconds=2) > 50

"""Ingress over links that lose segments and let others overtake them."""

from __future__ import annotations

import hashlib
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


def test_SPL2_SPL5_SPL7_requests_for_both_in_turn(web: WebPods) -> None:
    """On one connection: an answer is whole before the other endpoint is asked, however its segments come."""
    (web.files / "some").write_bytes(os.urandom(50_000))
    content = hashlib.sha256((web.files / "some").read_bytes()).hexdigest()
    paths = ["/files/some", "/two/files/some"] * 15
    fetched = web.lab.directory / "fetched"
    fetched.mkdir()
    outputs = [word for number in range(len(paths)) for word in ("-o", str(fetched / str(number)))]
    said = web.curl(paths, *outputs, "-w", "%{num_connects}\\n", timeout=60).split()
    assert said == ["1"] + ["0"] * (len(paths) - 1), "one connection"
    for number in range(len(paths)):
        assert hashlib.sha256((fetched / str(number)).read_bytes()).hexdigest() == content


def test_SPL2_SPL5_websockets(web: WebPods) -> None:
    web.speak_websockets()


def test_SPL2_SPL5_http_2(web: WebPods) -> None:
    content = os.urandom(4 << 20)
    (web.files / "h2").write_bytes(content)
    got = web.lab.directory / "h2"
    web.curl(["/files/h2"], "--http2-prior-knowledge", "-o", str(got), host="h2.example.com", timeout=40)
    assert got.read_bytes() == content


def test_SPL2_SPL4_a_connection_for_each_request(web: WebPods) -> None:
    assert web.wrk("-H", "Connection: close", connections=50, seconds=2) > 50

"""A worker without packets waits for the kernel to wake it, where its devices can (docs/operations.md, --poll)."""

from __future__ import annotations

import re
import statistics
import sys
import time
from pathlib import Path

import pytest

from netns import Lab, Namespace, wait_until
from probes import ping, ping_loss
from router import Options, Router
from test_devices import interface
from two_hosts import LEFT, RIGHT, ROUTER_LEFT, ROUTER_RIGHT, TwoHosts, document

# It wakes up two hundred times a second for its timers; by naps it would be some eight thousand times.
MOST_WAKE_UPS = 500

SINK = f"""
import socket
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.bind(("{RIGHT}", 9))
print("bound", flush=True)
while True:
    sink.recv(64)
"""
SOURCE = f"""
import socket, time
source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
source.connect(("{RIGHT}", 9))
begin = time.monotonic()
for turn in range(300_000):
    while time.monotonic() < begin + turn * 1e-4:
        pass
    for _ in range(8):
        source.send(b"x")
"""


def wake_ups(router: Router, seconds: float = 2) -> list[float]:
    """How often each worker went to sleep, per second."""
    def count() -> list[int]:
        tasks = sorted(Path(f"/proc/{router.process.pid}/task").iterdir(), key=lambda task: int(task.name))
        return [int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", (task / "status").read_text(), re.M)[1])
                for task in tasks if "worker" in (task / "comm").read_text()]
    before, begin = count(), time.monotonic()
    time.sleep(seconds)
    after, elapsed = count(), time.monotonic() - begin
    assert before, "no thread that is a worker's"
    return [(b - a) / elapsed for a, b in zip(before, after, strict=True)]


def loads(router: Router, seconds: float = 1) -> list[float]:
    """Of each worker, as docs/api.md says."""
    before = router.status()["workers"]
    time.sleep(seconds)
    after = router.status()["workers"]
    return [(b["busyCycles"] - a["busyCycles"]) / (b["totalCycles"] - a["totalCycles"])
            for a, b in zip(before, after, strict=True)]


def rests(router: Router) -> bool:
    return all(rate < MOST_WAKE_UPS for rate in wake_ups(router))


def quick_round_trip(host: Namespace, target: str) -> float:
    """What one of ten pings takes less than, in milliseconds. They are 20 ms apart, and the router sleeps meanwhile."""
    said = host.run("ping", "-n", "-i", "0.02", "-c", "100", target).stdout
    assert " 0% packet loss" in said, said
    times = [float(each) for each in re.findall(r"time=([0-9.]+) ms", said)]
    return statistics.quantiles(times, n=10)[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_packet_devices_wake_their_worker(lab: Lab, workers: int) -> None:
    hosts = TwoHosts(lab, Options(workers=workers), driver="packet").start()
    ping(hosts.left, RIGHT)
    wait_until(lambda: rests(hosts.router), 15, lambda: f"idle workers; they wake up {wake_ups(hosts.router)} times a second")
    assert max(loads(hosts.router)) < 0.05, "a sleeping worker's load"
    # Of crossings that each waited for the end of five milliseconds one round trip of ten would take less than 2.2 ms.
    assert min(quick_round_trip(hosts.left, RIGHT) for _ in range(3)) < 1
    assert hosts.router.stop() == 0


@pytest.mark.parametrize("driver", ["packet", "net_af_packet"])
def test_frames_of_a_socket_of_the_kernel_gather_between_turns(lab: Lab, driver: str) -> None:
    hosts = TwoHosts(lab, driver=driver).start()
    ping(hosts.left, RIGHT)
    sink = hosts.right.start(sys.executable, "-c", SINK, name="sink")
    wait_until(lambda: "bound" in sink.stdout(), 5, "the sink")
    source = hosts.left.start(sys.executable, "-c", SOURCE, name="source")

    def received() -> int:
        return sum(entry["rxPackets"] for entry in hosts.router.status()["interfaces"])

    def gathers() -> bool:
        before, begin = received(), time.monotonic()
        sleeps = min(wake_ups(hosts.router, 0.5))
        rate = (received() - before) / (time.monotonic() - begin)
        seen.append((round(rate), round(sleeps)))
        # Fewer than it can take, so it does not always find more of them; more than it would ever sleep between.
        return rate > 30_000 and sleeps > 2_000

    seen: list[tuple[int, int]] = []
    wait_until(gathers, 20, lambda: f"sleeps between frames; packets and sleeps per second were {seen}")
    source.stop()
    sink.stop()
    assert hosts.router.stop() == 0


def test_interrupts_of_a_dpdk_device_wake_its_worker(lab: Lab) -> None:
    """left | sluiced | vhost-user | sluiced with virtio-user, whose queues interrupt | right"""
    left, right, here, there = (lab.namespace(name) for name in ("left", "right", "here", "there"))
    for host, router, name, address, gateway in ((left, here, "r-left", LEFT, ROUTER_LEFT),
                                                 (right, there, "r-right", RIGHT, ROUTER_RIGHT)):
        lab.link(router, name, host, "eth0")
        host.ip(f"addr add {address}/24 dev eth0", f"route add default via {gateway}")
    socket = lab.directory / "vhost.sock"
    routers = []
    for namespace, device, own, link_device, link, far, next_hop in (
            (here, "r-left", ROUTER_LEFT, f"net_vhost0,iface={socket}", "10.9.0.1/30", "10.2.0.0/24", "10.9.0.2"),
            (there, "r-right", ROUTER_RIGHT, f"net_virtio_user0,path={socket},mac=02:00:00:00:09:02", "10.9.0.2/30",
             "10.1.0.0/24", "10.9.0.1")):
        config = document([interface("host0", f"packet,iface={device}", f"{own}/24"),
                           interface("link0", link_device, link)],
                          routes=[{"destination": far, "nextHops": [{"via": next_hop}]}])
        routers.append(Router(namespace).start(config))
    wait_until(lambda: all(entry["linkUp"] for router in routers for entry in router.status()["interfaces"]), 10,
               "the link to be up")
    wait_until(lambda: ping_loss(left, RIGHT, 1, 0.1) == 0, 10, "the path")
    sleeper = routers[1]
    wait_until(lambda: rests(sleeper), 15, lambda: f"an idle worker; it wakes up {wake_ups(sleeper)} times a second")
    assert quick_round_trip(left, RIGHT) < 5
    for router in reversed(routers):
        assert router.stop() == 0

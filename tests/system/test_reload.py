"""A new configuration every 10 ms under traffic: nothing is lost, nothing leaks."""

from __future__ import annotations

import copy
import os
import select
import socket
import threading
import time
from dataclasses import dataclass, field

import pytest

import cluster as lab
from cluster import Cluster
from netns import Namespace
from objects import service_with_endpoints, with_items
from probes import ask_udp, ping_loss

SECONDS = float(os.environ.get("SLUICE_RELOAD_SECONDS", "10"))
RATE = 500  # datagrams per second


@dataclass
class Echo:
    """Sends numbered datagrams at a steady rate and collects what comes back, in a thread."""

    namespace: Namespace
    address: str
    port: int
    sent: int = 0
    returned: set[int] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Echo":
        self.socket = self.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.connect((self.address, self.port))
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
        self.socket.close()

    def run(self) -> None:
        due = time.monotonic()
        while not self.stop.is_set():
            due += 1 / RATE
            self.socket.send(b"%d" % self.sent)
            self.sent += 1
            self.collect(due)
        self.collect(time.monotonic() + 1)

    def collect(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([self.socket], [], [], left)
            if ready:
                self.returned.add(int(self.socket.recv(100)))

    def lost(self) -> int:
        return self.sent - len(self.returned)


@pytest.mark.changes_config
def test_PIPE3_configuration_every_10_ms_loses_no_packet(cluster: Cluster) -> None:
    """SCALE-6: services, endpoints and routes come and go beside the traffic, and one of them in its way."""
    router = cluster.gateway
    pod = lab.PODS["web-1b"]
    others = [with_items(copy.deepcopy(cluster.gateway_document), *(
        item for number in range(turn + 1)
        for item in service_with_endpoints(f"other-{number}", f"10.96.9.{number + 1}", 80, 8000 + turn,
                                           [(pod.address, pod.node)]))) for turn in range(4)]
    route = {"destination": "198.51.100.0/24", "type": "blackhole"}
    lab.gateway_configuration(others[2])["spec"].setdefault("routes", []).append(route)
    target = lab.PODS["web-1a"].address
    ask_udp(cluster.client, lab.LOAD_BALANCER, lab.ECHO_PORT)  # neighbours are known
    lost_pings: list[int] = []

    def ping_all_the_time() -> None:
        lost_pings.append(ping_loss(cluster.pod("web-2a"), target, int(SECONDS * 100), 0.01))

    before, pushes = router.generation(), 0
    drops = router.drops()
    pinger = threading.Thread(target=ping_all_the_time)
    with Echo(cluster.client, lab.LOAD_BALANCER, lab.ECHO_PORT) as outside, \
            Echo(cluster.pod("web-2b"), target, 9000) as transit:
        pinger.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            began = time.monotonic()
            router.apply(others[pushes % len(others)])
            pushes += 1
            time.sleep(max(0.0, 0.01 - (time.monotonic() - began)))
    pinger.join()
    risen = {name: value - drops[name] for name, value in router.drops().items() if value != drops[name]}
    assert (outside.lost(), transit.lost(), lost_pings) == (0, 0, [0]), f"after {pushes} pushes; drops: {risen}"
    assert outside.sent > RATE * SECONDS * 0.5, "the test itself could not keep up"
    assert pushes >= SECONDS * 10, f"only {pushes} pushes in {SECONDS:g} s"
    assert router.generation() == before + pushes

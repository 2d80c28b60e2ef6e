"""A flood of SYNs from made-up addresses against a service, and honest clients in the middle of it (CT-9)."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from frames import IP, TCP, Ether, Wire
from netns import Lab, wait_until
from objects import service_with_endpoints
from two_hosts import RIGHT, TwoHosts

FRONTEND, PORT = "203.0.113.80", 80
RECORDS = 1024  # the least that conntrack.max takes
SOURCES = 2048


def start(lab: Lab) -> TwoHosts:
    """A router that keeps the client's address: right is the endpoint, and answers through the router."""
    hosts = TwoHosts(lab, ipv6=False)
    web = service_with_endpoints("web", "10.96.0.1", PORT, 8080, [(RIGHT, "right")], load_balancer=FRONTEND,
                                 externalTrafficPolicy="Local")
    hosts.router.start(hosts.document(items=web, conntrack={"max": RECORDS}, cluster={"serviceCIDRs": ["10.96.0.0/16"]},
                                      proxy={"externalPolicyLocalScope": "Cluster"}))
    return hosts


@contextlib.contextmanager
def flood(hosts: TwoHosts) -> Iterator[None]:
    """About ten thousand SYNs a second; their answers find no route."""
    frames = [bytes(Ether(dst=hosts.mac("left0")) / IP(src=f"198.51.{100 + number // 250}.{1 + number % 250}",
                                                       dst=FRONTEND)
                    / TCP(sport=1024 + number, dport=PORT, flags="S")) for number in range(SOURCES)]
    stop = threading.Event()

    def send() -> None:
        with Wire(hosts.left, "eth0") as wire:
            while not stop.is_set():
                for at in range(0, SOURCES, 64):
                    for frame in frames[at:at + 64]:
                        wire.send(frame)
                    time.sleep(0.005)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Server:
    """A listener at the endpoint and what it has accepted, by the client's port."""

    def __init__(self, hosts: TwoHosts):
        self.listener = hosts.right.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.bind((RIGHT, 8080))
        self.listener.listen(4096)
        self.listener.settimeout(10)
        self.accepted: dict[int, socket.socket] = {}

    def talks_with(self, client: socket.socket) -> None:
        port = client.getsockname()[1]
        client.sendall(b"there")
        while port not in self.accepted:
            connection, peer = self.listener.accept()
            connection.settimeout(10)
            self.accepted[peer[1]] = connection
        assert self.accepted[port].recv(100) == b"there"
        self.accepted[port].sendall(b"back")
        assert client.recv(100) == b"back"


def connect(hosts: TwoHosts) -> socket.socket:
    client = hosts.left.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(15)
    client.connect((FRONTEND, PORT))
    return client


def test_CT9_established_connections_fill_the_table_and_honest_clients_get_through_a_flood(lab: Lab) -> None:
    hosts = start(lab)
    server = Server(hosts)
    clients = [connect(hosts) for _ in range(RECORDS + 50)]
    for client in clients:
        server.talks_with(client)
    before = hosts.router.counters()
    assert before["stateless_forwards"] > 0, before
    with flood(hosts):
        wait_until(lambda: hosts.router.counters()["stateless_forwards"] > before["stateless_forwards"] + 5000, 20,
                   "a flood without records")
        for client in clients[::10] + clients[-50:]:
            server.talks_with(client)
        for _ in range(20):
            server.talks_with(connect(hosts))
    after = hosts.router.counters()
    assert after["flows_evicted"] == 0, "of established ones"
    assert after["flows_closed"] == before["flows_closed"]
    assert after["conntrack_full"] == 0 and after["conntrack_invalid"] == before["conntrack_invalid"], after


def test_CT9_established_connections_live_on_in_a_table_full_of_syns(lab: Lab) -> None:
    hosts = start(lab)
    server = Server(hosts)
    clients = [connect(hosts) for _ in range(100)]
    for client in clients:
        server.talks_with(client)
    with flood(hosts):
        wait_until(lambda: hosts.router.counters()["flows_evicted"] > 5000, 20, "evictions")
        for _ in range(20):
            server.talks_with(connect(hosts))
        for client in clients:
            server.talks_with(client)
            port = client.getsockname()[1]
            assert len(hosts.router.flows(sport=port, dst=FRONTEND)) == 1, f"the record of port {port}"

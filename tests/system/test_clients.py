"""What real sockets see of the router: a service that changes under a UDP socket, two that connect to each other."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from netns import Lab, Namespace, wait_until
from objects import service_with_endpoints, with_items
from router import Json, Options
from two_hosts import LEFT, RIGHT, TwoHosts

SECOND = "10.2.0.3"  # another address of the right host
ADDRESS = "203.0.113.80"  # of the service


@contextmanager
def name_servers(namespace: Namespace, *addresses: str, port: int) -> Iterator[None]:
    """Each answers every datagram with its address."""
    sockets = []
    for address in addresses:
        sock = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, port))
        sock.settimeout(0.1)
        sockets.append(sock)
    stop = threading.Event()

    def serve(sock: socket.socket) -> None:
        while not stop.is_set():
            try:
                _, client = sock.recvfrom(64)
            except TimeoutError:
                continue
            sock.sendto(sock.getsockname()[0].encode(), client)

    threads = [threading.Thread(target=serve, args=(sock,)) for sock in sockets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for sock in sockets:
            sock.close()


def ask(sock: socket.socket) -> str:
    sock.send(b"who")
    return sock.recv(64).decode()


@pytest.mark.parametrize("count", [1, 2], ids=["1worker", "2workers"])
def test_SVC94_a_udp_socket_goes_to_who_serves_now(lab: Lab, count: int) -> None:
    hosts = TwoHosts(lab, Options(workers=count), ipv6=False)
    hosts.right.ip(f"addr add {SECOND}/24 dev eth0")

    def names(*endpoints: str) -> Json:
        return with_items(hosts.document(), *service_with_endpoints(
            "names", "10.96.0.10", 53, 5353, [(address, "other") for address in endpoints], ADDRESS, protocol="UDP"))

    hosts.router.start(names(RIGHT, SECOND))
    with name_servers(hosts.right, RIGHT, SECOND, port=5353), hosts.left.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.bind((LEFT, 5000))
        sock.connect((ADDRESS, 53))
        first = ask(sock)
        other = SECOND if first == RIGHT else RIGHT
        assert [ask(sock) for _ in range(5)] == [first] * 5
        hosts.router.apply(names(other))
        assert [ask(sock) for _ in range(5)] == [other] * 5, "its endpoint is gone"
        hosts.router.apply(names(RIGHT, SECOND))
        assert [ask(sock) for _ in range(5)] == [other] * 5, "its endpoint is still there"
        hosts.router.apply(names())
        with pytest.raises(ConnectionRefusedError):
            ask(sock)
        hosts.router.apply(names(first))
        assert [ask(sock) for _ in range(5)] == [first] * 5, "one has come"
        hosts.router.apply(hosts.document())
        sock.send(b"who")
        assert not select.select([sock], [], [], 0.5)[0], "there is no such service"
        hosts.router.apply(names(first))
        assert ask(sock) == first


def is_connected(sock: socket.socket) -> bool:
    if not select.select([], [sock], [], 0)[1]:
        return False
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    assert error == 0, f"error {error}"
    return True


def connect(namespace: Namespace, own: tuple[str, int], peer: tuple[str, int]) -> socket.socket:
    sock = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(own)
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.connect(peer)
    return sock


@pytest.mark.parametrize("count", [1, 2], ids=["1worker", "2workers"])
def test_CT6_two_sockets_that_connect_to_each_other(lab: Lab, count: int) -> None:
    """Neither listens. The SYNs cross: both hosts lose what comes until the router has seen one from either side."""
    hosts = TwoHosts(lab, Options(workers=count), ipv6=False)
    hosts.router.start(with_items(hosts.document(), *service_with_endpoints(
        "peer", "10.96.0.10", 80, 6000, [(RIGHT, "router")], ADDRESS, externalTrafficPolicy="Local")))

    def states() -> list[str]:
        return [flow.state for flow in hosts.router.flows(proto="tcp")]

    both = ((hosts.left, 5000), (hosts.right, 6000))
    for host, port in both:
        host.run("nft", "add table inet away; add chain inet away input { type filter hook input priority 0; }; "
                        f"add rule inet away input tcp dport {port} drop")
    client = connect(hosts.left, (LEFT, 5000), (ADDRESS, 80))
    wait_until(lambda: states() == ["SYN_SENT"], 5, lambda: f"the client's SYN: {states()}")
    server = connect(hosts.right, (RIGHT, 6000), (LEFT, 5000))
    wait_until(lambda: states() == ["SYN_SENT2"], 5, lambda: f"the other SYN: {states()}")
    for host, _ in both:
        host.run("nft", "delete table inet away")
    wait_until(lambda: is_connected(client) and is_connected(server), 20, lambda: f"both to be connected: {states()}")
    assert client.getpeername() == (ADDRESS, 80) and server.getpeername() == (LEFT, 5000)
    for sock in (client, server):
        sock.settimeout(5)
    for sender, receiver in ((client, server), (server, client)):
        sender.sendall(b"hello")
        assert receiver.recv(64) == b"hello"
    wait_until(lambda: states() == ["ESTABLISHED"], 5, lambda: f"{states()}")
    client.close()
    assert server.recv(64) == b""
    server.close()
    wait_until(lambda: states() == ["TIME_WAIT"], 5, lambda: f"{states()}")
    assert hosts.router.drops().get("conntrack_invalid", 0) == 0

"""TCP between pods of one node at full size: what a kernel sends in one piece of up to 64 KiB arrives in one piece."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable

import pytest

import objects
import pods
from netns import Lab
from probes import checksum_errors, ping
from router import Options

MEGABYTES = 100
PORT = 7777
MSS = 500
# A frame that was cut comes in pieces of no more than this (net::burst_size packets).
LARGEST_PIECE = 64 * MSS + 80


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


class Talker:
    """One end of a connection: sends random bytes and takes what comes, at once."""

    def __init__(self, connection: socket.socket, megabytes: int):
        self.connection = connection
        self.megabytes = megabytes
        self.sent, self.arrived = hashlib.sha256(), hashlib.sha256()
        self.taken = 0
        self.threads = [in_thread(self.send), in_thread(self.take)]

    def send(self) -> None:
        for _ in range(self.megabytes):
            piece = os.urandom(1 << 20)
            self.sent.update(piece)
            self.connection.sendall(piece)
        self.connection.shutdown(socket.SHUT_WR)

    def take(self) -> None:
        while piece := self.connection.recv(1 << 20):
            self.arrived.update(piece)
            self.taken += len(piece)

    def wait(self) -> None:
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), f"{self.taken} bytes arrived"


def exchange(client: pods.Pod, server: pods.Pod, address: str, port: int, there: int, back: int) -> None:
    """So many megabytes in each direction; every byte has to arrive."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.namespace.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", PORT))
        listener.listen()
        listener.settimeout(10)
        with client.namespace.socket(family, socket.SOCK_STREAM) as own:
            own.settimeout(30)
            own.connect((address, port))
            with listener.accept()[0] as other:
                other.settimeout(30)
                ends = Talker(own, there), Talker(other, back)
                for end in ends:
                    end.wait()
    assert ends[0].sent.hexdigest() == ends[1].arrived.hexdigest(), f"{ends[1].taken} bytes there"
    assert ends[1].sent.hexdigest() == ends[0].arrived.hexdigest(), f"{ends[0].taken} bytes back"


class Lengths:
    """Of the frames that come to a pod, while this is open; of those over IPv4 with a flag of TCP alone, if one is named."""

    def __init__(self, pod: pods.Pod, flag: int = 0):
        self.flag = flag
        self.socket = pod.namespace.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        self.socket.bind(("eth0", 3))  # ETH_P_ALL
        self.socket.settimeout(0.2)
        self.largest = 0
        self.ended = threading.Event()
        self.thread = in_thread(self.look)

    def look(self) -> None:
        packet = bytearray(64)
        while not self.ended.is_set():
            try:
                length, _, _, address = self.socket.recvmsg_into([packet], 0, socket.MSG_TRUNC)
            except TimeoutError:
                continue
            if address[2] != socket.PACKET_OUTGOING and (self.flag == 0 or packet[20 + 13] & self.flag):
                self.largest = max(self.largest, length)

    def __enter__(self) -> "Lengths":
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join(5)
        self.socket.close()


def put_service(node: pods.PodNode, address: str, target: pods.Pod, target_address: str) -> None:
    name = "web6" if ":" in address else "web"
    for item in objects.service_with_endpoints(name, address, 80, PORT, [(target_address, node.name)]):
        reply = node.router.request("PUT", f"/v1/{item['kind']}/default/{name}", json.dumps(item))
        assert reply.status == 200, reply.text


@pytest.mark.parametrize("workers", [1, 2])
def test_CSUM3_PIPE2_every_byte_between_pods_and_through_a_service(lab: Lab, workers: int) -> None:
    node = pods.one_node(lab, Options(workers=workers, mbufs=16384))
    first, second = node.pod("first"), node.pod("second")
    put_service(node, "10.96.0.10", second, second.address)
    put_service(node, "fd00:10:96::10", second, second.address6)
    ping(first.namespace, second.address)
    ping(second.namespace, first.address6)
    errors = checksum_errors(first.namespace, second.namespace)
    exchange(first, second, second.address, PORT, MEGABYTES, 0)
    exchange(first, second, "10.96.0.10", 80, MEGABYTES if workers == 1 else 20, 20)
    exchange(first, second, second.address6, PORT, 20, 20)
    exchange(first, second, "fd00:10:96::10", 80, 20, 20)
    assert checksum_errors(first.namespace, second.namespace) == errors
    drops = node.router.drops()
    for reason in ("offload_malformed", "conntrack_invalid", "neighbor_queue_full"):
        assert drops[reason] == 0, (reason, drops[reason])
    assert node.router.stop() == 0


@pytest.mark.parametrize("target", ["pod", "service"])
def test_MTU5_a_large_frame_arrives_as_it_was_sent(lab: Lab, target: str) -> None:
    """With a small MSS one frame stands for more packets than would ever be joined again."""
    node = pods.one_node(lab)
    first, second = node.pod("first"), node.pod("second")
    put_service(node, "10.96.0.10", second, second.address)
    for pod in (first, second):
        pod.namespace.ip(f"route change default via {pods.GATEWAY} dev eth0 advmss {MSS}")
    ping(first.namespace, second.address)
    address, port = (second.address, PORT) if target == "pod" else ("10.96.0.10", 80)
    with Lengths(second) as there, Lengths(first) as back:
        exchange(first, second, address, port, 10, 10)
    assert there.largest > LARGEST_PIECE and back.largest > LARGEST_PIECE, (there.largest, back.largest)


def test_ECN5_a_large_frame_says_that_the_window_was_reduced(lab: Lab) -> None:
    """RFC 3168: one packet of a hundred is marked where it arrives, which is answered by ECE, and that by CWR."""
    cwr = 0x80
    node = pods.one_node(lab)
    first, second = node.pod("first"), node.pod("second")
    for pod in (first, second):
        pod.namespace.sysctl(**{"net.ipv4.tcp_ecn": 1})
    second.namespace.run("nft", "add table ip marks; add chain ip marks every { type filter hook prerouting priority -300; "
                                f"}}; add rule ip marks every ip saddr {first.address} ip ecn != not-ect "
                                "numgen random mod 100 == 0 ip ecn set ce")
    ping(first.namespace, second.address)
    with Lengths(second, cwr) as there:
        exchange(first, second, second.address, PORT, MEGABYTES, 0)
    assert there.largest > 2 * pods.POD_MTU, there.largest
    assert node.router.drops()["offload_malformed"] == 0

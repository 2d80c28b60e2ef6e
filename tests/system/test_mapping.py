"""MASQ-13: endpoint-independent mapping of natOutgoing, seen by the sockets of a pod and of its peers outside."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import cluster as lab
from cluster import Cluster
from netns import wait_until

SECOND_SERVER = "192.0.2.11"
SERVERS = [(lab.CLIENT, 3478), (lab.CLIENT, 3479), (SECOND_SERVER, 3478)]  # as STUN has them: RFC 5780 section 4.2


@pytest.fixture
def mapped(cluster: Cluster) -> Iterator[Cluster]:
    document = lab.changed(cluster.gateway_document)
    lab.gateway_configuration(document)["spec"]["snat"] = {"mapping": "EndpointIndependent"}
    cluster.client.ip(f"addr add {SECOND_SERVER}/24 dev eth0")
    cluster.gateway.apply(document)
    yield cluster
    cluster.client.ip(f"addr del {SECOND_SERVER}/24 dev eth0")


def sockets(stack: ExitStack, cluster: Cluster, kind: int) -> list[socket.socket]:
    found = []
    for address in SERVERS:
        sock = stack.enter_context(cluster.client.socket(socket.AF_INET, kind))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.settimeout(4)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen()
        found.append(sock)
    return found


@pytest.mark.changes_config
@pytest.mark.parametrize("pod", ["web-1a", "web-2a"])
def test_MASQ13_RFC4787_1_one_udp_socket_is_seen_at_one_port(mapped: Cluster, pod: str) -> None:
    with ExitStack() as stack:
        servers = sockets(stack, mapped, socket.SOCK_DGRAM)
        asking = stack.enter_context(mapped.pod(pod).socket(socket.AF_INET, socket.SOCK_DGRAM))
        asking.settimeout(4)
        asking.bind(("", 0))
        seen = set()
        for turn in range(3):
            for server, address in zip(servers, SERVERS):
                asking.sendto(b"who am I?", address)
                question, source = server.recvfrom(100)
                assert (question, source[0]) == (b"who am I?", lab.GATEWAY)
                seen.add(source)
                server.sendto(b"%s:%d" % (source[0].encode(), source[1]), source)
                assert asking.recvfrom(100) == (b"%s:%d" % (source[0].encode(), source[1]), address)
        assert len(seen) == 1, seen
        # Who was not asked is not let in: filtering is address and port-dependent.
        stranger = stack.enter_context(mapped.client.socket(socket.AF_INET, socket.SOCK_DGRAM))
        stranger.bind((lab.CLIENT, 3480))
        stranger.sendto(b"hello", seen.pop())
        asking.settimeout(0.5)
        with pytest.raises(TimeoutError):
            asking.recvfrom(100)


@pytest.mark.changes_config
def test_MASQ13_RFC4787_3_sockets_do_not_share_a_port(mapped: Cluster) -> None:
    with ExitStack() as stack:
        servers = sockets(stack, mapped, socket.SOCK_DGRAM)
        seen: dict[tuple[str, int], set[tuple[str, int]]] = {}
        for pod in ("web-1a", "web-1b", "web-2a", "web-2b"):
            for _ in range(4):
                asking = stack.enter_context(mapped.pod(pod).socket(socket.AF_INET, socket.SOCK_DGRAM))
                asking.bind(("", 0))
                for server, address in zip(servers, SERVERS):
                    asking.sendto(b"x", address)
                    source = server.recvfrom(100)[1]
                    seen.setdefault(source, set()).add((pod, asking.getsockname()[1]))
        assert len(seen) == 16
        assert all(len(owners) == 1 for owners in seen.values()), seen


@pytest.mark.changes_config
def test_MASQ13_RFC5382_1_tcp_connections_of_one_port(mapped: Cluster) -> None:
    with ExitStack() as stack:
        servers = sockets(stack, mapped, socket.SOCK_STREAM)
        seen = set()
        local = None
        for server, address in zip(servers, SERVERS):
            asking = stack.enter_context(mapped.pod("web-1a").socket(socket.AF_INET, socket.SOCK_STREAM))
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            asking.settimeout(4)
            asking.bind(("", local or 0))
            asking.connect(address)
            local = asking.getsockname()[1]
            accepted, source = server.accept()
            stack.enter_context(accepted)
            seen.add(source)
            accepted.sendall(b"you are known")
            assert asking.recv(100) == b"you are known"
        assert len(seen) == 1, seen
        assert seen.pop()[0] == lab.GATEWAY


@pytest.mark.changes_config
def test_MASQ13_RFC4787_9_two_pods_meet_at_their_addresses_outside(mapped: Cluster) -> None:
    with ExitStack() as stack:
        server = sockets(stack, mapped, socket.SOCK_DGRAM)[0]
        ends, seen = [], []
        for pod in ("web-1a", "web-2a"):
            end = stack.enter_context(mapped.pod(pod).socket(socket.AF_INET, socket.SOCK_DGRAM))
            end.settimeout(4)
            end.bind(("", 0))
            end.sendto(b"who am I?", SERVERS[0])
            ends.append(end)
            seen.append(server.recvfrom(100)[1])
        assert {address for address, _ in seen} == {lab.GATEWAY}
        inside = [(lab.PODS[pod].address, end.getsockname()[1]) for pod, end in zip(("web-1a", "web-2a"), ends)]

        def explain(source: int, target: int) -> str:
            """What the router says of a packet from one to the other's address outside (EXP-1)."""
            text = mapped.gateway.control("explain", "-p", "udp", "--from", "%s:%d" % inside[source], "--to",
                                          "%s:%d" % seen[target]).stdout
            assert "hairpin " in text, text
            return text

        # As they do who punch holes: what comes first only makes the way for the other.
        text = explain(0, 1)
        assert "%s:%d is the port of %s:%d; snat.filtering" % (*seen[1], *inside[1]) in text, text
        assert text.endswith("=> dropped (mapping_filtered)\n"), text
        ends[0].sendto(b"first", seen[1])
        wait_until(lambda: explain(1, 0).endswith("=> forwarded\n"), 4, "the way that the first packet makes")
        ends[1].sendto(b"second", seen[0])
        assert ends[0].recvfrom(100) == (b"second", seen[1])
        assert "known, " in explain(0, 1)
        ends[0].sendto(b"third", seen[1])
        assert ends[1].recvfrom(100) == (b"third", seen[0])


@pytest.mark.changes_config
def test_MASQ13_RFC4787_8_filtering_lets_in_whom_it_is_told_to(mapped: Cluster) -> None:
    document = lab.changed(mapped.gateway_document)
    lab.gateway_configuration(document)["spec"]["snat"] = {"mapping": "EndpointIndependent",
                                                            "filtering": "AddressDependent"}
    mapped.gateway.apply(document)
    with ExitStack() as stack:
        server, other_port, other_address = sockets(stack, mapped, socket.SOCK_DGRAM)
        asking = stack.enter_context(mapped.pod("web-1a").socket(socket.AF_INET, socket.SOCK_DGRAM))
        asking.settimeout(4)
        asking.bind(("", 0))
        asking.sendto(b"who am I?", SERVERS[0])
        seen = server.recvfrom(100)[1]
        other_port.sendto(b"from another port", seen)
        assert asking.recvfrom(100) == (b"from another port", SERVERS[1])
        asking.sendto(b"I heard you", SERVERS[1])
        assert other_port.recvfrom(100) == (b"I heard you", seen)
        other_address.sendto(b"from another address", seen)
        asking.settimeout(0.5)
        with pytest.raises(TimeoutError):
            asking.recvfrom(100)

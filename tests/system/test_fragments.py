"""Fragments, on tap devices: only they bring them to the router as they were sent. The right link's MTU is 1400."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest
from scapy.layers.inet import fragment as cut

from cluster import POD_SERVER, listens, vtep_mac
from frames import ICMP, IP, UDP, VXLAN, Ether, Raw, Wire
from netns import wait_until
from objects import service_with_endpoints
from probes import iperf, listening, ping, ping_says
from two_hosts import LEFT, RIGHT, ROUTER_RIGHT, TwoHosts

IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0  # no DF
VIP = "203.0.113.1"
ECHO = service_with_endpoints("echo", "10.96.0.4", 7, 9000, [(RIGHT, "other")], VIP, protocol="UDP")
CLUSTER = {"serviceCIDRs": ["10.96.0.0/16"]}
TUNNELS = [{"name": "ipip", "type": "ipip", "remote": RIGHT},
           {"name": "vxlan", "type": "vxlan", "remote": RIGHT, "remoteMAC": "02:00:00:00:00:77"}]


@pytest.mark.parametrize("size", [1372, 1373, 1472, 1473, 3000, 5000, 20000])
def test_MTU2_datagram_of_any_size_arrives(tap_hosts: TwoHosts, size: int) -> None:
    """The left host cuts to 1500, the router what it gets once more to 1400; the replies come in other pieces."""
    assert "1 received" in ping_says(tap_hosts.left, RIGHT, "-M", "dont", "-s", str(size))


def test_MTU2_pieces_of_a_fragment_say_where_they_belong(tap_hosts: TwoHosts) -> None:
    """RFC 791 section 3.2: offsets add up, and only the last piece of the last fragment says it is the last."""
    ping(tap_hosts.left, RIGHT)
    payload = bytes(range(256)) * 11
    whole = bytes(UDP(sport=4000, dport=4001, len=8 + len(payload), chksum=0) / payload)
    with Wire(tap_hosts.left, "eth0") as left, Wire(tap_hosts.right, "eth0") as right:
        for offset in (0, 1480):
            more = offset + 1480 < len(whole)
            left.send(Ether(dst=tap_hosts.mac("left0"), src=tap_hosts.left.mac("eth0"))
                      / IP(src=LEFT, dst=RIGHT, proto=17, id=99, flags="MF" if more else 0, frag=offset // 8)
                      / Raw(whole[offset:offset + 1480]))
        pieces = right.collect(lambda frame: IP in frame and frame[IP].id == 99, 4, seconds=2)
    assert len(pieces) == 3 or len(pieces) == 4
    assert all(frame[IP].len <= 1400 for frame in pieces)
    joined, last = bytearray(len(whole)), []
    for frame in pieces:
        ip = IP(bytes(frame[IP])[:frame[IP].len])
        data = bytes(ip.payload)
        joined[ip.frag * 8:ip.frag * 8 + len(data)] = data
        if not ip.flags.MF:
            last.append(ip.frag * 8 + len(data))
    assert bytes(joined) == whole
    assert last == [len(whole)]


@pytest.fixture
def echo_service(tap_hosts: TwoHosts) -> Iterator[TwoHosts]:
    server = tap_hosts.right.start(sys.executable, "-I", str(POD_SERVER), "right", name="server")
    wait_until(lambda: listens(tap_hosts.right, 8080), 10, "the server")
    tap_hosts.router.apply(tap_hosts.document(items=ECHO, cluster=CLUSTER))
    yield tap_hosts
    server.stop()


@pytest.mark.changes_config
@pytest.mark.parametrize("size", [100, 1400, 1473, 3000, 9000, 30000])
def test_FRAG1_fragmented_datagrams_through_a_service(echo_service: TwoHosts, size: int) -> None:
    """Fragments without ports follow their first one through the translation, there and back."""
    payload = bytes(index * 7 % 256 for index in range(size))
    with echo_service.left.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        sock.settimeout(3)
        sock.connect((VIP, 7))
        for _ in range(5):
            sock.send(payload)
            assert sock.recv(65535) == payload


def fragment(tap_hosts: TwoHosts, **ip) -> Ether:
    return Ether(dst=tap_hosts.mac("left0"), src=tap_hosts.left.mac("eth0")) / IP(src=LEFT, dst=RIGHT, **ip)


@pytest.mark.parametrize(("ip", "reason", "drops"), [
    # One of the five is held for five seconds, the others are its duplicates.
    ({"proto": 17, "id": 77, "frag": 100}, "fragment_duplicate", 4),
    ({"proto": 17, "id": 77, "frag": 200}, "fragment_without_first", 1),
    ({"proto": 17, "id": 78, "frag": 8190}, "fragment_malformed", 5),
    ({"proto": 17, "id": 79, "frag": 10, "flags": "MF"}, "fragment_malformed", 5),
], ids=["duplicates", "later-alone", "past-the-end", "odd-length"])
def test_FRAG3_fragments_that_fit_nowhere_are_dropped(tap_hosts: TwoHosts, ip: dict, reason: str, drops: int) -> None:
    before = tap_hosts.router.drops()[reason]
    with Wire(tap_hosts.left, "eth0") as wire:
        wire.send(fragment(tap_hosts, **ip) / Raw(b"x" * 61), 5)
        wait_until(lambda: tap_hosts.router.drops()[reason] - before >= drops, 8, f"{drops} drops named {reason}")


def test_FRAG2_fragment_before_its_first_follows_it(tap_hosts: TwoHosts) -> None:
    """Only the first fragment tells the ports; what overtakes it is held until it comes."""
    ping(tap_hosts.left, RIGHT)
    whole = bytes(ICMP(type=8, id=5, seq=1) / (b"x" * 792))
    with Wire(tap_hosts.left, "eth0") as left, Wire(tap_hosts.right, "eth0") as right:
        left.send(fragment(tap_hosts, proto=1, id=55, frag=50) / Raw(whole[400:]))
        left.send(fragment(tap_hosts, proto=1, id=55, flags="MF") / Raw(whole[:400]))
        pieces = right.collect(lambda frame: IP in frame and frame[IP].id == 55, 2, seconds=3)
    assert [piece[IP].frag for piece in pieces] == [0, 50]


def test_FRAG7_flood_of_first_fragments_leaves_the_others_alone(tap_hosts: TwoHosts) -> None:
    """Bounded memory, and normal traffic passes meanwhile."""
    with Wire(tap_hosts.left, "eth0") as wire:
        head = fragment(tap_hosts, proto=17, flags="MF") / UDP(sport=1, dport=2, chksum=0) / (b"x" * 56)
        data = bytearray(bytes(head))
        for number in range(20000):
            data[18:20] = (number & 0xffff).to_bytes(2, "big")  # the identification; the checksum follows it
            data[24:26] = b"\0\0"
            data[24:26] = internet_checksum(data[14:34]).to_bytes(2, "big")
            wire.send(bytes(data))
        ping(tap_hosts.left, RIGHT)


def internet_checksum(header: bytes) -> int:
    total = sum(int.from_bytes(header[index:index + 2], "big") for index in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


@pytest.mark.changes_config
@pytest.mark.parametrize("proto", [4, 17], ids=["ipip", "vxlan"])
def test_FRAG6_outer_fragments_are_dropped_by_option(tap_hosts: TwoHosts, proto: int) -> None:
    tap_hosts.router.apply(tap_hosts.document(tunnels=TUNNELS, overlay={"reassembleOuter": False}))
    before = tap_hosts.router.drops()["tunnel_fragment"]
    inner = IP(src="10.9.0.1", dst=LEFT) / UDP() / (b"x" * 20)
    outer = UDP(sport=50000, dport=4789, len=1000, chksum=0) if proto == 17 else inner
    with Wire(tap_hosts.right, "eth0") as wire:
        wire.send(Ether(dst=tap_hosts.mac("right0"), src=tap_hosts.right.mac("eth0"))
                  / IP(src=RIGHT, dst=ROUTER_RIGHT, proto=proto, id=9, flags="MF") / outer / (b"\0" * 64), 5)
        wait_until(lambda: tap_hosts.router.drops()["tunnel_fragment"] >= before + 5, 3, "5 drops named tunnel_fragment")


def test_tap_needs_no_offload_settings_at_the_peers(tap_hosts: TwoHosts) -> None:
    server = tap_hosts.right.start("iperf3", "--server", "--one-off")
    try:
        wait_until(lambda: listening(tap_hosts.right, 5201), 5, "iperf3")
        moved = iperf(tap_hosts.left, RIGHT)
        assert moved.stalled_seconds == 0 and moved.megabits > 10, moved
    finally:
        server.stop()


@pytest.mark.changes_config
@pytest.mark.parametrize("type_", ["ipip", "vxlan"])
def test_FRAG6_outer_fragments_are_put_together(tap_hosts: TwoHosts, type_: str) -> None:
    tap_hosts.router.apply(tap_hosts.document(tunnels=TUNNELS))
    ping(tap_hosts.left, RIGHT)
    inner = IP(src="10.9.0.1", dst=LEFT) / UDP(sport=4000, dport=4001) / (b"x" * 1200)
    outer = IP(src=RIGHT, dst=ROUTER_RIGHT, id=10)
    if type_ == "vxlan":
        outer /= UDP(sport=50000, dport=4789, chksum=0) / VXLAN(flags=8, vni=4096)
        outer /= Ether(dst=vtep_mac("router"), src="02:00:00:00:00:77")
    pieces = cut(outer / inner, fragsize=800)
    assert len(pieces) == 2
    before = tap_hosts.router.counters()["reassembled"]
    with Wire(tap_hosts.left, "eth0") as left, Wire(tap_hosts.right, "eth0") as right:
        for piece in reversed(pieces):
            right.send(Ether(dst=tap_hosts.mac("right0"), src=tap_hosts.right.mac("eth0")) / piece)
        frame = left.expect(lambda frame: UDP in frame and frame[UDP].dport == 4001, "what was inside")
    assert bytes(frame[UDP].payload) == b"x" * 1200
    assert tap_hosts.router.counters()["reassembled"] == before + 1

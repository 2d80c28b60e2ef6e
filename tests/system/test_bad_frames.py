"""Frames that must not pass: each is dropped under a name, and none costs a packet buffer.

The frames enter the gateway at its underlay, as if a machine there had sent them. Fragments have a test file of their
own: a packet socket, as net_af_packet opens it, gets them from the kernel already put together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import cluster as lab
from cluster import Cluster, vtep_mac
from frames import ARP, ICMP, IP, IPOption_LSRR, TCP, UDP, VXLAN, Dot1Q, Ether, Packet, Wire
from netns import wait_until
from probes import curl

POD1, POD2 = lab.PODS["web-1a"].address, lab.PODS["web-2a"].address
STRANGER = "192.168.0.99"
TIMES = 5


class Injector:
    """Makes frames for the gateway's underlay interface and watches its drop counters."""

    def __init__(self, cluster: Cluster, wire: Wire):
        self.cluster = cluster
        self.wire = wire
        self.mac = cluster.gw.mac("gw-un")

    def ether(self, **fields) -> Ether:
        return Ether(**{"dst": self.mac, "src": "02:00:00:00:00:99", **fields})

    def ip(self, **fields) -> Packet:
        """A datagram from the stranger to a pod, straight."""
        return self.ether() / IP(**{"src": STRANGER, "dst": POD1, **fields})

    def vxlan(self, inner: Packet | None = None, vni: int = lab.VNI, flags: int = 8, inner_dst: str = "",
              checksum: int = 0, **outer) -> Packet:
        inner = inner or IP(src=POD1, dst=POD2) / UDP(sport=4000, dport=4001) / (b"x" * 26)
        frame = inner if isinstance(inner, Ether) else Ether(dst=inner_dst or vtep_mac("gw"),
                                                             src=vtep_mac("node1")) / inner
        return (self.ether() / IP(**{"src": lab.NODE1, "dst": lab.GATEWAY_UNDERLAY, **outer})
                / UDP(sport=50000, dport=lab.VXLAN_PORT, chksum=checksum) / VXLAN(flags=flags, vni=vni) / frame)

    def ipip(self, inner: Packet | None = None, **outer) -> Packet:
        inner = inner or IP(src=POD2, dst=POD1) / UDP(sport=4000, dport=4001) / (b"x" * 26)
        return self.ether() / IP(**{"src": lab.NODE2, "dst": lab.GATEWAY_UNDERLAY, "proto": 4, **outer}) / inner

    def drops(self) -> dict[str, int]:
        return self.cluster.gateway.drops()

    def expect_drop(self, frame: Packet | bytes, *reasons: str) -> None:
        """Each of several copies is counted, under one of the names."""
        before = self.drops()
        self.wire.send(frame, TIMES)

        def risen() -> dict[str, int]:
            now = self.drops()
            return {name: now[name] - before[name] for name in now if now[name] != before[name]}
        wait_until(lambda: sum(risen().get(reason, 0) for reason in reasons) >= TIMES, 3,
                   lambda: f"{TIMES} drops named {' or '.join(reasons)}; counted instead: {risen() or 'nothing'}")


@pytest.fixture
def inject(cluster: Cluster) -> Iterator[Injector]:
    with Wire(cluster.net, "to-gw") as wire:
        yield Injector(cluster, wire)
    assert curl(cluster.client, f"http://{lab.LOAD_BALANCER}/"), "the router no longer serves"


Make = Callable[[Injector], Packet]

LINK: dict[str, tuple[Make, tuple[str, ...]]] = {
    "other-mac": (lambda to: to.ether(dst="02:00:00:00:00:01") / IP(src=STRANGER, dst=POD1) / UDP(), ("not_our_mac",)),
    "ether-type": (lambda to: to.ether(type=0x88cc) / (b"\0" * 46), ("unknown_ether_type",)),
    "vlan": (lambda to: to.ether() / Dot1Q(vlan=77) / IP(src=STRANGER, dst=POD1) / UDP(), ("unknown_vlan",)),
    "arp-hardware": (lambda to: to.ether() / ARP(hwtype=6, psrc=STRANGER, pdst=lab.GATEWAY_UNDERLAY),
                     ("arp_malformed",)),
    "arp-our-address": (lambda to: to.ether(dst="ff:ff:ff:ff:ff:ff") / ARP(
        op=1, psrc=lab.GATEWAY_UNDERLAY, hwsrc="02:00:00:00:00:99", pdst=STRANGER), ("arp_conflict",)),
    "arp-not-for-us": (lambda to: to.ether(dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, psrc=STRANGER, pdst="192.168.0.77"),
                       ("arp_not_for_us",)),
}

IPV4: dict[str, tuple[Make, tuple[str, ...]]] = {
    "version-6": (lambda to: to.ip(version=6) / UDP(), ("ip_bad_version",)),
    "version-0": (lambda to: to.ip(version=0) / UDP(), ("ip_bad_version",)),
    "ihl-4": (lambda to: to.ip(ihl=4) / UDP(), ("ip_bad_header_length",)),
    "ihl-15": (lambda to: to.ip(ihl=15) / UDP(), ("ip_bad_header_length", "ip_truncated", "ip_bad_total_length")),
    "length-beyond": (lambda to: to.ip(len=2000) / UDP() / b"x", ("ip_bad_total_length", "ip_truncated")),
    "length-below-header": (lambda to: to.ip(len=19) / UDP() / b"x", ("ip_bad_total_length",)),
    "checksum": (lambda to: to.ip(chksum=0x1234) / UDP(), ("ip_bad_checksum",)),
    "source-route": (lambda to: to.ip(options=[IPOption_LSRR(routers=["0.0.0.0"])]) / UDP(), ("ip_options",)),
    "from-loopback": (lambda to: to.ip(src="127.0.0.1") / UDP(), ("ip_martian_source",)),
    "from-this-network": (lambda to: to.ip(src="0.1.2.3") / UDP(), ("ip_martian_source",)),
    "from-multicast": (lambda to: to.ip(src="224.0.0.5") / UDP(), ("ip_martian_source",)),
    "from-broadcast": (lambda to: to.ip(src="255.255.255.255") / UDP(), ("ip_martian_source",)),
    "to-loopback": (lambda to: to.ip(dst="127.0.0.1") / UDP(), ("ip_martian_destination",)),
    "to-multicast": (lambda to: to.ip(dst="224.0.0.5") / UDP(), ("ip_multicast", "ip_martian_destination")),
    "to-broadcast": (lambda to: to.ip(dst="255.255.255.255") / UDP(), ("ip_broadcast", "ip_martian_destination")),
    "udp-length": (lambda to: to.ip(dst=lab.LOAD_BALANCER, len=24, proto=17) / b"\x12\x34\x00\x07",
                   ("l4_truncated",)),
    "tcp-header": (lambda to: to.ip(dst=lab.LOAD_BALANCER, proto=6) / (b"\x12\x34\x00\x50" + b"\0" * 8),
                   ("l4_truncated",)),
    "tcp-data-offset": (lambda to: to.ip(dst=lab.LOAD_BALANCER) / TCP(sport=4660, dport=80, dataofs=15, flags="S"),
                        ("l4_truncated", "conntrack_invalid")),
    "tcp-no-flags": (lambda to: to.ip(dst=lab.LOAD_BALANCER) / TCP(sport=4661, dport=80, flags=0),
                     ("conntrack_invalid",)),
    "tcp-syn-fin": (lambda to: to.ip(dst=lab.LOAD_BALANCER) / TCP(sport=4662, dport=80, flags="SF"),
                    ("conntrack_invalid",)),
    "tcp-syn-ack-first": (lambda to: to.ip(dst=lab.LOAD_BALANCER) / TCP(sport=4663, dport=80, flags="SA"),
                          ("conntrack_invalid",)),
    "icmp-error-about-nothing": (lambda to: to.ip(dst=lab.GATEWAY_UNDERLAY) / ICMP(type=3, code=3)
                                 / IP(src=lab.GATEWAY_UNDERLAY, dst=STRANGER) / UDP(sport=1, dport=2),
                                 ("icmp_no_flow",)),
}

TUNNELS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "vxlan-vni": (lambda to: to.vxlan(vni=4097), ("vxlan_unknown_vni",)),
    "vxlan-no-i-flag": (lambda to: to.vxlan(flags=0), ("vxlan_bad_flags",)),
    "vxlan-stranger": (lambda to: to.vxlan(src=STRANGER), ("tunnel_unknown_source",)),
    "vxlan-inner-mac": (lambda to: to.vxlan(inner_dst="02:00:00:00:00:01"), ("vxlan_not_our_mac",)),
    "vxlan-inner-vlan": (lambda to: to.vxlan(Ether(dst=vtep_mac("gw"), src=vtep_mac("node1")) / Dot1Q(vlan=5)
                                             / IP(src=POD1, dst=POD2) / UDP()), ("vxlan_vlan",)),
    "vxlan-inner-arp": (lambda to: to.vxlan(Ether(dst=vtep_mac("gw"), src=vtep_mac("node1"))
                                            / ARP(psrc=POD1, pdst=POD2)), ("vxlan_not_ip",)),
    "vxlan-udp-checksum": (lambda to: to.vxlan(checksum=0x1234), ("vxlan_bad_checksum",)),
    "vxlan-in-vxlan": (lambda to: to.vxlan(to.vxlan()[IP]), ("tunnel_nested",)),
    "ipip-in-vxlan": (lambda to: to.vxlan(to.ipip()[IP]), ("tunnel_nested",)),
    "vxlan-inner-checksum": (lambda to: to.vxlan(IP(src=POD1, dst=POD2, chksum=0x1234) / UDP()), ("ip_bad_checksum",)),
    "vxlan-inner-version": (lambda to: to.vxlan(IP(version=7, src=POD1, dst=POD2) / UDP()),
                            ("ip_bad_version", "tunnel_malformed")),
    "vxlan-ecn": (lambda to: to.vxlan(tos=3), ("tunnel_ecn",)),
    "ipip-stranger": (lambda to: to.ipip(src=STRANGER), ("tunnel_unknown_source",)),
    "ipip-inner-version": (lambda to: to.ipip(IP(version=9, src=POD2, dst=POD1) / UDP()),
                           ("ip_bad_version", "tunnel_malformed")),
    "ipip-inner-short": (lambda to: to.ipip(b"\x45\x00\x00\x28"), ("ip_truncated", "tunnel_malformed")),
    "ipip-empty": (lambda to: to.ether() / IP(src=lab.NODE2, dst=lab.GATEWAY_UNDERLAY, proto=4),
                   ("ip_truncated", "tunnel_malformed")),
    "ipip-in-ipip": (lambda to: to.ipip(to.ipip()[IP]), ("tunnel_nested", "tunnel_loop")),
    "ipip-ecn": (lambda to: to.ipip(tos=3), ("tunnel_ecn",)),
    "ipip-inner-loopback": (lambda to: to.ipip(IP(src="127.0.0.1", dst=POD1) / UDP()), ("ip_martian_source",)),
}


def cases(table: dict[str, tuple[Make, tuple[str, ...]]]):
    return pytest.mark.parametrize(("make", "reasons"), table.values(), ids=table.keys())


@cases(LINK)
def test_link_layer(inject: Injector, make: Make, reasons: tuple[str, ...]) -> None:
    inject.expect_drop(make(inject), *reasons)


@cases(IPV4)
def test_PIPE_ip_input(inject: Injector, make: Make, reasons: tuple[str, ...]) -> None:
    inject.expect_drop(make(inject), *reasons)


@cases(TUNNELS)
def test_VXL1_IPIP3_tunnels(inject: Injector, make: Make, reasons: tuple[str, ...]) -> None:
    inject.expect_drop(make(inject), *reasons)


WHOLE: dict[str, Make] = {
    "udp": lambda to: to.ip() / UDP(sport=4000, dport=4001) / (b"x" * 26),
    "tcp-to-service": lambda to: to.ip(dst=lab.LOAD_BALANCER) / TCP(sport=5000, dport=80, flags="S",
                                                                    options=[("MSS", 1460)]),
    "echo": lambda to: to.ip(dst=lab.GATEWAY_UNDERLAY) / ICMP() / (b"x" * 26),
    "vxlan": lambda to: to.vxlan(),
    "ipip": lambda to: to.ipip(),
    "arp": lambda to: to.ether() / ARP(psrc=STRANGER, pdst=lab.GATEWAY_UNDERLAY),
    "icmp-error": lambda to: to.ip(dst=lab.GATEWAY_UNDERLAY) / ICMP(type=3, code=4)
    / IP(src=lab.GATEWAY_UNDERLAY, dst=STRANGER) / UDP(sport=1, dport=2),
}


@pytest.mark.parametrize("make", WHOLE.values(), ids=WHOLE.keys())
def test_frame_cut_at_every_byte_is_dropped(inject: Injector, make: Make) -> None:
    """From the bare Ethernet header on: a packet socket takes nothing shorter."""
    whole = bytes(make(inject))
    before = sum(inject.drops().values())
    for length in range(14, len(whole)):
        inject.wire.send(whole[:length])
    cut = len(whole) - 14
    wait_until(lambda: sum(inject.drops().values()) >= before + cut, 3,
               lambda: f"{cut} drops, counted {sum(inject.drops().values()) - before}")

"""Tunnels over an IPv6 underlay: VXLAN with a Linux peer, which keeps to RFC 6935."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6

from cluster import vtep_mac
from frames import UDP, Ether, VXLAN, Wire
from netns import Namespace, wait_until
from probes import ping, ping_says
from router import Json
from two_hosts import LEFT, LEFT6, RIGHT6, ROUTER_RIGHT6, TwoHosts

POD4, POD6 = "10.244.34.5", "fd00:244::5"
VNI, PORT, MTU = 4096, 4789, 1330  # the right link's 1400 less 70
REMOTE_MAC = "02:00:00:00:77:02"


def over_ipv6(hosts: TwoHosts, **overlay: Json) -> Json:
    """The right host is the far end of a VXLAN tunnel, and has an address of each family inside."""
    tunnels = [{"name": "six", "type": "vxlan", "remote": RIGHT6, "remoteMAC": REMOTE_MAC}]
    routes = [{"destination": f"{POD4}/32", "tunnel": "six"}, {"destination": f"{POD6}/128", "tunnel": "six"}]
    return hosts.document(tunnels=tunnels, routes=routes, overlay=overlay)


def make_device(right: Namespace, *options: str) -> None:
    """The kernel's VXLAN device, used as Calico does: static neighbours, nothing learned."""
    mac = vtep_mac("router-v6")
    right.ip(f"link add vx6 mtu {MTU} address {REMOTE_MAC} type vxlan id {VNI} dstport {PORT} local {RIGHT6} "
             f"dev eth0 nolearning {' '.join(options)}",
             f"addr add {POD4}/32 dev vx6", "link set dev vx6 up", f"addr add {POD6}/128 dev vx6 nodad",
             f"route add {LEFT}/32 via 169.254.1.1 dev vx6 onlink src {POD4}",
             f"route add {LEFT6}/128 via fe80::1 dev vx6 onlink src {POD6}",
             f"neigh add 169.254.1.1 lladdr {mac} dev vx6", f"neigh add fe80::1 lladdr {mac} dev vx6")
    right.bridge("fdb", "append", mac, "dev", "vx6", "dst", ROUTER_RIGHT6)


@pytest.fixture
def vxlan(two_hosts: TwoHosts) -> Iterator[TwoHosts]:
    two_hosts.right.sysctl(**{"net.ipv6.conf.default.disable_ipv6": 0})
    yield two_hosts
    two_hosts.right.run("ip", "link", "delete", "vx6", check=False)
    two_hosts.right.sysctl(**{"net.ipv6.conf.default.disable_ipv6": 1})


@pytest.mark.changes_config
@pytest.mark.parametrize("checksum", [True, False], ids=["udpcsum", "zerocsum"])
def test_VXL9_linux_peer_over_ipv6(vxlan: TwoHosts, checksum: bool) -> None:
    """CSUM-4, VXL-4, MTU-1: both families inside, both ways, with the kernel's own checksum and with none."""
    make_device(vxlan.right, *([] if checksum else ["udp6zerocsumtx", "udp6zerocsumrx"]))
    vxlan.router.apply(over_ipv6(vxlan, vxlanZeroChecksumV6=not checksum))
    ping(vxlan.left, POD6)
    with Wire(vxlan.right, "eth0") as wire:
        for target in (POD6, POD4):
            ping(vxlan.left, target)
        frame = wire.expect(lambda frame: IPv6 in frame and UDP in frame and frame[UDP].dport == PORT, "VXLAN frame")
    outer, inner = frame[IPv6], frame[VXLAN].payload
    assert (outer.src, outer.dst, outer.hlim) == (ROUTER_RIGHT6, RIGHT6, 64)
    assert (frame[UDP].chksum != 0) == checksum
    assert isinstance(inner, Ether) and (inner.src, inner.dst) == (vtep_mac("router-v6"), REMOTE_MAC)


@pytest.mark.changes_config
def test_VXL9_without_agreement_nothing_passes(vxlan: TwoHosts) -> None:
    """RFC 8200 section 8.1: a datagram over IPv6 without checksum is no datagram, here and there."""
    make_device(vxlan.right, "udp6zerocsumtx")
    vxlan.router.apply(over_ipv6(vxlan))
    before = vxlan.router.drops()["vxlan_bad_checksum"]
    assert "0 received" in ping_says(vxlan.left, POD6, "-W", "1")
    assert vxlan.router.drops()["vxlan_bad_checksum"] > before


@pytest.mark.changes_config
def test_MTU2_sizes_over_ipv6(vxlan: TwoHosts) -> None:
    make_device(vxlan.right)
    vxlan.router.apply(over_ipv6(vxlan))
    vxlan.left.forget_path_mtus()
    ping(vxlan.left, POD6)
    assert "1 received" in ping_says(vxlan.left, POD6, "-M", "do", "-s", str(MTU - 48))
    said = ping_says(vxlan.left, POD6, "-M", "do", "-s", str(MTU + 1 - 48))
    assert f"mtu={MTU}" in said.replace(" ", ""), said
    assert "1 received" in ping_says(vxlan.left, POD4, "-M", "dont", "-s", "1472")
    vxlan.left.forget_path_mtus()


@pytest.mark.changes_config
def test_MTU3_what_the_underlay_says_is_told_inside_and_shown(vxlan: TwoHosts) -> None:
    make_device(vxlan.right)
    vxlan.router.apply(over_ipv6(vxlan))

    def shown() -> tuple[str, int, str]:
        route = next(route for route in vxlan.router.routes() if route["destination"] == f"{POD6}/128")
        hop = route["hops"][0]
        return hop["tunnel"], hop["mtu"], hop["mtuFrom"]

    assert shown() == (f"vxlan {RIGHT6}", MTU, "configuration")
    vxlan.left.forget_path_mtus()
    with Wire(vxlan.right, "eth0") as wire:
        ping(vxlan.left, POD6)
        sent = wire.expect(lambda frame: IPv6 in frame and UDP in frame and frame[UDP].dport == PORT, "VXLAN frame")
        wire.send(Ether(src=sent.dst, dst=sent.src) / IPv6(src=RIGHT6, dst=ROUTER_RIGHT6)
                  / ICMPv6PacketTooBig(mtu=1360) / bytes(sent[IPv6])[:1200])
    wait_until(lambda: shown() == (f"vxlan {RIGHT6}", 1290, "path"), 5, "the tunnel's MTU to be lowered")
    assert "mtu=1290" in ping_says(vxlan.left, POD6, "-M", "do", "-s", str(1291 - 48)).replace(" ", "")
    vxlan.left.forget_path_mtus()

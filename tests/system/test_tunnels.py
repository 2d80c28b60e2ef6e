"""VXLAN with a Linux peer, IPIP with a second router; frames as the underlay sees them."""

from __future__ import annotations

import pytest

import cluster as lab
from cluster import Cluster, vtep_mac
from frames import ICMP, IP, TCP, UDP, VXLAN, Ether, Wire
from probes import curl, ping, ping_says, tracepath


def inner_of_vxlan(frame: Ether) -> Ether:
    return frame[VXLAN].payload


def is_vxlan(frame: Ether) -> bool:
    return VXLAN in frame and frame[UDP].dport == lab.VXLAN_PORT


def is_ipip(frame: Ether) -> bool:
    return IP in frame and frame[IP].proto == 4


def test_VXL3_frames_to_a_linux_node(cluster: Cluster) -> None:
    """CSUM-4, VXL-1, VXL-3, VXL-4, VXL-7, TTL-1, TTL-3: every field of what the router puts around a packet."""
    target = lab.PODS["web-1a"].address
    ping(cluster.pod("web-2a"), target)
    with Wire(cluster.net, "to-gw") as wire:
        ping(cluster.pod("web-2a"), target, "-s", "56")
        frame = wire.expect(lambda frame: is_vxlan(frame) and ICMP in frame, "VXLAN frame with an echo request")
    outer, inner = frame[IP], inner_of_vxlan(frame)
    assert (outer.src, outer.dst) == (lab.GATEWAY_UNDERLAY, lab.NODE1)
    assert (outer.ttl, outer.len, outer.tos) == (64, 134, 0)
    assert frame[UDP].chksum == 0 and 49152 <= frame[UDP].sport <= 65535
    assert bytes(frame[VXLAN])[:8] == bytes.fromhex("0800000000100000")
    assert (inner.src, inner.dst, inner.type) == (vtep_mac("gw"), vtep_mac("node1"), 0x0800)
    assert (inner[IP].src, inner[IP].dst) == (lab.PODS["web-2a"].address, target)
    assert inner[IP].ttl == 62  # the pod's 64, less node2's and the gateway's hop


def test_IPIP1_frames_to_the_second_router(cluster: Cluster) -> None:
    """BASE-4, MTU-2, TTL-3: 84 bytes inside, 104 outside, outer DF and TTL those of the packet."""
    target = lab.PODS["web-2a"].address
    ping(cluster.pod("web-1a"), target)
    with Wire(cluster.net, "to-gw") as wire:
        ping(cluster.pod("web-1a"), target, "-s", "56")
        frame = wire.expect(lambda frame: is_ipip(frame) and ICMP in frame, "IPIP frame with an echo request")
    outer, inner = frame[IP], frame[IP].payload
    assert (outer.src, outer.dst, outer.proto, outer.len) == (lab.GATEWAY_UNDERLAY, lab.NODE2, 4, 104)
    assert (inner.src, inner.dst, inner.len) == (lab.PODS["web-1a"].address, target, 84)
    assert inner.ttl == 62 and outer.ttl == inner.ttl
    assert "DF" in str(inner.flags) and "DF" in str(outer.flags)


@pytest.mark.parametrize("tos", [0x00, 0xb8, 0x02, 0xb9])
def test_ECN1_dscp_and_ecn_are_copied_to_the_outer_header(cluster: Cluster, tos: int) -> None:
    with Wire(cluster.net, "to-gw") as wire:
        ping(cluster.pod("web-2a"), lab.PODS["web-1a"].address, "-Q", str(tos))
        vxlan = wire.expect(lambda frame: is_vxlan(frame) and ICMP in frame, "VXLAN frame")
    assert vxlan[IP].tos == tos and inner_of_vxlan(vxlan)[IP].tos == tos


def test_VXL2_source_port_is_a_hash_of_the_flow(cluster: Cluster) -> None:
    """Many flows spread over many ports; one flow keeps its own."""
    with Wire(cluster.net, "to-gw") as wire:
        answers = curl(cluster.pod("web-2a"), f"http://{lab.PODS['web-1a'].address}:8080/[1-40]")
        frames = wire.collect(lambda frame: is_vxlan(frame) and TCP in frame, 1000, seconds=1)
    ports: dict[int, set[int]] = {}
    for frame in frames:
        ports.setdefault(inner_of_vxlan(frame)[TCP].sport, set()).add(frame[UDP].sport)
    assert len(ports) == len(answers) == 40
    assert all(len(outer) == 1 for outer in ports.values()), "a flow changed its outer source port"
    assert len(set.union(*ports.values())) >= 30


@pytest.mark.parametrize("checksum", ["noudpcsum", "udpcsum"])
def test_CSUM4_linux_peer_with_and_without_outer_checksum(cluster: Cluster, checksum: str) -> None:
    """A zero outer checksum is accepted, and so is one that is there and right."""
    cluster.node1.ip("link delete vxlan.calico")
    cluster.make_vxlan_device(checksum)
    with Wire(cluster.net, "to-node1") as wire:
        ping(cluster.pod("web-1a"), lab.PODS["web-2a"].address)
        frame = wire.expect(is_vxlan, "VXLAN frame of the Linux node")
    assert (frame[UDP].chksum == 0) == (checksum == "noudpcsum")


@pytest.mark.parametrize(("here", "there"), [("web-1a", "web-2a"), ("web-2a", "web-1a"), ("web-1b", "web-2b"),
                                             ("web-2a", "web-2b")])
def test_MASQ11_pods_see_each_other_untranslated(cluster: Cluster, here: str, there: str) -> None:
    target = lab.PODS[there].address
    ping(cluster.pod(here), target)
    answers = curl(cluster.pod(here), f"http://{target}:8080/[1-10]")
    assert len(answers) == 10
    for answer in answers:
        # The port may differ where an older flow through a service still has the tuple (MASQ-7).
        assert answer.pod == there and answer.client.rpartition(":")[0] == answer.local.rpartition(":")[0]


@pytest.mark.parametrize(("source", "pod", "mtu"), [
    ("client", "web-1a", lab.VXLAN_MTU), ("client", "web-2a", lab.IPIP_MTU), ("web-2b", "web-1b", lab.VXLAN_MTU)])
def test_MTU2_path_mtu_through_a_tunnel(cluster: Cluster, source: str, pod: str, mtu: int) -> None:
    namespace = cluster.client if source == "client" else cluster.pod(source)
    target = lab.PODS[pod].address
    namespace.forget_path_mtus()
    said = ping_says(namespace, target, "-M", "do", "-s", str(mtu + 1 - 28))
    assert f"mtu = {mtu}" in said or f"mtu={mtu}" in said, said
    assert "1 received" in ping_says(namespace, target, "-M", "do", "-s", str(mtu - 28))
    namespace.forget_path_mtus()
    assert tracepath(namespace, target).mtu == mtu


@pytest.mark.parametrize("pod", ["web-1a", "web-2a"])
def test_MTU2_packet_without_df_is_fragmented_inside_the_tunnel(cluster: Cluster, pod: str) -> None:
    """The inner packet is cut, so that no outer packet is a fragment (RFC 7348 section 4.3)."""
    target = lab.PODS[pod].address
    cluster.client.forget_path_mtus()
    with Wire(cluster.net, "to-gw") as wire:
        assert "1 received" in ping_says(cluster.client, target, "-M", "dont", "-s", "1472")
        outer = wire.collect(lambda frame: is_vxlan(frame) or is_ipip(frame), 10, seconds=0.5)
    assert len(outer) >= 2
    assert not any(frame[IP].flags.MF or frame[IP].frag for frame in outer)
    assert all(len(frame[IP]) <= 1500 for frame in outer)


def test_TTL1_traceroute_shows_every_router_once(cluster: Cluster) -> None:
    assert len(tracepath(cluster.client, lab.PODS["web-1a"].address).hops) == 3
    assert len(tracepath(cluster.client, lab.PODS["web-2a"].address).hops) == 3
    hops = tracepath(cluster.pod("web-2a"), lab.PODS["web-1a"].address).hops
    assert len(hops) == 4 and hops[-1] == lab.PODS["web-1a"].address


def test_ENC1_ENC6_routes_of_blocks_are_listed(cluster: Cluster) -> None:
    routes = {route["destination"]: route for route in cluster.gateway.routes()}
    hops = {destination: routes[destination]["hops"][0].get("tunnel", "")
            for destination in ("10.244.34.0/26", "10.245.40.0/26")}
    assert hops == {"10.244.34.0/26": f"vxlan {lab.NODE1}", "10.245.40.0/26": f"ipip {lab.NODE2}"}

"""What the wire hears of addresses that a gateway answers for: switches that snoop MLD, nodes with more weight, addresses
of Ingresses."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from scapy.layers.inet6 import ICMPv6MLReport2, ICMPv6ND_NA, IPv6
from scapy.layers.l2 import ARP

from frames import Wire
from netns import wait_until
from probes import curl
from router import Json
from test_l2 import FIRST, FIRST6, GATEWAYS, Segment, metallb, node, running_segment, url

GROUP6 = "ff02::1:ff00:12"  # RFC 4291 section 2.7.1, of FIRST6
LISTENS, LISTENS6 = "10.1.0.80", "fd00:1::80"  # of spec.ingress, in the subnet of the uplink


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    yield from running_segment("l2w")


@pytest.fixture(autouse=True)
def settled(segment: Segment) -> Iterator[None]:
    yield
    segment.apply()
    segment.client.ip("neigh flush dev eth0")


def preferred(label: str) -> Json:
    return metallb("L2Advertisement", "everything",
                   {"preferredNodeSelectors": [{"weight": 100, "preference": {"matchLabels": {"zone": label}}}]})


def in_zone(name: str, zone: str, ready: bool = True) -> Json:
    made = node(name, ready)
    made["metadata"]["labels"] = {"zone": zone}
    return made


def replaced(document: Json, *items: Json) -> Json:
    """Objects of the same kind and name give way."""
    new = {(one["kind"], one["metadata"]["name"]) for one in items}
    kept = [one for one in document["items"] if (one["kind"], one["metadata"]["name"]) not in new]
    return {**document, "items": [*kept, *items]}


def test_L22_the_node_with_more_weight_answers(segment: Segment) -> None:
    """By the hash alone it is gw-1; with the preference gw-2, and gw-1 again when that is not ready."""
    assert curl(segment.client, url(FIRST))[0].pod == "server"
    assert segment.neighbour(FIRST) == segment.mac("gw-1")
    for ready, owner in ((True, "gw-2"), (False, "gw-1")):
        nodes = [in_zone("gw-1", "b"), in_zone("gw-2", "a", ready)]
        for name in sorted(GATEWAYS, key=lambda one: one == owner):
            segment.gateways[name].apply(replaced(segment.document(name), preferred("a"), *nodes))
        wait_until(lambda: segment.neighbour(FIRST) == segment.mac(owner), 5,
                   lambda: f"{owner}: {segment.neighbour(FIRST)} {segment.l2(owner, FIRST)}")
        assert curl(segment.client, url(FIRST))[0].pod == "server"
        assert segment.l2(owner, FIRST)["owner"] == owner


def test_L24_the_report_is_what_a_host_sends_that_joins(segment: Segment) -> None:
    with Wire(segment.other, "eth0") as wire:
        segment.apply(ready=("gw-2",))
        found = wire.collect(lambda frame: ICMPv6MLReport2 in frame and
                             any(one.dst == GROUP6 for one in frame[ICMPv6MLReport2].records), 1, 5)
    report = found[0]
    assert report.src == segment.mac("gw-2") and report.dst == "33:33:00:00:00:16"
    assert report[IPv6].dst == "ff02::16" and report[IPv6].hlim == 1 and report[IPv6].src.startswith("fe80:")
    assert [one.rtype for one in report[ICMPv6MLReport2].records] == [4], "change to exclude: joined"
    whole = bytes(report[IPv6])
    assert whole[40:48] == bytes((58, 0, 5, 2, 0, 0, 1, 0)), "router alert (RFC 2711)"
    rebuilt = IPv6(whole)
    del rebuilt[ICMPv6MLReport2].cksum
    assert bytes(rebuilt) == whole, "the checksum"


def test_L24_a_switch_that_snoops_mld_lets_solicitations_through(segment: Segment) -> None:
    segment.lan.sysctl(**{"net/ipv6/conf/br0/disable_ipv6": 0})
    segment.lan.ip("link set dev br0 type bridge mcast_query_response_interval 10 mcast_startup_query_interval 20",
                   "addr add fe80::99/64 dev br0 nodad")
    segment.lan.ip("link set dev br0 type bridge mcast_snooping 1 mcast_querier 1")
    try:
        # gw-2 takes over while the switch looks.
        segment.apply(ready=("gw-2",))

        def group() -> str:
            return segment.lan.run("bridge", "mdb", "show", "dev", "br0").stdout

        wait_until(lambda: any(GROUP6 in line and "to-gw-2" in line for line in group().splitlines()), 10, group)
        segment.client.ip("neigh flush dev eth0")
        assert curl(segment.client, url(FIRST6))[0].pod == "server"
        assert segment.neighbour(FIRST6) == segment.mac("gw-2")
        # A switch that has seen gw-1 as a member asks twice, in two seconds, whether another one is behind that port.
        wait_until(lambda: not any(GROUP6 in line and "to-gw-1" in line for line in group().splitlines()), 10, group)
    finally:
        segment.lan.ip("link set dev br0 type bridge mcast_snooping 0 mcast_querier 0")


@pytest.mark.parametrize("version", [2, 1])
def test_L24_the_queries_of_a_switch_are_answered(segment: Segment, version: int) -> None:
    """Linux forgets a group within two seconds here unless somebody answers its queries, which come every second."""
    segment.lan.sysctl(**{"net/ipv6/conf/br0/disable_ipv6": 0})
    segment.lan.ip("addr replace fe80::99/64 dev br0 nodad",
                   f"link set dev br0 type bridge mcast_mld_version {version} mcast_query_interval 100 "
                   "mcast_query_response_interval 20 mcast_membership_interval 200 mcast_startup_query_interval 50",
                   "link set dev br0 type bridge mcast_snooping 1 mcast_querier 1")
    try:
        def groups() -> str:
            return segment.lan.run("bridge", "mdb", "show", "dev", "br0").stdout

        def is_known() -> bool:
            return any(GROUP6 in line and "to-gw-1" in line for line in groups().splitlines())

        segment.apply(ready=("gw-1",))
        wait_until(is_known, 10, groups)
        end = time.monotonic() + 6
        while time.monotonic() < end:
            assert is_known(), groups()
            time.sleep(0.1)
    finally:
        segment.lan.ip("link set dev br0 type bridge mcast_snooping 0 mcast_querier 0 mcast_mld_version 1 "
                       "mcast_query_interval 12500 mcast_query_response_interval 1000 mcast_membership_interval 26000")


def test_L24_addresses_of_ingresses_are_told_when_they_begin(segment: Segment) -> None:
    def is_told(frame: object) -> bool:
        return ((ARP in frame and frame[ARP].psrc == frame[ARP].pdst == LISTENS) or
                (ICMPv6ND_NA in frame and frame[ICMPv6ND_NA].tgt == LISTENS6))

    document = segment.document("gw-1", ingress={"enabled": True, "addresses": [LISTENS, LISTENS6]})
    with Wire(segment.other, "eth0") as wire:
        segment.gateways["gw-1"].apply(document)
        told = wire.collect(is_told, 3, 5)
        assert {ARP in frame for frame in told} == {True, False}, "both families"
        assert {frame.src for frame in told} == {segment.mac("gw-1")}

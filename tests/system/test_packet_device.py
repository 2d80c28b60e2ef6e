"""Devices "packet,iface=NAME": an interface of the kernel as it is, with its offloads, is a port of the router."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from scapy.all import IP, UDP, Ether, Raw

import objects
from frames import Wire
from netns import Lab, wait_until
from probes import checksum_errors, iperf, listening, ping, ping_says
from router import Options
from test_pods_large_frames import LARGEST_PIECE, Lengths, exchange
from two_hosts import LEFT, RIGHT, RIGHT6, TwoHosts, document, two_interfaces

VIP = "203.0.113.80"


@pytest.fixture(params=[1, 2], ids=["one-worker", "two-workers"])
def hosts(lab: Lab, request: pytest.FixtureRequest) -> Iterator[TwoHosts]:
    made = TwoHosts(lab, Options(workers=request.param, mbufs=16384), driver="packet")
    service = objects.service_with_endpoints("web", "10.96.0.80", 80, 7777, [(RIGHT, "right")], VIP)
    made.router.start(made.document(items=service, cluster={"serviceCIDRs": ["10.96.0.0/16"]}))
    yield made
    assert made.router.stop() == 0


def test_default_offloads_in_both_families_and_through_a_service(hosts: TwoHosts) -> None:
    ping(hosts.left, RIGHT)
    ping(hosts.left, RIGHT6)
    left, right = SimpleNamespace(namespace=hosts.left), SimpleNamespace(namespace=hosts.right)
    before = checksum_errors(hosts.left, hosts.right)
    exchange(left, right, RIGHT, 7777, 20, 20)
    exchange(left, right, RIGHT6, 7777, 20, 20)
    with Lengths(SimpleNamespace(namespace=hosts.right)) as seen:
        exchange(left, right, VIP, 80, 30, 5)
    if len(hosts.router.status()["workers"]) == 1:  # the worker that a flow belongs to may be the other
        assert seen.largest > LARGEST_PIECE, "nothing passed in one piece"
    assert checksum_errors(hosts.left, hosts.right) == before
    assert hosts.router.drops().get("ip_bad_checksum", 0) == 0


def test_FRAG1_fragments_come_as_they_were_sent(hosts: TwoHosts) -> None:
    ping(hosts.left, RIGHT)
    assert "1 received" in ping_says(hosts.left, RIGHT, "-M", "dont", "-s", "20000")
    payload = bytes(range(256)) * 8
    whole = bytes(UDP(sport=4000, dport=4001, len=8 + len(payload), chksum=0) / payload)
    with Wire(hosts.left, "eth0") as left, Wire(hosts.right, "eth0") as right:
        for offset in (0, 1480):
            left.send(Ether(dst=hosts.mac("left0"), src=hosts.left.mac("eth0"))
                      / IP(src=LEFT, dst=RIGHT, proto=17, id=99, flags="MF" if offset == 0 else 0, frag=offset // 8)
                      / Raw(whole[offset:offset + 1480]))
        pieces = right.collect(lambda frame: IP in frame and frame[IP].id == 99, 2)
    assert [(frame[IP].frag, int(frame[IP].flags.MF)) for frame in pieces] == [(0, 1), (185, 0)]


def test_the_kernel_does_not_answer_beside_it_and_has_its_interface_back(hosts: TwoHosts) -> None:
    def link() -> str:
        return hosts.middle.run("ip", "-o", "link", "show", "r-left").stdout

    ping(hosts.left, RIGHT)
    assert "NOARP" in link()
    # The right one goes on without the left one.
    reply = hosts.router.put(document(two_interfaces(driver="packet")[1:]))
    assert reply.status == 200, reply.text
    wait_until(lambda: "NOARP" not in link(), 5, "the kernel to have its interface back")
    assert hosts.router.put(hosts.document()).status == 200
    ping(hosts.left, RIGHT)


def test_an_interface_that_goes_is_waited_for(hosts: TwoHosts) -> None:
    ping(hosts.left, RIGHT)
    mac = hosts.left.mac("eth0")
    hosts.middle.ip("link del r-left")
    wait_until(lambda: not hosts.router.status()["interfaces"][0]["linkUp"], 10, "the link to be down")
    hosts.lab.link(hosts.middle, "r-left", hosts.left, "eth0", right_mac=mac)
    hosts.left.ip(f"addr add {LEFT}/24 dev eth0", "route add default via 10.1.0.1")
    wait_until(lambda: hosts.router.status()["interfaces"][0]["linkUp"], 10, "the link to be up again")
    wait_until(lambda: hosts.left.run("ping", "-c", "1", "-W", "1", RIGHT, check=False).returncode == 0, 20, "ping")


def test_an_interface_that_is_not_there_is_refused(hosts: TwoHosts) -> None:
    interfaces = two_interfaces(driver="packet")
    interfaces[0]["device"] = "packet,iface=nothing0"
    reply = hosts.router.put(document(interfaces))
    assert reply.status != 200 and "there is no network interface" in reply.text
    ping(hosts.left, RIGHT)


def test_iperf3_at_full_size(hosts: TwoHosts) -> None:
    hosts.right.start("iperf3", "-s", "-1", name="iperf3")
    wait_until(lambda: listening(hosts.right, 5201), 5, "iperf3")
    moved = iperf(hosts.left, RIGHT)
    assert moved.stalled_seconds == 0 and moved.megabits > 100, moved

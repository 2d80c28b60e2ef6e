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
from router import SLUICED, Options
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


class Killed(TwoHosts):
    """A router whose left interface had IPv6 before, its right one none, and that is killed now and then."""

    def __init__(self, lab: Lab):
        super().__init__(lab, Options(mbufs=16384), ipv6=False, driver="packet")
        self.middle.sysctl(**{"net/ipv6/conf/r-left/disable_ipv6": 0, "net/ipv6/conf/r-right/disable_ipv6": 1})

    def kill(self) -> None:
        ping(self.left, RIGHT)
        self.router.process.signal(9)
        self.router.process.wait(5)
        assert self.taken() == ["r-left", "r-right"] and self.ipv6() == [], "nobody gave them back"

    def taken(self) -> list[str]:
        """From the kernel's stack."""
        return [link for link in ("r-left", "r-right")
                if "NOARP" in self.middle.run("ip", "-o", "link", "show", link).stdout]

    def ipv6(self) -> list[str]:
        return [link for link in ("r-left", "r-right")
                if self.middle.run("cat", f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6").stdout.strip() == "0"]

    def give_back(self) -> tuple[int, str]:
        done = self.middle.run(str(SLUICED), "--give-back-interfaces", "--state-dir", str(self.router.state), check=False)
        return done.returncode, done.stdout + done.stderr


def test_HOST1_a_killed_router_takes_its_interfaces_over_and_gives_them_back_at_the_end(lab: Lab) -> None:
    hosts = Killed(lab)
    for _ in range(3):
        hosts.router.start(hosts.document())
        hosts.kill()
    hosts.router.start(hosts.document())
    ping(hosts.left, RIGHT)
    assert hosts.taken() == ["r-left", "r-right"]
    assert hosts.router.stop() == 0
    assert hosts.taken() == [] and hosts.ipv6() == ["r-left"], "as they were before"


def test_HOST1_a_killed_router_gives_back_what_it_does_not_need_any_more(lab: Lab) -> None:
    hosts = Killed(lab)
    hosts.router.start(hosts.document())
    hosts.kill()
    hosts.router.start(document(two_interfaces(driver="packet")[1:]))
    wait_until(lambda: hosts.taken() == ["r-right"] and hosts.ipv6() == ["r-left"], 5, lambda: str(hosts.taken()))
    # What is made anew under a name is somebody else's.
    hosts.router.process.signal(9)
    hosts.router.process.wait(5)
    hosts.middle.ip("link del r-right")
    hosts.lab.link(hosts.middle, "r-right", hosts.right, "eth0")
    hosts.middle.ip("link set r-right arp off")
    hosts.router.start(document(two_interfaces(driver="packet")[:1]))
    assert hosts.taken() == ["r-left", "r-right"]
    assert hosts.router.stop() == 0
    assert hosts.taken() == ["r-right"], "as its maker wants it"


def test_HOST1_a_command_gives_back_what_a_killed_router_had(lab: Lab) -> None:
    hosts = Killed(lab)
    assert hosts.give_back() == (0, ""), "there is nothing"
    hosts.router.start(hosts.document())
    code, said = hosts.give_back()
    assert code != 0 and "is running" in said, said
    hosts.kill()
    assert hosts.give_back() == (0, "r-left is the kernel's again\nr-right is the kernel's again\n")
    assert hosts.taken() == [] and hosts.ipv6() == ["r-left"]
    assert hosts.give_back() == (0, "")
    hosts.router.start(hosts.document())
    ping(hosts.left, RIGHT)
    assert hosts.router.stop() == 0
    assert hosts.taken() == [] and hosts.ipv6() == ["r-left"]

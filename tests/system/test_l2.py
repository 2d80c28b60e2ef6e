"""Load balancer addresses on one segment with two gateways, a Linux client and a Linux server: who answers, what a
fail-over looks like from the client, and what happens when somebody else claims an address."""

from __future__ import annotations

import copy
import socket
import sys
from collections.abc import Iterator

import pytest
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from conftest import lab_prefix
from cluster import POD_SERVER
from frames import Wire
from netns import Lab, Namespace, wait_until
from objects import service_with_endpoints
from probes import curl, listening
from router import Json, Options, Router

# Of gw-1 and gw-2, by Python's hashlib: sha256(node + "#" + address), the smaller is first.
FIRST, SECOND, FIRST6 = "192.0.2.101", "192.0.2.107", "2001:db8:77::12"
CLIENT, CLIENT6 = "10.1.0.2", "fd00:1::2"
SERVERS = ["10.1.0.101", "10.1.0.102", "10.1.0.103"]
SERVER6 = "fd00:1::101"
GATEWAYS = {"gw-1": ("10.1.0.11", "fd00:1::11"), "gw-2": ("10.1.0.12", "fd00:1::12")}


def node(name: str, ready: bool = True) -> Json:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}]}}


def metallb(kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": "metallb.io/v1beta1", "kind": kind,
            "metadata": {"name": name, "namespace": "metallb-system"}, "spec": spec}


def load_balancer(name: str, cluster_ip: str, endpoints: list[str], wanted: str = "", **spec: Json) -> list[Json]:
    web, slices = service_with_endpoints(name, cluster_ip, 80, 8080, [(one, "worker") for one in endpoints],
                                         type="LoadBalancer", **spec)
    if wanted:
        web["metadata"]["annotations"] = {"metallb.io/loadBalancerIPs": wanted}
    return [web, slices]


class Segment:
    """client, server, other and both gateways at one bridge."""

    def __init__(self, lab: Lab, workers: int):
        self.lab = lab
        self.lan = lab.namespace("lan")
        self.lan.ip("link add br0 type bridge stp_state 0 mcast_snooping 0", "link set dev br0 up")
        self.client, self.server, self.other = (self.host(name) for name in ("client", "server", "other"))
        for host, addresses, addresses6 in ((self.client, [CLIENT], [CLIENT6]), (self.server, SERVERS, [SERVER6]),
                                            (self.other, ["10.1.0.66"], [])):
            host.sysctl(**{"net.ipv6.conf.all.disable_ipv6": 0, "net.ipv6.conf.eth0.disable_ipv6": 0,
                           "net.ipv6.conf.eth0.accept_dad": 0})
            host.ip(*(f"addr add {one}/24 dev eth0" for one in addresses))
            host.ip(*(f"addr add {one}/64 dev eth0 nodad" for one in addresses6))
        # Linux asks the segment for the addresses, in whose subnets nobody is (L2-7).
        self.client.ip("route add 192.0.2.0/24 dev eth0", "route add 2001:db8:77::/64 dev eth0")
        self.server.start(sys.executable, "-I", str(POD_SERVER), "server", name="server")
        self.gateways: dict[str, Router] = {}
        for name in GATEWAYS:
            namespace = lab.namespace(name)
            lab.router_link(namespace, "up", self.lan, f"to-{name}")
            self.lan.ip(f"link set dev to-{name} master br0")
            self.gateways[name] = Router(namespace, name, Options(workers=workers, extra=("--hugepages", "never")))
        self.lan.sysctl(**{f"net.bridge.bridge-nf-call-{table}": 0 for table in ("iptables", "ip6tables")})
        wait_until(lambda: listening(self.server, 8080), 10, "the server")

    def host(self, name: str) -> Namespace:
        host = self.lab.namespace(name)
        self.lab.link(self.lan, f"to-{name}", host, "eth0")
        self.lan.ip(f"link set dev to-{name} master br0")
        host.offload("eth0", tx="off")
        return host

    def document(self, name: str, *items: Json, ready: tuple[str, ...] = ("gw-1", "gw-2"), **spec: Json) -> Json:
        v4, v6 = GATEWAYS[name]
        gateway = {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
                   "spec": {"nodeName": name, "conntrack": {"max": 65536},
                            "interfaces": [{"name": "up", "device": "net_af_packet0,iface=up",
                                            "addresses": [f"{v4}/24", f"{v6}/64"]}], **spec}}
        objects = [gateway, *(node(one, one in ready) for one in GATEWAYS),
                   metallb("IPAddressPool", "public", {"addresses": ["192.0.2.100/28", "2001:db8:77::/120"]}),
                   metallb("L2Advertisement", "everything", {}),
                   *load_balancer("first", "10.96.0.1", SERVERS[:1], FIRST),
                   *load_balancer("second", "10.96.0.2", SERVERS[:1], SECOND),
                   *load_balancer("six", "fd00:96::1", [SERVER6], FIRST6), *items]
        return {"apiVersion": "v1", "kind": "List", "items": objects}

    def apply(self, *items: Json, ready: tuple[str, ...] = ("gw-1", "gw-2"), **spec: Json) -> None:
        """Both gateways; who stops first."""
        for name in sorted(self.gateways, key=lambda one: one in ready):
            self.gateways[name].apply(self.document(name, *items, ready=ready, **spec))

    def mac(self, gateway: str) -> str:
        return self.gateways[gateway].status()["interfaces"][0]["mac"]

    def neighbour(self, address: str) -> str:
        """The MAC address that the client has for it."""
        words = self.client.run("ip", "neigh", "show", address, "dev", "eth0").stdout.split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else ""

    def l2(self, gateway: str, address: str) -> Json:
        found = [one for one in self.gateways[gateway].get("/v1/l2")["addresses"] if one["address"] == address]
        return found[0] if found else {}

    def events(self, gateway: str, address: str) -> list[tuple[str, str]]:
        events = self.gateways[gateway].get("/v1/events?follow=false&types=l2")["events"]
        return [(one["reason"], one["severity"]) for one in events if one["object"] == address]


def running_segment(prefix: str) -> Iterator[Segment]:
    """For the fixtures of this and other files."""
    with Lab(f"{lab_prefix()}{prefix}-") as lab:
        made = Segment(lab, 1)
        for name, router in made.gateways.items():
            router.start(made.document(name))
        yield made


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    yield from running_segment("l2")


@pytest.fixture(autouse=True)
def settled(segment: Segment) -> Iterator[None]:
    yield
    for router in segment.gateways.values():
        if not router.alive():
            router.start()
    segment.apply()
    segment.client.ip("neigh flush dev eth0")


def url(address: str, path: str = "/") -> str:
    return f"http://{f'[{address}]' if ':' in address else address}{path}"


def test_L22_L27_addresses_outside_the_subnet_spread_over_the_gateways_and_clients_reach_them(segment: Segment) -> None:
    """L2-3, L2-7: each address is answered by the gateway that comes first in the order of SHA-256."""
    for address, owner in ((FIRST, "gw-1"), (SECOND, "gw-2"), (FIRST6, "gw-1")):
        assert curl(segment.client, url(address))[0].pod == "server"
        assert segment.neighbour(address) == segment.mac(owner)
        for gateway in GATEWAYS:
            shown = segment.l2(gateway, address)
            assert (shown["owner"], shown["ours"]) == (owner, gateway == owner)
    table = segment.gateways["gw-1"].control("get", "l2").stdout
    assert table.splitlines()[0].split() == ["VIP", "SERVICE", "OWNER", "INTERFACES", "SINCE", "CONFLICTS", "NOTE"]
    assert any(line.split()[:4] == [FIRST, "default/first", "gw-1", "(this)"] for line in table.splitlines())


def test_L23_only_the_owner_answers_and_only_requests(segment: Segment) -> None:
    with Wire(segment.other, "eth0") as wire:
        wire.send(Ether(dst="ff:ff:ff:ff:ff:ff", src=segment.other.mac("eth0")) /
                  ARP(op=1, hwsrc=segment.other.mac("eth0"), psrc="10.1.0.66", pdst=FIRST))
        answers = wire.collect(lambda frame: ARP in frame and frame[ARP].op == 2 and frame[ARP].psrc == FIRST
                               and frame[ARP].pdst == "10.1.0.66", 2, 1)
        assert [one[ARP].hwsrc for one in answers] == [segment.mac("gw-1")]
        wire.send(Ether(dst="ff:ff:ff:ff:ff:ff", src=segment.other.mac("eth0")) /
                  ARP(op=2, hwsrc=segment.other.mac("eth0"), psrc="10.1.0.66", pdst=FIRST))
        wire.expect_none(lambda frame: ARP in frame and frame[ARP].psrc == FIRST and frame[ARP].pdst == "10.1.0.66",
                         "an answer to a reply")


def test_L24_fail_over_is_told_by_gratuitous_arp_and_the_client_believes_it(segment: Segment) -> None:
    assert curl(segment.client, url(FIRST)) and curl(segment.client, url(FIRST6))
    assert segment.neighbour(FIRST) == segment.neighbour(FIRST6) == segment.mac("gw-1")
    with Wire(segment.other, "eth0") as wire:
        segment.apply(ready=("gw-2",))
        told = wire.collect(lambda frame: ARP in frame and frame[ARP].psrc == frame[ARP].pdst == FIRST, 10, 8)
    assert len(told) == 10, "five times in both forms"
    assert {one[ARP].hwsrc for one in told} == {segment.mac("gw-2")}
    assert [one[ARP].op for one in told] == [1, 2] * 5
    assert {one.dst for one in told} == {"ff:ff:ff:ff:ff:ff"}
    assert told[-1].time - told[0].time > 4, "1.1 s apart"
    assert segment.neighbour(FIRST) == segment.neighbour(FIRST6) == segment.mac("gw-2"), "without having asked"
    assert curl(segment.client, url(FIRST))[0].pod == "server"
    assert curl(segment.client, url(FIRST6))[0].pod == "server"
    assert segment.events("gw-2", FIRST)[-1] == ("AddressTakenOver", "Normal")
    assert segment.events("gw-1", FIRST)[-1] == ("AddressGivenUp", "Normal")


def test_L24_a_connection_goes_on_over_a_fail_over(segment: Segment) -> None:
    """Where the client's address is kept and answers find the new way: Maglev finds the same endpoint, and the
    connection is taken up in the middle."""
    kept = load_balancer("kept", "10.96.0.3", SERVERS, "192.0.2.102", externalTrafficPolicy="Local")
    spec = {"proxy": {"externalPolicyLocalScope": "Cluster"}}
    segment.apply(*kept, **spec)
    owner = segment.l2("gw-1", "192.0.2.102")["owner"]
    heir = next(name for name in GATEWAYS if name != owner)
    segment.server.ip(f"route replace {CLIENT}/32 via {GATEWAYS[owner][0]}")
    try:
        with segment.client.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.settimeout(15)
            connection.connect(("192.0.2.102", 80))
            connection.sendall(b"GET /first HTTP/1.0\r\n")
            wait_until(lambda: segment.gateways[owner].flows(dport=80, dst="192.0.2.102"), 5, "the connection")
            segment.apply(*kept, ready=(heir,), **spec)
            segment.server.ip(f"route replace {CLIENT}/32 via {GATEWAYS[heir][0]}")
            wait_until(lambda: segment.neighbour("192.0.2.102") == segment.mac(heir), 6, "the client's new neighbour")
            connection.sendall(b"\r\n")
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
        assert b'"path": "/first"' in answer
        assert segment.gateways[heir].flows(dport=80, dst="192.0.2.102")
    finally:
        segment.server.ip(f"route del {CLIENT}/32")


def test_L25_a_foreign_claim_is_told_and_the_first_defends_itself(segment: Segment) -> None:
    assert curl(segment.client, url(FIRST))
    before = segment.l2("gw-1", FIRST)["conflicts"]
    foreign = segment.other.mac("eth0")
    owner = segment.mac("gw-1")
    with Wire(segment.other, "eth0") as wire:
        def told(frame: Packet) -> bool:
            return ARP in frame and frame[ARP].psrc == frame[ARP].pdst == FIRST and frame[ARP].hwsrc == owner
        # Nothing of a take-over is under way, so that what comes then is the defence.
        wait_until(lambda: not wire.collect(told, 1, 1.5), 20, "the announcements of the take-over to end")
        wire.send(Ether(dst="ff:ff:ff:ff:ff:ff", src=foreign) / ARP(op=1, hwsrc=foreign, psrc=FIRST, pdst=FIRST))
        wire.expect(told, "the defence")
    wait_until(lambda: segment.l2("gw-1", FIRST)["conflicts"] > before, 3, "the conflict to be counted")
    assert segment.l2("gw-1", FIRST)["ours"] and segment.l2("gw-1", FIRST)["claimedBy"] == foreign
    assert ("AddressConflict", "Warning") in segment.events("gw-1", FIRST)
    assert foreign in segment.gateways["gw-1"].control("get", "l2").stdout
    wait_until(lambda: segment.neighbour(FIRST) == segment.mac("gw-1"), 5, "the client to believe the owner again")


def test_L25_two_gateways_that_disagree_end_with_the_first_in_the_order(segment: Segment) -> None:
    """gw-2 has heard that gw-1 is dead, gw-1 has not: both answer, until gw-2 hears gw-1 and stops."""
    segment.gateways["gw-2"].apply(segment.document("gw-2", ready=("gw-2",)))
    wait_until(lambda: ("AddressGivenUp", "Normal") == segment.events("gw-2", FIRST)[-1], 15, "gw-2 to give way")
    assert ("AddressConflict", "Warning") in segment.events("gw-2", FIRST)
    shown = segment.l2("gw-2", FIRST)
    assert not shown["ours"] and shown["note"] == "another router claims it"
    assert segment.l2("gw-1", FIRST)["ours"]
    wait_until(lambda: segment.neighbour(FIRST) in ("", segment.mac("gw-1")), 5, "the client to believe gw-1")
    # gw-1 falls silent: its claims stop, and who asked in vain takes over.
    segment.gateways["gw-1"].stop()
    wait_until(lambda: segment.l2("gw-2", FIRST)["ours"], 20, "gw-2 to take over")
    assert curl(segment.client, url(FIRST))[0].pod == "server"


def test_LB4_addresses_are_kept_over_a_restart(segment: Segment) -> None:
    """Services that want no certain address have the same after kill -9."""
    router = segment.gateways["gw-1"]
    def given() -> dict[str, list[str]]:
        return {one["service"]: one["addresses"] for one in router.get("/v1/load-balancers")["loadBalancers"]}
    later = [item for name in ("m", "z", "a") for item in
             load_balancer(name, f"10.96.1.{ord(name)}", SERVERS[:1])]
    for count in (2, 4, 6):
        router.apply(segment.document("gw-1", *later[:count]))
    before = given()
    assert before["default/a"] > before["default/m"], "in the order they came"
    router.process.signal(9)
    router.process.wait(5)
    router.start()
    assert given() == before


def test_LB2_why_a_service_waits_is_told(segment: Segment) -> None:
    router = segment.gateways["gw-1"]
    waiting = load_balancer("waiting", "10.96.2.1", SERVERS[:1], FIRST)
    router.apply(segment.document("gw-1", *waiting))
    shown = next(one for one in router.get("/v1/load-balancers")["loadBalancers"] if one["service"] == "default/waiting")
    assert shown["addresses"] == [] and f"{FIRST} is in use by service default/first" in shown["pending"]
    assert router.status()["loadBalancers"]["pending"] == 1
    assert segment.events("gw-1", "default/waiting") == [("AddressPending", "Warning")]
    assert "in use by service default/first" in router.control("get", "loadbalancers").stdout
    without = copy.deepcopy(segment.document("gw-1", *waiting))
    without["items"] = [one for one in without["items"] if one["metadata"]["name"] != "first"]
    router.apply(without)
    shown = next(one for one in router.get("/v1/load-balancers")["loadBalancers"] if one["service"] == "default/waiting")
    assert shown["addresses"] == [FIRST]


def test_LB4_what_cannot_be_kept_is_not_given_but_known_addresses_serve(segment: Segment) -> None:
    router = segment.gateways["gw-1"]
    log = router.state / "loadbalancers.log"
    router.process.signal(9)
    router.process.wait(5)
    snapshot = log.with_suffix(".json")
    kept = {one: one.read_bytes() for one in (log, snapshot) if one.exists()}
    for one in kept:
        one.unlink()
    log.mkdir()
    try:
        router.start()
        assert any("load balancer addresses could not be written down" in one for one in router.status()["warnings"])
        assert segment.l2("gw-1", FIRST)["ours"], "what is wanted or has a status is served"
        router.apply(segment.document("gw-1", *load_balancer("late", "10.96.3.1", SERVERS[:1])))
        services = {one["service"]: one for one in router.get("/v1/load-balancers")["loadBalancers"]}
        assert services["default/late"]["addresses"] == [] and "could not be" in services["default/late"]["pending"]
        reply = router.put(segment.document("gw-1", *load_balancer("late", "10.96.3.1", SERVERS[:1], "192.0.2.103"),
                                            *load_balancer("later", "10.96.3.2", SERVERS[:1])))
        assert reply.status == 200 and "services that have no address yet wait: load balancer addresses" in reply.text
        services = {one["service"]: one for one in router.get("/v1/load-balancers")["loadBalancers"]}
        assert services["default/late"]["addresses"] == ["192.0.2.103"] and not services["default/later"]["addresses"]
    finally:
        router.process.signal(9)
        router.process.wait(5)
        log.rmdir()
        for one, content in kept.items():
            one.write_bytes(content)
        router.start()

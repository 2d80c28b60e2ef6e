"""BGP: sluiced writes BIRD's configuration; real BIRDs of other routers learn from it, and it from them.

upstream (AS 64900) 10.1.0.2 | up0 10.1.0.1, sluiced and BIRD (AS 64512), 10.2.0.1 dn0 | node2 (AS 64512) 10.2.0.2
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import pytest
from bird import ROUTER, SESSION, BirdDaemon
from frames import ICMP, IP, Packet, Wire
from netns import Lab, Namespace, execute, wait_until
from objects import calico, calico_node, endpoint_slice, service, service_port, with_items
from router import Json, Options
from test_host import Hosts, answers, echo_server, talk
from two_hosts import LEFT, LEFT6, RIGHT, RIGHT6, ROUTER_LEFT, ROUTER_LEFT6, ROUTER_RIGHT, ROUTER_RIGHT6

BLOCK, BLOCK2 = "10.244.1.0/26", "10.244.2.0/26"
POD2 = "10.244.2.5"  # on node2
BEYOND = "203.0.113.1"  # behind the upstream router
SERVICES = "198.51.100.0/24"
VIP, VIP2 = "198.51.100.7", "198.51.100.8"
OUTSIDE = "172.20.0.1/32"  # of node2, in no pool
PORTS = [service_port(80, 8080)]


@dataclass(frozen=True)
class Network:
    """What the routers speak of, and over which addresses."""

    name: str
    left: str
    right: str
    router_left: str
    router_right: str
    pool: str
    block: str
    block2: str
    pod2: str
    beyond: str
    services: str
    vip: str
    vip2: str
    cluster: str  # the beginning of a cluster address
    host: str  # the length of a single address
    suffix: str = ""  # of the names of sessions with nodes

    def one(self, address: str) -> str:
        return f"{address}/{self.host}"

    def node(self, name: str, address: str) -> Json:
        made = calico_node(name, address)
        if self is V6:
            made["metadata"]["annotations"] = {"projectcalico.org/IPv6Address": f"{address}/64"}
        return made

    def bird(self, text: str) -> str:
        return text.replace("ipv4", self.name)


V4 = Network("ipv4", LEFT, RIGHT, ROUTER_LEFT, ROUTER_RIGHT, "10.244.0.0/16", BLOCK, BLOCK2, POD2, BEYOND, SERVICES, VIP,
             VIP2, "10.96.0.", "32")
V6 = Network("ipv6", LEFT6, RIGHT6, ROUTER_LEFT6, ROUTER_RIGHT6, "fd00:244::/48", "fd00:244:0:1::/122",
             "fd00:244:0:2::/122", "fd00:244:0:2::5", "2001:db8:203::1", "2001:db8:51::/112", "2001:db8:51::7",
             "2001:db8:51::8", "fd00:96::", "128", ":v6")
both_families = pytest.mark.parametrize("network", [V4, V6], ids=["ipv4", "ipv6"])


def ip_headers(frame: Packet) -> list[Packet]:
    """From the outermost on."""
    return [layer for number in range(1, 4) if (layer := frame.getlayer(IP, number)) is not None]


def local_service(name: str, cluster_ip: str, address: str, policy: str = "Local", **spec: Json) -> Json:
    return service(name, cluster_ip, PORTS, address, externalTrafficPolicy=policy, **spec)


class Routers(Hosts):
    """The host of sluiced speaks BGP with both neighbours."""

    def __init__(self, lab: Lab, upstream_options: str = "", bird_arguments: tuple[str, ...] = (), network: Network = V4,
                 **bgp: Json):
        self.bgp, self.network = bgp, network
        # Known before the daemon is made, which needs the namespace.
        folder = lab.directory / "bird-router"
        folder.mkdir(exist_ok=True)
        super().__init__(lab, Options(extra=BirdDaemon.options(folder)), ipv6=network is V6,
                         routes={"protocols": ["bird"]})
        for host in (self.left, self.right):
            host.ip("link set lo up")
        self.left.ip(f"addr add {network.one(network.beyond)} dev lo", "route del default")
        self.right.ip(f"addr add {network.pod2}/{network.block2.partition('/')[2]} dev lo")
        if network is V6:
            self.left.ip("route del ::/0")
        for host in (self.left, self.right):
            host.sysctl(**{"net.ipv4.ip_forward": 1})
            if network is V6:
                host.sysctl(**{"net.ipv6.conf.all.forwarding": 1})
        channel = "next hop self;"
        self.upstream = BirdDaemon(self.left, network.bird(ROUTER.format(address=LEFT, sessions=SESSION.format(
            name="sluice", address=network.left, local_as=64900, peer=network.router_left, peer_as=64512,
            options=upstream_options, channel="")))).start()
        self.node2 = BirdDaemon(self.right, network.bird(ROUTER.format(address=RIGHT, sessions=SESSION.format(
            name="sluice", address=network.right, local_as=64512, peer=network.router_right, peer_as=64512,
            options="multihop;", channel=channel)))).start()
        self.bird = BirdDaemon(self.middle, arguments=bird_arguments)

    def document(self, **spec: Json) -> Json:
        made = super().document(bgp={"engine": "bird", **self.bgp}, **spec)
        network = self.network
        return with_items(
            made, network.node("router", network.router_right), network.node("node2", network.right),
            calico("IPPool", "pods", cidr=network.pool),
            calico("BlockAffinity", "router-block", node="router", cidr=network.block, state="confirmed"),
            calico("BGPPeer", "upstream", node="router", peerIP=network.left, asNumber=64900, sourceAddress="None"),
            calico("BGPConfiguration", "default", serviceLoadBalancerIPs=[{"cidr": network.services}],
                   communities=[{"name": "services", "value": "64512:80"}],
                   prefixAdvertisements=[{"cidr": network.services, "communities": ["services"]}]))

    def begin(self) -> "Routers":
        self.bird.start()
        wait_until(self.sessions_up, 20, self.report)
        return self

    def node2_announces_beyond_the_pools(self) -> None:
        self.right.ip(f"addr add {OUTSIDE.partition('/')[0]}/32 dev lo")

    def session(self, peer: str) -> Json:
        return next((one for one in self.router.get("/v1/bgp")["sessions"] if one["peer"] == peer), {"up": False})

    def sessions_up(self) -> bool:
        return self.session(self.network.left)["up"] and self.session(self.network.right)["up"]

    def kernel_routes(self, namespace: Namespace, *words: str) -> str:
        version = "-6" if self.network is V6 else "-4"
        return execute("ip", "-netns", namespace.full_name, version, "route", "show", *words).stdout

    def report(self) -> str:
        return f"{self.router.get('/v1/bgp')}\n{self.bird.ask('show protocols all')}\n{self.bird.config.read_text()}"

    def put(self, *items: Json) -> None:
        self.config = with_items(self.config, *items)
        for item in items:
            delta = {"apiVersion": "sluice.dev/v1", "kind": "Delta", "upsert": [item]}
            reply = self.router.request("PATCH", "/v1/config", json.dumps(delta))
            assert reply.status == 200, reply.text

    def reaches(self, prefixes: set[str], seconds: float = 5) -> None:
        """Until the upstream router has learned these prefixes from us and no others."""
        wait_until(lambda: self.upstream.routes() == prefixes, seconds,
                   lambda: f"{prefixes} at the upstream router, which has {self.upstream.routes()}\n{self.report()}")

    def warnings(self) -> str:
        return "\n".join(self.router.status()["warnings"])


@both_families
def test_BGP1_BGP2_BGP8_sessions_blocks_both_ways_and_packets(lab: Lab, network: Network) -> None:
    routers = Routers(lab, network=network).begin()
    block, block2, pod2 = network.block, network.block2, network.pod2
    beyond, services = network.beyond, network.services
    routers.reaches({block, block2, services})
    wait_until(lambda: routers.node2.routes() == {block, services}, 5, lambda: str(routers.node2.routes()))
    known = {route["destination"]: route for route in routers.router.routes()}
    wait_until(lambda: any(route["origin"] == "host" and route["destination"] == block2
                           for route in routers.router.routes()), 5, lambda: str(known))
    assert answers(routers.left, pod2), "from the upstream router to a pod of the other node"
    wait_until(lambda: " 0% packet loss" in routers.right.run(
        "ping", "-n", "-c", "1", "-W", "1", "-I", pod2, beyond, check=False).stdout, 5, "the way back")
    # The kernel has what was learned and no blackhole of ours.
    table = routers.kernel_routes(routers.middle, "proto", "bird")
    assert block2 in table and "blackhole" not in table and services not in table, table
    if network is V6:
        assert "via fe80::" in table, f"next hops of IPv6 are link-local addresses: {table}"
    said = routers.upstream.ask(f"show route all for {services}")
    assert "(64512,80)" in said, said

    wait_until(lambda: routers.session(network.right)["imported"] == 1, 5, routers.report)
    wait_until(lambda: routers.session(network.left)["exported"] == 3, 5, routers.report)
    status = routers.router.get("/v1/bgp")
    assert status["engine"] == "bird" and status["connected"] and not status["problem"], status
    assert status["version"].startswith("BIRD 2") and status["asNumber"] == 64512, status
    by_object = {one["object"]: one for one in status["sessions"]}
    assert by_object["Node node2"]["type"] == "node-to-node mesh", status
    assert abs(by_object["Node node2"]["sinceSeconds"] - time.time()) < 60, status
    announced = {one["prefix"]: one for one in status["announced"]}
    assert announced[block]["reasons"] == ["block of this node"], status
    assert announced[services]["communities"] == ["64512:80"], status
    shown = routers.router.control("get", "bgp").stdout
    assert "PEER" in shown and "node-to-node mesh" in shown and "Established" in shown, shown
    assert "block of this node" in routers.router.control("get", "bgp", "-o", "wide").stdout
    metrics = routers.router.request("GET", "/metrics").text
    up = f'sluice_bgp_session_up{{session="mesh.node2{network.suffix}",peer="{network.right}"}} 1'
    assert up in metrics, metrics
    events = routers.router.get("/v1/events?types=bgp&after=0&follow=false")["events"]
    assert sum(event["reason"] == "BgpSessionUp" for event in events) == 2, events
    assert routers.bird.config.stat().st_mode & 0o777 == 0o640


def test_BGP8_routes_into_a_pool_with_ipip_go_by_the_tunnel(lab: Lab) -> None:
    routers = Routers(lab)
    def ways() -> list[bool]:
        """Whether each next hop is a tunnel."""
        hops = next((route["hops"] for route in routers.router.routes() if route["destination"] == BLOCK2), [])
        return [bool(hop.get("tunnel")) for hop in hops]

    def goes(by_tunnel: bool) -> None:
        wait_until(lambda: ways() == [by_tunnel], 10, routers.report)
        with Wire(routers.right, "eth0") as wire:
            pinging = routers.left.start("ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", POD2)
            frame = wire.expect(lambda one: ICMP in one and POD2 in [layer.dst for layer in ip_headers(one)], "echo request")
            pinging.wait(10)
        outer = [(layer.src, layer.dst) for layer in ip_headers(frame)][:-1]
        assert outer == ([(ROUTER_RIGHT, RIGHT)] if by_tunnel else []), frame.summary()

    # Sessions that do not depend on the Node.
    routers.put(calico("BGPConfiguration", "default", nodeToNodeMeshEnabled=False),
                calico("BGPPeer", "node2", node="router", peerIP=RIGHT, asNumber=64512, sourceAddress="None"),
                calico("IPPool", "pods", cidr="10.244.0.0/16", ipipMode="Always"))
    routers.begin()
    goes(by_tunnel=True)
    routers.put(calico("IPPool", "pods", cidr="10.244.0.0/16", ipipMode="CrossSubnet"))
    goes(by_tunnel=False)
    routers.put(calico("IPPool", "pods", cidr="10.244.0.0/16", ipipMode="Always"))
    goes(by_tunnel=True)
    # The next hop is no node's any more; and one's again.
    routers.put(calico_node("node2", "10.2.0.77"))
    goes(by_tunnel=False)
    routers.put(calico_node("node2", RIGHT))
    goes(by_tunnel=True)


@both_families
def test_BGP4_policy_local_follows_the_endpoints(lab: Lab, network: Network) -> None:
    routers = Routers(lab, network=network).begin()
    blocks = {network.block, network.block2, network.services}
    vip, vip2 = network.vip, network.vip2
    routers.reaches(blocks)
    here = [(network.right, "router")]
    routers.put(local_service("web", f"{network.cluster}7", vip), endpoint_slice("web", PORTS, here))
    routers.reaches(blocks | {network.one(vip)})
    with echo_server(routers.right, network.right, 8080):
        wait_until(lambda: vip in routers.kernel_routes(routers.left), 5, "the kernel's route")
        talk(routers.left, vip, 80, 1 << 16)
    began = time.monotonic()
    routers.put(endpoint_slice("web", PORTS, [(network.right, "node2")]))
    routers.reaches(blocks)
    print(f"withdrawn {time.monotonic() - began:.3f} s after the last local endpoint went")
    routers.put(endpoint_slice("web", PORTS, here))
    routers.reaches(blocks | {network.one(vip)})
    # Two that share an address: it stays until the last goes.
    more = local_service("more", f"{network.cluster}8", vip)
    more["spec"]["ports"] = [service_port(81, 8080)]
    routers.put(more, endpoint_slice("more", PORTS, here),
                local_service("other", f"{network.cluster}9", vip2), endpoint_slice("other", PORTS, here))
    routers.reaches(blocks | {network.one(vip), network.one(vip2)})
    for name, left in (("web", {network.one(vip), network.one(vip2)}), ("more", {network.one(vip2)})):
        assert routers.router.request("DELETE", f"/v1/Service/default/{name}").status == 200
        routers.reaches(blocks | left)


def test_BGP4_policy_cluster_without_aggregation(lab: Lab) -> None:
    routers = Routers(lab).begin()
    routers.put(calico("BGPConfiguration", "default", serviceLoadBalancerIPs=[{"cidr": SERVICES}],
                       serviceLoadBalancerAggregation="Disabled"),
                local_service("web", "10.96.0.7", VIP, "Cluster"), endpoint_slice("web", PORTS, [(RIGHT, "node2")]))
    routers.reaches({BLOCK, BLOCK2, f"{VIP}/32"})
    routers.put(endpoint_slice("web", PORTS, []))
    routers.reaches({BLOCK, BLOCK2})


def test_BGP1_changes_leave_sessions_alone(lab: Lab) -> None:
    routers = Routers(lab).begin()
    routers.reaches({BLOCK, BLOCK2, SERVICES})
    since = {name: routers.bird.since(name) for name in ("mesh.node2", "peer.upstream")}
    assert all(since.values()), routers.bird.ask("show protocols")
    pinging = routers.left.start("ping", "-n", "-i", "0.01", "-c", "300", "-W", "2", POD2)
    routers.put(local_service("web", "10.96.0.7", VIP), endpoint_slice("web", PORTS, [(RIGHT, "router")]))
    routers.reaches({BLOCK, BLOCK2, SERVICES, f"{VIP}/32"})
    routers.put(calico("BlockAffinity", "router-more", node="router", cidr="10.244.3.0/26", state="confirmed"))
    routers.reaches({BLOCK, BLOCK2, SERVICES, f"{VIP}/32", "10.244.3.0/26"})
    pinging.wait(20)
    assert " 0% packet loss" in pinging.stdout(), pinging.stdout()
    assert since == {name: routers.bird.since(name) for name in since}, routers.bird.ask("show protocols")


def test_BGP6_filters_and_passwords(lab: Lab) -> None:
    routers = Routers(lab, upstream_options='password "hush-hush";')
    routers.bird.start()
    peer = calico("BGPPeer", "upstream", node="router", peerIP=LEFT, asNumber=64900, sourceAddress="None",
                  password={"secretKeyRef": {"name": "bgp", "key": "upstream"}}, filters=["few"])
    routers.put(peer)
    wait_until(lambda: "no Secret bgp" in routers.warnings(), 5, routers.warnings)
    routers.put({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp", "namespace": "kube-system"},
                 "data": {"upstream": "aHVzaC1odXNo"}},
                calico("BGPFilter", "few", exportV4=[{"cidr": BLOCK2, "matchOperator": "Equal", "action": "Reject"}],
                       importV4=[{"action": "Reject"}]))
    wait_until(routers.sessions_up, 20, routers.report)
    routers.reaches({BLOCK, SERVICES})
    wait_until(lambda: routers.session(LEFT)["imported"] == 0, 5, routers.report)
    for place in ("/v1/config", "/v1/Secret/kube-system/bgp", "/v1/bgp"):
        text = routers.router.request("GET", place).text
        assert "aHVzaC1odXNo" not in text and "hush-hush" not in text, text
    # And the next start has the password, out of what is kept.
    assert routers.router.stop() == 0
    routers.router.start()
    wait_until(routers.sessions_up, 20, routers.report)
    routers.reaches({BLOCK, SERVICES})


def test_BGP12_prefix_limit(lab: Lab) -> None:
    routers = Routers(lab, maxPrefixes=2).begin()
    routers.left.ip(*(f"addr add 192.0.2.{number}/32 dev lo" for number in range(1, 6)))

    wait_until(lambda: routers.session(LEFT)["limitReached"], 10, routers.report)
    session = routers.session(LEFT)
    assert session["imported"] == 2 and session["up"], session
    events = routers.router.get("/v1/events?types=bgp&after=0&follow=false")["events"]
    assert any(event["reason"] == "BgpPrefixLimit" for event in events), events


def test_BGP12_the_default_route_only_if_wanted(lab: Lab) -> None:
    routers = Routers(lab).begin()
    routers.left.ip("addr add 192.0.2.1/32 dev lo")
    routers.upstream.config.write_text(routers.upstream.config.read_text() + "\nprotocol static { ipv4; route 0.0.0.0/0 "
                                       "blackhole; }\n")
    text = routers.upstream.config.read_text().replace("source = RTS_DEVICE", "source ~ [ RTS_DEVICE, RTS_STATIC ]")
    routers.upstream.config.write_text(text)
    assert "Reconfigured" in routers.upstream.ask("configure")
    wait_until(lambda: "192.0.2.1/32" in routers.bird.routes(), 10, routers.report)
    assert "0.0.0.0/0" not in routers.bird.routes()
    routers.config["items"][0]["spec"]["bgp"]["allowDefaultRoute"] = True
    routers.router.apply(routers.config)
    wait_until(lambda: "0.0.0.0/0" in routers.bird.routes(), 10, routers.report)


def test_BGP9_a_planned_end_withdraws(lab: Lab) -> None:
    routers = Routers(lab).begin()
    routers.reaches({BLOCK, BLOCK2, SERVICES})
    began = time.monotonic()
    assert routers.router.stop() == 0
    took = time.monotonic() - began
    assert routers.upstream.established("sluice"), "the session itself stays, for the next start"
    assert not routers.upstream.routes(), routers.upstream.ask("show route")
    assert not routers.node2.routes(), routers.node2.ask("show route")
    assert took < 5, took
    routers.router.start(routers.config)
    routers.reaches({BLOCK, BLOCK2, SERVICES}, 20)


def test_BGP9_a_planned_end_withdraws_what_a_filter_lets_out(lab: Lab) -> None:
    routers = Routers(lab)
    routers.node2_announces_beyond_the_pools()
    routers.put(calico("BGPPeer", "upstream", node="router", peerIP=LEFT, asNumber=64900, sourceAddress="None",
                       filters=["all"]),
                calico("BGPFilter", "all", exportV4=[{"action": "Accept"}]))
    routers.begin()
    wait_until(lambda: {BLOCK, BLOCK2, SERVICES, OUTSIDE} <= routers.upstream.routes(), 10, routers.report)
    assert routers.router.stop() == 0
    assert routers.upstream.established("sluice"), "the session itself stays, for the next start"
    assert not routers.upstream.routes(), routers.upstream.ask("show route")


def test_BGP9_after_a_crash_bird_goes_on(lab: Lab) -> None:
    routers = Routers(lab).begin()
    routers.reaches({BLOCK, BLOCK2, SERVICES})
    since = routers.bird.since("peer.upstream")
    routers.router.process.signal(9)
    routers.router.process.wait(5)
    assert routers.upstream.routes() == {BLOCK, BLOCK2, SERVICES}
    routers.router.start(routers.config)
    wait_until(routers.sessions_up, 20, routers.report)
    wait_until(lambda: answers(routers.left, POD2), 5, "a pod of the other node")
    assert routers.upstream.routes() == {BLOCK, BLOCK2, SERVICES}
    assert routers.bird.since("peer.upstream") == since, "the session was not interrupted"


def test_BGP1_bird_comes_late_and_comes_again(lab: Lab) -> None:
    routers = Routers(lab)
    wait_until(lambda: "BIRD does not answer" in routers.warnings(), 5, routers.warnings)
    assert "mesh.node2" in routers.bird.config.read_text(), "the file is there for BIRD to start with"
    routers.begin()
    assert "BIRD" not in routers.warnings()
    routers.bird.stop()
    wait_until(lambda: "BIRD does not answer" in routers.warnings(), 5, routers.warnings)
    assert not routers.router.get("/v1/bgp")["connected"]
    routers.put(local_service("web", "10.96.0.7", VIP), endpoint_slice("web", PORTS, [(RIGHT, "router")]))
    routers.begin()
    routers.reaches({BLOCK, BLOCK2, SERVICES, f"{VIP}/32"}, 20)
    reasons = [event["reason"] for event in routers.router.get("/v1/events?types=bgp&after=0&follow=false")["events"]]
    assert "BirdLost" in reasons and "BgpSessionUp" in reasons, reasons


def test_BGP1_bird_refuses(lab: Lab) -> None:
    routers = Routers(lab, bird_arguments=("-u", "bird", "-g", "bird"))
    lab.directory.chmod(0o711)
    folder = routers.bird.folder
    execute("chgrp", "bird", str(folder), str(routers.bird.config))
    folder.chmod(0o770)
    routers.begin()
    routers.reaches({BLOCK, BLOCK2, SERVICES})
    execute("chgrp", "root", str(folder))  # so that BIRD cannot read what is there
    folder.chmod(0o700)
    routers.put(local_service("web", "10.96.0.7", VIP), endpoint_slice("web", PORTS, [(RIGHT, "router")]))
    wait_until(lambda: "BIRD refuses its configuration" in routers.warnings(), 10, routers.warnings)
    assert "Permission denied" in routers.warnings(), routers.warnings()
    assert VIP not in routers.bird.config.read_text(), "what is refused does not become the file"
    events = routers.router.get("/v1/events?types=bgp&after=0&follow=false")["events"]
    assert sum(event["reason"] == "BgpConfigRefused" for event in events) == 1, events
    assert routers.sessions_up() and routers.upstream.routes() == {BLOCK, BLOCK2, SERVICES}, routers.report()
    execute("chgrp", "bird", str(folder))
    folder.chmod(0o770)
    routers.reaches({BLOCK, BLOCK2, SERVICES, f"{VIP}/32"}, 20)
    assert "BIRD" not in routers.warnings(), routers.warnings()


def test_BGP10_bfd_finds_a_dead_link(lab: Lab) -> None:
    routers = Routers(lab, upstream_options="bfd on;", bfd={"receiveInterval": 200, "transmitInterval": 200}).begin()
    wait_until(lambda: any(one["bfd"] == "Up" for one in routers.router.get("/v1/bgp")["sessions"]), 10, routers.report)
    routers.left.ip("link set eth0 down")
    began = time.monotonic()
    wait_until(lambda: not routers.session(LEFT)["up"],
               10, routers.report)
    assert time.monotonic() - began < 5, "far earlier than the hold time"

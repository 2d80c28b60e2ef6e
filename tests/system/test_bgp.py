"""BGP: sluiced writes BIRD's configuration; real BIRDs of other routers learn from it, and it from them.

upstream (AS 64900) 10.1.0.2 | up0 10.1.0.1, sluiced and BIRD (AS 64512), 10.2.0.1 dn0 | node2 (AS 64512) 10.2.0.2
"""

from __future__ import annotations

import json
import time

from bird import ROUTER, SESSION, BirdDaemon
from netns import Lab, execute, wait_until
from objects import calico, calico_node, endpoint_slice, service, service_port, with_items
from router import Json, Options
from test_host import Hosts, answers, echo_server, talk
from two_hosts import LEFT, RIGHT, ROUTER_LEFT, ROUTER_RIGHT

BLOCK, BLOCK2 = "10.244.1.0/26", "10.244.2.0/26"
POD2 = "10.244.2.5"  # on node2
BEYOND = "203.0.113.1"  # behind the upstream router
SERVICES = "198.51.100.0/24"
VIP, VIP2 = "198.51.100.7", "198.51.100.8"
OUTSIDE = "172.20.0.1/32"  # of node2, in no pool
PORTS = [service_port(80, 8080)]


def local_service(name: str, cluster_ip: str, address: str, policy: str = "Local", **spec: Json) -> Json:
    return service(name, cluster_ip, PORTS, address, externalTrafficPolicy=policy, **spec)


class Routers(Hosts):
    """The host of sluiced speaks BGP with both neighbours."""

    def __init__(self, lab: Lab, upstream_options: str = "", bird_arguments: tuple[str, ...] = (), **bgp: Json):
        self.bgp = bgp
        # Known before the daemon is made, which needs the namespace.
        folder = lab.directory / "bird-router"
        folder.mkdir(exist_ok=True)
        super().__init__(lab, Options(extra=BirdDaemon.options(folder)), routes={"protocols": ["bird"]})
        for host in (self.left, self.right):
            host.ip("link set lo up")
        self.left.ip(f"addr add {BEYOND}/32 dev lo", "route del default")
        self.right.ip(f"addr add {POD2}/26 dev lo")
        for host in (self.left, self.right):
            host.sysctl(**{"net.ipv4.ip_forward": 1})
        channel = "next hop self;"
        self.upstream = BirdDaemon(self.left, ROUTER.format(address=LEFT, sessions=SESSION.format(
            name="sluice", address=LEFT, local_as=64900, peer=ROUTER_LEFT, peer_as=64512, options=upstream_options,
            channel=""))).start()
        self.node2 = BirdDaemon(self.right, ROUTER.format(address=RIGHT, sessions=SESSION.format(
            name="sluice", address=RIGHT, local_as=64512, peer=ROUTER_RIGHT, peer_as=64512, options="multihop;",
            channel=channel))).start()
        self.bird = BirdDaemon(self.middle, arguments=bird_arguments)

    def document(self, **spec: Json) -> Json:
        made = super().document(bgp={"engine": "bird", **self.bgp}, **spec)
        return with_items(
            made, calico_node("router", ROUTER_RIGHT), calico_node("node2", RIGHT),
            calico("IPPool", "pods", cidr="10.244.0.0/16"),
            calico("BlockAffinity", "router-block", node="router", cidr=BLOCK, state="confirmed"),
            calico("BGPPeer", "upstream", node="router", peerIP=LEFT, asNumber=64900, sourceAddress="None"),
            calico("BGPConfiguration", "default", serviceLoadBalancerIPs=[{"cidr": SERVICES}],
                   communities=[{"name": "services", "value": "64512:80"}],
                   prefixAdvertisements=[{"cidr": SERVICES, "communities": ["services"]}]))

    def begin(self) -> "Routers":
        self.bird.start()
        wait_until(self.sessions_up, 20, self.report)
        return self

    def node2_announces_beyond_the_pools(self) -> None:
        self.right.ip(f"addr add {OUTSIDE.partition('/')[0]}/32 dev lo")

    def session(self, peer: str) -> Json:
        return next((one for one in self.router.get("/v1/bgp")["sessions"] if one["peer"] == peer), {"up": False})

    def sessions_up(self) -> bool:
        return self.session(LEFT)["up"] and self.session(RIGHT)["up"]

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


def test_BGP1_BGP2_BGP8_sessions_blocks_both_ways_and_packets(lab: Lab) -> None:
    routers = Routers(lab).begin()
    routers.reaches({BLOCK, BLOCK2, SERVICES})
    wait_until(lambda: routers.node2.routes() == {BLOCK, SERVICES}, 5, lambda: str(routers.node2.routes()))
    known = {route["destination"]: route for route in routers.router.routes()}
    wait_until(lambda: any(route["origin"] == "host" and route["destination"] == BLOCK2
                           for route in routers.router.routes()), 5, lambda: str(known))
    assert answers(routers.left, POD2), "from the upstream router to a pod of the other node"
    wait_until(lambda: " 0% packet loss" in routers.right.run(
        "ping", "-n", "-c", "1", "-W", "1", "-I", POD2, BEYOND, check=False).stdout, 5, "the way back")
    # The kernel has what was learned and no blackhole of ours.
    table = execute("ip", "-netns", routers.middle.full_name, "route", "show", "proto", "bird").stdout
    assert BLOCK2 in table and "blackhole" not in table and SERVICES not in table, table
    said = routers.upstream.ask(f"show route all for {SERVICES}")
    assert "(64512,80)" in said, said

    wait_until(lambda: routers.session(RIGHT)["imported"] == 1 and routers.session(LEFT)["exported"] == 3, 5, routers.report)
    status = routers.router.get("/v1/bgp")
    assert status["engine"] == "bird" and status["connected"] and not status["problem"], status
    assert status["version"].startswith("BIRD 2") and status["asNumber"] == 64512, status
    by_object = {one["object"]: one for one in status["sessions"]}
    assert by_object["Node node2"]["type"] == "node-to-node mesh", status
    assert abs(by_object["Node node2"]["sinceSeconds"] - time.time()) < 60, status
    announced = {one["prefix"]: one for one in status["announced"]}
    assert announced[BLOCK]["reasons"] == ["block of this node"], status
    assert announced[SERVICES]["communities"] == ["64512:80"], status
    shown = routers.router.control("get", "bgp").stdout
    assert "PEER" in shown and "node-to-node mesh" in shown and "Established" in shown, shown
    assert "block of this node" in routers.router.control("get", "bgp", "-o", "wide").stdout
    metrics = routers.router.request("GET", "/metrics").text
    assert f'sluice_bgp_session_up{{session="mesh.node2",peer="{RIGHT}"}} 1' in metrics, metrics
    events = routers.router.get("/v1/events?types=bgp&after=0&follow=false")["events"]
    assert sum(event["reason"] == "BgpSessionUp" for event in events) == 2, events
    assert routers.bird.config.stat().st_mode & 0o777 == 0o640


def test_BGP4_policy_local_follows_the_endpoints(lab: Lab) -> None:
    routers = Routers(lab).begin()
    routers.reaches({BLOCK, BLOCK2, SERVICES})
    routers.put(local_service("web", "10.96.0.7", VIP), endpoint_slice("web", PORTS, [(RIGHT, "router")]))
    routers.reaches({BLOCK, BLOCK2, SERVICES, f"{VIP}/32"})
    with echo_server(routers.right, RIGHT, 8080):
        wait_until(lambda: VIP in execute("ip", "-netns", routers.left.full_name, "route").stdout, 5, "the kernel's route")
        talk(routers.left, VIP, 80, 1 << 16)
    began = time.monotonic()
    routers.put(endpoint_slice("web", PORTS, [(RIGHT, "node2")]))
    routers.reaches({BLOCK, BLOCK2, SERVICES})
    print(f"withdrawn {time.monotonic() - began:.3f} s after the last local endpoint went")
    routers.put(endpoint_slice("web", PORTS, [(RIGHT, "router")]))
    routers.reaches({BLOCK, BLOCK2, SERVICES, f"{VIP}/32"})
    # Two that share an address: it stays until the last goes.
    routers.put(local_service("more", "10.96.0.8", VIP) | {"spec": local_service("more", "10.96.0.8", VIP)["spec"] |
                                                           {"ports": [service_port(81, 8080)]}},
                endpoint_slice("more", PORTS, [(RIGHT, "router")]),
                local_service("other", "10.96.0.9", VIP2), endpoint_slice("other", PORTS, [(RIGHT, "router")]))
    routers.reaches({BLOCK, BLOCK2, SERVICES, f"{VIP}/32", f"{VIP2}/32"})
    for name, left in (("web", {f"{VIP}/32", f"{VIP2}/32"}), ("more", {f"{VIP2}/32"})):
        assert routers.router.request("DELETE", f"/v1/Service/default/{name}").status == 200
        routers.reaches({BLOCK, BLOCK2, SERVICES} | left)


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

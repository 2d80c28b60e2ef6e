"""MetalLB's BGP kinds: a real BIRD of another router sees what BGPAdvertisements say, and gives nothing that is taken.

upstream (AS 64900) 10.1.0.2 | up0 10.1.0.1, sluiced and BIRD (AS 64500 here), 10.2.0.1 dn0 | node2, a node of the mesh
"""

from __future__ import annotations

from bird import ROUTER, SESSION
from netns import Lab, wait_until
from objects import calico, calico_node, endpoint_slice, service, service_port, with_items
from router import Json
from test_bgp import Routers
from test_host import Hosts
from two_hosts import LEFT, RIGHT, ROUTER_RIGHT

POOL = "198.51.100.0/24"
FIRST, SECOND = "198.51.100.7", "198.51.100.8"
PORTS = [service_port(80, 8080)]


def metallb(kind: str, name: str, **spec: Json) -> Json:
    version = "v1beta2" if kind == "BGPPeer" else "v1beta1"
    return {"apiVersion": f"metallb.io/{version}", "kind": kind,
            "metadata": {"name": name, "namespace": "metallb-system"}, "spec": spec}


def load_balancer(name: str, cluster_ip: str, address: str, policy: str = "Cluster") -> Json:
    made = service(name, cluster_ip, PORTS, type="LoadBalancer", externalTrafficPolicy=policy)
    made["metadata"]["annotations"] = {"metallb.io/loadBalancerIPs": address}
    return made


class MetallbRouters(Routers):
    """The upstream router is a peer by MetalLB's object; the mesh with node2 is Calico's."""

    peer = {"myASN": 64512, "peerASN": 64900, "peerAddress": LEFT, "bfdProfile": "fast", "holdTime": "30s"}

    def __init__(self, lab: Lab):
        super().__init__(lab, upstream_options='password "hush-hush"; bfd on;')

    def document(self, **spec: Json) -> Json:
        made = Hosts.document(self, bgp={"engine": "bird"}, **spec)
        return with_items(
            made, calico_node("router", ROUTER_RIGHT), calico_node("node2", RIGHT),
            calico("IPPool", "pods", cidr="10.244.0.0/16"),
            {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
             "metadata": {"name": "tor", "namespace": "metallb-system"}, "stringData": {"password": "hush-hush"}},
            metallb("BFDProfile", "fast", receiveInterval=200, transmitInterval=200),
            metallb("BGPPeer", "upstream", passwordSecret={"name": "tor"}, **self.peer),
            metallb("IPAddressPool", "public", addresses=[POOL]),
            metallb("Community", "names", communities=[{"name": "vip", "value": "64512:7"}]),
            metallb("BGPAdvertisement", "single", communities=["vip", "large:1:2:3"]),
            load_balancer("web", "10.96.0.7", FIRST), endpoint_slice("web", PORTS, [(RIGHT, "node2")]))


def test_LB10_a_real_peer_sees_prefix_and_communities(lab: Lab) -> None:
    routers = MetallbRouters(lab).begin()
    routers.reaches({f"{FIRST}/32"})
    said = routers.upstream.ask(f"show route all for {FIRST}")
    assert "(64512,7)" in said and "(1, 2, 3)" in said, said
    assert routers.session(LEFT)["object"] == "BGPPeer metallb-system/upstream", routers.report()
    wait_until(lambda: routers.session(LEFT)["bfd"] == "Up", 10, routers.report)
    assert not routers.node2.routes(), "Calico's peers are told what Calico's objects say"
    # Nothing is taken of MetalLB's peers.
    assert routers.session(LEFT)["imported"] == 0, routers.report()

    # Another advertisement of the same pool, aggregated, with a preference that another AS does not see.
    routers.put(metallb("BGPAdvertisement", "wide", aggregationLength=24, localPref=150))
    routers.reaches({f"{FIRST}/32", POOL})
    assert "community" not in routers.upstream.ask(f"show route all for {POOL}")
    # Policy Local: only with an endpoint here.
    routers.put(load_balancer("local", "10.96.0.8", SECOND, "Local"), endpoint_slice("local", PORTS, [(RIGHT, "node2")]))
    wait_until(lambda: SECOND in str(routers.router.get("/v1/services")), 5, routers.report)
    routers.reaches({f"{FIRST}/32", POOL})
    routers.put(endpoint_slice("local", PORTS, [(RIGHT, "router")]))
    routers.reaches({f"{FIRST}/32", f"{SECOND}/32", POOL})
    # Drained: as if it were not ready.
    assert routers.router.request("PUT", f"/v1/drains?endpoint={RIGHT}:8080").status == 200
    routers.reaches(set())
    reply = routers.router.request("DELETE", f"/v1/drains?endpoint={RIGHT}:8080")
    assert reply.status == 200, reply.text
    routers.reaches({f"{FIRST}/32", f"{SECOND}/32", POOL})
    # Peers that are not named get nothing.
    routers.put(metallb("BGPAdvertisement", "single", peers=["other"]), metallb("BGPAdvertisement", "wide", peers=["other"]))
    routers.reaches(set())
    wait_until(lambda: "there is no BGPPeer other of metallb.io" in routers.warnings(), 5, routers.warnings)


def test_LB10_a_peer_of_the_same_as_sees_the_preference(lab: Lab) -> None:
    class Internal(MetallbRouters):
        peer = {"myASN": 64900, "dynamicASN": "internal", "peerAddress": LEFT, "bfdProfile": "fast"}

    routers = Internal(lab)
    routers.upstream.config.write_text(ROUTER.format(address=LEFT, sessions=SESSION.format(
        name="sluice", address=LEFT, local_as=64900, peer="10.1.0.1", peer_as=64900,
        options='password "hush-hush"; direct;', channel="")))
    assert "Reconfigur" in routers.upstream.ask("configure")
    routers.put(metallb("BGPAdvertisement", "single", localPref=150))
    routers.bird.start()
    routers.reaches({f"{FIRST}/32"}, 20)
    assert "BGP.local_pref: 150" in routers.upstream.ask(f"show route all for {FIRST}")
    wait_until(lambda: routers.session(LEFT)["up"], 20, "the session to be seen")
    assert routers.router.stop() == 0
    wait_until(lambda: not routers.upstream.routes(), 5, "its routes to be withdrawn")

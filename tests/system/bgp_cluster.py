"""A cluster that finds its ways by BGP, every daemon a real one.

  client 192.0.2.10 ── upstream 192.168.0.254, AS 64900, Linux and BIRD ──┬── gw1    192.168.0.1   sluiced and BIRD, pods
                                                                          ├── gw2    192.168.0.2   the same
                                                                          └── linux  192.168.0.3   Linux and BIRD, a pod

The nodes are one AS (64512) and a full mesh. BIRD of a gateway runs in the host behind its router, with the configuration
that sluiced writes; its sessions go through the twin of the uplink.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace

from bird import ROUTER, SESSION, BirdDaemon
from cluster import POD_GATEWAY
from gateways import CLIENT, ECHO_SERVER, PORT, TARGET, UPSTREAM, Connection
from netns import Lab, Namespace, execute, wait_until
from objects import calico, calico_node, endpoint_slice, service, service_port, with_items
from pods import Pod
from probes import listening
from router import Json, Options, Router

GATEWAYS = {"gw1": "192.168.0.1", "gw2": "192.168.0.2"}
LINUX = "192.168.0.3"
LINUX_BLOCK, LINUX_POD = "10.244.3.0/24", "10.244.3.2"
SERVICES = "203.0.113.0/24"
BFD = {"receiveInterval": 200, "transmitInterval": 200}
PORTS = [service_port(PORT, TARGET)]


class Gateway:
    """A node with sluiced, BIRD and pods; what pods.Pod wants to know of a node."""

    def __init__(self, cluster: "BgpCluster", name: str):
        self.lab, self.name = cluster.lab, name
        self.index = list(GATEWAYS).index(name) + 1
        self.address = GATEWAYS[name]
        self.block = f"10.244.{self.index}.0/24"
        self.namespace = self.lab.namespace(name)
        self.lab.router_link(self.namespace, f"{name}-up", cluster.net, f"to-{name}")
        self.namespace.sysctl(**{f"net/ipv4/conf/{name}-up/rp_filter": 1, f"net/ipv6/conf/{name}-up/disable_ipv6": 1})
        self.bird = BirdDaemon(self.namespace)
        options = cluster.options or Options()
        self.router = Router(self.namespace, name, replace(options, extra=(
            *options.extra, *BirdDaemon.options(self.bird.folder))))
        self.pods: list[Pod] = []

    def add_pod(self, name: str) -> Pod:
        pod = Pod(self, name, len(self.pods) + 2)
        pod.make_link()
        pod.put()
        self.pods.append(pod)
        return pod


class BgpCluster:
    def __init__(self, lab: Lab, options: Options | None = None):
        self.lab, self.options = lab, options
        self.client, self.upstream, self.net, self.linux = (lab.namespace(name)
                                                            for name in ("client", "upstream", "net", "linux"))
        self.linux_pod = lab.namespace("linux-pod")
        self.items: dict[str, Json] = {}
        self.net.sysctl(**{f"net.bridge.bridge-nf-call-{table}": 0 for table in ("iptables", "ip6tables", "arptables")})
        self.net.ip("link add br0 type bridge stp_state 0 mcast_snooping 0", "link set br0 up")
        self.gateways = {name: Gateway(self, name) for name in GATEWAYS}
        for namespace in (self.upstream, self.linux):
            lab.link(self.net, f"to-{namespace.name}", namespace, "eth0")
            namespace.offload("eth0", tx="off")
            namespace.ip("link set lo up")
            namespace.sysctl(**{"net.ipv4.ip_forward": 1, "net.ipv4.conf.all.rp_filter": 0,
                                "net.ipv4.fib_multipath_hash_policy": 1, "net.ipv4.conf.eth0.rp_filter": 0,
                                "net.ipv4.conf.all.send_redirects": 0, "net.ipv4.conf.eth0.send_redirects": 0})
        for port in (*(f"to-{name}" for name in GATEWAYS), "to-upstream", "to-linux"):
            self.net.ip(f"link set dev {port} master br0")
        lab.link(self.upstream, "to-client", self.client, "eth0")
        for namespace, device in ((self.upstream, "to-client"), (self.client, "eth0")):
            namespace.offload(device, tx="off")
        self.upstream.ip(f"addr add {UPSTREAM}/24 dev eth0", "addr add 192.0.2.1/24 dev to-client")
        self.client.ip(f"addr add {CLIENT}/24 dev eth0", "route add default via 192.0.2.1")
        self.make_linux_node()
        self.upstream_bird = BirdDaemon(self.upstream, router_text(UPSTREAM, "", "".join(
            session_text(name, UPSTREAM, 64900, address, 64512, "bfd on;")
            for name, address in {**GATEWAYS, "linux": LINUX}.items())))
        self.linux_bird = BirdDaemon(self.linux, router_text(LINUX, LINUX_BLOCK, "".join(
            [session_text(name, LINUX, 64512, address, 64512, "bfd on;") for name, address in GATEWAYS.items()] +
            [session_text("upstream", LINUX, 64512, UPSTREAM, 64900, "bfd on;")])))

    def make_linux_node(self) -> None:
        self.linux.ip(f"addr add {LINUX}/24 dev eth0", f"route add default via {UPSTREAM}")  # proxy ARP asks for a route
        self.lab.link(self.linux, "cali-pod", self.linux_pod, "eth0")
        self.linux.sysctl(**{"net/ipv4/conf/cali-pod/proxy_arp": 1, "net/ipv4/neigh/cali-pod/proxy_delay": 0})
        self.linux.ip(f"route add {LINUX_POD}/32 dev cali-pod")
        self.linux_pod.ip(f"addr add {LINUX_POD}/32 dev eth0", f"route add {POD_GATEWAY} dev eth0 scope link",
                          f"route add default via {POD_GATEWAY} dev eth0")

    # ---- configuration ----

    def document(self, gateway: Gateway) -> Json:
        bgp = {"engine": "bird", "bfd": BFD}
        configuration = {
            "apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
            "spec": {"nodeName": gateway.name, "conntrack": {"max": 65536}, "bgp": bgp,
                     "host": {"routes": {"protocols": ["bird"]}},
                     "cluster": {"clusterCIDRs": ["10.244.0.0/16"], "serviceCIDRs": ["10.96.0.0/16"]},
                     "interfaces": [{"name": "up", "device": f"net_af_packet0,iface={gateway.name}-up,framecnt=4096",
                                     "role": "uplink", "addresses": [f"{gateway.address}/24"],
                                     "hostInterface": "up0"}]}}
        fixed = [configuration,
                 *(calico_node(name, address) for name, address in {**GATEWAYS, "linux": LINUX}.items()),
                 calico("IPPool", "pods", cidr="10.244.0.0/16"),
                 *(calico("BlockAffinity", f"{one.name}-block", node=one.name, cidr=one.block, state="confirmed")
                   for one in self.gateways.values()),
                 calico("BGPPeer", "upstream", peerIP=UPSTREAM, asNumber=64900),
                 calico("BGPConfiguration", "default", serviceLoadBalancerIPs=[{"cidr": SERVICES}],
                        serviceLoadBalancerAggregation="Disabled")]
        return with_items({"apiVersion": "v1", "kind": "List", "items": fixed}, *self.items.values())

    def put(self, *items: Json) -> None:
        """To every gateway, as a controller does that watches the cluster."""
        for item in items:
            self.items[f"{item['kind']} {item['metadata']['name']}"] = item
            for gateway in self.gateways.values():
                if gateway.router.alive():
                    self.put_at(gateway, item)

    @staticmethod
    def put_at(gateway: Gateway, item: Json) -> None:
        delta = {"apiVersion": "sluice.dev/v1", "kind": "Delta", "upsert": [item]}
        reply = gateway.router.request("PATCH", "/v1/config", json.dumps(delta))
        assert reply.status == 200, reply.text

    def balance(self, name: str, number: int, address: str, endpoints: list[tuple[str, str]], policy: str = "Cluster",
                forwarding: str = "snat") -> None:
        made = service(name, f"10.96.0.{number}", PORTS, address, externalTrafficPolicy=policy)
        made["metadata"]["annotations"] = {"sluice.dev/forwarding": forwarding}
        self.put(made, endpoint_slice(name, PORTS, endpoints))

    # ---- life ----

    def start(self) -> "BgpCluster":
        self.upstream_bird.start()
        self.linux_bird.start()
        self.serve(self.linux_pod, "linux-pod")
        for gateway in self.gateways.values():
            gateway.router.start(self.document(gateway))
            gateway.bird.start()
            pod = gateway.add_pod("pod")
            self.serve(pod.namespace, f"{gateway.name}-pod")
        wait_until(self.settled, 60, self.report)
        return self

    @staticmethod
    def serve(namespace: Namespace, name: str) -> None:
        namespace.start(sys.executable, "-I", str(ECHO_SERVER), name, str(TARGET), name="echo")
        wait_until(lambda: listening(namespace, TARGET), 10, f"the server of {name}")

    def pod(self, gateway: str) -> Pod:
        return self.gateways[gateway].pods[0]

    def blocks(self) -> set[str]:
        return {LINUX_BLOCK, *(gateway.block for gateway in self.gateways.values())}

    def settled(self) -> bool:
        """Everybody knows every block, and every session is up."""
        return (self.blocks() <= self.upstream_bird.routes() and self.blocks() - {LINUX_BLOCK} <= self.linux_bird.routes()
                and all(self.knows(gateway) for gateway in self.gateways.values()))

    def knows(self, gateway: Gateway) -> bool:
        routes = {route["destination"]: route["type"] for route in gateway.router.routes()}
        sessions = gateway.router.get("/v1/bgp")["sessions"]
        return (len(sessions) == 3 and all(session["up"] for session in sessions)
                and {LINUX_BLOCK, "192.0.2.0/24"} <= set(routes))

    def report(self) -> str:
        told = [f"upstream: {self.upstream_bird.ask('show protocols')}{self.upstream_bird.ask('show route')}",
                f"linux: {self.linux_bird.ask('show protocols')}{self.linux_bird.ask('show route')}"]
        for gateway in self.gateways.values():
            told.append(f"{gateway.name}: {gateway.bird.ask('show protocols')}{gateway.bird.ask('show route')}")
            if gateway.router.alive():
                told.append(str(gateway.router.get("/v1/bgp")))
        return "\n".join(told)

    # ---- what is seen ----

    def ways_to(self, address: str) -> set[str]:
        """The next hops that the upstream router's kernel has to an address."""
        shown = execute("ip", "-netns", self.upstream.full_name, "route", "show", "exact", f"{address}/32").stdout
        return set(re.findall(r"via (\S+)", shown))

    def wait_for_ways(self, address: str, *gateways: str, seconds: float = 20) -> None:
        expected = {GATEWAYS[name] for name in gateways}
        wait_until(lambda: self.ways_to(address) == expected, seconds,
                   lambda: f"{expected} to {address}, which goes by {self.ways_to(address)}\n{self.report()}")

    def answering(self, address: str) -> str:
        """Who answers a new connection."""
        connection = Connection(self.client, address)
        connection.reset()
        return connection.server


def router_text(address: str, block: str, sessions: str) -> str:
    text = ROUTER.format(address=address, sessions=sessions)
    text = text.replace("ipv4 { import none; export where source = RTS_BGP; };",
                        "ipv4 { import none; export where source = RTS_BGP; }; merge paths on;")
    text = text.replace('interface "lo";', 'interface "lo", "eth0", "to-client";')
    if block:
        text += f"protocol static {{ ipv4; route {block} blackhole; }}\n"
    return text


def session_text(name: str, address: str, own_as: int, peer: str, peer_as: int, options: str) -> str:
    text = SESSION.format(name=name, address=address, local_as=own_as, peer=peer, peer_as=peer_as, options=options,
                          channel="next hop self;")
    own = "[RTS_STATIC]" if own_as == 64512 else "[RTS_DEVICE]"
    return text.replace("export where source = RTS_DEVICE;", f"export where source ~ {own};")

"""The small cluster that the demo shows and most system tests use; docs/demo.md has its picture.

  client   outside, 192.0.2.10
  gw       sluiced: 192.0.2.1 towards the client, 192.168.0.1 towards the nodes
  net      the underlay, a bridge with the ports to-gw, to-node1, to-node2
  node1    plain Linux with a kernel VXLAN device as Calico makes it; pods web-1a, web-1b
  node2    a second sluiced, reached through IPIP; pods web-2a, web-2b on its workload ports

The addresses here are those of config/examples/demo/*.json.
"""

from __future__ import annotations

import copy
import hashlib
import json
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from netns import Lab, Namespace, wait_until
from router import PROJECT, Json, Options, Router

EXAMPLES = PROJECT / "config" / "examples" / "demo"
POD_SERVER = Path(__file__).with_name("pod_server.py")

CLIENT = "192.0.2.10"
GATEWAY = "192.0.2.1"
GATEWAY_UNDERLAY = "192.168.0.1"
NODE1, NODE2 = "192.168.0.11", "192.168.0.12"
GATEWAY_VXLAN, GATEWAY_IPIP = "10.244.0.0", "10.245.0.0"  # gw's tunnel addresses
NODE1_TUNNEL = "10.244.34.0"
LOAD_BALANCER, NODE_PORT = "203.0.113.80", 30080
WEB, MIRROR1, MIRROR2, EMPTY, ECHO = "10.96.7.7", "10.96.7.11", "10.96.7.12", "10.96.7.99", "10.96.7.9"
EMPTY_LOAD_BALANCER, EMPTY_NODE_PORT = "203.0.113.99", 30099
ECHO_PORT, ECHO_NODE_PORT = 7, 30007
VNI, VXLAN_PORT = 4096, 4789
VXLAN_MTU, IPIP_MTU = 1450, 1480
POD_GATEWAY, POD_GATEWAY_MAC = "169.254.1.1", "ee:ee:ee:ee:ee:ee"


@dataclass(frozen=True)
class PodSpec:
    name: str
    address: str
    node: str
    mac: str

    @property
    def port(self) -> str:
        """The node's end of the pod's link."""
        return "cali-" + self.name.removeprefix("web-")


PODS = {pod.name: pod for pod in (
    PodSpec("web-1a", "10.244.34.5", "node1", "02:00:0a:f4:22:05"),
    PodSpec("web-1b", "10.244.34.6", "node1", "02:00:0a:f4:22:06"),
    PodSpec("web-2a", "10.245.40.5", "node2", "02:00:0a:f5:28:05"),
    PodSpec("web-2b", "10.245.40.6", "node2", "02:00:0a:f5:28:06"),
)}


def vtep_mac(node: str) -> str:
    """Calico's rule (VXL-4): 'f', then the first five bytes of the SHA-1 of the node's name."""
    return ":".join(f"{byte:02x}" for byte in b"f" + hashlib.sha1(node.encode()).digest()[:5])


def example(name: str) -> Json:
    return json.loads((EXAMPLES / f"{name}.json").read_text())


def gateway_configuration(document: Json) -> Json:
    """The one object without which sluiced has no interfaces."""
    return next(item for item in document["items"] if item["kind"] == "GatewayConfiguration")


def find_object(document: Json, kind: str, name: str) -> Json:
    return next(item for item in document["items"] if item["kind"] == kind and item["metadata"]["name"] == name)


def changed(document: Json) -> Json:
    """A copy to change."""
    return copy.deepcopy(document)


class Cluster:
    def __init__(self, lab: Lab, options: Options | None = None, node2_options: Options | None = None):
        self.lab = lab
        self.client = lab.namespace("client")
        self.net = lab.namespace("net")
        self.gw = lab.namespace("gw")
        self.node1 = lab.namespace("node1")
        self.node2 = lab.namespace("node2")
        self.pods: dict[str, Namespace] = {name: lab.namespace(name) for name in PODS}
        self.gateway_document = example("gateway")
        self.node2_document = example("node2")
        self.gateway = Router(self.gw, "gw", options)
        self.second = Router(self.node2, "node2", node2_options or options)
        self.routers = [self.gateway, self.second]
        self.make_underlay()
        self.make_client()
        self.make_node1()
        self.make_node2()

    # ---- topology ----

    def make_underlay(self) -> None:
        self.net.ip("link add br0 type bridge stp_state 0 mcast_snooping 0", "link set br0 up")
        self.net.sysctl(**{f"net.bridge.bridge-nf-call-{table}": 0 for table in ("iptables", "ip6tables", "arptables")})
        self.lab.router_link(self.gw, "gw-un", self.net, "to-gw")
        self.lab.router_link(self.node2, "node2-un", self.net, "to-node2")
        self.lab.link(self.net, "to-node1", self.node1, "eth0")
        self.net.ip(*(f"link set dev {port} master br0" for port in ("to-gw", "to-node1", "to-node2")))

    def make_client(self) -> None:
        self.lab.router_link(self.gw, "gw-up", self.client, "eth0")
        self.client.ip(f"addr add {CLIENT}/24 dev eth0", f"route add default via {GATEWAY}")

    def make_node1(self) -> None:
        self.node1.sysctl(**{"net.ipv4.ip_forward": 1})
        self.node1.ip(f"addr add {NODE1}/24 dev eth0")
        self.make_vxlan_device()
        for pod in self.pods_of("node1"):
            self.lab.link(self.node1, pod.port, self.pods[pod.name], "eth0", VXLAN_MTU,
                          left_mac=POD_GATEWAY_MAC, right_mac=pod.mac)
            self.node1.sysctl(**{f"net/ipv4/conf/{pod.port}/proxy_arp": 1,
                                 f"net/ipv4/neigh/{pod.port}/proxy_delay": 0})
            self.node1.ip(f"route add {pod.address}/32 dev {pod.port}")
            self.configure_pod(pod)

    def make_vxlan_device(self, options: str = "") -> None:
        """What Calico's Felix programs on a node of a VXLAN pool."""
        self.node1.ip(
            f"link add vxlan.calico address {vtep_mac('node1')} mtu {VXLAN_MTU} type vxlan id {VNI} "
            f"local {NODE1} dev eth0 dstport {VXLAN_PORT} nolearning {options}",
            f"addr add {NODE1_TUNNEL}/32 dev vxlan.calico",
            "link set vxlan.calico up",
            f"neigh add {GATEWAY_VXLAN} lladdr {vtep_mac('gw')} dev vxlan.calico nud permanent",
            # Everything beyond this node is behind the gateway: its own block, the other pool, services, the world.
            *(f"route add {destination} via {GATEWAY_VXLAN} dev vxlan.calico onlink"
              for destination in ("10.244.0.0/26", "10.245.0.0/16", "10.96.0.0/16", "default")),
            "route replace blackhole 10.244.34.0/26")
        self.node1.bridge("fdb", "append", vtep_mac("gw"), "dev", "vxlan.calico", "dst", GATEWAY_UNDERLAY)

    def make_node2(self) -> None:
        for pod in self.pods_of("node2"):
            self.lab.router_link(self.node2, pod.port, self.pods[pod.name], "eth0", IPIP_MTU)
            self.pods[pod.name].ip(f"link set eth0 address {pod.mac}")
            self.configure_pod(pod)

    def configure_pod(self, pod: PodSpec) -> None:
        self.pods[pod.name].ip(f"addr add {pod.address}/32 dev eth0", f"route add {POD_GATEWAY} dev eth0 scope link",
                               f"route add default via {POD_GATEWAY} dev eth0")

    @staticmethod
    def pods_of(node: str) -> list[PodSpec]:
        return [pod for pod in PODS.values() if pod.node == node]

    # ---- processes ----

    def start_servers(self) -> None:
        """A web server and an UDP echo in every pod and, for what pods fetch from outside, at the client."""
        places = {**self.pods, "client": self.client}
        for name, namespace in places.items():
            namespace.start(sys.executable, "-I", str(POD_SERVER), name, name="server")
        for name, namespace in places.items():
            wait_until(lambda: listens(namespace, 8080), 10, f"the server of {name}")

    def start_routers(self) -> None:
        self.gateway.start(self.gateway_document)
        self.second.start(self.node2_document)

    def pod(self, name: str) -> Namespace:
        return self.pods[name]


def listens(namespace: Namespace, port: int) -> bool:
    with namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0

"""Several gateways as one: an upstream router of Linux shares the clients out among them by ECMP.

  client 192.0.2.10 ── upstream 192.0.2.1, 192.168.0.254 ──┬── gw1   192.168.0.1   sluiced
                                                           ├── gw2   192.168.0.2   sluiced, the same services
                                                           └── node  192.168.0.12  sluiced, three pods

Both gateways have the service addresses 203.0.113.80 (direct server return) and 203.0.113.81 (masqueraded). Replies of
the first go straight from the node to the upstream router; those of the second have to come back through their gateway.
"""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path

from cluster import POD_GATEWAY
from netns import Lab, Namespace, wait_until
from objects import endpoint_slice, service, service_port
from pods import block_object, node_object
from probes import listening
from router import Json, Options, Router

ECHO_SERVER = Path(__file__).with_name("echo_server.py")
CLIENT, UPSTREAM = "192.0.2.10", "192.168.0.254"
GATEWAYS = {"gw1": "192.168.0.1", "gw2": "192.168.0.2"}
NODE = "192.168.0.12"
PODS = {"pod-a": "10.245.40.5", "pod-b": "10.245.40.6", "pod-c": "10.245.40.7"}
DIRECT, MASQUERADED = "203.0.113.80", "203.0.113.81"
PORT, TARGET = 80, 7777


class Connection:
    """One TCP connection of the client, and who answers on it."""

    def __init__(self, client: Namespace, address: str, port: int = 0):
        self.socket = client.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(8)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("", port))
        self.socket.connect((address, PORT))
        self.lines = 0
        self.server = self.ask()

    def ask(self) -> str:
        """Who answers a further line; OSError or AssertionError if nobody, or somebody who did not hear it."""
        self.lines += 1
        self.socket.sendall(b"%d\n" % self.lines)
        said = b""
        while not said.endswith(b"\n"):
            piece = self.socket.recv(100)
            if not piece:
                raise ConnectionResetError("closed")
            said += piece
        server, line = said.decode().split()
        assert line == str(self.lines), said
        return server

    def alive(self) -> bool:
        try:
            return self.ask() == self.server
        except OSError:
            return False

    def reset(self) -> None:
        """The port may be used again at once, by everybody on the way."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Gateways:
    def __init__(self, lab: Lab, options: Options | None = None):
        self.lab = lab
        self.client, self.upstream, self.net = (lab.namespace(name) for name in ("client", "upstream", "net"))
        self.namespaces = {name: lab.namespace(name) for name in (*GATEWAYS, "node")}
        self.pods = {name: lab.namespace(name) for name in PODS}
        self.routers = {name: Router(namespace, name, options) for name, namespace in self.namespaces.items()}
        self.net.sysctl(**{f"net.bridge.bridge-nf-call-{table}": 0 for table in ("iptables", "ip6tables", "arptables")})
        self.net.ip("link add br0 type bridge stp_state 0 mcast_snooping 0", "link set br0 up")
        for name, namespace in self.namespaces.items():
            lab.router_link(namespace, f"{name}-up", self.net, f"to-{name}")
            self.net.ip(f"link set dev to-{name} master br0")
        lab.link(self.net, "to-upstream", self.upstream, "eth0")
        self.net.ip("link set dev to-upstream master br0")
        lab.link(self.upstream, "to-client", self.client, "eth0")
        for namespace, device in ((self.upstream, "eth0"), (self.upstream, "to-client"), (self.client, "eth0")):
            namespace.offload(device, tx="off")
        self.upstream.sysctl(**{"net.ipv4.ip_forward": 1, "net.ipv4.fib_multipath_hash_policy": 1,
                                "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.eth0.rp_filter": 0,
                                "net.ipv4.conf.eth0.send_redirects": 0})
        self.upstream.ip(f"addr add {UPSTREAM}/24 dev eth0", "addr add 192.0.2.1/24 dev to-client")
        self.client.ip(f"addr add {CLIENT}/24 dev eth0", "route add default via 192.0.2.1")
        for name, address in PODS.items():
            lab.router_link(self.namespaces["node"], f"cali-{name}", self.pods[name], "eth0")
            self.pods[name].ip(f"addr add {address}/32 dev eth0", f"route add {POD_GATEWAY} dev eth0 scope link",
                               f"route add default via {POD_GATEWAY} dev eth0")

    def start(self) -> "Gateways":
        for name, namespace in self.pods.items():
            namespace.start(sys.executable, "-I", str(ECHO_SERVER), name, str(TARGET), name="echo")
            wait_until(lambda: listening(namespace, TARGET), 10, f"the server of {name}")
        for name, router in self.routers.items():
            router.start(self.document(name))
        self.route_by(*GATEWAYS)
        return self

    def document(self, name: str) -> Json:
        address = {**GATEWAYS, "node": NODE}[name]
        interfaces = [{"name": "up", "device": f"net_af_packet0,iface={name}-up", "role": "uplink",
                       "addresses": [f"{address}/24"], "gateway": {"v4": UPSTREAM}}]
        if name == "node":
            interfaces += [{"name": f"cali-{pod}", "device": f"net_af_packet{number},iface=cali-{pod}",
                            "role": "workload", "mac": "ee:ee:ee:ee:ee:ee", "podAddresses": [f"{pod_address}/32"],
                            "podMAC": self.pods[pod].mac("eth0")}
                           for number, (pod, pod_address) in enumerate(PODS.items(), 1)]
        configuration = {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
                         "spec": {"nodeName": name, "interfaces": interfaces, "conntrack": {"max": 65536},
                                  "cluster": {"clusterCIDRs": ["10.244.0.0/15"], "serviceCIDRs": ["10.96.0.0/16"]}}}
        nodes = [node_object(node, at) for node, at in {**GATEWAYS, "node": NODE}.items()]
        pool = {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "pods"},
                "spec": {"cidr": "10.245.0.0/16", "ipipMode": "Always"}}
        return {"apiVersion": "v1", "kind": "List", "items": [
            configuration, *nodes, pool, block_object("node", "10.245.40.0/26"),
            *echo_service("direct", "10.96.0.1", DIRECT, "dsr"), *echo_service("other", "10.96.0.2", MASQUERADED, "snat")]}

    def route_by(self, *gateways: str) -> None:
        """What a routing daemon does when gateways come and go."""
        hops = " ".join(f"nexthop via {GATEWAYS[name]} weight 1" for name in gateways)
        self.upstream.ip(f"route replace 203.0.113.0/24 {hops}")

    def connect(self, address: str, count: int) -> list[Connection]:
        return [Connection(self.client, address) for _ in range(count)]


def echo_service(name: str, cluster_ip: str, vip: str, forwarding: str) -> list[Json]:
    ports = [service_port(PORT, TARGET)]
    made = service(name, cluster_ip, ports, vip)
    made["metadata"]["annotations"] = {"sluice.dev/forwarding": forwarding}
    return [made, endpoint_slice(name, ports, [(address, "node") for address in PODS.values()])]

"""The network of direct server return: a gateway, a node and a server, each with a way of its own to the client.

  front  192.0.2.0/24, 2001:db8:2::/64    client .10   gw .1   node .12   server .13
  back   192.168.0.0/24, fd00:1::/64                   gw .1   node .12   server .13

  gw      sluiced, at which the service addresses are reached
  node    a second sluiced, with the pod web behind it
  server  plain Linux with the service addresses on its loopback and IPIP taken off by real_server.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cluster import POD_GATEWAY, POD_SERVER, listens
from netns import Lab, Namespace, execute, wait_until
from objects import endpoint_slice, service, service_port
from pods import node_object
from router import Json, Options, Router

CLIENT, CLIENT6 = "192.0.2.10", "2001:db8:2::10"
GATEWAY, GATEWAY6 = "192.0.2.1", "2001:db8:2::1"
GATEWAY_BACK, NODE_BACK, SERVER_BACK = "192.168.0.1", "192.168.0.12", "192.168.0.13"
SERVER_BACK6 = "fd00:1::13"
POD, POD6, POD_MAC = "10.245.40.5", "fd00:245::5", "02:00:0a:f5:28:05"
VIP, VIP6 = "203.0.113.80", "2001:db8:80::80"  # of the pod
REAL, REAL6 = "203.0.113.90", "2001:db8:80::90"  # of the server
MTU = 1480  # of the tunnel
REAL_SERVER = Path(__file__).with_name("real_server.py")


def uplink(name: str, number: int, device: str, *addresses: str) -> Json:
    return {"name": name, "device": f"net_af_packet{number},iface={device}", "role": "uplink", "mtu": 1500,
            "addresses": list(addresses)}


def balanced(name: str, cluster_ip: str, vip: str, port: int, target: int, endpoint: str, node: str,
             forwarding: str) -> list[Json]:
    ports = [service_port(port, target)]
    made = service(name, cluster_ip, ports, vip)
    made["metadata"]["annotations"] = {"sluice.dev/forwarding": forwarding}
    return [made, endpoint_slice(name, ports, [(endpoint, node)])]


def document(node_name: str, interfaces: list[Json], forwarding: str) -> Json:
    configuration = {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
                     "spec": {"nodeName": node_name, "interfaces": interfaces, "conntrack": {"max": 65536},
                              "cluster": {"clusterCIDRs": ["10.244.0.0/15", "fd00:245::/64"],
                                          "serviceCIDRs": ["10.96.0.0/16", "fd00:96::/112"]}}}
    return {"apiVersion": "v1", "kind": "List", "items": [
        configuration, node_object("gw", GATEWAY_BACK), node_object("node", NODE_BACK),
        *balanced("web", "10.96.0.1", VIP, 80, 8080, POD, "node", forwarding),
        *balanced("web6", "fd00:96::1", VIP6, 80, 8080, POD6, "node", forwarding),
        *balanced("real", "10.96.0.2", REAL, 8080, 8080, SERVER_BACK, "", forwarding),
        *balanced("real6", "fd00:96::2", REAL6, 8080, 8080, SERVER_BACK6, "", forwarding)]}


class DirectReturn:
    def __init__(self, lab: Lab, options: Options | None = None):
        self.lab = lab
        self.net, self.client, self.gw, self.node, self.server, self.pod = (
            lab.namespace(name) for name in ("net", "client", "gw", "node", "server", "web"))
        self.gateway = Router(self.gw, "gw", options)
        self.second = Router(self.node, "node", options)
        self.net.sysctl(**{f"net.bridge.bridge-nf-call-{table}": 0 for table in ("iptables", "ip6tables", "arptables")})
        for bridge in ("front", "back"):
            self.net.ip(f"link add {bridge} type bridge stp_state 0 mcast_snooping 0", f"link set {bridge} up")
        for router, name in ((self.gw, "gw"), (self.node, "node")):
            for bridge in ("front", "back"):
                lab.router_link(router, f"{name}-{bridge}", self.net, f"to-{name}-{bridge}")
                self.join(bridge, f"to-{name}-{bridge}")
        self.make_client()
        self.make_server()
        lab.router_link(self.node, "cali-web", self.pod, "eth0")  # and not the MTU of a tunnel, which would always fit
        with_ipv6(self.pod, "eth0")
        self.pod.ip(f"link set eth0 address {POD_MAC}",
                    f"addr add {POD}/32 dev eth0", f"route add {POD_GATEWAY} dev eth0 scope link",
                    f"route add default via {POD_GATEWAY} dev eth0",
                    f"addr add {POD6}/128 dev eth0 nodad", "route add default via fe80::ecee:eeff:feee:eeee dev eth0")

    def join(self, bridge: str, port: str) -> None:
        self.net.ip(f"link set dev {port} master {bridge}")

    def make_client(self) -> None:
        self.lab.link(self.net, "to-client", self.client, "eth0")
        self.client.offload("eth0", tx="off")
        self.join("front", "to-client")
        with_ipv6(self.client, "eth0")
        self.client.ip(f"addr add {CLIENT}/24 dev eth0", f"addr add {CLIENT6}/64 dev eth0 nodad",
                       f"route add 203.0.113.0/24 via {GATEWAY}", f"route add 2001:db8:80::/64 via {GATEWAY6} dev eth0")

    def make_server(self) -> None:
        for bridge, device in (("front", "eth0"), ("back", "eth1")):
            self.lab.link(self.net, f"to-server-{bridge}", self.server, device)
            self.server.offload(device, tx="off")
            self.join(bridge, f"to-server-{bridge}")
            with_ipv6(self.server, device)
        with_ipv6(self.server, "lo")
        self.server.ip("addr add 192.0.2.13/24 dev eth0", "addr add 2001:db8:2::13/64 dev eth0 nodad",
                       f"addr add {SERVER_BACK}/24 dev eth1", f"addr add {SERVER_BACK6}/64 dev eth1 nodad",
                       f"addr add {REAL}/32 dev lo", f"addr add {REAL6}/128 dev lo nodad")

    def gateway_document(self, forwarding: str = "dsr") -> Json:
        return document("gw", [uplink("up", 0, "gw-front", f"{GATEWAY}/24", f"{GATEWAY6}/64"),
                               uplink("un", 1, "gw-back", f"{GATEWAY_BACK}/24", "fd00:1::1/64")], forwarding)

    def node_document(self, forwarding: str = "dsr") -> Json:
        pod = {"name": "cali-web", "device": "net_af_packet2,iface=cali-web", "role": "workload", "mtu": 1500,
               "mac": "ee:ee:ee:ee:ee:ee", "podAddresses": [f"{POD}/32", f"{POD6}/128"], "podMAC": POD_MAC}
        return document("node", [uplink("up", 0, "node-front", "192.0.2.12/24", "2001:db8:2::12/64"),
                                 uplink("un", 1, "node-back", f"{NODE_BACK}/24", "fd00:1::12/64"), pod], forwarding)

    def start(self) -> "DirectReturn":
        for name, namespace in (("web", self.pod), ("real", self.server)):
            namespace.start(sys.executable, "-I", str(POD_SERVER), name, name="server")
            wait_until(lambda: listens(namespace, 8080), 10, f"the server of {name}")
        decapsulator = self.server.start(sys.executable, "-I", str(REAL_SERVER), "tunnel", name="decapsulator")
        wait_until(lambda: "ready" in decapsulator.stdout(), 10, lambda: f"real_server.py: {decapsulator.stderr()}")
        self.gateway.start(self.gateway_document())
        self.second.start(self.node_document())
        return self

    def bytes_sent_to_client(self) -> int:
        """By the gateway, at its end of the front link."""
        said = execute("ip", "-netns", self.gw.full_name, "-j", "-s", "link", "show", "dev", "gw-front").stdout
        return json.loads(said)[0]["stats64"]["tx"]["bytes"]


def with_ipv6(namespace: Namespace, interface: str) -> None:
    namespace.sysctl(**{f"net.ipv6.conf.{interface}.router_solicitations": 0,
                        f"net.ipv6.conf.{interface}.accept_dad": 0, "net.ipv6.conf.all.disable_ipv6": 0,
                        f"net.ipv6.conf.{interface}.disable_ipv6": 0, "net.ipv6.icmp.ratelimit": 0})

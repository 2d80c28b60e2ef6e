"""Nodes with pods that WorkloadEndpoints attach: plain Linux at the other end of a veth pair, nothing switched off.

  pods | node1: sluiced | underlay 192.168.0.0/24, VXLAN | node2: sluiced | pods
"""

from __future__ import annotations

import json

from netns import Lab, Namespace
from router import Json, Options, Reply, Router

GATEWAY, GATEWAY6, GATEWAY_MAC = "169.254.1.1", "fe80::ecee:eeff:feee:eeee", "ee:ee:ee:ee:ee:ee"
UNDERLAY_MTU, POD_MTU = 1500, 1430  # VXLAN over IPv4 takes 50 bytes


def node_object(name: str, address: str) -> Json:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]}}


def block_object(node: str, cidr: str) -> Json:
    return {"apiVersion": "projectcalico.org/v3", "kind": "BlockAffinity",
            "metadata": {"name": f"{node}-{cidr.translate(str.maketrans('./:', '---'))}"},
            "spec": {"node": node, "cidr": cidr, "state": "confirmed"}}


def pool_object(name: str, cidr: str) -> Json:
    return {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": name},
            "spec": {"cidr": cidr, "vxlanMode": "Always"}}


class PodNode:
    """One node with one sluiced. `index` 1, 2 …; its pods are 10.244.INDEX.2 and on, fd00:244:INDEX::2 and on."""

    def __init__(self, lab: Lab, index: int, options: Options | None = None):
        self.lab = lab
        self.index = index
        self.name = f"node{index}"
        self.address = f"192.168.0.{index}"
        self.namespace = lab.namespace(self.name)
        self.router = Router(self.namespace, self.name, options)
        self.pods: list[Pod] = []

    def document(self, nodes: int) -> Json:
        names = range(1, nodes + 1)
        gateway = {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
                   "spec": {"nodeName": self.name, "conntrack": {"max": 65536},
                            "cluster": {"clusterCIDRs": ["10.244.0.0/16", "fd00:244::/48"]},
                            "interfaces": [{"name": "uplink0", "device": "net_af_packet0,iface=underlay",
                                            "addresses": [f"{self.address}/24"], "mtu": UNDERLAY_MTU}]}}
        return {"apiVersion": "v1", "kind": "List", "items": [
            gateway, pool_object("v4", "10.244.0.0/16"), pool_object("v6", "fd00:244::/48"),
            *(node_object(f"node{index}", f"192.168.0.{index}") for index in names),
            *(block_object(f"node{index}", f"10.244.{index}.0/24") for index in names),
            *(block_object(f"node{index}", f"fd00:244:0:{index}::/122") for index in names)]}

    def pod(self, name: str, attached: bool = True) -> "Pod":
        pod = Pod(self, name, len(self.pods) + 2)
        self.pods.append(pod)
        if attached:
            pod.make_link()
            pod.put()
        return pod

    def interface(self, name: str) -> Json:
        return next((entry for entry in self.router.status()["interfaces"] if entry["name"] == name), None)


class Pod:
    def __init__(self, node: PodNode, name: str, number: int):
        self.node = node
        self.name = name
        self.host_side = f"cali{node.index}{name}"[:15]
        self.address = f"10.244.{node.index}.{number}"
        self.address6 = f"fd00:244:0:{node.index}::{number:x}"
        self.mac = f"02:00:00:00:{node.index:02x}:{number:02x}"
        self.namespace: Namespace = node.lab.namespace(f"{node.name}-{name}")
        self.namespace.sysctl(**{"net.ipv6.conf.all.disable_ipv6": 0, "net.ipv6.conf.default.disable_ipv6": 0})

    def make_link(self) -> None:
        """As a CNI plugin does it; offloads are what the kernel makes them."""
        self.node.lab.link(self.node.namespace, self.host_side, self.namespace, "eth0", POD_MTU, right_mac=self.mac)
        self.namespace.sysctl(**{"net.ipv6.conf.eth0.disable_ipv6": 0})
        self.namespace.ip(f"addr add {self.address}/32 dev eth0", f"route add {GATEWAY} dev eth0 scope link",
                          f"route add default via {GATEWAY} dev eth0", f"addr add {self.address6}/128 dev eth0 nodad",
                          f"route add default via {GATEWAY6} dev eth0")

    def remove_link(self) -> None:
        self.node.namespace.ip(f"link del dev {self.host_side}")

    def endpoint(self, **spec: Json) -> Json:
        return {"apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint",
                "metadata": {"namespace": "default", "name": self.name},
                "spec": {"node": self.node.name, "orchestrator": "k8s", "pod": self.name, "endpoint": "eth0",
                         "containerID": "0", "interfaceName": self.host_side, "mac": self.mac,
                         "ipNetworks": [f"{self.address}/32", f"{self.address6}/128"], **spec}}

    @property
    def path(self) -> str:
        return f"/v1/WorkloadEndpoint/default/{self.name}"

    def put(self, **spec: Json) -> Reply:
        reply = self.node.router.request("PUT", self.path, json.dumps(self.endpoint(**spec)))
        assert reply.status == 200, reply.text
        return reply

    def delete(self) -> None:
        reply = self.node.router.request("DELETE", self.path)
        assert reply.status == 200, reply.text


def one_node(lab: Lab, options: Options | None = None, **uplink: Json) -> PodNode:
    """Its underlay leads to a host that does nothing. `uplink`: more of its interface."""
    node = PodNode(lab, 1, options)
    world = lab.namespace("world")
    lab.router_link(node.namespace, "underlay", world, "eth0", UNDERLAY_MTU)
    world.ip("addr add 192.168.0.100/24 dev eth0", "route add 10.244.0.0/16 via 192.168.0.1")
    document = node.document(1)
    document["items"][0]["spec"]["interfaces"][0].update(uplink)
    node.router.start(document)
    return node


def two_nodes(lab: Lab, options: Options | None = None) -> tuple[PodNode, PodNode]:
    nodes = (PodNode(lab, 1, options), PodNode(lab, 2, options))
    lab.link(nodes[0].namespace, "underlay", nodes[1].namespace, "underlay", UNDERLAY_MTU)
    for node in nodes:
        node.namespace.ip("link set dev underlay arp off")
    for node in nodes:
        node.router.start(node.document(2))
    return nodes

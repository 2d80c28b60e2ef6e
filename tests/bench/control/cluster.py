"""The documents of a large cluster, the same for the same figures: services, their endpoint slices, nodes with blocks."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from typing import Any, Iterator

Json = Any

SLICE_LIMIT = 100  # endpoints of one slice, as the controller of Kubernetes makes them
BLOCKS_PER_NODE = 2


@dataclass(frozen=True)
class Cluster:
    services: int = 10_000
    endpoints: int = 25  # of each service
    nodes: int = 5_000
    device: str = "net_null0"

    # ---- addresses ----

    def node_name(self, index: int) -> str:
        return f"node-{index}"

    def node_address(self, index: int) -> str:
        return str(ipaddress.IPv4Address("172.16.1.0") + index)

    def block(self, node: int, index: int) -> str:
        return f"{ipaddress.IPv4Address('10.128.0.0') + (node * BLOCKS_PER_NODE + index) * 64}/26"

    def pod_address(self, pod: int) -> str:
        node = pod % self.nodes
        slot = pod // self.nodes
        return str(ipaddress.IPv4Address("10.128.0.0") + node * BLOCKS_PER_NODE * 64 + slot)

    def service_address(self, index: int) -> str:
        return str(ipaddress.IPv4Address("10.96.1.0") + index)

    # ---- objects ----

    def gateway(self) -> Json:
        return {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
                "spec": {"nodeName": "gw-1",
                         "interfaces": [{"name": "uplink0", "device": self.device, "role": "uplink",
                                         "addresses": ["172.16.0.2/12"], "mtu": 1500}],
                         "cluster": {"clusterCIDRs": ["10.128.0.0/9"], "serviceCIDRs": ["10.96.0.0/12"]}}}

    def service(self, index: int) -> Json:
        address = self.service_address(index)
        return {"apiVersion": "v1", "kind": "Service",
                "metadata": {"namespace": f"team-{index % 100}", "name": f"svc-{index}",
                             "labels": {"app": f"svc-{index}"}},
                "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ipFamilies": ["IPv4"],
                         "selector": {"app": f"svc-{index}"},
                         "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}]}}

    def slices(self, index: int, version: int = 0) -> list[Json]:
        """The slices of a service; of another version the last endpoint is another pod."""
        return [self.slice(index, first, version) for first in range(0, self.endpoints, SLICE_LIMIT)]

    def slice(self, index: int, first: int = 0, version: int = 0) -> Json:
        pods = [index * self.endpoints + each for each in range(first, min(first + SLICE_LIMIT, self.endpoints))]
        if version % 2:
            pods[-1] = self.services * self.endpoints + index % 1000
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"namespace": f"team-{index % 100}", "name": f"svc-{index}-{first // SLICE_LIMIT}",
                             "labels": {"kubernetes.io/service-name": f"svc-{index}"}},
                "addressType": "IPv4", "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
                "endpoints": [{"addresses": [self.pod_address(pod)], "nodeName": self.node_name(pod % self.nodes),
                               "conditions": {"ready": True, "serving": True, "terminating": False},
                               "targetRef": {"kind": "Pod", "namespace": f"team-{index % 100}", "name": f"pod-{pod}"}}
                              for pod in pods]}

    def network(self) -> Iterator[Json]:
        yield {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "pods"},
               "spec": {"cidr": "10.128.0.0/9", "blockSize": 26, "ipipMode": "Never", "vxlanMode": "Never",
                        "natOutgoing": True, "nodeSelector": "all()"}}
        for node in range(self.nodes):
            yield {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.node_name(node)},
                   "status": {"addresses": [{"type": "InternalIP", "address": self.node_address(node)}]}}
            for index in range(BLOCKS_PER_NODE):
                cidr = self.block(node, index)
                yield {"apiVersion": "projectcalico.org/v3", "kind": "BlockAffinity",
                       "metadata": {"name": f"{self.node_name(node)}-{cidr.replace('.', '-').replace('/', '-')}"},
                       "spec": {"node": self.node_name(node), "cidr": cidr, "state": "confirmed", "deleted": False}}

    def objects(self) -> Iterator[Json]:
        yield self.gateway()
        yield from self.network()
        for index in range(self.services):
            yield self.service(index)
            yield from self.slices(index)

    # ---- texts ----

    def as_list(self) -> bytes:
        return compact({"apiVersion": "v1", "kind": "List", "items": list(self.objects())})

    def as_lines(self) -> bytes:
        return b"".join(compact(item) + b"\n" for item in self.objects())


def compact(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def delta(*upsert: Json) -> bytes:
    return compact({"kind": "Delta", "upsert": list(upsert)})

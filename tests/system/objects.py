"""Kubernetes objects for documents that tests write."""

from __future__ import annotations

from router import Json


def service_port(port: int, target: int, node_port: int = 0, protocol: str = "TCP", name: str = "main") -> Json:
    written = {"name": name, "protocol": protocol, "port": port, "targetPort": target}
    return {**written, "nodePort": node_port} if node_port else written


def family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def service(name: str, address: str, ports: list[Json], load_balancer: str = "", **spec: Json) -> Json:
    written = {"type": "LoadBalancer" if load_balancer else "ClusterIP", "clusterIP": address,
               "clusterIPs": [address], "ipFamilies": [family(address)], "ports": ports, **spec}
    made = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": name}, "spec": written}
    if load_balancer:
        made["status"] = {"loadBalancer": {"ingress": [{"ip": load_balancer}]}}
    return made


def endpoint_slice(name: str, ports: list[Json], endpoints: list[tuple[str, str]], service_name: str = "") -> Json:
    """`endpoints`: address and node of each."""
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "addressType": family(endpoints[0][0]) if endpoints else "IPv4",
            "metadata": {"namespace": "default", "name": name,
                         "labels": {"kubernetes.io/service-name": service_name or name}},
            "ports": [{"name": port["name"], "protocol": port["protocol"], "port": port["targetPort"]}
                      for port in ports],
            "endpoints": [{"addresses": [address], "nodeName": node, "conditions": {"ready": True}}
                          for address, node in endpoints]}


def service_with_endpoints(name: str, address: str, port: int, target: int, endpoints: list[tuple[str, str]],
                           load_balancer: str = "", protocol: str = "TCP", **spec: Json) -> list[Json]:
    ports = [service_port(port, target, protocol=protocol)]
    return [service(name, address, ports, load_balancer, **spec), endpoint_slice(name, ports, endpoints)]


def with_items(document: Json, *items: Json) -> Json:
    """The document and more; objects of the same kind and name are replaced."""
    def key(item: Json) -> tuple:
        return item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]
    merged = {key(item): item for item in [*document["items"], *items]}
    return {**document, "items": list(merged.values())}


def calico(kind: str, name: str, **spec: Json) -> Json:
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec}


def calico_node(name: str, address: str) -> Json:
    """As Calico writes it: the address with its subnet in an annotation."""
    return {"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "annotations": {"projectcalico.org/IPv4Address": f"{address}/24"}}}

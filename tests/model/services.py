"""Services: which addresses they are reached at and which endpoints their clients may have (specification, 3)."""

import direct_return
from by_hand import Weights
from host_ports import host_ports
from routing import Net
from wire import SCTP, TCP, UDP, addr

PROTOCOLS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP}
ZONE = "topology.kubernetes.io/zone"


class Endpoint:
    """drain: None, graceful or hard."""

    def __init__(self, address, port, node, ready, serving, terminating, hints, local, weight=100, drain=None):
        self.address, self.port, self.node, self.local = address, port, node, local
        self.ready, self.serving, self.terminating, self.hints = ready, serving, terminating, hints
        self.weight, self.drain = weight, drain

    @property
    def at(self):
        return self.address, self.port


class ServicePort:
    """One port of a Service in one family, and which endpoints its clients may have (3.2)."""


class Frontend:
    def __init__(self, kind, service):
        self.kind, self.service = kind, service


class Services:
    """Part of Tables."""

    def _add_services(self):
        self.frontends = {}
        self.direct_nodes = set()
        self.service_ports = {}
        node_ports = self._node_port_addresses()
        own_zone = self.nodes.get(self.node_name, {"metadata": {}})["metadata"].get("labels", {}).get(ZONE)
        services = sorted((key, o) for key, o in self.objects.items() if key[0] == "Service")
        for (_, ns, name), o in services:
            if not is_proxied(o):
                continue
            spec = o["spec"]
            for port in spec["ports"]:
                for family in (4, 16):
                    service = self._service_port(ns, name, spec, port, o, family, own_zone)
                    self.service_ports[service.name] = service
                    proto = PROTOCOLS[port["protocol"]]
                    cluster, external, balancer = frontend_addresses(o)
                    for kind, addresses in (("cluster", cluster), ("external", external), ("balancer", balancer)):
                        for address in addresses:
                            if len(address) == family:
                                self.frontends.setdefault((address, proto, port["port"]), Frontend(kind, service))
                    if port.get("nodePort"):
                        for address in node_ports:
                            if len(address) == family:
                                self.frontends.setdefault((address, proto, port["nodePort"]), Frontend("node", service))
        self._add_host_ports()
        self.serving = {
            (address, service.proto, port)
            for service in self.service_ports.values()
            for address, port in service.serving | service.cut  # whose connections are looked at
        }

    def _node_port_addresses(self):
        found = []
        for family in (4, 16):
            own = [address for address in self.own if len(address) == family]
            for text in self.proxy["nodePortAddresses"] or ["primary"]:
                found += own[:1] if text == "primary" else [address for address in own if address in Net(text)]
        return found

    def _service_port(self, ns, name, spec, port, o, family, own_zone):
        service = ServicePort()
        service.name = (ns, name, port.get("name", ""), family)
        service.proto = PROTOCOLS[port["protocol"]]
        service.external_local = spec.get("externalTrafficPolicy", "Cluster") == "Local"
        service.internal_local = spec.get("internalTrafficPolicy", "Cluster") == "Local"
        service.affinity = None
        if spec.get("sessionAffinity") == "ClientIP":
            config = spec.get("sessionAffinityConfig", {}).get("clientIP", {})
            service.affinity = config.get("timeoutSeconds", 10800) * 1000
        nets = [Net(text) for text in spec.get("loadBalancerSourceRanges", [])]
        service.ranges = [net for net in nets if net.family == family]
        endpoints = self._endpoints(ns, name, port, family, Weights(o))
        self._lists(service, endpoints, own_zone)
        service.direct, service.nodes = direct_return.wants(o), {}
        if service.direct:
            self._add_direct_return(service, endpoints)
        return service

    def _lists(self, service, endpoints, own_zone):
        """3.2, without those that are to get nothing new."""
        service.serving = {e.at for e in endpoints if e.serving or e.ready}
        service.cut = {e.at for e in endpoints if e.drain == "hard"}
        offered = [e for e in endpoints if e.weight and not e.drain]
        service.has_endpoint = any(e.ready or (e.serving and e.terminating) for e in offered)
        service.local = usable([e for e in offered if e.local])
        service.cluster = usable(by_hints(offered, self.local_nodes, own_zone))

    def _add_host_ports(self):
        for protocol, here, port, pod, address, pod_port in host_ports(self.objects, self.local_nodes, self.own):
            service = ServicePort()
            service.name = (*pod, f"{protocol}:{port}", len(address))
            service.proto = PROTOCOLS[protocol]
            service.external_local, service.internal_local, service.affinity, service.ranges = True, False, None, []
            service.direct = False
            drain = self.drains.of(*pod, address, pod_port)
            endpoint = Endpoint(address, pod_port, None, True, True, False, {}, True, drain=drain)
            self._lists(service, [endpoint], None)
            self.service_ports[service.name] = service
            for own in here:
                self.frontends.setdefault((own, service.proto, port), Frontend("node", service))

    def _endpoints(self, ns, name, port, family, weights):
        out = []
        for (kind, slice_ns, _), o in self.objects.items():
            if kind != "EndpointSlice" or slice_ns != ns:
                continue
            if o["metadata"]["labels"].get("kubernetes.io/service-name") != name:
                continue
            if o["addressType"] != ("IPv4" if family == 4 else "IPv6"):
                continue
            for slice_port in o["ports"]:
                if slice_port.get("name", "") != port.get("name", "") or slice_port.get("port") is None:
                    continue
                for e in o["endpoints"]:
                    conditions = e.get("conditions", {})
                    ready = conditions.get("ready", True)
                    serving = conditions.get("serving", ready)
                    local = e.get("nodeName") in self.local_nodes
                    address, pod = addr(e["addresses"][0]), e.get("targetRef", {}).get("name")
                    out.append(Endpoint(address, slice_port["port"], e.get("nodeName"), ready, serving,
                                        conditions.get("terminating", False), e.get("hints", {}), local,
                                        weights.of(address, pod, o["metadata"]["labels"]),
                                        self.drains.of(ns, pod, address, slice_port["port"])))  # fmt: skip
        return out


def is_proxied(o):
    """SVC-4."""
    labels = o["metadata"].get("labels", {})
    if "service.kubernetes.io/service-proxy-name" in labels or "service.kubernetes.io/headless" in labels:
        return False
    return o["spec"].get("type") != "ExternalName" and o["spec"].get("clusterIP") != "None"


def frontend_addresses(o):
    """Cluster IPs, external IPs and load balancer IPs (3.1)."""
    balancer = []
    if o["spec"].get("type") == "LoadBalancer":
        for entry in o.get("status", {}).get("loadBalancer", {}).get("ingress", []):
            if entry.get("ipMode", "VIP") == "VIP":
                balancer.append(addr(entry["ip"]))
    cluster = [addr(a) for a in o["spec"].get("clusterIPs", [])]
    return cluster, [addr(a) for a in o["spec"].get("externalIPs", [])], balancer


def service_addresses(o):
    return [address for addresses in frontend_addresses(o) for address in addresses] if is_proxied(o) else []


def usable(endpoints):
    """SVC-10."""
    ready = {e.at for e in endpoints if e.ready}
    return ready or {e.at for e in endpoints if e.serving and e.terminating}


def by_hints(endpoints, nodes, zone):
    """SVC-15, SVC-16: without the ready ones that are meant for others."""
    ready = [e for e in endpoints if e.ready]
    places = [("forNodes", nodes), ("forZones", [zone] if zone else [])]
    for sort, here in places:
        def names(e, sort=sort):
            return [hint["name"] for hint in e.hints.get(sort, [])]

        if ready and all(names(e) for e in ready) and any(set(names(e)) & set(here) for e in ready):
            return [e for e in endpoints if not e.ready or set(names(e)) & set(here)]
    return endpoints

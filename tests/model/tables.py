"""What the objects mean: routes, tunnels, frontends, endpoints, pools. Read from the JSON by the rules that
docs/config.md states, one loop after the other, with nothing remembered from the configuration before."""

import hashlib
import ipaddress

from wire import TCP, UDP, addr

PROTOCOLS = {"TCP": TCP, "UDP": UDP}
ZONE = "topology.kubernetes.io/zone"
PORTS = {"net_ring_a": 0, "net_ring_b": 1, "net_ring_c": 2}


def number(address):
    return int.from_bytes(address, "big")


class Net:
    __slots__ = ("base", "length", "family", "shift", "text")

    def __init__(self, text):
        base, _, length = text.strip().partition("/")
        self.base = addr(base)
        self.family = len(self.base)
        self.length = int(length) if length else 8 * self.family
        self.shift = 8 * self.family - self.length
        self.text = text

    def __contains__(self, address):
        return len(address) == self.family and number(address) >> self.shift == number(self.base) >> self.shift

    def key(self):
        return self.family, number(self.base) >> self.shift, self.length

    @property
    def is_host(self):
        return self.shift == 0


def host_net(address):
    return Net(str(ipaddress.ip_address(address)))


class Interface:
    def __init__(self, spec):
        self.name = spec["name"]
        self.port = PORTS[spec["device"]]
        self.mac = bytes.fromhex(spec["mac"].replace(":", ""))
        self.uplink = spec.get("role", "uplink") == "uplink"
        self.mtu = spec.get("mtu", 1500)
        self.rpf = spec.get("rpf", "off")
        self.addresses = [Net(text) for text in spec.get("addresses", [])]
        self.gateway = {len(addr(via)): addr(via) for via in (spec.get("gateway") or {}).values() if via}
        self.pods = [addr(text.partition("/")[0]) for text in spec.get("podAddresses", [])]
        self.pod_mac = bytes.fromhex(spec["podMAC"].replace(":", "")) if "podMAC" in spec else None

    def primary(self, family):
        return next((net.base for net in self.addresses if net.family == family), None)


class Hop:
    """One next hop: a neighbour at an interface, or a tunnel whose outer packets go to one."""

    def __init__(self, interface, mac, tunnel=None):
        self.interface, self.mac, self.tunnel = interface, mac, tunnel

    @property
    def mtu(self):
        return self.interface.mtu if self.tunnel is None else self.tunnel.mtu


class Tunnel:
    def __init__(self, name, kind, remote, spec, overlay):
        self.name, self.kind, self.remote = name, kind, remote
        self.vni = spec.get("vni", overlay["vxlanVNI"])
        self.inner_dst, self.inner_src = spec.get("inner_dst"), overlay["own_mac"]
        self.overlay = overlay
        self.mtu = spec.get("mtu")
        self.local = self.masquerade = self.hop = None


class Route:
    """kind: hops, local, service, drop (silent), reject (with ICMP codes for IPv4 and IPv6)."""

    def __init__(self, kind, reason=None, codes=None, hops=None):
        self.kind, self.reason, self.codes, self.hops = kind, reason, codes, hops or []


NO_ROUTE = Route("reject", "no_route", (0, 0))
UNREACHABLE = Route("reject", "unreachable", (1, 3))
PROHIBIT = Route("reject", "prohibited", (13, 1))
BLACKHOLE = Route("drop", "blackhole")


class Endpoint:
    def __init__(self, address, port, node, ready, serving, terminating, hints, local):
        self.address, self.port, self.node, self.local = address, port, node, local
        self.ready, self.serving, self.terminating, self.hints = ready, serving, terminating, hints

    @property
    def at(self):
        return self.address, self.port


class ServicePort:
    """One port of a Service in one family, and which endpoints its clients may have (3.2)."""


class Frontend:
    def __init__(self, kind, service):
        self.kind, self.service = kind, service


class Tables:
    def __init__(self, objects):
        self.objects = objects
        self.spec = next(o for (kind, _, _), o in objects.items() if kind == "GatewayConfiguration")["spec"]
        proxy = self.spec.get("proxy", {})
        self.proxy = {
            "nodePortAddresses": ["primary"], "masqueradeAll": False, "allowExternalClusterIP": False,
            "serviceLoopPrevention": "Drop", "sourceRangesForInCluster": True, "noEndpoints": "Reject",
            "vipEchoReply": False, "onBackendRemoved": "Keep", "externalPolicyLocalScope": "Node", **proxy,
        }  # fmt: skip
        self.node_name = self.spec["nodeName"]
        self.local_nodes = self.spec.get("localNodeNames", [self.node_name])
        self.interfaces = [Interface(spec) for spec in self.spec["interfaces"]]
        self.own = [net.base for interface in self.interfaces for net in interface.addresses]
        self.cluster_nets = [Net(text) for text in self.spec["cluster"]["clusterCIDRs"]]
        self.service_nets = [Net(text) for text in self.spec["cluster"]["serviceCIDRs"]]
        snat = self.spec.get("snat", {})
        first, last = snat.get("portRange", "32768-65535").split("-")
        self.snat = int(first), int(last)
        self.exclude_hosts = snat.get("natOutgoingExclusions") == "IPPoolsAndHostIPs"
        icmp = self.spec.get("icmp", {})
        self.error_source_vip = icmp.get("errorSource", "vip") == "vip"
        self.timeouts = {name: int(text[:-1]) * 1000 for name, text in self.spec["conntrack"]["timeouts"].items()}
        self.loose = self.spec["conntrack"].get("tcpLoose", True)
        overlay = {
            "vxlanVNI": 4096, "vxlanSrcPortRange": "49152-65535", "mtu": "auto", "outerDF": "Inherit", "dscp": "Copy",
            "ecn": "Normal", "strictVxlanFlags": False, "externalNodesCIDRs": [], **self.spec.get("overlay", {}),
        }  # fmt: skip
        overlay["own_mac"] = vtep_mac(self.node_name)
        self.overlay = overlay
        self.nodes = {name: o for (kind, _, name), o in objects.items() if kind == "Node"}
        self.pools = [o["spec"] for (kind, _, _), o in objects.items() if kind == "IPPool"]
        self.macs = {
            (n["interface"], addr(n["address"])): bytes.fromhex(n["mac"].replace(":", ""))
            for n in self.spec.get("neighbors", [])
        }
        self.pool_nets = [(Net(pool["cidr"]), pool.get("natOutgoing", False)) for pool in self.pools]
        self.host_addresses = set(self.node_addresses()) if self.exclude_hosts else set()
        self.tunnels = {}
        self.routes = {}
        self._add_routes()
        self._finish_tunnels()
        self._find_sources()
        self._add_services()
        self.by_length = sorted(self.routes.values(), key=lambda pair: -pair[0].length)
        self._memory = {}

    # --- nodes -----------------------------------------------------------------------------------------

    def underlay(self, name, family=4):
        node = self.nodes.get(name)
        if node is None:
            return None
        notes = node["metadata"].get("annotations", {})
        given = notes.get(f"projectcalico.org/IPv{4 if family == 4 else 6}Address")
        if given:
            return Net(given).base
        for entry in node["status"]["addresses"]:
            if entry["type"] == "InternalIP" and len(addr(entry["address"])) == family:
                return addr(entry["address"])
        return None

    def is_own(self, name):
        return name == self.node_name or self.underlay(name) in self.own

    def own_tunnel_address(self, kind):
        notes = self.nodes.get(self.node_name, {"metadata": {}})["metadata"].get("annotations", {})
        given = notes.get(f"projectcalico.org/IPv4{kind}TunnelAddr")
        return addr(given) if given else None

    def node_addresses(self):
        found = [addr(e["address"]) for node in self.nodes.values() for e in node["status"]["addresses"]]
        return found + [a for name in self.nodes for a in [self.underlay(name), self.underlay(name, 16)] if a]

    # --- routes ----------------------------------------------------------------------------------------

    def _add(self, net, route):
        self.routes.setdefault(net.key(), (net, route))  # an earlier sort of route is preferred to a later one

    def _interface(self, name):
        return next(interface for interface in self.interfaces if interface.name == name)

    def _subnet_of(self, address):
        for interface in self.interfaces:
            if any(not net.is_host and address in net for net in interface.addresses):
                return interface
        return None

    def _via(self, address, interface=None):
        interface = interface or self._subnet_of(address)
        return Hop(interface, self.macs.get((interface.name, address)))

    def _hops_to(self, address):
        """The way to an address of the underlay."""
        if self._subnet_of(address) is not None:
            return [self._via(address)]
        matching = [pair for pair in self.routes.values() if address in pair[0] and pair[1].kind == "hops"]
        return max(matching, key=lambda pair: pair[0].length)[1].hops if matching else []

    def _add_routes(self):
        for interface in self.interfaces:
            for net in interface.addresses:
                self._add(host_net(net.base), Route("local"))
        self._add(Net("169.254.0.0/16"), BLACKHOLE)
        for kind in ("VXLAN", "IPIP"):
            if self.own_tunnel_address(kind):
                self._add(host_net(self.own_tunnel_address(kind)), Route("local"))
        for spec in self.spec.get("tunnels", []):
            inner = bytes.fromhex(spec["remoteMAC"].replace(":", "")) if "remoteMAC" in spec else None
            tunnel = Tunnel(spec["name"], spec["type"], addr(spec["remote"]), {**spec, "inner_dst": inner}, self.overlay)
            tunnel.local = addr(spec["local"])
            self.tunnels[tunnel.name] = tunnel
        for spec in self.spec.get("routes", []):
            self._add(Net(spec["destination"]), self._static(spec))
        for name, address in self.macs:
            self._add(host_net(address), Route("hops", hops=[self._via(address, self._interface(name))]))
        for interface in self.interfaces:
            for pod in interface.pods:
                self._add(host_net(pod), Route("hops", hops=[Hop(interface, interface.pod_mac)]))
        for interface in self.interfaces:
            for family, via in interface.gateway.items():
                everything = Net("0.0.0.0/0" if family == 4 else "::/0")
                self._add(everything, Route("hops", hops=[self._via(via, interface)]))
        for interface in self.interfaces:
            for net in interface.addresses:
                self._add(net, Route("hops", hops=[Hop(interface, None)]))
                if net.family == 4 and net.length <= 30:
                    first = number(net.base) >> net.shift << net.shift
                    for address in (first, first | (1 << net.shift) - 1):
                        self._add(host_net(address.to_bytes(4, "big")), Route("drop", "ip_broadcast"))
        self._add_blocks()
        for (kind, _, _), o in self.objects.items():
            if kind == "Service":
                for address in service_addresses(o):
                    self._add(host_net(address), Route("service"))
        for net in self.service_nets:
            action = self.proxy["serviceLoopPrevention"]
            if action == "Drop":
                self._add(net, Route("drop", "service_unknown"))
            elif action == "Reject":
                self._add(net, UNREACHABLE)
        for pool in self.pools:
            self._add(Net(pool["cidr"]), BLACKHOLE)

    def _static(self, spec):
        kind = spec.get("type", "unicast")
        if kind != "unicast":
            return {"blackhole": BLACKHOLE, "unreachable": UNREACHABLE, "prohibit": PROHIBIT}[kind]
        hops = []
        for hop in spec.get("nextHops", [spec]):
            if "tunnel" in hop:
                hops.append(Hop(None, None, self.tunnels[hop["tunnel"]]))
            else:
                interface = self._interface(hop["interface"]) if "interface" in hop else None
                hops.append(self._via(addr(hop["via"]), interface))
        return Route("hops", hops=hops)

    def _add_blocks(self):
        with_blocks = set()
        for (kind, _, _), o in sorted(self.objects.items()):
            if kind == "BlockAffinity" and o["spec"].get("state", "confirmed") == "confirmed":
                with_blocks.add(o["spec"]["node"])
                self._add_block(Net(o["spec"]["cidr"]), o["spec"]["node"])
        for name, node in self.nodes.items():
            if name not in with_blocks:
                for cidr in node.get("spec", {}).get("podCIDRs", []):
                    self._add_block(Net(cidr), name)

    def _add_block(self, net, name):
        if name not in self.nodes and name != self.node_name:
            return
        if self.is_own(name):
            if not net.is_host:
                self._add(net, BLACKHOLE)
            return
        address = self.underlay(name, net.family)
        if address is None:
            return
        pool = next((p for p in self.pools if net.base in Net(p["cidr"])), {})
        for kind in ("vxlan", "ipip"):
            mode = pool.get(kind + "Mode", "Never")
            wanted = mode == "Always" or (mode == "CrossSubnet" and self._subnet_of(address) is None)
            if wanted and self.underlay(name) is not None and (kind == "vxlan" or net.family == 4):
                self._add(net, Route("hops", hops=[Hop(None, None, self._node_tunnel(name, kind))]))
                return
        hops = self._hops_to(address)
        if hops:
            self._add(net, Route("hops", hops=hops))

    def _node_tunnel(self, name, kind):
        key = f"{kind}@{name}"
        if key not in self.tunnels:
            tunnel = Tunnel(key, kind, self.underlay(name), {"inner_dst": vtep_mac(name)}, self.overlay)
            tunnel.masquerade = self.own_tunnel_address("VXLAN" if kind == "vxlan" else "IPIP")
            self.tunnels[key] = tunnel
        return self.tunnels[key]

    def _finish_tunnels(self):
        smallest = min(interface.mtu for interface in self.interfaces if interface.uplink)
        for tunnel in self.tunnels.values():
            tunnel.hop = self._hops_to(tunnel.remote)[0]
            if tunnel.local is None:
                own = self.underlay(self.node_name)
                tunnel.local = own if own in self.own else tunnel.hop.interface.primary(4)
            tunnel.masquerade = tunnel.masquerade or tunnel.local
            if tunnel.mtu is None:
                automatic = smallest - (50 if tunnel.kind == "vxlan" else 20)
                tunnel.mtu = automatic if self.overlay["mtu"] == "auto" else self.overlay["mtu"]
        for _, route in self.routes.values():
            for hop in route.hops:
                if hop.tunnel is not None:
                    hop.interface, hop.mac = hop.tunnel.hop.interface, hop.tunnel.hop.mac

    def _find_sources(self):
        kinds = {tunnel.kind for tunnel in self.tunnels.values()}
        for pool in self.pools:
            kinds |= {kind for kind in ("vxlan", "ipip") if pool.get(kind + "Mode", "Never") != "Never"}
        self.accepted = kinds
        self.sources = {self.underlay(name) for name in self.nodes if not self.is_own(name)} - {None}
        self.sources |= {tunnel.remote for tunnel in self.tunnels.values()}
        self.source_nets = [Net(text) for text in self.overlay["externalNodesCIDRs"]]
        self.tunnel_ends = {tunnel.local for tunnel in self.tunnels.values()}
        if kinds:
            self.tunnel_ends |= {self.underlay(self.node_name)} - {None}
        self.tunnel_pairs = {(tunnel.local, tunnel.remote) for tunnel in self.tunnels.values()}

    def route(self, address):
        """The longest prefix, by looking at all of them."""
        found = self._memory.get(address)
        if found is None:
            found = next((route for net, route in self.by_length if address in net), NO_ROUTE)
            self._memory[address] = found
        return found

    # --- services --------------------------------------------------------------------------------------

    def _add_services(self):
        self.frontends = {}
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
        self.serving = {
            (address, service.proto, port) for service in self.service_ports.values() for address, port in service.serving
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
        endpoints = self._endpoints(ns, name, port, family)
        service.serving = {e.at for e in endpoints if e.serving or e.ready}
        service.has_endpoint = any(e.ready or (e.serving and e.terminating) for e in endpoints)
        service.local = usable([e for e in endpoints if e.local])
        service.cluster = usable(by_hints(endpoints, self.local_nodes, own_zone))
        return service

    def _endpoints(self, ns, name, port, family):
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
                    out.append(Endpoint(addr(e["addresses"][0]), slice_port["port"], e.get("nodeName"), ready, serving,
                                        conditions.get("terminating", False), e.get("hints", {}), local))  # fmt: skip
        return out

    # --- questions -------------------------------------------------------------------------------------

    def in_cluster(self, address):
        return any(address in net for net in self.cluster_nets)

    def nat_outgoing(self, source, destination):
        """MASQ-8."""
        leaves = any(leaves and source in net for net, leaves in self.pool_nets)
        return leaves and not any(destination in net for net, _ in self.pool_nets) and destination not in self.host_addresses


def vtep_mac(node):
    """VXL-4."""
    return b"f" + hashlib.sha1(node.encode()).digest()[:5]


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
    return [addr(a) for a in o["spec"].get("clusterIPs", [])], [addr(a) for a in o["spec"].get("externalIPs", [])], balancer


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


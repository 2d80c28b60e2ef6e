"""What the objects mean: routes, tunnels, frontends, endpoints, pools. Read from the JSON by the rules that
docs/config.md states, one loop after the other, with nothing remembered from the configuration before."""

import hashlib

from by_hand import Drains
from direct_return import DirectTunnels
from routing import BLACKHOLE, NO_ROUTE, PROHIBIT, UNREACHABLE, Hop, Interface, Net, Route, Tunnel, host_net, number
from services import Services, service_addresses
from wire import addr


class Tables(Services, DirectTunnels):
    def __init__(self, objects):
        self.objects = objects
        self.drains = Drains(objects)
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
        self.endpoint_independent = snat.get("mapping", "Symmetric") == "EndpointIndependent"
        self.exclude_hosts = snat.get("natOutgoingExclusions") == "IPPoolsAndHostIPs"
        icmp = self.spec.get("icmp", {})
        self.error_source_vip = icmp.get("errorSource", "vip") == "vip"
        self.timeouts = {name: int(text[:-1]) * 1000 for name, text in self.spec["conntrack"]["timeouts"].items()}
        self.loose = self.spec["conntrack"].get("tcpLoose", True)
        self.liberal = self.spec["conntrack"].get("tcpBeLiberal", False)
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
        self.pod_nets = []  # each with: it is of a node that does not count as this one
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
            fields = {**spec, "inner_dst": inner}
            tunnel = Tunnel(spec["name"], spec["type"], addr(spec["remote"]), fields, self.overlay)
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
        self.pod_nets.append((net, not self.is_own(name) and name not in self.local_nodes))
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

    # --- questions -------------------------------------------------------------------------------------

    def client_kind(self, address, interface, tunnel):
        """MASQ-1. "remote": a pod of the cluster that is not local."""
        mode = self.spec["cluster"].get("detectLocalMode", "ClusterCIDR")
        names = self.spec["cluster"].get("detectLocal", {})
        if address in self.own:
            return "node"
        if mode == "ClusterCIDR":
            return "pod" if self.in_cluster(address) else "outside"
        if mode == "NodeCIDR":
            cidrs = [c for n in self.local_nodes for c in self.nodes.get(n, {}).get("spec", {}).get("podCIDRs", [])]
            local = any(address in Net(cidr) for cidr in cidrs)
        elif mode == "BridgeInterface":
            local = tunnel is None and interface.name == names["bridgeInterface"]
        else:
            local = tunnel is None and interface.name.startswith(names["interfaceNamePrefix"])
        if local:
            return "pod"
        return "remote" if self.in_cluster(address) or self.pod_elsewhere(address) else "outside"

    def in_cluster(self, address):
        return any(address in net for net in self.cluster_nets)

    def pod_elsewhere(self, address):
        """SVC-63: the longest network decides."""
        if any(address in interface.pods for interface in self.interfaces):
            return False
        nets = [(net.length, elsewhere) for net, elsewhere in self.pod_nets if address in net]
        return max(nets, key=lambda pair: pair[0])[1] if nets else False

    def nat_outgoing(self, source, destination):
        """MASQ-8."""
        if not any(leaves and source in net for net, leaves in self.pool_nets):
            return False
        return not any(destination in net for net, _ in self.pool_nets) and destination not in self.host_addresses


def vtep_mac(node):
    """VXL-4."""
    return b"f" + hashlib.sha1(node.encode()).digest()[:5]

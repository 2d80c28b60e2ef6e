"""Networks, interfaces, next hops and routes as values."""

import ipaddress

from wire import addr

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

"""The addresses that the generator and every system under test agree on.

        generator ── left ── system under test ── right ── generator
        clients   10.1.0.2        10.1.0.1  192.168.0.1      192.168.0.2   servers, nodes, other routers

The generator is everybody else on both links, always under the same MAC address. Nothing of this leaves the links,
which exist between two processes or two network namespaces; the prefixes of the 100 000 routes are arbitrary.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    name: str
    index: int
    router4: str
    router6: str
    router_mac: str
    peer4: str
    peer6: str
    peer_mac: str

    def router(self, family: int) -> str:
        return self.router4 if family == 4 else self.router6

    def peer(self, family: int) -> str:
        return self.peer4 if family == 4 else self.peer6


LEFT = Link("left", 0, "10.1.0.1", "fd00:1::1", "02:00:00:00:01:01", "10.1.0.2", "fd00:1::2", "02:00:00:00:01:02")
RIGHT = Link("right", 1, "192.168.0.1", "fd00:2::1", "02:00:00:00:02:01", "192.168.0.2", "fd00:2::2",
             "02:00:00:00:02:02")
LINKS = (LEFT, RIGHT)
LENGTH4 = 24  # of both links' subnets
LENGTH6 = 64
MTU = 1500


@dataclass(frozen=True)
class Tunnel:
    kind: str  # "vxlan" or "ipip"
    link: Link
    remote: str  # IPv4 address on the link
    vni: int = 4096


VTEP_MAC = "02:00:00:00:0e:01"  # of the system under test, inside VXLAN
REMOTE_VTEP_MAC = "02:00:00:00:0e:02"
VXLAN_PORT = 4789
VXLAN_RIGHT = Tunnel("vxlan", RIGHT, "192.168.0.11")
VXLAN_LEFT = Tunnel("vxlan", LEFT, "10.1.0.11")
IPIP_RIGHT = Tunnel("ipip", RIGHT, "192.168.0.12")

PODS = "10.128.0.0/9"  # clients inside the cluster, on the left
OUTSIDE = "100.64.0.0/10"  # clients outside of it, on the left
ENDPOINTS = "10.16.0.0/12"  # on the right
TUNNEL_PODS = {"vxlan": "10.32.0.0/16", "ipip": "10.33.0.0/16"}  # behind a tunnel on the right
SERVICES = "10.96.0.0/12"
SERVICE_PORT = 80
TARGET_PORT = 8080
NODE_PORT = 30080


def nth(prefix: str, number: int) -> str:
    return str(ipaddress.ip_network(prefix)[number])


def service_address(number: int) -> str:
    """The cluster IP of service `number`, from 0."""
    return nth(SERVICES, number + 1)


def span(first: str, count: int) -> str:
    """A range as the generator writes it."""
    start = ipaddress.ip_address(first)
    return f"{start}-{start + count - 1}"


def routed_prefix(link: Link, number: int, family: int) -> str:
    """Prefix `number` of the many routes behind a link: /24 for IPv4, /48 for IPv6."""
    if family == 4:
        return f"{20 + link.index}.{number >> 8}.{number & 255}.0/24"
    return f"fd2{link.index}:{number >> 16:x}:{number & 65535:x}::/48"


def routed_host(link: Link, number: int, family: int) -> str:
    return nth(routed_prefix(link, number, family), 1)

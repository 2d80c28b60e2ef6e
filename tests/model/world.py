"""Where hosts are and whom they talk to: what all random traffic shares."""

import struct
import zlib

import wire
from cluster import BEHIND_STATIC, HOME, HOST_PORTS, OUTSIDE, OUTSIDE6, OWN, OWN_VTEP, PODS, PODS6, UNDERLAY
from services import PROTOCOLS, frontend_addresses, is_proxied
from wire import addr, mac

ROUTER_MACS = [mac(0x0A), mac(0x0B), mac(0x0C)]
PEER = mac(0xEE)
ROUTER = addr("192.168.0.1")
PODS_ALL = [addr(a) for pods in (PODS, PODS6) for addresses in pods.values() for a in addresses]
RELAYED = addr("198.51.100.90")  # a client whose packets come by another gateway (direct server return)
CLIENTS = [addr(a) for a in OUTSIDE + OUTSIDE6] + [a for a in PODS_ALL for _ in (0, 1)]
CLIENTS += [addr("192.168.0.13"), RELAYED, RELAYED, RELAYED]
OUTSIDERS = [addr(a) for a in OUTSIDE + OUTSIDE6]
ODD = [  # addresses of the router, of nobody, and of routes that lead nowhere
    "10.96.0.77", "10.96.0.3", "10.246.0.9", "10.247.1.1", "10.244.0.0", "192.168.0.1", "192.0.2.1", "10.245.0.0",
    "192.168.0.255", "169.254.1.1", "198.18.1.99", "10.244.200.1", "203.0.113.66", "198.51.100.129", "203.0.113.200",
]  # fmt: skip
ODD6 = ["fd00:10:96::77", "fd00:10:246:1::9", "2001:db8:2::1", "fd00:10:246:ff::1", "2001:db8:ff:1::5"]
# Router alert, record route, timestamp, no operation and the end of the list (RFC 791); then source routes.
OPTIONS = [
    bytes.fromhex(o)
    for o in ("94040000", "0707040000000000", "4408050000000000", "0101940400000000", "940400000707040000000001")
]
REFUSED_OPTIONS = [bytes.fromhex(o) for o in ("830704c0a8000b00", "018903040000000000000000", "07010000")]
STATIC = {addr(a): i for i, a in enumerate(BEHIND_STATIC)}


class World:
    """What conversations share: chance, the cluster, fresh ports and contents."""

    def __init__(self, random, cluster, workers):
        self.random, self.cluster, self.workers = random, cluster, workers
        self.game = None  # the comparison that all this is for
        self.ports = {}
        self.serial = 0
        self.ident = 0
        self.live = []
        self.regulars = random.sample(CLIENTS, 8)  # who comes again and again (affinity)
        self.delivered = []  # packets that reached somebody: what ICMP errors can be about

    def fresh_port(self, client):
        low = self.random.random() < 0.04
        first, last = (200, 1023) if low else (1024, 65535)
        port = self.ports.get((client, low), self.random.randint(first, last))
        self.ports[client, low] = first if port == last else port + 1
        return port

    def contents(self, passes=True):
        """A payload that no other packet has; `passes`: see header."""
        self.serial += 1
        sizes = [16, self.random.randrange(16, 120), self.random.randrange(1300, 1460)]
        size = self.random.choices(sizes, [20, 70, 0 if passes else 10])[0]
        return struct.pack(">Q", self.serial) + self.random.randbytes(8) + bytes(size - 16)

    def header(self, passes=True):
        """Fields of an IP header that are anybody's business. `passes`: the packet must not end here for its TTL or
        size."""
        self.ident = (self.ident + 1) & 0xFFFF
        random = self.random
        tos = 0 if random.random() < 0.7 else random.randrange(256)
        ttl = random.choices([64, 2, 1], [96, 2, 0 if passes else 2])[0]
        options = b""
        if random.random() < 0.03:
            options = random.choice(OPTIONS if passes else OPTIONS + REFUSED_OPTIONS)
        return {"ttl": ttl, "tos": tos, "df": random.random() < 0.4, "ident": self.ident, "options": options}

    def may_open(self, proto, src, sport, dst, dport):
        """Whether this packet would open a flow. One that does and yet goes no further shows nobody what was chosen for
        it, so such packets are sent to known flows and in transit only."""
        model = self.game.model
        found = model.flows.get((proto, src, sport, dst, dport))
        if found is not None:
            return model.has_ended(found[0])
        tables = model.tables
        if tables.route(dst).kind != "hops" or (dst, proto, dport) in tables.serving:
            return True
        return tables.nat_outgoing(src, dst) or tables.nat_outgoing(dst, src)

    # --- where hosts are ----------------------------------------------------------------------------------

    def frame(self, packet, host=None):
        """The packet as the host's node or link hands it to the router: port and bytes. Packets between two hosts take
        one way, and so stay in order."""
        host = host or packet.src
        pair = zlib.crc32(packet.src + packet.dst)
        if host in STATIC:
            outer, inner_dst = ("192.168.0.21", OWN_VTEP) if STATIC[host] < 2 else ("192.168.0.22", None)
            return self.tunnelled(packet, outer, "vxlan" if inner_dst else "ipip")
        if host == RELAYED:
            return self.tunnelled(packet, UNDERLAY["node1"], "ipip")
        owner = HOME.get(host)
        if owner is None:
            port = 1 if host[:3] == ROUTER[:3] else 0
            return port, wire.ethernet(ROUTER_MACS[port], PEER, packet.bytes())
        if owner == "gw":
            return 2, wire.ethernet(ROUTER_MACS[2], PEER, packet.bytes())
        kind = {"node1": "vxlan", "node2": "ipip", "node4": "vxlan"}.get(owner)
        if owner == "node3" and len(host) == 16:
            kind = "vxlan" if pair % 3 == 0 else None
        if kind is None or pair % 13 == 0:
            return 1, wire.ethernet(ROUTER_MACS[1], PEER, packet.bytes())
        return self.tunnelled(packet, UNDERLAY[owner], kind)

    def tunnelled(self, packet, outer, kind, dst=ROUTER, **fields):
        random = self.random
        tos = packet.tos if random.random() < 0.9 else random.randrange(256)
        header = {"tos": tos, "ident": random.randrange(65536), "ttl": 63}
        if kind == "ipip":
            whole = wire.ipip(addr(outer), dst, packet, **header)
        else:
            options = {"vni": 4096, "inner_dst": OWN_VTEP, "inner_src": mac(0xAA), **fields}
            sport = 49152 + zlib.crc32(packet.src + packet.dst) % 16384
            header["checksum"] = random.random() < 0.1
            whole = wire.vxlan(addr(outer), dst, packet, sport, **options, **header)
        return 1, wire.ethernet(ROUTER_MACS[1], PEER, whole.bytes())

    # --- whom to talk to ----------------------------------------------------------------------------------

    def service_address(self, client, proto):
        """A frontend of a configured service of the client's family."""
        random, family = self.random, len(client)
        services = [o for key, o in sorted(self.cluster.objects.items()) if key[0] == "Service"]
        random.shuffle(services)
        for o in services:
            ports = [p for p in o["spec"]["ports"] if PROTOCOLS[p["protocol"]] == proto]
            if not ports or not is_proxied(o):
                continue
            port = random.choice(ports)
            cluster, external, balancer = frontend_addresses(o)
            if client in OUTSIDERS and random.random() < 0.8:
                cluster = []  # mostly closed to them
            places = [(a, port["port"]) for a in cluster + external + balancer if len(a) == family]
            if port.get("nodePort"):
                own = random.choice(OWN if random.random() < 0.2 else OWN[:1]) if family == 4 else "2001:db8:2::1"
                places += [(addr(own), port["nodePort"])] * 2
            if places:
                return random.choice(places)
        return None

    def endpoint(self, proto, family):
        slices = [o for key, o in sorted(self.cluster.objects.items()) if key[0] == "EndpointSlice"]
        self.random.shuffle(slices)
        for o in slices:
            if (o["addressType"] == "IPv4") == (family == 4) and o["endpoints"]:
                ports = [p for p in o["ports"] if PROTOCOLS[p["protocol"]] == proto]
                if ports:
                    e = self.random.choice(o["endpoints"])
                    return addr(e["addresses"][0]), self.random.choice(ports)["port"]
        return None

    def destination(self, client, proto):
        """Address and port, of the client's family."""
        random, family = self.random, len(client)
        kinds = {"service": 68, "endpoint": 8, "host": 7, "outside": 8, "static": 3, "odd": 4, "pod": 4}
        what = random.choices(list(kinds), list(kinds.values()))[0]
        place = None
        if what == "service":
            place = self.service_address(client, proto)
        elif what == "endpoint":
            place = self.endpoint(proto, family)
        elif what == "static" and family == 4:
            place = random.choice(list(STATIC)), 7
        elif what == "pod":
            own = random.choice(OWN) if family == 4 else "2001:db8:2::1"
            pods = [o["spec"]["containers"][0]["ports"][0] for key, o in sorted(self.cluster.objects.items())
                    if key[0] == "Pod"]  # fmt: skip
            ports = [port["hostPort"] for port in pods if PROTOCOLS[port["protocol"]] == proto]
            place = addr(own), random.choice(ports or HOST_PORTS)
        elif what == "odd":
            odd = ODD if family == 4 else ODD6
            place = addr(random.choice(odd)), random.choice([80, 53, 9999, 30001])
        if place is None:
            hosts = [a for a in (OUTSIDERS if what == "outside" else PODS_ALL) if len(a) == family and a != client]
            place = random.choice(hosts), random.choice([53, 80, 8080, 20000])
        return place

"""Random traffic: conversations between hosts that answer what reaches them, and strays that nobody should send.

A conversation gives a few packets of one direction at a time and learns what was delivered, as its ends would: a server
answers the source that it saw. Where a host is decides how its packets reach the router: by which port, and whether in
a tunnel of its node's.
"""

import struct
import zlib

import wire
from cluster import BEHIND_STATIC, HOME, OUTSIDE, OUTSIDE6, OWN, OWN_VTEP, PODS, PODS6, UNDERLAY
from tables import frontend_addresses, is_proxied
from wire import ACK, FIN, PSH, RST, SYN, TCP, UDP, addr, mac

ROUTER_MACS = [mac(0x0A), mac(0x0B), mac(0x0C)]
PEER = mac(0xEE)
ROUTER = addr("192.168.0.1")
PODS_ALL = [addr(a) for pods in (PODS, PODS6) for addresses in pods.values() for a in addresses]
CLIENTS = [addr(a) for a in OUTSIDE + OUTSIDE6] + [a for a in PODS_ALL for _ in (0, 1)] + [addr("192.168.0.13")]
OUTSIDERS = [addr(a) for a in OUTSIDE + OUTSIDE6]
STATIC = {addr(a): i for i, a in enumerate(BEHIND_STATIC)}


class World:
    """What conversations share: chance, the cluster, fresh ports and contents."""

    def __init__(self, random, cluster, workers):
        self.random, self.cluster, self.workers = random, cluster, workers
        self.ports = {}
        self.serial = 0
        self.ident = 0
        self.live = []
        self.delivered = []  # packets that reached somebody: what ICMP errors can be about

    def fresh_port(self, client):
        low = self.random.random() < 0.04
        first, last = (200, 1023) if low else (1024, 65535)
        port = self.ports.get((client, low), self.random.randint(first, last))
        self.ports[client, low] = first if port == last else port + 1
        return port

    def contents(self, least=0):
        """A payload that no other packet has."""
        self.serial += 1
        size = self.random.choices([0, self.random.randrange(120), self.random.randrange(1300, 1460)], [20, 70, 10])[0]
        size = max(size, least, 16)
        return struct.pack(">Q", self.serial) + self.random.randbytes(8) + bytes(size - 16)

    def header(self):
        """Fields of an IP header that are anybody's business."""
        self.ident = (self.ident + 1) & 0xFFFF
        random = self.random
        tos = 0 if random.random() < 0.7 else random.randrange(256)
        return {"ttl": random.choices([64, 2, 1], [96, 2, 2])[0], "tos": tos, "df": random.random() < 0.4, "ident": self.ident}

    # --- where hosts are ----------------------------------------------------------------------------------

    def frame(self, packet, host=None):
        """The packet as the host's node or link hands it to the router: port and bytes. Packets between two hosts take
        one way, and so stay in order."""
        host = host or packet.src
        pair = zlib.crc32(packet.src + packet.dst)
        if host in STATIC:
            outer, inner_dst = ("192.168.0.21", OWN_VTEP) if STATIC[host] < 2 else ("192.168.0.22", None)
            return self.tunnelled(packet, outer, "vxlan" if inner_dst else "ipip")
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
            whole = wire.vxlan(addr(outer), dst, packet, 49152 + zlib.crc32(packet.src + packet.dst) % 16384, checksum=random.random() < 0.1,
                               **options, **header)  # fmt: skip
        return 1, wire.ethernet(ROUTER_MACS[1], PEER, whole.bytes())

    # --- whom to talk to ----------------------------------------------------------------------------------

    def service_address(self, proto, family):
        """A frontend of a configured service, or one that may have been."""
        random = self.random
        services = [o for key, o in sorted(self.cluster.objects.items()) if key[0] == "Service"]
        random.shuffle(services)
        for o in services:
            ports = [p for p in o["spec"]["ports"] if (p["protocol"] == "TCP") == (proto == TCP)]
            if not ports or not is_proxied(o):
                continue
            port = random.choice(ports)
            places = [(a, port["port"]) for addresses in frontend_addresses(o) for a in addresses if len(a) == family]
            if port.get("nodePort"):
                own = [addr(a) for a in OWN] if family == 4 else [addr("2001:db8:2::1")]
                places += [(random.choice(own), port["nodePort"])] * 2
            if places:
                return random.choice(places)
        return None

    def endpoint(self, proto, family):
        slices = [o for key, o in sorted(self.cluster.objects.items()) if key[0] == "EndpointSlice"]
        self.random.shuffle(slices)
        for o in slices:
            if (o["addressType"] == "IPv4") == (family == 4) and o["endpoints"]:
                ports = [p for p in o["ports"] if (p["protocol"] == "TCP") == (proto == TCP)]
                if ports:
                    e = self.random.choice(o["endpoints"])
                    return addr(e["addresses"][0]), self.random.choice(ports)["port"]
        return None

    def destination(self, client, proto):
        """Address and port, of the client's family."""
        random, family = self.random, len(client)
        what = random.choices(["service", "endpoint", "host", "outside", "static", "odd"], [55, 10, 15, 12, 4, 4])[0]
        place = None
        if what == "service":
            place = self.service_address(proto, family)
        elif what == "endpoint":
            place = self.endpoint(proto, family)
        elif what == "static" and family == 4:
            place = random.choice(list(STATIC)), 7
        elif what == "odd":
            odd = (["10.96.0.77", "10.96.0.3", "10.246.0.9", "10.247.1.1", "10.244.0.0", "192.168.0.1", "192.0.2.1", "10.245.0.0",
                    "192.168.0.255", "169.254.1.1", "198.18.1.99", "10.244.200.1", "203.0.113.66", "198.51.100.129", "203.0.113.200"]
                   if family == 4 else ["fd00:10:96::77", "fd00:10:246:1::9", "2001:db8:2::1", "fd00:10:246:ff::1", "2001:db8:ff:1::5"])  # fmt: skip
            place = addr(random.choice(odd)), random.choice([80, 53, 9999, 30001])
        if place is None:
            hosts = [a for a in (OUTSIDERS if what == "outside" else PODS_ALL) if len(a) == family and a != client]
            place = random.choice(hosts), random.choice([53, 80, 8080, 20000])
        return place


class Conversation:
    """Frames for a burst by `next`; afterwards `learn` has, for each of them, the packets that were delivered."""

    def __init__(self, world, proto):
        self.world, self.done, self.patience = world, False, 6
        random = world.random
        self.client = random.choice(CLIENTS)
        self.vip, self.vport = world.destination(self.client, proto)
        self.port = world.fresh_port(self.client)
        if world.workers == 1 and random.random() < 0.04:
            others = [c for c in world.live if getattr(c, "client", None) == self.client]
            if others:
                self.port = random.choice(others).port  # MASQ-7
        if random.random() < 0.02:
            self.client = ROUTER if len(self.client) == 4 else self.client  # as the node itself would
            self.vip, self.vport = (self.vip, self.vport) if len(self.client) == len(self.vip) else world.destination(self.client, proto)
        self.view = None  # source, port, destination, port, as the server saw it

    def seen_by_server(self, delivered):
        for packet in delivered:
            if packet.offset == 0:
                sport, dport = struct.unpack_from(">HH", packet.l4)
                self.view = packet.src, sport, packet.dst, dport
                return True
        return False


class TcpConversation(Conversation):
    def __init__(self, world):
        super().__init__(world, TCP)
        self.phase = "begin"
        self.closed = [False, False]
        self.begin()

    def begin(self):
        random = self.world.random
        self.next_seq = [random.randrange(1 << 32), random.randrange(1 << 32)]
        self.closed = [False, False]
        self.phase = "begin"
        self.sent = []

    def segment(self, side, flags, payload=b"", **more):
        """`side`: 0 client, 1 server."""
        if side == 0:
            src, sport, dst, dport = self.client, self.port, self.vip, self.vport
        else:
            dst, dport, src, sport = self.view
        seq = more.pop("seq", self.next_seq[side])
        ack = self.next_seq[1 - side] if flags & ACK else 0
        header = {**self.world.header(), **more}
        if flags & SYN:
            header["ttl"] = 64
        return wire.tcp(src, dst, sport, dport, flags, seq, ack, payload, **header)

    def next(self):
        random, phase = self.world.random, self.phase
        if phase == "begin":
            if random.random() < 0.05:
                self.phase, phase = "midstream", "midstream"
            else:
                self.side, packets = 0, [self.segment(0, SYN)]
        if phase == "midstream":
            flags = random.choices([ACK, ACK | PSH, RST, FIN | ACK, SYN | ACK], [60, 30, 4, 4, 2])[0]
            self.side, packets = 0, [self.segment(0, flags, ttl=64)]
        if phase == "answer":
            refused = random.random() < 0.05
            self.side, packets = 1, [self.segment(1, RST | ACK if refused else SYN | ACK)]
        if phase == "acknowledge":
            self.side, packets = 0, [self.segment(0, ACK)]
        if phase == "open":
            self.side = random.randrange(2)
            packets = self.talk(self.side)
        self.sent = packets
        return [self.world.frame(p) for p in packets]

    def talk(self, side):
        random = self.world.random
        odd = random.random()
        if odd < 0.05:
            return [self.segment(side, random.choice([0, SYN | FIN, FIN, SYN | RST, PSH, ACK | RST | FIN]), ttl=64)]
        if odd < 0.07 and side == 0:
            return [self.segment(0, SYN | ACK, ttl=64)]
        if odd < 0.085 and side == 0:
            return [self.segment(0, SYN)]
        if odd < 0.12:
            return [self.segment(side, RST | (ACK if random.random() < 0.5 else 0), ttl=64)]
        if self.closed[side] or odd < 0.3:
            return [self.segment(side, ACK)]
        if odd < 0.42:
            return [self.segment(side, FIN | ACK, ttl=64)]
        packets = []
        seq = self.next_seq[side]
        for _ in range(random.choice([1, 1, 2, 3])):
            payload = self.world.contents()
            packets.append(self.segment(side, ACK | PSH, payload, seq=seq))
            seq = seq + len(payload) & 0xFFFFFFFF
        return packets

    def learn(self, deliveries):
        random = self.world.random
        arrived = 0
        for packet, delivered in zip(self.sent, deliveries):
            if not delivered:
                break
            arrived += 1
            flags = packet.l4[13]
            length = len(packet.l4) - (packet.l4[12] >> 4) * 4
            seq = struct.unpack_from(">I", packet.l4, 4)[0]
            if seq != self.next_seq[self.side]:
                break
            if self.phase in ("begin", "answer", "open", "midstream"):
                stray_syn = self.phase == "open" and flags & SYN
                step = length + (1 if flags & FIN and flags & ACK else 0) + (1 if flags & SYN and not stray_syn else 0)
                self.next_seq[self.side] = seq + step & 0xFFFFFFFF
            if flags & FIN and flags & ACK:
                self.closed[self.side] = True
            if flags & RST:
                self.phase = "over"
        if arrived == 0:
            self.patience -= 1
            self.done = self.patience <= 0
            return
        if self.side == 0 and not self.seen_by_server(deliveries[0]):
            self.done = True
            return
        if self.side == 0 and self.phase in ("begin", "midstream"):
            self.phase = "answer" if self.phase == "begin" else "open"
        elif self.phase == "answer":
            self.phase = "acknowledge"
        elif self.phase == "acknowledge":
            self.phase = "open"
        elif self.phase == "over" or (all(self.closed) and random.random() < 0.4):
            if random.random() < 0.4:
                self.begin()  # the same ports again (CT-4)
            else:
                self.done = True
        if random.random() < 0.03:
            self.done = True


class UdpConversation(Conversation):
    def __init__(self, world):
        super().__init__(world, UDP)
        self.length = world.random.choice([1, 2, 4, 8, 16])

    def next(self):
        world, random = self.world, self.world.random
        self.length -= 1
        self.done = self.length <= 0
        self.side = 1 if self.view is not None and random.random() < 0.45 else 0
        src, sport, dst, dport = (self.client, self.port, self.vip, self.vport) if self.side == 0 else reversed_view(self.view)
        header = world.header()
        if self.view is None:
            header["ttl"] = 64
        large = random.random() < 0.2
        if large:
            header["df"] = False
        zero = len(src) == 4 and random.random() < 0.1
        packet = wire.udp(src, dst, sport, dport, world.contents(random.randrange(200, 1800) if large else 0), zero, **header)
        if self.view is None and not large:
            packet.df = False
        self.packets = [packet]
        if large or packet.size > 1500:
            self.packets = self.cut(packet)
        return [world.frame(p) for p in self.packets]

    def cut(self, packet):
        """Fragments, sometimes out of order, twice or over each other."""
        random = self.world.random
        packet.ident = self.world.ident if packet.v4 else random.randrange(1 << 32)
        packet.ttl = 64
        most = len(packet.l4) // 8
        cuts = sorted({8 * random.randrange(1, most) for _ in range(random.choice([1, 1, 2, 4]))} | ({1200} if most > 160 else set()))
        pieces = wire.fragments(packet, cuts)
        odd = random.random()
        if odd < 0.3:
            random.shuffle(pieces)
        elif odd < 0.35:
            pieces.insert(random.randrange(len(pieces)), random.choice(pieces))
        elif odd < 0.4:
            pieces.append(packet.but(l4=packet.l4[cuts[0] - 8 : cuts[0] + 8], offset=cuts[0] - 8, mf=True, frag=True))
        elif odd < 0.45:
            pieces.pop(random.randrange(len(pieces)))
        return pieces

    def learn(self, deliveries):
        if self.side == 0:
            for delivered in deliveries:
                if self.seen_by_server(delivered):
                    break


def reversed_view(view):
    src, sport, dst, dport = view
    return dst, dport, src, sport


class EchoConversation(Conversation):
    def __init__(self, world):
        super().__init__(world, UDP)
        self.length = world.random.choice([1, 2, 5])
        self.port = world.random.randrange(65536)

    def next(self):
        world, random = self.world, self.world.random
        self.length -= 1
        self.done = self.length <= 0
        self.side = 1 if self.view is not None and random.random() < 0.5 else 0
        header = world.header()
        if self.view is None:
            header["ttl"] = 64
        payload = world.contents()
        if self.side == 0:
            packet = wire.echo(self.client, self.vip, self.port, payload, **header)
        else:
            src, ident, dst = self.view
            packet = wire.echo(dst, src, ident, payload, reply=True, **header)
        if random.random() < 0.02:
            packet.l4 = packet.l4[:2] + b"\x12\x34" + packet.l4[4:]
        return [world.frame(packet)]

    def learn(self, deliveries):
        for delivered in deliveries:
            for packet in delivered:
                if self.side == 0 and wire.is_echo(packet) and not packet.is_fragment:
                    self.view = packet.src, struct.unpack_from(">H", packet.l4, 4)[0], packet.dst


class ErrorMessage:
    """An ICMP error about a packet that was delivered, by its receiver or a router on the way."""

    def __init__(self, world):
        self.world, self.done = world, True

    def next(self):
        world, random = self.world, self.world.random
        if not world.delivered:
            return []
        packet = random.choice(world.delivered)
        v4 = packet.v4
        sender = packet.dst
        if random.random() < 0.5:
            beyond = addr(("203.0.113.253" if packet.dst in OUTSIDERS else "192.168.0.254") if v4 else "2001:db8:ff::7")
            sender = beyond if HOME.get(packet.dst) != "gw" else sender
        quote = packet.bytes()
        least = packet.header + 8
        if random.random() < 0.6:
            quote = quote[: random.choice([least, least + 12, least + 20, 500])]
        quote = quote[: 520 if v4 else 1200]
        kinds = [(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (11, 0), (11, 1)] if v4 else [(1, 0), (1, 4), (2, 0), (3, 0)]
        kind, code = random.choice(kinds)
        rest = struct.pack(">I", 1400 if (kind, code) in ((3, 4), (2, 0)) else 0)
        target = packet.src if random.random() < 0.97 else random.choice([a for a in CLIENTS if len(a) == len(packet.src)])
        error = wire.icmp(sender, target, kind, code, rest, quote, **{**world.header(), "df": False})
        if random.random() < 0.04:
            error.l4 = error.l4[:2] + random.randbytes(2) + error.l4[4:]
        return [world.frame(error, packet.dst)]

    def learn(self, deliveries):
        pass


class Stray:
    """One frame that is wrong, or comes from nowhere."""

    def __init__(self, world):
        self.world, self.done = world, True

    def next(self):
        world, random = self.world, self.world.random
        client = random.choice(CLIENTS)
        dst, port = world.destination(client, UDP)
        packet = wire.udp(client, dst, world.fresh_port(client), port, world.contents(), **{**world.header(), "ttl": 64})
        kind = random.choice([self.bad_header, self.bad_link, self.bad_tunnel, self.bad_tunnel, self.other_protocol, self.bad_source])
        return [kind(packet)]

    def bad_header(self, packet):
        """One byte or length of the IP header is not what it should be."""
        random = self.world.random
        port, frame = self.world.frame(packet)
        data = bytearray(packet.bytes())
        what = random.randrange(6)
        if what == 0:
            data[0] = random.choice([0x45, 0x44, 0x46, 0x55, 0x65, 0x60, 0x05])
        elif what == 1:
            data[10 if packet.v4 else 4] ^= 1 << random.randrange(8)
        elif what == 2:
            data = data[: random.randrange(14, len(data))]
        elif what == 3:
            data += bytes(random.randrange(1, 30))  # padding is right
        elif what == 4 and packet.v4:
            whole = packet.but(src=addr(random.choice(["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"])))
            data = whole.bytes()
        else:
            data = packet.but(dst=addr(random.choice(["127.0.0.1", "224.0.0.5", "0.1.2.3"])) if packet.v4 else addr("ff0e::1")).bytes()
        kind = b"\x08\x00" if packet.v4 else b"\x86\xdd"
        return port, frame[:12] + kind + bytes(data)

    def bad_link(self, packet):
        random = self.world.random
        port, frame = self.world.frame(packet)
        what = random.randrange(4)
        if what == 0:
            return port, mac(0x77) + frame[6:]
        if what == 1:
            return port, b"\xff" * 6 + frame[6:]
        if what == 2:
            return port, frame[:12] + random.choice([b"\x88\xcc", b"\x08\x00", b"\x86\xdd"]) + frame[14:]
        return random.randrange(3), frame

    def bad_tunnel(self, packet):
        world, random = self.world, self.world.random
        what = random.randrange(8)
        if what == 0:
            return world.tunnelled(packet, random.choice(["192.168.0.99", "192.168.0.35", "203.0.113.9"]), random.choice(["vxlan", "ipip"]))
        if what == 1:
            return world.tunnelled(packet, "192.168.0.11", "vxlan", vni=random.choice([4097, 0, 1]))
        if what == 2:
            return world.tunnelled(packet, "192.168.0.11", "vxlan", flags=random.choice([0, 0x88, 0x0C, 0xF7]))
        if what == 3:
            return world.tunnelled(packet, "192.168.0.11", "vxlan", inner_dst=mac(1))
        if what == 4:
            port, frame = world.tunnelled(packet, "192.168.0.11", "vxlan")
            whole = wire.read_ip(frame[14:])
            return port, wire.ethernet(frame[:6], PEER, wire.fragments(whole, [64])[random.randrange(2)].bytes())
        if what == 5:
            _, inner = world.tunnelled(packet, "192.168.0.12", random.choice(["ipip", "vxlan"]))
            return world.tunnelled(wire.read_ip(inner[14:]), "192.168.0.12", random.choice(["ipip", "vxlan"]))
        if what == 6:
            return world.tunnelled(packet, "192.168.0.12", random.choice(["ipip", "vxlan"]), dst=addr(random.choice(["192.0.2.1", "10.245.0.0"])))
        ecn = packet.but(tos=packet.tos & ~3 | random.randrange(4))
        return world.tunnelled(ecn, "192.168.0.12", random.choice(["ipip", "vxlan"]))

    def other_protocol(self, packet):
        """Neither TCP nor UDP; and ICMP that is no error and no echo."""
        random = self.world.random
        if random.random() < 0.5:
            packet = packet.but(proto=random.choice([47, 50, 89]))
            if any(packet.src in net for net, leaves in self.world.pool_nets if leaves):
                packet = packet.but(src=random.choice([a for a in OUTSIDERS if len(a) == len(packet.src)]))
        else:
            kind = random.choice([13, 17, 9]) if packet.v4 else random.choice([130, 144])
            packet = wire.icmp(packet.src, packet.dst, kind, 0, b"\0\0\0\0", packet.l4[8:])
            if any(packet.src in net for net, leaves in self.world.pool_nets if leaves):
                packet = packet.but(src=random.choice([a for a in OUTSIDERS if len(a) == len(packet.src)]))
        return self.world.frame(packet)

    def bad_source(self, packet):
        """A pod that says it is somebody else."""
        src = self.world.random.choice([a for a in CLIENTS if len(a) == len(packet.dst)])
        return self.world.frame(packet.but(src=src), addr(PODS["gw"][0]))

    def learn(self, deliveries):
        pass


def new_conversation(world):
    kinds = [TcpConversation, UdpConversation, EchoConversation, ErrorMessage, Stray]
    return world.random.choices(kinds, [40, 30, 6, 16, 8])[0](world)


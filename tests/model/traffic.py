"""Random traffic: conversations between hosts that answer what reaches them, over TCP and UDP and of pings.

A conversation gives a few packets of one direction at a time and learns what was delivered, as its ends would: a server
answers the source that it saw. Where a host is decides how its packets reach the router: by which port, and whether in
a tunnel of its node's.
"""

import struct

import wire
from wire import ACK, FIN, PSH, RST, SYN, TCP, UDP
from world import CLIENTS, ROUTER


class Conversation:
    """Frames for a burst by `next`; afterwards `learn` has, for each of them, the packets that were delivered."""

    def __init__(self, world, proto):
        self.world, self.done, self.patience = world, False, 3
        random = world.random
        self.client = random.choice(CLIENTS if random.random() < 0.6 else world.regulars)
        self.vip, self.vport = world.destination(self.client, proto)
        self.port = world.fresh_port(self.client)
        if random.random() < 0.05:
            self.meet_another()
        if random.random() < 0.02:
            self.client = ROUTER if len(self.client) == 4 else self.client  # as the node itself would
        self.view = None  # source, port, destination, port, as the server saw it

    def meet_another(self):
        """The same port of a client to an endpoint directly that it has reached through a service (MASQ-7)."""
        others = [c for c in self.world.live if type(c) is type(self) and c.view is not None and c.view[2] != c.vip]
        if others:
            other = self.world.random.choice(others)
            self.client, self.port, self.vip, self.vport = other.client, other.port, *other.view[2:]

    @property
    def one_way(self):
        """Whether the server answers under the address that the client used: not by the router (direct return)."""
        if self.view is None or self.view[2:] != (self.vip, self.vport):
            return False
        return self.world.game.tables.route(self.vip).kind == "service"

    def seen_by_server(self, delivered):
        for packet in delivered:
            if packet.offset == 0:
                sport, dport = struct.unpack_from(">HH", packet.l4)
                self.view = packet.src, sport, packet.dst, dport
                return True
        return False


# How far the number of a segment may be from what it should be: about what CT-10 to CT-16 draw lines at.
SHIFTS = [1, 2, 255, 256, 1000, 65535, 66_000, 66_001, 70_000, 65535 << 7, (65535 << 7) + 300, 1 << 30, 1 << 31]


class TcpConversation(Conversation):
    def __init__(self, world):
        super().__init__(world, TCP)
        self.phase = "begin"
        self.closed = [False, False]
        self.begin()

    def begin(self):
        random = self.world.random
        self.next_seq = [random.randrange(1 << 32), random.randrange(1 << 32)]
        self.scales = [random.choice([None, 0, 2, 7, 7, 7, 14, 15]) for _ in range(2)]
        self.sacks = [random.random() < 0.5 for _ in range(2)]
        self.stamps = random.random() < 0.3
        self.crossed = [False, False]  # whose SYN+ACK to the other's SYN arrived (CT-6)
        self.closed = [False, False]
        self.phase = "begin"
        self.sent = []

    def ends(self, side):
        """Source, port, destination and port of what a side sends: 0 client, 1 server."""
        return (self.client, self.port, self.vip, self.vport) if side == 0 else reversed_view(self.view)

    def segment(self, side, flags, payload=b"", **more):
        src, sport, dst, dport = self.ends(side)
        seq = more.pop("seq", self.next_seq[side])
        ack = more.pop("ack", self.next_seq[1 - side] if flags & ACK else 0)
        passes = flags & SYN or self.world.may_open(TCP, src, sport, dst, dport)
        header = {**self.world.header(passes), **more}
        window = self.world.random.choices([65535, 20_000, 1000, 256, 255, 1, 0], [20, 5, 2, 1, 1, 1, 1])[0]
        options = self.options(side, flags, ack)
        return wire.tcp(src, dst, sport, dport, flags, seq, ack, payload, window, options, **header)

    def options(self, side, flags, ack):
        """Of TCP: largest segment, scale, SACK permitted and SACK, timestamp."""
        random, out = self.world.random, b""
        if flags & SYN:
            out = struct.pack(">BBH", 2, 4, 1460)
            if self.scales[side] is not None:
                out += bytes([1, 3, 3, self.scales[side]])
            if self.sacks[side]:
                out += bytes([1, 1, 4, 2])
        elif flags & ACK and random.random() < 0.08:
            blocks = random.choice([1, 1, 2, 3])
            out = bytes([1, 1, 5, 2 + 8 * blocks])
            for _ in range(blocks):
                right = ack + random.choice([0, 1, 100, -100, 1460, 66_000, -70_000])
                out += struct.pack(">II", right - 50 & 0xFFFFFFFF, right & 0xFFFFFFFF)
        if self.stamps and len(out) < 29:
            out += bytes([1, 1, 8, 10]) + random.randbytes(8)
        return out

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
            flags = random.choices([SYN | ACK, RST | ACK, SYN], [91, 5, 4])[0]
            self.side, packets = 1, [self.segment(1, flags)]
        if phase == "crossed":
            self.side = random.randrange(2)
            packets = [self.segment(self.side, SYN | ACK, seq=self.next_seq[self.side] - 1 & 0xFFFFFFFF)]
        if phase == "acknowledge":
            self.side, packets = 0, [self.segment(0, ACK)]
        if phase == "open":
            self.side = 0 if self.one_way else random.randrange(2)
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
        if odd < 0.16:
            return [self.misfit(side)]
        if self.closed[side] or odd < 0.3:
            return [self.segment(side, ACK)]
        if odd < 0.42:
            return [self.segment(side, FIN | ACK, ttl=64)]
        packets = []
        seq = self.next_seq[side]
        passes = self.world.may_open(TCP, *self.ends(side))
        for _ in range(random.choice([1, 1, 2, 3])):
            payload = self.world.contents(passes)
            packets.append(self.segment(side, ACK | PSH, payload, seq=seq))
            seq = seq + len(payload) & 0xFFFFFFFF
        return keep_in_order(packets)

    def misfit(self, side):
        """A segment whose numbers are not quite those of the connection."""
        random = self.world.random
        flags = random.choices([ACK, RST, RST | ACK, FIN | ACK, SYN | ACK if side else SYN], [60, 15, 10, 10, 5])[0]
        seq, ack = self.next_seq[side], self.next_seq[1 - side]
        shift = random.choice(SHIFTS) * random.choice([-1, 1])
        what = random.randrange(3)
        if what != 0:
            seq = seq + shift & 0xFFFFFFFF
        if what != 1:
            ack = ack + shift & 0xFFFFFFFF
        payload = self.world.contents(False) if flags & ACK and random.random() < 0.4 else b""
        return self.segment(side, flags, payload, seq=seq, ack=ack if flags & ACK else 0, ttl=64)

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
            if self.one_way and self.phase == "answer":
                self.phase = "acknowledge"
        elif self.phase == "answer":
            self.phase = "acknowledge" if self.sent[0].l4[13] & ACK else "crossed"
        elif self.phase == "crossed":
            self.crossed[self.side] = True
            if all(self.crossed) or random.random() < 0.2:
                self.phase = random.choice(["acknowledge", "open"])
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
        self.side = 1 if self.view is not None and not self.one_way and random.random() < 0.45 else 0
        asked = self.client, self.port, self.vip, self.vport
        src, sport, dst, dport = asked if self.side == 0 else reversed_view(self.view)
        passes = world.may_open(UDP, src, sport, dst, dport)
        header = world.header(passes)
        large = random.random() < 0.2
        if large:
            header["df"] = False
        zero = len(src) == 4 and random.random() < 0.1
        contents = world.contents(passes or large)
        if large:
            contents += bytes(random.randrange(200, 1800))
        packet = wire.udp(src, dst, sport, dport, contents, zero, **header)
        self.packets = [packet]
        if large or packet.size > 1500:
            self.packets = self.cut(packet)
        return [world.frame(p) for p in self.packets]

    def cut(self, packet):
        """Fragments, sometimes out of order, twice or over each other."""
        random = self.world.random
        packet.df = False
        packet.ident = self.world.ident if packet.v4 else random.randrange(1 << 32)
        packet.ttl = 64
        most = len(packet.l4) // 8
        cuts = {8 * random.randrange(1, most) for _ in range(random.choice([1, 1, 2, 4]))}
        longest = 1440 if packet.v4 and random.random() < 0.3 else 1200  # 1440 has to be cut again for some links
        cuts = sorted(cuts | ({longest} if 8 * most > longest else set()))
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


def keep_in_order(packets):
    """The same IP options in all: by options as well packets are handed out to workers, and only the first packet to a
    lost endpoint is answered with a reset."""
    for packet in packets[1:]:
        packet.options = packets[0].options
    return packets


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
        if self.side == 0:
            src, dst, query = self.client, self.vip, self.port
            key = src, query, dst, 0
        else:
            dst, query, src = self.view
            key = src, 0, dst, query
        passes = world.may_open(wire.ICMP if len(src) == 4 else wire.ICMP6, *key)
        packet = wire.echo(src, dst, query, world.contents(passes), reply=self.side == 1, **world.header(passes))
        if random.random() < 0.02:
            packet.l4 = packet.l4[:2] + b"\x12\x34" + packet.l4[4:]
        return [world.frame(packet)]

    def learn(self, deliveries):
        for delivered in deliveries:
            for packet in delivered:
                if self.side == 0 and wire.is_echo(packet) and not packet.is_fragment:
                    self.view = packet.src, struct.unpack_from(">H", packet.l4, 4)[0], packet.dst

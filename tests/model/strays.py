"""Packets by themselves: ICMP errors about those of others, and frames that nobody should send."""

import struct

import wire
from cluster import HOME, PODS
from wire import UDP, addr, mac
from world import CLIENTS, OUTSIDERS, PEER


class ErrorMessage:
    """An ICMP error about a packet that was delivered, by its receiver or a router on the way."""

    def __init__(self, world):
        self.world, self.done = world, True

    def next(self):
        world, random = self.world, self.world.random
        if not world.delivered:
            return []
        packet = random.choice(world.delivered)
        if world.game.tables.route(packet.dst).kind == "service" and packet.offset == 0:
            packet = answer_to(packet)  # direct server return: nobody's packets but answers come to errors
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
        target = packet.src
        if random.random() < 0.03:
            target = random.choice([a for a in CLIENTS if len(a) == len(target)])
        error = wire.icmp(sender, target, kind, code, rest, quote, **{**world.header(passes=False), "df": False})
        if random.random() < 0.04:
            error.l4 = error.l4[:2] + random.randbytes(2) + error.l4[4:]
        return [world.frame(error, packet.dst)]

    def learn(self, deliveries):
        pass


def answer_to(packet):
    """With ports or an identifier that say so, and contents that say nothing."""
    l4 = packet.l4[2:4] + packet.l4[:2] + packet.l4[4:]
    return packet.but(src=packet.dst, dst=packet.src, l4=l4, ttl=60)


class Stray:
    """One frame that is wrong, or comes from nowhere."""

    def __init__(self, world):
        self.world, self.done = world, True

    def next(self):
        world, random = self.world, self.world.random
        client = random.choice(CLIENTS)
        dst, port = world.destination(client, UDP)
        header = world.header()
        packet = wire.udp(client, dst, world.fresh_port(client), port, world.contents(), **header)
        kinds = [self.bad_header, self.bad_link, self.bad_tunnel, self.bad_tunnel, self.other_protocol, self.bad_source]
        return [random.choice(kinds)(packet)]

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
            nowhere = random.choice(["127.0.0.1", "224.0.0.5", "0.1.2.3"]) if packet.v4 else "ff0e::1"
            data = packet.but(dst=addr(nowhere)).bytes()
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
        what, either = random.randrange(8), random.choice(["vxlan", "ipip"])
        if what == 0:
            return world.tunnelled(packet, random.choice(["192.168.0.99", "192.168.0.35", "203.0.113.9"]), either)
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
            return world.tunnelled(wire.read_ip(inner[14:]), "192.168.0.12", either)
        if what == 6:
            dst = addr(random.choice(["192.0.2.1", "10.245.0.0"]))
            return world.tunnelled(packet, "192.168.0.12", either, dst=dst)
        ecn = packet.but(tos=packet.tos & ~3 | random.randrange(4))
        return world.tunnelled(ecn, "192.168.0.12", either)

    def other_protocol(self, packet):
        """Neither TCP nor UDP; and ICMP that is no error and no echo."""
        random = self.world.random
        if random.random() < 0.5:
            packet = packet.but(proto=random.choice([47, 50, 89]))
            if any(packet.src in net for net, leaves in self.world.game.tables.pool_nets if leaves):
                packet = packet.but(src=random.choice([a for a in OUTSIDERS if len(a) == len(packet.src)]))
        else:
            kind = random.choice([13, 17, 9]) if packet.v4 else random.choice([130, 144])
            packet = wire.icmp(packet.src, packet.dst, kind, 0, b"\0\0\0\0", packet.l4[8:])
            if any(packet.src in net for net, leaves in self.world.game.tables.pool_nets if leaves):
                packet = packet.but(src=random.choice([a for a in OUTSIDERS if len(a) == len(packet.src)]))
        return self.world.frame(packet)

    def bad_source(self, packet):
        """A pod that says it is somebody else."""
        src = self.world.random.choice([a for a in CLIENTS if len(a) == len(packet.dst)])
        return self.world.frame(packet.but(src=src), addr(PODS["gw"][0]))

    def learn(self, deliveries):
        pass

"""Random SCTP: associations between hosts that answer what reaches them, and packets in the middle of none."""

import struct

import sctp
import wire
from traffic import Conversation, keep_in_order, reversed_view
from wire import SCTP


class SctpConversation(Conversation):
    """Phases are named after what is sent next; `open`: anything an association may say."""

    def __init__(self, world):
        super().__init__(world, SCTP)
        self.begin()

    def begin(self):
        self.tags = [self.world.random.getrandbits(32) or 1 for _ in "cs"]  # of those who receive: client, server
        self.phase = "init" if self.world.random.random() < 0.9 else "midstream"
        self.over = False

    def next(self):
        self.side = {"init-ack": 1, "cookie-ack": 1}.get(self.phase, 0)
        if self.phase == "open":
            self.side = 0 if self.one_way else self.world.random.randrange(2)
        packets = keep_in_order([self.packet(chunks) for chunks in self.chunks()])
        return [self.world.frame(packet) for packet in packets]

    def chunks(self):
        """Of each packet."""
        random, phase, tag = self.world.random, self.phase, self.tags[self.side]
        if phase in ("init", "init-ack"):
            value = struct.pack(">IIHHI", tag, 65536, 5, 5, random.getrandbits(32))
            kind = sctp.INIT if phase == "init" else sctp.INIT_ACK
            return [[sctp.chunk(kind, value + (b"" if phase == "init" else self.parameter()))]]
        if phase == "cookie-echo":
            echo = sctp.chunk(sctp.COOKIE_ECHO, self.world.contents()[:40])
            return [[echo, self.data()] if random.random() < 0.4 else [echo]]
        if phase == "cookie-ack":
            return [[sctp.chunk(sctp.COOKIE_ACK)] + ([self.sack()] if random.random() < 0.4 else [])]
        if phase == "midstream":
            return [[random.choice([self.data, self.sack, self.heartbeat])()]]
        odd = random.random()
        if odd < 0.1:
            return [[sctp.chunk(sctp.SHUTDOWN, struct.pack(">I", random.getrandbits(32)))]]
        if odd < 0.16:
            return [[sctp.chunk(sctp.SHUTDOWN_ACK)]]
        if odd < 0.2:
            self.over = True
            return [[sctp.chunk(sctp.SHUTDOWN_COMPLETE)]]
        if odd < 0.25:
            self.over = True
            return [[sctp.chunk(sctp.ABORT, flags=random.randrange(2))]]
        if odd < 0.3:
            return [[random.choice([self.heartbeat, self.heartbeat_ack, self.error])()]]
        if odd < 0.5:
            return [[self.sack()]]
        return [[self.data()] for _ in range(random.choice([1, 1, 2]))]

    @staticmethod
    def parameter():
        return struct.pack(">HH", 7, 20) + bytes(16)  # a state cookie

    def data(self):
        passes = self.phase != "open" or self.world.may_open(SCTP, *self.ends())
        value = struct.pack(">IHHI", self.world.random.getrandbits(32), 1, 1, 0) + self.world.contents(passes)
        return sctp.chunk(sctp.DATA, value, flags=3)

    def sack(self):
        return sctp.chunk(sctp.SACK, struct.pack(">IIHH", self.world.random.getrandbits(32), 65536, 0, 0))

    def heartbeat(self):
        return sctp.chunk(sctp.HEARTBEAT, struct.pack(">HH", 1, 20) + self.world.contents()[:16])

    def heartbeat_ack(self):
        return sctp.chunk(sctp.HEARTBEAT_ACK, struct.pack(">HH", 1, 20) + self.world.contents()[:16])

    def error(self):
        return sctp.chunk(sctp.ERROR, struct.pack(">HHI", 1, 8, self.world.random.getrandbits(32)))

    def ends(self):
        return (self.client, self.port, self.vip, self.vport) if self.side == 0 else reversed_view(self.view)

    def packet(self, chunks):
        random = self.world.random
        src, sport, dst, dport = self.ends()
        header = self.world.header(self.world.may_open(SCTP, src, sport, dst, dport))
        tag = 0 if self.phase == "init" else self.tags[1 - self.side]
        packet = wire.sctp(src, dst, sport, dport, tag, *chunks, **header)
        if random.random() < 0.03:
            packet.l4 = packet.l4[:8] + random.randbytes(4) + packet.l4[12:]
        return packet

    def learn(self, deliveries):
        random = self.world.random
        if not deliveries or not deliveries[0]:
            self.patience -= 1
            self.done = self.patience <= 0
            return
        if self.side == 0 and not self.seen_by_server(deliveries[0]):
            self.done = True
            return
        after = {"init": "init-ack", "init-ack": "cookie-echo", "cookie-echo": "cookie-ack"}
        self.phase = after.get(self.phase, "open")
        if self.one_way and self.phase in ("init-ack", "cookie-ack"):
            self.phase = after.get(self.phase, "open")
        if self.over:
            if random.random() < 0.6:
                self.begin()  # the same ports again
            else:
                self.done = True
        self.done = self.done or random.random() < 0.03

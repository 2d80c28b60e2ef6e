"""The TCP window check, CT-10 to CT-16 in the specification's words. Sequence numbers are compared modulo 2^32."""

from wire import ACK, FIN, RST, SYN

LEAST_ACK_WINDOW = 66_000
FITS, OUTSIDE, INVALID = "fits", "outside", "invalid"


def before(a, b):
    return (a - b) & 0xFFFFFFFF >= 1 << 31


def later(a, b):
    return b if before(a, b) else a


class Segment:
    """What tracking reads of a TCP segment. `cut`: it is the first fragment of one, whose length nobody knows."""

    __slots__ = ("flags", "seq", "ack", "length", "window", "options", "cut")

    def __init__(self, flags, seq, ack, length, window, options=b"", cut=False):
        self.flags, self.seq, self.ack, self.length = flags, seq, ack, length
        self.window, self.options, self.cut = window, options, cut

    def end(self):
        return (self.seq + self.length + bool(self.flags & SYN) + bool(self.flags & FIN)) & 0xFFFFFFFF

    def each_option(self):
        at = 0
        while at < len(self.options) and self.options[at] != 0:
            if self.options[at] == 1:
                at += 1
                continue
            size = self.options[at + 1] if at + 1 < len(self.options) else 0
            if size < 2 or at + size > len(self.options):
                return
            yield self.options[at], self.options[at + 2 : at + size]
            at += size


class End:
    """What one end has sent (end), may send (limit), has acknowledged and has offered at most."""

    def __init__(self):
        self.seen, self.end, self.limit, self.acked, self.offered = False, 0, 0, None, 0
        self.scale, self.wanted, self.sacks = 0, None, False

    def offer(self, size):
        # Windows are kept in units of 256 bytes, rounded up (nat/tcp_window.h).
        self.offered = max(self.offered, min(-(-size >> 8), (1 << 23) - 1) << 8)
        self.seen = True


class Windows:
    def __init__(self):
        self.ends = End(), End()

    def unacknowledged(self):
        return any(
            a.seen and b.acked is not None and before(b.acked, a.end) for a, b in (self.ends, self.ends[::-1])
        )

    def stale_reset(self, direction, seq):
        acked = self.ends[1 - direction].acked
        return acked is not None and before(seq, acked)

    def exact_reset(self, direction, seq):
        return seq in (self.ends[1 - direction].acked, self.ends[direction].end)

    def begin(self, direction, segment):
        receiver = self.ends[1 - direction]
        sender = self.ends[direction]
        sender.__init__()
        sender.end = sender.limit = segment.end()
        for kind, value in segment.each_option():
            if kind == 3 and len(value) == 1:
                sender.wanted = min(value[0], 14)
            elif kind == 4 and not value:
                sender.sacks = True
        scaled = sender.wanted is not None and receiver.wanted is not None  # CT-11
        sender.scale, receiver.scale = (sender.wanted, receiver.wanted) if scaled else (0, 0)
        sender.offer(max(segment.window, 1))

    def check(self, direction, segment, opening):
        sender, receiver = self.ends[direction], self.ends[1 - direction]
        syn, rst, has_ack = (bool(segment.flags & flag) for flag in (SYN, RST, ACK))
        seq, end, ack = segment.seq, segment.end(), segment.ack
        sack = ack
        if receiver.sacks:
            for kind, value in segment.each_option():
                for at in range(0, len(value) - 7, 8) if kind == 5 else ():
                    sack = later(sack, int.from_bytes(value[at + 4 : at + 8], "big"))
        if syn and (not sender.seen or (opening and before(sender.end, end))):
            self.begin(direction, segment)
            if not has_ack:
                return FITS
        elif not sender.seen:
            sender.end = end
            sender.offer(max(segment.window, 1))
            sender.limit = (end + sender.offered) & 0xFFFFFFFF
            if not receiver.seen:
                receiver.end = receiver.limit = sack
            elif sack == (receiver.end + 1) & 0xFFFFFFFF:
                receiver.end = sack
        if not has_ack or (rst and ack == 0):
            ack = sack = receiver.end
        if rst and seq == 0 and opening:
            seq = end = sender.end
        if before(sender.limit, seq):
            return INVALID
        if receiver.seen and before(end, (sender.end - receiver.offered) & 0xFFFFFFFF):
            return OUTSIDE
        if before(receiver.end, sack):
            return INVALID
        if before(sack, (receiver.end - max(sender.offered, LEAST_ACK_WINDOW)) & 0xFFFFFFFF):
            return OUTSIDE
        window = segment.window << (0 if syn else sender.scale)
        if receiver.seen and before(sender.limit, end):
            receiver.offer(receiver.offered + ((end - sender.limit) & 0xFFFFFFFF))
        sender.offer(window + ((sack - ack) & 0xFFFFFFFF))
        sender.end = later(sender.end, end)
        if has_ack:
            sender.acked = ack if sender.acked is None else later(sender.acked, ack)
        receiver.limit = later(receiver.limit, (sack + max(window, 1)) & 0xFFFFFFFF)
        return FITS

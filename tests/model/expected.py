"""What has to come out, and whether it did. `fault` says what is wrong with a frame, None if nothing is; `claim` finds
the frame, or the fragments, among those that came out and nobody claimed yet."""

import struct

import sctp
from wire import ICMP, ICMP6, RST, SCTP, TCP, UDP, VXLAN_PORT, checksums_right, copied_options, text

QUOTE = {4: 576 - 28, 16: 1280 - 48}
TYPES = {("ttl", 4): (11, 0), ("big", 4): (3, 4), ("ttl", 16): (3, 0), ("big", 16): (2, 0)}


def way_fault(frame, hop, inner, ports_seen, flow=None):
    """Link and tunnel: everything around the packet."""
    if frame.port != hop.interface.port or frame.src != hop.interface.mac:
        return f"left by port {'abc'[frame.port]}, not {'abc'[hop.interface.port]}"
    if frame.dst != hop.mac:
        return f"went to {frame.dst.hex(':')}, not {hop.mac.hex(':') if hop.mac else '?'}"
    tunnel = hop.tunnel
    if tunnel is None:
        return None if frame.outer is None else "is in a tunnel"
    outer = frame.outer
    if outer is None or (frame.vxlan is None) == (tunnel.kind == "vxlan"):
        return f"is not in the tunnel {tunnel.name}"
    if (outer.src, outer.dst) != (tunnel.local, tunnel.remote):
        return f"outer addresses {text(outer.src)} > {text(outer.dst)}"
    overlay = tunnel.overlay
    dscp = inner.tos & 0xFC if overlay["dscp"] == "Copy" else overlay["dscp"] << 2
    ecn = inner.tos & 3 if overlay["ecn"] == "Normal" else 0
    if outer.tos != dscp | ecn:
        return f"outer TOS {outer.tos}, not {dscp | ecn} (ECN-1)"
    inner_df = inner.df or not inner.v4
    df = {"Set": {True}, "Clear": {False}, "Inherit": {inner_df}}[overlay["outerDF"]]
    if tunnel.kind == "ipip":
        df = {True} if inner_df else df  # RFC 2003
        if outer.ttl != inner.ttl:
            return f"outer TTL {outer.ttl} (TTL-3)"
    else:
        df = df | ({False} if overlay["outerDF"] == "Inherit" else set())  # VXL-7
        fault = vxlan_fault(frame, tunnel, inner, ports_seen, flow)
        if fault or outer.ttl != 64:
            return fault or f"outer TTL {outer.ttl} (TTL-3)"
    if outer.df not in df:
        return f"outer DF {outer.df} (MTU-2)"
    if outer.is_fragment:
        return "the outer packet is a fragment"
    return None


def ways_fault(frame, hops, inner, ports_seen):
    """Of several next hops any will do."""
    faults = [way_fault(frame, hop, inner, ports_seen) for hop in hops]
    return None if None in faults else faults[0]


def vxlan_fault(frame, tunnel, inner, ports_seen, flow):
    head = frame.vxlan
    sport, dport, length, checksum = struct.unpack_from(">HHHH", head)
    if dport != VXLAN_PORT or length != len(frame.outer.l4) or checksum != 0:
        return f"outer UDP header {head[:8].hex()} (CSUM-4)"
    if head[8:12] != b"\x08\0\0\0" or head[12:16] != struct.pack(">I", tunnel.vni << 8):
        return f"VXLAN header {head[8:16].hex()} (VXL-1)"
    kind = b"\x08\x00" if inner.v4 else b"\x86\xdd"
    if head[16:30] != tunnel.inner_dst + tunnel.inner_src + kind:
        return f"inner Ethernet header {head[16:30].hex()} (VXL-3)"
    first, last = map(int, tunnel.overlay["vxlanSrcPortRange"].split("-"))
    if not first <= sport <= last:
        return f"outer source port {sport} (VXL-2)"
    if inner.proto in (TCP, UDP) and not inner.is_fragment:
        inner_flow = tunnel.name, flow, inner.proto, inner.src, inner.dst, inner.l4[:4]
        if ports_seen.setdefault(inner_flow, sport) != sport:
            return f"outer source port {sport}, before {ports_seen[inner_flow]} (VXL-2)"
    return None


def claim_fragments(hop, p, ident, frames, ports_seen):
    """RFC 791 section 3.2: any pieces will do that fit and are the packet together. `ident` None: any."""
    pieces = [
        f for f in frames
        if not f.used and f.packet is not None and f.packet.is_fragment and f.packet.v4
        and (f.packet.src, f.packet.dst, f.packet.proto) == (p.src, p.dst, p.proto)
        and (ident is None or f.packet.ident == ident)
        and p.offset <= f.packet.offset < p.offset + len(p.l4)
    ]  # fmt: skip
    pieces.sort(key=lambda frame: frame.packet.offset)
    at, data = p.offset, b""
    for frame in pieces:
        q = frame.packet
        same = (q.ttl, q.tos, q.df, q.ident) == (p.ttl, p.tos, False, pieces[0].packet.ident)
        options = p.options if q.offset == p.offset else copied_options(p.options)
        if q.offset != at or q.size > hop.mtu or q.options != options or not same:
            return f"fragment {q}"
        fault = way_fault(frame, hop, q, ports_seen)
        if fault:
            return fault
        at += len(q.l4)
        data += q.l4
        if q.mf != (p.mf or at != p.offset + len(p.l4)):
            return f"more-fragments bit of {q}"
        frame.used = True
    return None if data == p.l4 else "the fragments are not the packet"


class Forward:
    """The packet itself, in as many fragments as the link needs."""

    optional = False

    def __init__(self, hop, packet, flow):
        self.hop, self.packet, self.flow = hop, packet, flow
        self.whole = packet.size <= hop.mtu
        self.raw = packet.bytes() if self.whole else b""

    def __str__(self):
        way = f"port {'abc'[self.hop.interface.port]}"
        if self.hop.tunnel is not None:
            way += f" by tunnel {self.hop.tunnel.name}"
        return f"{way}: {self.packet}" + ("" if self.whole else f" in fragments of {self.hop.mtu}")

    def claim(self, frames, ports_seen):
        if not self.whole:
            return claim_fragments(self.hop, self.packet, self.packet.ident, frames, ports_seen)
        for frame in frames:
            if not frame.used and frame.raw == self.raw:
                fault = way_fault(frame, self.hop, self.packet, ports_seen, self.flow)
                if fault is None:
                    frame.used = True
                return fault
        return "did not come out"


class Error:
    """An ICMP error of the router's own (7.1). Its TTL, identification and TOS are the router's business."""

    def __init__(self, hops, about, sources, what, code, mtu, optional):
        self.hops, self.about, self.sources, self.optional = hops, about, sources, optional
        family = len(about.src)
        self.type, self.code = TYPES.get((what, family), (3 if family == 4 else 1, code))
        self.proto = ICMP if family == 4 else ICMP6
        self.rest = struct.pack(">I", mtu)
        self.quote = about.bytes()[: QUOTE[family]]

    def __str__(self):
        sources = " or ".join(sorted(map(text, self.sources)))
        way = f"port {'abc'[self.hops[0].interface.port]}"
        return f"{way}: ICMP {self.type}/{self.code} rest {self.rest.hex()} from {sources} to {text(self.about.src)}"

    def claim(self, frames, ports_seen):
        for frame in frames:
            p = frame.packet
            if frame.used or p is None or p.proto != self.proto or p.dst != self.about.src or p.is_fragment:
                continue
            if p.l4[8:] != self.quote or p.l4[:2] != bytes([self.type, self.code]):
                continue
            if p.src not in self.sources:
                return f"comes from {text(p.src)} (ICMP-8)"
            if p.l4[4:8] != self.rest:
                return f"bytes 4 to 7 are {p.l4[4:8].hex()}"
            if p.ttl != 64 and p.ttl != 255:
                return f"TTL {p.ttl}"
            fault = ways_fault(frame, self.hops, p, ports_seen)
            if fault is None:
                frame.used = True
            return fault
        return "did not come out"


class Answer:
    """An echo reply; its identification is the router's business."""

    optional = False

    def __init__(self, hops, packet):
        self.hops, self.packet = hops, packet

    def __str__(self):
        return f"port {'abc'[self.hops[0].interface.port]}: {self.packet}"

    def claim(self, frames, ports_seen):
        p = self.packet
        if p.size > self.hops[0].mtu:
            return claim_fragments(self.hops[0], p, None, frames, ports_seen)
        for frame in frames:
            q = frame.packet
            if frame.used or q is None or (q.src, q.dst, q.proto) != (p.src, p.dst, p.proto) or q.l4 != p.l4:
                continue
            if q.ttl != 64:
                return f"TTL {q.ttl} (TTL-4)"
            fault = ways_fault(frame, self.hops, q, ports_seen)
            if fault is None:
                frame.used = True
            return fault
        return "did not come out"


class Reset:
    """A TCP reset to the client of an endpoint that is gone (SVC-92)."""

    optional = False

    def __init__(self, hops, src, dst, sport, dport, flags, seq, ack):
        self.hops, self.src, self.dst, self.ports = hops, src, dst, struct.pack(">HH", sport, dport)
        self.flags, self.seq, self.ack = flags, seq, ack

    def __str__(self):
        way = f"port {'abc'[self.hops[0].interface.port]}"
        return f"{way}: a reset from {text(self.src)} to {text(self.dst)} seq {self.seq}"

    def claim(self, frames, ports_seen):
        for frame in frames:
            p = frame.packet
            if frame.used or p is None or (p.src, p.dst, p.proto) != (self.src, self.dst, TCP):
                continue
            if p.l4[:4] != self.ports or not p.l4[13] & RST or not checksums_right(p):
                continue
            seq, ack = struct.unpack_from(">II", p.l4, 4)
            if p.l4[13] != self.flags or seq != self.seq or (self.ack is not None and ack != self.ack):
                return f"flags {p.l4[13]:#x} seq {seq} ack {ack}"
            fault = ways_fault(frame, self.hops, p, ports_seen)
            if fault is None:
                frame.used = True
            return fault
        return "did not come out"


class Abort:
    """Of an association whose endpoint is gone, to its client (SVC-92)."""

    optional = False

    def __init__(self, hops, src, dst, sport, dport, tag, reflected):
        self.hops, self.src, self.dst = hops, src, dst
        flags = sctp.REFLECTED if reflected else 0
        self.message = sctp.message(sport, dport, tag, sctp.chunk(sctp.ABORT, flags=flags))

    def __str__(self):
        way = f"port {'abc'[self.hops[0].interface.port]}"
        return f"{way}: {text(self.src)} > {text(self.dst)} {sctp.describe(self.message)} {self.message.hex()}"

    def claim(self, frames, ports_seen):
        for frame in frames:
            p = frame.packet
            if frame.used or p is None or (p.src, p.dst, p.proto) != (self.src, self.dst, SCTP):
                continue
            if p.l4 != self.message:
                continue
            fault = ways_fault(frame, self.hops, p, ports_seen)
            if fault is None:
                frame.used = True
            return fault
        return "did not come out"

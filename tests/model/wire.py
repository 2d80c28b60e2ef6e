"""Packets as values, and as bytes on a wire.

An address is its bytes, 4 or 16, so a family is a length. A Packet is one IP packet with its header's fields and, as
bytes, everything behind the header (of IPv6: behind the fragment header, the only extension header used here). What
is read back is verified: lengths, versions, checksums. Checksums are taken modulo 65535, which is what ones'
complement arithmetic is, so nothing here resembles the router's way to do it.
"""

import functools
import ipaddress
import struct

import sctp as association

ICMP, TCP, UDP, ICMP6, FRAGMENT, IPIP, IP6IN4, SCTP = 1, 6, 17, 58, 44, 4, 41, 132
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
VXLAN_PORT = 4789


class Malformed(Exception):
    """What came out is no packet that anybody would accept."""


def addr(text):
    return ipaddress.ip_address(text).packed


@functools.lru_cache(maxsize=4096)
def text(address):
    return str(ipaddress.ip_address(address))


def mac(last):
    return bytes([2, 0, 0, 0, 0, last])


def ones_sum(data):
    if len(data) & 1:
        data += b"\0"
    return int.from_bytes(data, "big") % 65535


def checksum_of(total):
    """The field that completes a sum. The sum of anything but zeros is never 0 in ones' complement: it is 65535."""
    return 65535 - ((total % 65535) or 65535)


def adjusted(field, before, after):
    """RFC 1624 equation 3, for sums of what was replaced and of what replaces it."""
    return checksum_of(65535 - field - before + after)


class Packet:
    __slots__ = ("src", "dst", "proto", "ttl", "tos", "ident", "df", "mf", "offset", "frag", "label", "options", "l4")

    def __init__(self, src, dst, proto, l4, ttl=64, tos=0, ident=0, df=False, mf=False, offset=0, frag=False, label=0,
                 options=b""):  # fmt: skip
        self.src, self.dst, self.proto, self.l4 = src, dst, proto, l4
        self.ttl, self.tos, self.ident, self.df = ttl, tos, ident, df
        self.mf, self.offset, self.frag, self.label = mf, offset, frag, label
        self.options = options  # of IPv4

    def but(self, **fields):
        copy = Packet.__new__(Packet)
        for name in Packet.__slots__:
            setattr(copy, name, fields[name] if name in fields else getattr(self, name))
        return copy

    @property
    def v4(self):
        return len(self.src) == 4

    @property
    def header(self):
        return 20 + len(self.options) if len(self.src) == 4 else 48 if self.frag else 40

    @property
    def size(self):
        return self.header + len(self.l4)

    @property
    def is_fragment(self):
        return self.mf or self.offset != 0

    def bytes(self):
        if len(self.src) == 4:
            flags = (0x4000 if self.df else 0) | (0x2000 if self.mf else 0) | self.offset >> 3
            first = 0x40 | self.header // 4
            head = struct.pack(">BBHHHBBH", first, self.tos, self.size, self.ident, flags, self.ttl, self.proto, 0)
            head += self.src + self.dst + self.options
            return head[:10] + struct.pack(">H", checksum_of(ones_sum(head))) + head[12:] + self.l4
        proto, rest = self.proto, self.l4
        if self.frag:
            rest = struct.pack(">BBHI", proto, 0, self.offset | int(self.mf), self.ident) + rest
            proto = FRAGMENT
        head = struct.pack(">IHBB", 6 << 28 | self.tos << 20 | self.label, len(rest), proto, self.ttl)
        return head + self.src + self.dst + rest

    def __str__(self):
        out = f"{text(self.src)} > {text(self.dst)} ttl {self.ttl} tos {self.tos} len {self.size}"
        if self.v4:
            out += f" id {self.ident}" + (" df" if self.df else "")
            out += f" options {self.options.hex()}" if self.options else ""
        if self.is_fragment:
            out += f" fragment {self.ident:#x} at {self.offset}{'+' if self.mf else ''}"
        return out + " " + describe_l4(self)


def describe_l4(packet):
    l4 = packet.l4
    if packet.offset != 0:
        return f"proto {packet.proto}"
    if packet.proto in (TCP, UDP) and len(l4) >= 8:
        ports = "%d > %d" % struct.unpack_from(">HH", l4)
        if packet.proto == UDP:
            return f"udp {ports}"
        if len(l4) < 14:
            return f"tcp {ports}"
        flags = "".join(name for bit, name in zip((2, 1, 4, 8, 16, 32), "SFRPAU") if l4[13] & bit)
        return f"tcp {flags or '-'} {ports} seq %d ack %d" % struct.unpack_from(">II", l4, 4)
    if packet.proto == SCTP and len(l4) >= 8:
        return association.describe(l4)
    if packet.proto in (ICMP, ICMP6) and len(l4) >= 8:
        out = f"icmp {l4[0]}/{l4[1]} rest {l4[4:8].hex()}"
        if is_icmp_error(packet):
            try:
                out += f" [ {read_ip(l4[8:], quoted=True)} ]"
            except Malformed:
                out += " [ ? ]"
        return out
    return f"proto {packet.proto}"


def is_icmp_error(packet):
    if packet.offset != 0 or len(packet.l4) < 8:
        return False
    if packet.proto == ICMP and packet.v4:
        return packet.l4[0] in (3, 4, 5, 11, 12)
    return packet.proto == ICMP6 and not packet.v4 and packet.l4[0] < 128


def is_echo(packet, reply=False):
    wanted = (0 if reply else 8) if packet.v4 else (129 if reply else 128)
    proto = ICMP if packet.v4 else ICMP6
    return packet.proto == proto and packet.offset == 0 and len(packet.l4) >= 8 and packet.l4[0] == wanted


def pseudo(src, dst, proto, length):
    return ones_sum(src + dst) + proto + length


def l4_checksum(src, dst, proto, l4, at):
    """`l4` with its checksum at offset `at` filled in."""
    l4 = l4[:at] + b"\0\0" + l4[at + 2 :]
    total = ones_sum(l4)
    if proto != ICMP:
        total += pseudo(src, dst, proto, len(l4))
    value = checksum_of(total)
    if proto == UDP and value == 0:
        value = 65535
    return l4[:at] + struct.pack(">H", value) + l4[at + 2 :]


CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMP6: 2}


def tcp(src, dst, sport, dport, flags, seq, ack, payload=b"", window=65535, tcp_options=b"", **header):
    """`tcp_options`: padded to four bytes."""
    numbers = seq & 0xFFFFFFFF, ack & 0xFFFFFFFF
    l4 = struct.pack(">HHIIBBHHH", sport, dport, *numbers, 20 + len(tcp_options) << 2, flags, window, 0, 0)
    return Packet(src, dst, TCP, l4_checksum(src, dst, TCP, l4 + tcp_options + payload, 16), **header)


def udp(src, dst, sport, dport, payload, zero_checksum=False, **header):
    l4 = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload
    if not zero_checksum:
        l4 = l4_checksum(src, dst, UDP, l4, 6)
    return Packet(src, dst, UDP, l4, **header)


def sctp(src, dst, sport, dport, tag, *chunks, **header):
    return Packet(src, dst, SCTP, association.message(sport, dport, tag, *chunks), **header)


def icmp(src, dst, kind, code, rest, payload, **header):
    proto = ICMP if len(src) == 4 else ICMP6
    l4 = struct.pack(">BBH", kind, code, 0) + rest + payload
    return Packet(src, dst, proto, l4_checksum(src, dst, proto, l4, 2), **header)


def echo(src, dst, query, payload, reply=False, **header):
    kind = (0 if reply else 8) if len(src) == 4 else (129 if reply else 128)
    return icmp(src, dst, kind, 0, struct.pack(">HH", query, 1), payload, **header)


def each_option(options):
    """RFC 791 section 3.1: the options before the end. Malformed: they do not add up."""
    at = 0
    while at < len(options) and options[at] != 0:
        size = 1 if options[at] == 1 else options[at + 1] if at + 1 < len(options) else 0
        if size == 0 or (size < 2 and options[at] != 1) or at + size > len(options):
            raise Malformed("IPv4 options")
        yield options[at : at + size]
        at += size


def copied_options(options):
    """Those of all fragments but the first."""
    kept = b"".join(option for option in each_option(options) if option[0] & 0x80)
    return kept + bytes(-len(kept) % 4)


def fragments(packet, cuts):
    """The packet cut at these offsets, multiples of 8."""
    edges = [0, *cuts, len(packet.l4)]
    return [
        packet.but(l4=packet.l4[begin:end], offset=begin, mf=end != len(packet.l4), frag=True)
        for begin, end in zip(edges, edges[1:])
    ]


def translated(packet, src, dst, sport, dport, length=None):
    """What NAT makes of a packet or of the beginning of one that an ICMP error quotes. Ports are None where the packet
    shows none; of an echo the one that is set is its identifier. `length`: behind the IP header, of a quoted one."""
    l4 = packet.l4
    before, after = ones_sum(packet.src + packet.dst), ones_sum(src + dst)
    if packet.proto == SCTP and packet.offset == 0:
        l4 = association.with_ports(l4, sport, dport, length or len(l4))
    elif packet.offset == 0:
        if packet.proto in (TCP, UDP):
            new = struct.pack(">HH", sport, dport)
            field = CHECKSUM_AT[packet.proto]
            before, after = before + ones_sum(l4[:4]), after + ones_sum(new)
            l4 = new + l4[4:]
        elif is_echo(packet) or is_echo(packet, reply=True):
            new = struct.pack(">H", sport if is_echo(packet) else dport)
            field = 2
            if packet.v4:
                before = after = 0  # no pseudo header
            before, after = before + ones_sum(l4[4:6]), after + ones_sum(new)
            l4 = l4[:4] + new + l4[6:]
        elif packet.proto == ICMP6:
            field = 2
        else:
            field = None
        if field is not None and len(l4) >= field + 2:
            (old,) = struct.unpack_from(">H", l4, field)
            if packet.proto != UDP or old != 0:
                value = adjusted(old, before, after)
                if packet.proto == UDP and value == 0:
                    value = 65535
                l4 = l4[:field] + struct.pack(">H", value) + l4[field + 2 :]
    return packet.but(src=src, dst=dst, l4=l4)


def read_ip(data, quoted=False):
    """An IP packet of exactly these bytes; `quoted`: perhaps only its beginning."""
    if len(data) < 20:
        raise Malformed(f"an IP packet of {len(data)} bytes")
    if data[0] >> 4 == 4:
        header = (data[0] & 15) * 4
        if header < 20 or len(data) < header:
            raise Malformed("IPv4 header length")
        _, tos, total, ident, flags, ttl, proto, _ = struct.unpack_from(">BBHHHBBH", data)
        if not quoted and total != len(data):
            raise Malformed(f"IPv4 total length {total} in {len(data)} bytes")
        if ones_sum(data[:header]) != 0:
            raise Malformed("IPv4 header checksum")
        return Packet(data[12:16], data[16:20], proto, data[header:], ttl, tos, ident, bool(flags & 0x4000),
                      bool(flags & 0x2000), (flags & 0x1FFF) << 3, bool(flags & 0x3FFF), options=data[20:header])  # fmt: skip
    if data[0] >> 4 != 6 or len(data) < 40:
        raise Malformed("IP version or length")
    word, length, proto, ttl = struct.unpack_from(">IHBB", data)
    if not quoted and length != len(data) - 40:
        raise Malformed(f"IPv6 payload length {length} in {len(data)} bytes")
    packet = Packet(data[8:24], data[24:40], proto, data[40:], ttl, word >> 20 & 0xFF, label=word & 0xFFFFF)
    if proto == FRAGMENT:
        if len(data) < 48:
            raise Malformed("IPv6 fragment header")
        packet.proto, _, field, packet.ident = struct.unpack_from(">BBHI", data, 40)
        packet.offset, packet.mf, packet.frag, packet.l4 = field & 0xFFF8, bool(field & 1), True, data[48:]
    return packet


def checksums_right(packet):
    """Whether the L4 checksum of a whole packet is right."""
    if packet.proto == SCTP and not packet.is_fragment:
        return association.checksum_right(packet.l4)
    at = CHECKSUM_AT.get(packet.proto)
    if packet.is_fragment or at is None or len(packet.l4) < at + 2:
        return True
    if packet.proto == UDP and packet.v4 and packet.l4[6:8] == b"\0\0":
        return True
    total = ones_sum(packet.l4)
    if packet.proto != ICMP:
        total += pseudo(packet.src, packet.dst, packet.proto, len(packet.l4))
    return total % 65535 == 0


def ethernet(dst, src, packet_bytes):
    kind = b"\x08\x00" if packet_bytes[0] >> 4 == 4 else b"\x86\xdd"
    return dst + src + kind + packet_bytes


def ipip(src, dst, inner, **header):
    return Packet(src, dst, IPIP if inner.v4 else IP6IN4, inner.bytes(), **header)


def vxlan(src, dst, inner, sport, vni, inner_dst, inner_src, flags=8, checksum=False, **header):
    head = struct.pack(">BBHI", flags, 0, 0, vni << 8)
    payload = head + ethernet(inner_dst, inner_src, inner.bytes())
    return udp(src, dst, sport, VXLAN_PORT, payload, zero_checksum=not checksum, **header)


class Seen:
    """A frame that came out, with its tunnel taken off."""

    __slots__ = ("port", "dst", "src", "outer", "vxlan", "packet", "raw", "used")

    def __init__(self, port, frame, tunnels):
        self.port, self.dst, self.src, self.used = port, frame[:6], frame[6:12], False
        self.outer = self.vxlan = self.packet = None
        kind, self.raw = frame[12:14], frame[14:]
        if kind == b"\x08\x06":
            return  # ARP
        packet = read_ip(self.raw)
        if kind != (b"\x08\x00" if packet.v4 else b"\x86\xdd"):
            raise Malformed("Ethernet type")
        if (packet.src, packet.dst) in tunnels and not packet.is_fragment:
            if packet.proto in (IPIP, IP6IN4):
                self.outer, self.raw = packet, packet.l4
                packet = read_ip(self.raw)
                if self.outer.proto != (IPIP if packet.v4 else IP6IN4):
                    raise Malformed("protocol of the outer header")
            elif packet.proto == UDP and packet.l4[2:4] == b"\x12\xb5":
                if len(packet.l4) < 50:
                    raise Malformed("a short VXLAN packet")
                self.outer, self.vxlan, self.raw = packet, packet.l4[:30], packet.l4[30:]
                packet = read_ip(self.raw)
        self.packet = packet

    def __str__(self):
        out = f"port {'abc'[self.port]} to {self.dst.hex(':')}: "
        if self.outer is not None:
            name = "ipip" if self.vxlan is None else f"vxlan vni {int.from_bytes(self.vxlan[12:15], 'big')}"
            outer = self.outer
            out += f"{name} {text(outer.src)} > {text(outer.dst)} tos {outer.tos} ttl {outer.ttl} | "
        return out + (str(self.packet) if self.packet is not None else "ARP")

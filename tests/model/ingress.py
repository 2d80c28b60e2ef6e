"""The first five steps of a packet's way (specification, section 2): link, IP header, tunnel, source, fragments."""

import struct

import sctp
from window import Segment
from wire import (ICMP, ICMP6, IP6IN4, IPIP, SCTP, TCP, UDP, VXLAN_PORT, Malformed, adjusted, checksums_right, each_option,
                  is_echo, is_icmp_error, ones_sum, read_ip, text)  # fmt: skip

MARTIANS = {"ip_martian_source", "ip_martian_destination", "ip_multicast", "ip_broadcast"}
ECN_RESULT = {  # RFC 6040: inner, then outer Not-ECT, ECT(1), ECT(0), CE; None: dropped
    0: (0, 0, 0, None),
    1: (1, 1, 1, 3),
    2: (2, 1, 2, 3),
    3: (3, 3, 3, 3),
}


class Arrived:
    """A packet on its way, with the ports of its datagram and where it came from."""

    __slots__ = ("packet", "interface", "tunnel", "sport", "dport", "proto", "error")

    def __init__(self, packet, interface, tunnel):
        self.packet, self.interface, self.tunnel = packet, interface, tunnel
        self.sport, self.dport = ports_of(packet)
        self.proto = packet.proto
        self.error = is_icmp_error(packet)

    @property
    def key(self):
        return self.proto, self.packet.src, self.sport, self.packet.dst, self.dport

    @property
    def later(self):
        return self.packet.offset != 0

    @property
    def chunks(self):
        """Of SCTP: their kinds."""
        return sctp.kinds_of(self.packet.l4) if self.proto == SCTP and not self.later else None

    @property
    def segment(self):
        if self.proto != TCP or self.later:
            return None
        l4 = self.packet.l4
        seq, ack, offset, flags, window = struct.unpack_from(">IIBBH", l4, 4)
        header = (offset >> 4) * 4
        return Segment(flags, seq, ack, len(l4) - header, window, l4[20:header], self.packet.is_fragment)


def may_be_forwarded(options):
    """RFC 7126 sections 4.3 and 4.4: no source route, nor what may hide one."""
    try:
        return all(option[0] not in (131, 137) for option in each_option(options))
    except Malformed:
        return False


def ports_of(packet):
    """Of an echo its identifier stands where the port of who asks would; other ICMP has its type and code."""
    if packet.offset != 0 or len(packet.l4) < 8:
        return 0, 0
    if packet.proto in (TCP, UDP, SCTP):
        return struct.unpack_from(">HH", packet.l4)
    if is_echo(packet):
        return struct.unpack_from(">H", packet.l4, 4)[0], 0
    if is_echo(packet, reply=True):
        return 0, struct.unpack_from(">H", packet.l4, 4)[0]
    if packet.proto == (ICMP if packet.v4 else ICMP6):
        return 0, struct.unpack_from(">H", packet.l4)[0]
    return 0, 0


class Datagram:
    """What is known of a datagram by its fragments (7.3)."""

    def __init__(self):
        self.pieces, self.held, self.first, self.overlapped, self.total = [], [], None, False, None

    @property
    def complete(self):
        return self.total is not None and sum(end - begin for begin, end in self.pieces) == self.total


class Ingress:
    """Part of Model: from a frame to `look_up` of what arrived."""

    def receive(self, port, frame):
        interface = next(i for i in self.tables.interfaces if i.port == port)
        if len(frame) < 14:
            return self.drop("ethernet_truncated")
        kind, data = frame[12:14], frame[14:]
        if frame[0] & 1:
            return self.drop("ip_broadcast", "ip_multicast")
        if frame[:6] != interface.mac:
            return self.drop("not_our_mac")
        if kind == b"\x08\x00":
            return self.enter(data, interface, None, 4)
        if kind == b"\x86\xdd":
            return self.enter(data, interface, None, 6)
        return self.drop("unknown_ether_type")

    # --- section 2, steps 2 to 5 ----------------------------------------------------------------------------

    def enter(self, data, interface, tunnel, version):
        packet = self.checked_v4(data) if version == 4 else self.checked_v6(data)
        if packet is None:
            return None
        if packet.v4 and packet.dst in self.tables.tunnel_ends and self.leave_tunnel(packet, interface, tunnel):
            return None
        if tunnel is None and interface.pods and packet.src not in interface.pods:
            return self.drop("spoofed_source")  # SPOOF-1
        arrived = Arrived(packet, interface, tunnel)
        server = 67 if packet.v4 else 547
        if tunnel is None and interface.pods and packet.proto == UDP and server in (arrived.sport, arrived.dport):
            return self.drop("pod_dhcp")  # SPOOF-2
        if packet.is_fragment:
            return self.settle(arrived)
        return self.look_up(arrived)

    def checked_v4(self, data):
        """RFC 1812 section 5.2.2; padding is cut."""
        if len(data) < 20:
            return self.drop("ip_truncated")
        if data[0] >> 4 != 4:
            return self.drop("ip_bad_version")
        header, total = (data[0] & 15) * 4, int.from_bytes(data[2:4], "big")
        if header < 20:
            return self.drop("ip_bad_header_length")
        if len(data) < header:
            return self.drop("ip_truncated")
        if total < header or total > len(data):
            return self.drop("ip_bad_total_length")
        if ones_sum(data[:header]) != 0:
            return self.drop("ip_bad_checksum")
        if not may_be_forwarded(data[20:header]):
            return self.drop("ip_options")
        packet = read_ip(data[:total])
        if packet.src[0] in (0, 127) or packet.src[0] >= 224 or packet.dst[0] in (0, 127) or packet.dst[0] >= 224:
            return self.drop(*MARTIANS)
        return self.checked_l4(packet)

    def checked_v6(self, data):
        if len(data) < 40:
            return self.drop("ip_truncated")
        if data[0] >> 4 != 6:
            return self.drop("ip_bad_version")
        total = 40 + int.from_bytes(data[4:6], "big")
        if total > len(data):
            return self.drop("ip_bad_total_length")
        try:
            packet = read_ip(data[:total])
        except Malformed:
            return self.drop("ip_truncated")
        if packet.src[0] == 255 or packet.dst[0] == 255 or not any(packet.src[:15]) or not any(packet.dst[:15]):
            return self.drop(*MARTIANS)
        return self.checked_l4(packet)

    def checked_l4(self, packet):
        if packet.mf and len(packet.l4) % 8 != 0:
            return self.drop("fragment_malformed")
        if packet.offset == 0:
            least = {TCP: 20, UDP: 8, SCTP: 12, ICMP if packet.v4 else ICMP6: 8}.get(packet.proto, 0)
            if len(packet.l4) < least:
                return self.drop("l4_truncated")
            if packet.proto == TCP and not 20 <= (packet.l4[12] >> 4) * 4 <= len(packet.l4):
                return self.drop("l4_truncated")
        return packet

    def leave_tunnel(self, outer, interface, tunnel):
        """Section 8. False: no packet of a tunnel."""
        t = self.tables
        if outer.proto in (IPIP, IP6IN4) and "ipip" in t.accepted:
            kind = "ipip"
        elif outer.proto == UDP and outer.offset == 0 and ports_of(outer)[1] == VXLAN_PORT and "vxlan" in t.accepted:
            kind = "vxlan"
        else:
            return False
        if tunnel is None and interface.pods and outer.src not in interface.pods:
            self.drop("spoofed_source")
        elif outer.src not in t.sources and not any(outer.src in net for net in t.source_nets):
            self.drop("tunnel_unknown_source")
        elif outer.is_fragment:
            self.drop("tunnel_fragment")
        elif tunnel is not None:
            self.drop("tunnel_nested")
        elif kind == "ipip":
            self.open_tunnel(outer, outer.l4, 4 if outer.proto == IPIP else 6, interface)
        else:
            self.open_vxlan(outer, interface)
        return True

    def open_vxlan(self, outer, interface):
        l4 = outer.l4
        length = int.from_bytes(l4[4:6], "big")
        if length < 30 or length > len(l4):
            return self.drop("tunnel_malformed")
        if not l4[8] & 8 or (self.tables.overlay["strictVxlanFlags"] and (l4[8:12] != b"\x08\0\0\0" or l4[15])):
            return self.drop("vxlan_bad_flags")
        if int.from_bytes(l4[12:15], "big") != self.tables.overlay["vxlanVNI"]:
            return self.drop("vxlan_unknown_vni")
        if not checksums_right(outer):
            return self.drop("vxlan_bad_checksum")
        if l4[16:22] != self.tables.overlay["own_mac"]:
            return self.drop("vxlan_not_our_mac")
        kind = l4[28:30]
        if kind in (b"\x81\0", b"\x88\xa8"):
            return self.drop("vxlan_vlan")
        if kind not in (b"\x08\0", b"\x86\xdd"):
            return self.drop("vxlan_not_ip")
        return self.open_tunnel(outer, l4[30:length], 4 if kind == b"\x08\0" else 6, interface)

    def open_tunnel(self, outer, inner, version, interface):
        if len(inner) < (20 if version == 4 else 40) or inner[0] >> 4 != version:
            return self.drop("tunnel_malformed")
        if version == 4 and outer.proto == IPIP and (inner[12:16], inner[16:20]) == (outer.src, outer.dst):
            return self.drop("tunnel_loop")
        word = int.from_bytes(inner[:2], "big")
        shift = 0 if version == 4 else 4
        result = ECN_RESULT[word >> shift & 3][outer.tos & 3]
        if result is None:
            return self.drop("tunnel_ecn")
        new = word & ~(3 << shift) | result << shift
        if new != word:
            changed = struct.pack(">H", new) + inner[2:]
            if version == 4:
                (field,) = struct.unpack_from(">H", inner, 10)
                changed = changed[:10] + struct.pack(">H", adjusted(field, word, new)) + changed[12:]
            inner = changed
        self.say(f"came through the tunnel from {text(outer.src)}")
        return self.enter(inner, interface, outer.src, version)

    def settle(self, a):
        """A fragment gets the ports of its datagram (7.3)."""
        p = a.packet
        key = (p.src, p.dst, p.ident, p.proto if p.v4 else 0, a.tunnel)
        datagram = self.datagrams.setdefault(key, Datagram())
        begin, end = p.offset, p.offset + len(p.l4)
        if datagram.overlapped:
            return self.drop("fragment_overlap")
        for other in datagram.pieces:
            if other == (begin, end):
                return self.drop("fragment_duplicate")
            if begin < other[1] and other[0] < end:
                datagram.overlapped = True
                return self.drop("fragment_overlap")
        datagram.pieces.append((begin, end))
        if not p.mf:
            datagram.total = end
        if p.offset == 0:
            datagram.first = a
        elif datagram.first is None:
            self.say("waits for the first fragment of its datagram")
            datagram.held.append(a)
            return None
        waiting, datagram.held = datagram.held, []
        first = datagram.first
        if datagram.complete:
            del self.datagrams[key]
        for each in [a, *waiting]:
            each.sport, each.dport, each.proto = first.sport, first.dport, first.proto
            self.look_up(each)
        return None

"""The router as the specification describes it, one packet at a time, without a thought for speed.

`receive` says what has to come out for a packet. Where the specification leaves a choice (the endpoint, the translated
port, the next hop of several), it looks at what the router sent, takes over the choice if it is one of the right ones,
and holds the router to it for the life of the flow. Everything else is decided here alone.
"""

import struct

from conntrack import Flow, tcp_event
from expected import Answer, Error, Forward, Reset
from tables import Hop
from wire import (ACK, ICMP, ICMP6, IP6IN4, IPIP, RST, TCP, UDP, VXLAN_PORT, Malformed, adjusted, checksums_right, icmp,
                  is_echo, is_icmp_error, l4_checksum, ones_sum, read_ip, text, translated)  # fmt: skip

ERRORS_OF_ONE_DESTINATION = 20  # at once; more of them may be sent or not (ICMP-7)
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
    def segment(self):
        """Of TCP: flags, seq, ack, payload length."""
        if self.proto != TCP or self.later:
            return None
        l4 = self.packet.l4
        seq, ack, offset, flags = struct.unpack_from(">IIBB", l4, 4)
        return flags, seq, ack, len(l4) - (offset >> 4) * 4


def ports_of(packet):
    """Of an echo its identifier stands where the port of who asks would; other ICMP has its type and code."""
    if packet.offset != 0 or len(packet.l4) < 8:
        return 0, 0
    if packet.proto in (TCP, UDP):
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


class Model:
    def __init__(self, tables, workers):
        self.workers = workers
        self.now = 1000
        self.flows = {}  # by both keys: flow, direction
        self.datagrams = {}
        self.affinity = {}  # by client, service port and the time since which that has affinity
        self.affinity_since = {}
        self.told = {}  # ICMP errors by destination since the clock moved
        self.spread = {}  # next hop of several, by flow
        self.changes = 0
        self.tables = None
        self.change(tables)
        self.begin([], {})

    # --- the outside --------------------------------------------------------------------------------------

    def change(self, tables):
        self.tables = tables
        self.changes += 1
        self.spread.clear()
        since = {}
        for name, service in tables.service_ports.items():
            if service.affinity is not None:
                since[name] = self.affinity_since.get(name, self.changes)  # SVC-45
        self.affinity_since = since

    def advance(self, milliseconds):
        self.now += milliseconds
        self.told.clear()
        for datagram in self.datagrams.values():
            for _ in datagram.held:
                self.drop("fragment_without_first")
        self.datagrams.clear()
        timeouts = self.tables.timeouts
        for key, (flow, direction) in list(self.flows.items()):
            if direction == 0 and self.now - flow.last >= flow.timeout(timeouts):
                self.close(flow)

    def begin(self, seen, dropped):
        """A burst begins; what the router made of it: frames, and how many it dropped for which reason."""
        self.seen, self.dropped = seen, dropped
        self.drops = []
        self.out = []
        self.story = []
        self.gone = set()  # keys of replies whose flow has ended in this burst
        self.unsure = set()  # original keys of flows whose endpoint nobody saw

    def drop(self, *reasons):
        self.drops.append(frozenset(reasons))
        self.say(f"dropped: {' or '.join(sorted(reasons))}")

    def unaccounted(self, reason):
        return self.dropped.get(reason, 0) > sum(1 for names in self.drops if names == {reason})

    def say(self, sentence):
        self.story.append(sentence)

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
        if header != 20:
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
            least = {TCP: 20, UDP: 8, ICMP if packet.v4 else ICMP6: 8}.get(packet.proto, 0)
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

    # --- steps 6 to 12 --------------------------------------------------------------------------------------

    def look_up(self, a):
        if a.error:
            return self.related(a)
        found = self.flows.get(a.key)
        if found is not None:
            return self.of_flow(a, *found)
        return self.without_flow(a)

    def close(self, flow):
        self.gone.add(flow.reply)
        for key in (flow.original, flow.reply):
            if key in self.flows and self.flows[key][0] is flow:
                del self.flows[key]

    def lost_endpoint(self, flow):
        """SVC-92, SVC-94: what it came to does not lead to its endpoint any more."""
        if flow.frontend is None:
            return False
        frontend = self.tables.frontends.get(flow.frontend)
        return frontend is None or (flow.reply[1], flow.reply[2]) not in frontend.service.serving

    def of_flow(self, a, flow, direction):
        segment = a.segment
        event = tcp_event(segment[0]) if segment else None
        lost = self.lost_endpoint(flow)
        self.say(f"{'reply of' if direction else 'of'} a flow to {text(flow.reply[1])}:{flow.reply[2]}, state {flow.state}")
        if event == "SYN" and direction == 0 and lost:
            self.close(flow)
            return self.without_flow(a)
        action = flow.track(direction, segment, self.now) if a.proto != TCP or segment else "pass"
        if action == "invalid":
            return self.drop("conntrack_invalid")
        if action == "new-flow":
            self.close(flow)
            return self.without_flow(a)
        if a.proto == UDP:
            _, _, _, dst, dport = flow.original
            if lost or (flow.frontend is None and (dst, UDP, dport) in self.tables.frontends):
                self.say("which a change of services has ended")
                self.close(flow)
                return self.without_flow(a)
        if lost and segment and self.tables.proxy["onBackendRemoved"] == "Reset" and not segment[0] & RST:
            return self.reset(a, flow, direction, segment)
        flow.last = self.now
        new = flow.rewrite(direction)
        packet = translated(a.packet, new[0], new[2], new[1], new[3]) if new != self.addresses(a) else a.packet
        route = self.tables.route(packet.dst)
        if route.kind in ("local", "service"):
            self.drop("service_loop")
        elif route.kind != "hops":
            self.refuse(a, route)
        else:
            self.forward(a, packet, self.choose_hop(a, route, packet.dst), flow)
        if action == "close":
            self.close(flow)
        return None

    @staticmethod
    def addresses(a):
        return a.packet.src, a.sport, a.packet.dst, a.dport

    def reset(self, a, flow, direction, segment):
        flags, seq, ack, _ = segment
        _, client, port, vip, vip_port = flow.original
        if direction == 0:
            answer = RST, ack if flags & ACK else 0, None
        else:
            answer = RST | ACK, seq, ack
        self.close(flow)
        self.drop("endpoint_gone")
        route = self.tables.route(client)
        if route.kind == "hops":
            self.out.append(Reset(self.ways(route, client), vip, client, vip_port, port, *answer))
        return None

    def without_flow(self, a):
        t = self.tables
        if a.key in self.gone and self.workers > 1 and self.unaccounted("flow_gone"):
            return self.drop("flow_gone")  # another worker sent it to where its flow was
        route = t.route(a.packet.dst)
        if route.kind in ("local", "service"):
            frontend = t.frontends.get((a.packet.dst, a.proto, a.dport))
            if frontend is not None and a.proto in (TCP, UDP):
                return self.open_to_service(a, frontend)
            return self.to_service_address(a) if route.kind == "service" else self.to_own_address(a)
        if route.kind != "hops":
            return self.refuse(a, route)
        src, dst = a.packet.src, a.packet.dst
        opens = a.segment is None or self.opens(a)
        hop = self.choose_hop(a, route, dst)
        if t.nat_outgoing(src, dst):
            if not opens:
                return self.drop("conntrack_invalid")
            self.say("leaves the pools: natOutgoing")
            return self.open(a, hop, dst, a.dport, True, None)
        direct = not a.later and (dst, a.proto, a.dport) in t.serving
        if opens and (direct or t.nat_outgoing(dst, src)):
            self.say("tracked without translation")
            return self.open(a, hop, dst, a.dport, False, None)
        self.say("transit")
        return self.forward(a, a.packet, hop)

    def opens(self, a):
        event = tcp_event(a.segment[0])
        return event == "SYN" or (event == "ACK" and self.tables.loose)  # CT-7

    def endpoints_for(self, a, frontend):
        """3.4, 3.7, 3.8, 3.16: which endpoints this client may have and whether its source is replaced; or None."""
        t, service, client = self.tables, frontend.service, a.packet.src
        kind = "node" if client in t.own else "pod" if t.in_cluster(client) else "outside"
        self.say(f"{frontend.kind} address of {'/'.join(map(str, service.name))}, client is {kind}")
        if frontend.kind == "cluster" and kind == "outside" and not t.proxy["allowExternalClusterIP"]:
            return self.drop("cluster_ip_from_outside")  # SVC-121
        if frontend.kind == "balancer" and service.ranges:
            asked = kind == "outside" or t.proxy["sourceRangesForInCluster"]  # SVC-68
            if asked and not any(client in net for net in service.ranges):
                return self.drop("source_range")  # SVC-66
        if not service.has_endpoint:
            if t.proxy["noEndpoints"] == "Reject":
                self.port_unreachable(a)
                return self.drop("no_endpoint_rejected")
            return self.drop("no_endpoint")
        if frontend.kind == "cluster":
            masquerade = kind != "pod" or t.proxy["masqueradeAll"]  # MASQ-1
            usable = service.local if service.internal_local else service.cluster
        elif not service.external_local:
            masquerade, usable = True, service.cluster  # MASQ-2
        elif kind == "outside":
            anywhere = t.proxy["externalPolicyLocalScope"] == "Cluster"
            masquerade, usable = False, service.cluster if anywhere else service.local  # SVC-61, SVC-65
        else:
            masquerade, usable = kind == "node", service.cluster  # SVC-62
        if not usable:
            return self.drop("no_local_endpoint")
        return usable, masquerade

    def open_to_service(self, a, frontend):
        if a.segment is not None and not self.opens(a):
            return self.drop("conntrack_invalid")
        answer = self.endpoints_for(a, frontend)
        if answer is None:
            return None
        usable, masquerade = answer
        t, service, client = self.tables, frontend.service, a.packet.src
        memory = (client, service.name, self.affinity_since.get(service.name))
        if service.affinity is not None:
            kept, since = self.affinity.get(memory, (None, 0))
            if kept in usable and self.now - since < service.affinity:
                self.say(f"keeps the endpoint {text(kept[0])}:{kept[1]} (SVC-41)")
                usable = {kept}
        endpoint = self.choose_endpoint(a, usable)
        self.say(f"endpoint {text(endpoint[0])}:{endpoint[1]} of {len(usable)}")
        route = t.route(endpoint[0])
        if route.kind in ("local", "service"):
            return self.drop("service_loop")
        if route.kind != "hops":
            return self.refuse(a, route)
        masquerade = masquerade or endpoint[0] == client or t.nat_outgoing(client, endpoint[0])  # MASQ-3, MASQ-9
        hop = self.choose_hop(a, route, endpoint[0])
        sure = self.open(a, hop, *endpoint, masquerade, (a.packet.dst, a.proto, a.dport))
        if service.affinity is not None:
            self.affinity[memory] = (endpoint if sure or len(usable) == 1 else None, self.now)  # SVC-43
        return None

    def open(self, a, hop, destination, port, masquerade, frontend):
        """A new flow. False: its packet was not forwarded, so nobody knows what was chosen."""
        source, sport = a.packet.src, a.sport
        reply = (a.proto, destination, port, source, sport)
        if masquerade:
            source = self.masquerade_address(hop, len(source))
            sport = self.choose_port(a, source, destination, port, self.tables.snat)
            reply = (a.proto, destination, port, source, sport)
        elif reply in self.flows:
            self.say("another flow has these addresses and ports already (MASQ-7)")
            sport = self.choose_port(a, source, destination, port, (1, 65535))
            reply = (a.proto, destination, port, source, sport)
            if reply in self.flows and self.workers > 1:
                # Another worker's flow: this one is given up and the client's next attempt gets another port.
                self.unsure.add(a.key)
                self.forward(a, translated(a.packet, source, destination, sport, port), hop)
                return False
        if reply in self.flows:
            self.say(f"the router's source port {sport} is another flow's")
            sport = None  # wrong, whatever it is
            reply = (a.proto, destination, port, source, sport)
        flow = Flow(a.key, reply, frontend, self.now)
        flow.track(0, a.segment, self.now)
        packet = a.packet
        if (source, sport, destination, port) != self.addresses(a):
            packet = translated(packet, source, destination, sport if sport is not None else 0, port)
        if not self.forward(a, packet, hop, flow):
            self.unsure.add(a.key)
            return False
        self.flows[flow.original] = flow, 0
        self.flows[flow.reply] = flow, 1
        return True

    def masquerade_address(self, hop, family):
        """MASQ-5."""
        if hop.tunnel is not None and family == 4:
            return hop.tunnel.masquerade
        primary = hop.interface.primary(family)
        return primary or next(i.primary(family) for i in self.tables.interfaces if i.uplink and i.primary(family))

    # --- choices the router makes ----------------------------------------------------------------------------

    def candidates(self, a):
        """Frames that may be what became of this packet: of the same protocol, with the same contents."""
        p = a.packet
        at = 4 if p.proto == TCP else 8
        mark = p.l4[at : at + 8]
        for frame in self.seen:
            q = frame.packet
            if q is None or frame.used or q.proto != p.proto or q.offset != p.offset or q.ident != p.ident:
                continue
            if q.l4[at : at + 8] == mark:
                yield frame

    def choose_endpoint(self, a, usable):
        for frame in self.candidates(a):
            q = frame.packet
            if (q.dst, ports_of(q)[1]) in usable:
                return q.dst, ports_of(q)[1]
        # It sent nothing there: right only if the chosen one cannot be reached, or not by this packet.
        told = self.error_about(a)
        fates = {endpoint: self.fate(a, endpoint[0]) for endpoint in sorted(usable)}
        for endpoint, (reason, error) in fates.items():
            if reason is not None and (error == told if told else self.dropped.get(reason)):
                return endpoint
        return min(fates, key=lambda endpoint: (fates[endpoint][0] is None, endpoint))

    def fate(self, a, destination):
        """Why a packet cannot go there, and type, code and MTU of the error that says so; None: it can."""
        p, route = a.packet, self.tables.route(destination)
        if route.kind != "hops":
            if route.kind != "reject":
                return route.reason or "service_loop", None
            return route.reason, (3 if p.v4 else 1, route.codes[0 if p.v4 else 1], 0)
        if p.ttl <= 1:
            return "ttl_exceeded", (11 if p.v4 else 3, 0, 0)
        mtu = route.hops[0].mtu
        if p.size > mtu and (p.df or not p.v4):
            return "mtu_exceeded", (3, 4, mtu) if p.v4 else (2, 0, mtu)
        return None, None

    def error_about(self, a):
        """Type, code and MTU of the error that was sent about this packet."""
        begin = a.packet.bytes()[:64]
        for frame in self.seen:
            q = frame.packet
            if q is not None and is_icmp_error(q) and q.dst == a.packet.src and q.l4[8:72] == begin:
                return q.l4[0], q.l4[1], struct.unpack_from(">I", q.l4, 4)[0]
        return None

    def choose_port(self, a, source, destination, port, allowed):
        """MASQ-6: in the range, in its class if the range has any of it. None: what was sent is not."""
        first, last = allowed
        if a.proto in (ICMP, ICMP6):
            first, last = 0, 65535
        elif a.sport < 1024 and first < 1024:
            last = min(last, 1023)
        elif a.sport >= 1024 and last >= 1024:
            first = max(first, 1024)
        if a.proto not in (TCP, UDP, ICMP, ICMP6):
            return 0
        for frame in self.candidates(a):
            q = frame.packet
            sport, dport = ports_of(q)
            if (q.src, q.dst, dport) == (source, destination, port) and first <= sport <= last:
                return sport
        self.say(f"no packet with a source port from {first} to {last}")
        return None

    def ways(self, route, destination):
        """The next hops of a route; an address on the link is a neighbour itself."""
        return [
            hop if hop.mac is not None else Hop(hop.interface, self.tables.macs.get((hop.interface.name, destination)))
            for hop in route.hops
        ]

    def choose_hop(self, a, route, destination):
        hops = self.ways(route, destination)
        if len(hops) == 1:
            return hops[0]
        key = min(a.key, (a.proto, a.packet.dst, a.dport, a.packet.src, a.sport)), destination
        if key in self.spread and not a.error:
            return self.spread[key]
        for frame in self.candidates(a):
            for hop in hops:
                if frame.port == hop.interface.port and frame.dst == hop.mac and frame.packet.dst == destination:
                    self.spread[key] = hop
                    return hop
        return hops[0]

    # --- steps 13 and 14 ------------------------------------------------------------------------------------

    def forward(self, a, packet, hop, flow=None):
        """True if it was sent. `packet`: translated; `a` has it as it was sent, which is what an error quotes."""
        if packet.ttl <= 1:
            self.send_error(a, "ttl")
            self.drop("ttl_exceeded")
            return False
        if packet.size > hop.mtu and (packet.df or not packet.v4):
            self.send_error(a, "big", mtu=hop.mtu)
            self.drop("mtu_exceeded")
            return False
        self.out.append(Forward(hop, packet.but(ttl=packet.ttl - 1), flow and flow.serial))
        return True

    def refuse(self, a, route):
        if route.kind == "reject":
            self.send_error(a, "unreachable", code=route.codes[0 if a.packet.v4 else 1])
        self.drop(route.reason or "unreachable")

    def port_unreachable(self, a):
        self.send_error(a, "unreachable", code=3 if a.packet.v4 else 4, source=a.packet.dst)

    def send_error(self, a, what, code=0, mtu=0, source=None):
        if a.error or a.later:
            return  # ICMP-7
        route = self.tables.route(a.packet.src)
        if route.kind != "hops":
            return
        hops = self.ways(route, a.packet.src)
        told = self.told[a.packet.src] = self.told.get(a.packet.src, 0) + 1
        sources = {source} if source is not None else self.error_sources(a, hops[0])
        self.out.append(Error(hops, a.packet, sources, what, code, mtu, told > ERRORS_OF_ONE_DESTINATION))

    def error_sources(self, a, hop):
        """ICMP-8: the receiving interface, or what is routable for the sender."""
        family = len(a.packet.src)
        if hop.tunnel is not None and family == 4:
            return {hop.tunnel.masquerade}
        primary = a.interface.primary(family)
        if a.tunnel is None and primary is not None:
            return {primary}
        return {address for address in self.tables.own if len(address) == family}

    # --- packets to the router, ICMP errors -------------------------------------------------------------------

    def to_service_address(self, a):
        if a.packet.is_fragment:
            return self.drop("fragment_for_us")
        if a.proto in (ICMP, ICMP6):
            if self.tables.proxy["vipEchoReply"] and is_echo(a.packet):
                return self.answer_echo(a)
            return self.drop("echo_disabled")  # SVC-71
        self.port_unreachable(a)  # SVC-2
        return self.drop("service_port_unknown")

    def to_own_address(self, a):
        if a.packet.is_fragment:
            return self.drop("fragment_for_us")
        if is_echo(a.packet):
            return self.answer_echo(a)
        if a.proto in (TCP, UDP):
            self.port_unreachable(a)
        elif a.packet.v4 and a.proto != ICMP:
            self.send_error(a, "unreachable", code=2, source=a.packet.dst)
        return self.drop("local_no_listener")

    def answer_echo(self, a):
        p = a.packet
        if not checksums_right(p):
            return self.drop("icmp_bad_checksum")
        route = self.tables.route(p.src)
        if route.kind != "hops":
            return self.drop(route.reason or "service_loop", "no_route", "unreachable", "none")
        hops = self.ways(route, p.src)
        if p.size > hops[0].mtu and not p.v4:
            return self.drop("mtu_exceeded")
        kind = 0 if p.v4 else 129
        l4 = l4_checksum(p.dst, p.src, p.proto, bytes([kind]) + p.l4[1:], 2)
        self.out.append(Answer(hops, p.but(src=p.dst, dst=p.src, l4=l4, ttl=64)))
        return None

    def related(self, a):
        """7.1: an ICMP error belongs to the flow of the packet that it quotes."""
        p = a.packet
        quoted = None
        try:
            quoted = read_ip(p.l4[8:], quoted=True)
        except Malformed:
            pass
        found = None
        if quoted is not None and quoted.offset == 0 and len(quoted.l4) >= 8 and not is_icmp_error(quoted):
            sport, dport = ports_of(quoted)
            found = self.flows.get((quoted.proto, quoted.dst, dport, quoted.src, sport))
        if found is None:
            route = self.tables.route(p.dst)
            if route.kind in ("local", "service"):
                return self.drop("icmp_no_flow")
            if route.kind != "hops":
                return self.refuse(a, route)
            self.say("an ICMP error in transit")
            return self.forward(a, p, self.choose_hop(a, route, p.dst))
        flow, direction = found
        self.say("an ICMP error about a packet of a flow")
        if not checksums_right(p):
            return self.drop("icmp_bad_checksum")
        if p.dst != quoted.src:
            return self.drop("icmp_malformed")
        peer, peer_port, sender, sender_port = flow.rewrite(direction)  # as the sender of the quoted packet knows them
        shown_peer = (flow.reply if direction else flow.original)[1]
        hides = self.tables.error_source_vip and peer != shown_peer
        source = peer if hides or p.src == shown_peer else p.src  # ICMP-2
        inner = translated(quoted, sender, peer, sender_port, peer_port)
        head = p.l4[8 : 8 + quoted.header]
        if quoted.v4:
            head = head[:10] + b"\0\0" + sender + peer
            head = head[:10] + struct.pack(">H", 65535 - (ones_sum(head) or 65535)) + head[12:]
        else:
            head = head[:8] + sender + peer + head[40:]
        error = icmp(source, sender, p.l4[0], p.l4[1], p.l4[4:8], head + inner.l4)
        route = self.tables.route(sender)
        if route.kind != "hops":
            return self.drop(route.reason or "no_route", "no_route", "service_loop")
        packet = p.but(src=source, dst=sender, l4=error.l4)
        return self.forward(a, packet, self.choose_hop(a, route, sender))


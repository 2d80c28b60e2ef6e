"""The choices that are the router's, and the last steps of a packet's way (specification, section 2): TTL, MTU, next
hop, and the errors that are sent instead."""

import struct

from expected import Error, Forward
from ingress import ports_of
from tables import Hop
from wire import ICMP, ICMP6, SCTP, TCP, UDP, is_icmp_error, text

ERRORS_OF_ONE_DESTINATION = 20  # at once; more of them may be sent or not (ICMP-7)
MAPPING_HOLD = 120_000  # without a connection


def mark_of(packet):
    """What tells it from others and translation leaves as it is."""
    l4 = packet.l4
    return {TCP: l4[4:12], SCTP: l4[4:8] + l4[12:20]}.get(packet.proto, l4[8:16])


class Mapping:
    """The port outside of an endpoint inside (MASQ-13)."""

    def __init__(self, inside, port):
        self.inside, self.port, self.uses, self.since = inside, port, 0, 0


class Egress:
    """Part of Model."""

    # --- choices the router makes ----------------------------------------------------------------------------

    def candidates(self, a):
        """Frames that may be what became of this packet: of the same protocol, with the same contents."""
        p = a.packet
        mark = mark_of(p)
        for frame in self.seen:
            q = frame.packet
            if q is None or frame.used or q.proto != p.proto or q.offset != p.offset or q.ident != p.ident:
                continue
            if mark_of(q) == mark:
                yield frame

    def shown_endpoint(self, a, usable, nodes):
        """Where the packet went; None: nowhere."""
        for frame in self.candidates(a):
            q = frame.packet
            for endpoint in sorted(usable.difference(nodes)):  # a later fragment shows no port
                if q.dst == endpoint[0] and (a.later or ports_of(q)[1] == endpoint[1]):
                    return endpoint
        return self.seen_at_node(a, {at: node for at, node in nodes.items() if at in usable})

    def choose_endpoint(self, a, usable, nodes=()):
        """`nodes`: of those that do not show in the packet."""
        shown = self.shown_endpoint(a, usable, nodes)
        if shown is not None:
            return shown
        # It sent nothing there: right only if the chosen one cannot be reached, or not by this packet.
        told = self.error_about(a)
        direct = {endpoint: [self.tables.direct_tunnel(nodes[endpoint])] for endpoint in usable.intersection(nodes)}
        fates = {endpoint: self.fate(a, endpoint[0], direct.get(endpoint)) for endpoint in sorted(usable)}
        for endpoint, (reason, error) in fates.items():
            if reason is not None and (error == told if told else self.dropped.get(reason)):
                return endpoint
        return min(fates, key=lambda endpoint: (fates[endpoint][0] is None, endpoint))

    def fate(self, a, destination, hops=None):
        """Why a packet cannot go there, and type, code and MTU of the error that says so; None: it can."""
        p, route = a.packet, self.tables.route(destination)
        if hops is None and route.kind != "hops":
            if route.kind != "reject":
                return route.reason or "service_loop", None  # SVC-70
            return route.reason, (3 if p.v4 else 1, route.codes[0 if p.v4 else 1], 0)
        if p.ttl <= 1:
            return "ttl_exceeded", (11 if p.v4 else 3, 0, 0)
        mtu = (hops or route.hops)[0].mtu
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
        if a.proto not in (TCP, UDP, SCTP, ICMP, ICMP6):
            return 0
        if a.later:
            return a.sport
        for frame in self.candidates(a):
            q = frame.packet
            sport, dport = ports_of(q)
            if (q.src, q.dst, dport) == (source, destination, port) and first <= sport <= last:
                return sport
        self.say(f"no packet with a source port from {first} to {last}")
        return None

    def choose_mapped_port(self, a, source, destination, port):
        """MASQ-13: the port of the mapping, and nobody else's; and the mapping, for the flow to hold if it opens."""
        inside = a.proto, a.packet.src, a.sport, source
        mapping = self.mappings.get(inside)
        first, last = self.tables.snat
        if mapping is not None and not mapping.uses and not (self.holds(mapping) and first <= mapping.port <= last):
            mapping = None  # the router may have another one by now
        if a.later:
            return (mapping.port, mapping) if mapping else (a.sport, None)
        allowed = (mapping.port, mapping.port) if mapping else (first, last)
        sport = self.choose_port(a, source, destination, port, allowed)
        if mapping is not None:
            if sport != mapping.port:
                self.say(f"its mapping has the port {mapping.port} (MASQ-13)")
            return (sport if sport == mapping.port else None), mapping
        for key, other in self.mappings.items():
            if key != inside and (key[0], key[3], other.port) == (a.proto, source, sport) and self.holds(other):
                self.say(f"the port {sport} is that of the mapping of {text(key[1])}:{key[2]} (MASQ-13)")
                return None, None
        return sport, Mapping(inside, sport)

    def holds(self, mapping):
        return mapping.uses > 0 or self.now - mapping.since < MAPPING_HOLD

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

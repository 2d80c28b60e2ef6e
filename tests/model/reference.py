"""The router as the specification describes it, one packet at a time, without a thought for speed.

`receive` (ingress.py) says what has to come out for a packet. Where the specification leaves a choice (the endpoint,
the translated port, the next hop of several), it looks at what the router sent, takes over the choice if it is one of
the right ones (egress.py), and holds the router to it for the life of the flow. Everything else is decided here alone.
"""

import struct
from collections import Counter

import sctp
from conntrack import Flow, tcp_event
from direct_return import DirectReturn
from egress import Egress
from expected import Abort, Answer, Reset
from ingress import Ingress, ports_of
from wire import (ACK, ICMP, ICMP6, RST, SCTP, TCP, UDP, Malformed, checksums_right, icmp, is_echo, is_icmp_error,
                  l4_checksum, ones_sum, read_ip, text, translated)  # fmt: skip


class Model(Ingress, Egress, DirectReturn):
    def __init__(self, tables, workers):
        self.workers = workers
        self.now = 1000
        self.flows = {}  # by both keys: flow, direction
        self.datagrams = {}
        self.burst = 0
        self.affinity = {}  # by client, service port and the time since which that has affinity
        self.affinity_since = {}
        self.mappings = {}  # by protocol, inside address and port, outside address
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
            end = flow.last + flow.timeout(timeouts)
            if direction == 0 and self.now >= end:
                self.close(flow, end)

    def begin(self, seen, dropped):
        """A burst begins; what the router made of it: frames, and how many it dropped for which reason."""
        self.burst += 1
        self.seen, self.dropped = seen, dropped
        self.drops = []
        self.out = []
        self.story = []
        self.chosen = Counter()  # endpoints of clients with affinity in this burst...
        self.borrowed = Counter()  # ...and those of them that another packet has to have chosen
        self.unsure = set()  # original keys of flows whose endpoint nobody saw

    def drop(self, *reasons):
        self.drops.append(frozenset(reasons))
        self.say(f"dropped: {' or '.join(sorted(reasons))}")

    def say(self, sentence):
        self.story.append(sentence)

    # --- steps 6 to 12 --------------------------------------------------------------------------------------

    def look_up(self, a):
        if a.error:
            return self.related(a)
        found = self.flows.get(a.key)
        if found is not None:
            return self.of_flow(a, *found)
        return self.without_flow(a)

    def close(self, flow, when=None):
        if flow.mapping is not None:
            if self.flows.get(flow.original, (None,))[0] is flow:
                flow.mapping.uses -= 1
                flow.mapping.since = max(flow.mapping.since, self.now if when is None else when)
        for key in (flow.original, flow.reply):
            if key in self.flows and self.flows[key][0] is flow:
                del self.flows[key]

    def lost_endpoint(self, flow):
        """SVC-92, SVC-94: what it came to does not lead to its endpoint any more."""
        if flow.frontend is None:
            return False
        frontend = self.tables.frontends.get(flow.frontend)
        return frontend is None or flow.endpoint not in frontend.service.serving or self.is_cut(flow)

    def is_cut(self, flow):
        """Its endpoint was drained by hand, hard."""
        frontend = self.tables.frontends.get(flow.frontend)
        return frontend is not None and flow.endpoint in frontend.service.cut

    def has_ended(self, flow):
        """SVC-94, and SVC-95: of UDP, whether the services of now let it go on."""
        proto, _, _, dst, dport = flow.original
        if flow.one_way and self.ends_here(flow):
            return True
        return self.lost_endpoint(flow) or (flow.frontend is None and (dst, proto, dport) in self.tables.frontends)

    def of_flow(self, a, flow, direction):
        segment, chunks = a.segment, a.chunks
        begins = (segment and tcp_event(segment.flags) == "SYN") or (chunks and chunks[0] == sctp.INIT)
        lost = self.lost_endpoint(flow)
        which = "reply of" if direction else "of"
        self.say(f"{which} a flow to {text(flow.reply[1])}:{flow.reply[2]}, state {flow.state}")
        if (begins and direction == 0 and lost) or (flow.one_way and a.tunnel is not None):
            self.close(flow)
            return self.without_flow(a)
        seen = segment if a.proto == TCP else chunks
        action = flow.track(direction, seen, self.now, self.tables.liberal) if a.proto != TCP or segment else "pass"
        if action == "invalid":
            return self.drop("conntrack_invalid")
        if action == "new-flow":
            self.close(flow)
            return self.without_flow(a)
        if (a.proto == UDP and self.has_ended(flow)) or (flow.one_way and self.ends_here(flow)):
            self.say("which a change of services has ended")
            self.close(flow)
            return self.without_flow(a)
        if lost and (self.tables.proxy["onBackendRemoved"] == "Reset" or self.is_cut(flow)):
            if segment and not segment.flags & RST:
                return self.reset(a, flow, direction, segment)
            if chunks and not {sctp.ABORT, sctp.SHUTDOWN_COMPLETE} & set(chunks):
                return self.abort(a, flow, direction)
        flow.last = self.now
        if flow.one_way:
            return self.of_direct_flow(a, flow, direction)
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
        flags, seq, ack = segment.flags, segment.seq, segment.ack
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

    def abort(self, a, flow, direction):
        """RFC 9260 section 8.5.1: the client's own tag, reflected, or the one that its endpoint uses."""
        _, client, port, vip, vip_port = flow.original
        (tag,) = struct.unpack_from(">I", a.packet.l4, 4)
        self.close(flow)
        self.drop("endpoint_gone")
        route = self.tables.route(client)
        if route.kind == "hops":
            self.out.append(Abort(self.ways(route, client), vip, client, vip_port, port, tag, direction == 0))

    def without_flow(self, a):
        t = self.tables
        route = t.route(a.packet.dst)
        if route.kind in ("local", "service"):
            frontend = t.frontends.get((a.packet.dst, a.proto, a.dport))
            if frontend is not None and a.proto in (TCP, UDP, SCTP):
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
        alone = (src, a.sport) == (dst, a.dport)
        if opens and not alone and (direct or t.nat_outgoing(dst, src)):
            self.say("tracked without translation")
            return self.open(a, hop, dst, a.dport, False, None)
        self.say("transit")
        return self.forward(a, a.packet, hop)

    def opens(self, a):
        event = tcp_event(a.segment.flags)
        return event == "SYN" or (event == "ACK" and self.tables.loose)  # CT-7

    def endpoints_for(self, a, frontend):
        """3.4, 3.7, 3.8, 3.16: which endpoints this client may have and whether its source is replaced; or None."""
        t, service, client = self.tables, frontend.service, a.packet.src
        kind = t.client_kind(client, a.interface, a.tunnel)
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
        elif kind in ("outside", "remote") or (kind == "pod" and frontend.kind == "node" and t.pod_elsewhere(client)):
            # SVC-63
            anywhere = t.proxy["externalPolicyLocalScope"] == "Cluster"
            masquerade, usable = False, service.cluster if anywhere else service.local  # SVC-61, SVC-65
        else:
            masquerade, usable = kind == "node", service.cluster  # SVC-62
        if self.is_direct(a, frontend):
            masquerade, usable = False, service.local if a.tunnel is not None else usable  # relayed to here
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
        nodes = {}
        if self.is_direct(a, frontend) and a.tunnel is None:
            nodes = {at: node for at, node in service.nodes.items() if at in usable}
        if service.affinity is not None:
            kept, since, burst = self.affinity.get(memory, (None, 0, 0))
            # Workers tell each other of it when their burst is through.
            if kept in usable and self.now - since < service.affinity and (self.workers == 1 or burst != self.burst):
                self.say(f"keeps the endpoint {text(kept[0])}:{kept[1]} (SVC-41)")
                usable = self.kept_or_newer(a, memory, kept, usable, nodes)
        endpoint = self.choose_endpoint(a, usable, nodes)
        self.say(f"endpoint {text(endpoint[0])}:{endpoint[1]} of {len(usable)}")
        key = a.packet.dst, a.proto, a.dport
        if endpoint in nodes:
            self.remember(service, memory, endpoint, self.open_direct(a, endpoint, nodes[endpoint], key))
            return None
        route = t.route(endpoint[0])
        if route.kind in ("local", "service", "drop"):
            fates = [self.fate(a, at[0]) for at in usable if at not in nodes]
            return self.drop(*(reason for reason, error in fates if reason is not None and error is None))
        if route.kind != "hops":
            return self.refuse(a, route)
        masquerade = masquerade or endpoint[0] == client or t.nat_outgoing(client, endpoint[0])  # MASQ-3, MASQ-9
        hop = self.choose_hop(a, route, endpoint[0])
        self.remember(service, memory, endpoint, self.open(a, hop, *endpoint, masquerade, key))
        return None

    def kept_or_newer(self, a, memory, kept, usable, nodes):
        """What another worker made of another packet of this burst may be remembered already."""
        shown = self.shown_endpoint(a, usable, nodes) if self.workers > 1 else None
        if shown in (None, kept):
            return {kept}
        self.say(f"or one that is newer: {text(shown[0])}:{shown[1]}")
        self.borrowed[memory, shown] += 1
        return {shown}

    def remember(self, service, memory, endpoint, opened):
        """SVC-43. What is dropped changes nothing."""
        if service.affinity is None or not opened:
            return
        before, _, burst = self.affinity.get(memory, (None, 0, 0))
        self.chosen[memory, endpoint] += 1
        sure = self.workers == 1 or burst != self.burst or before == endpoint
        self.affinity[memory] = (endpoint if sure else None, self.now, self.burst)

    def open(self, a, hop, destination, port, masquerade, frontend):
        """A new flow. False: its packet was not forwarded, and opened none."""
        source, sport, mapping = a.packet.src, a.sport, None
        reply = (a.proto, destination, port, source, sport)
        if masquerade:
            source = self.masquerade_address(hop, len(source))
            has_port = a.proto in (TCP, UDP, SCTP) or is_echo(a.packet)
            if self.tables.endpoint_independent and frontend is None and has_port:
                sport, mapping = self.choose_mapped_port(a, source, destination, port)
            else:
                sport = self.choose_port(a, source, destination, port, self.tables.snat)
            reply = (a.proto, destination, port, source, sport)
        elif reply in self.flows:
            self.say("another flow has these addresses and ports already (MASQ-7)")
            sport = self.choose_port(a, source, destination, port, (1, 65535))
            reply = (a.proto, destination, port, source, sport)
        if reply in self.flows:
            self.say(f"the router's source port {sport} is another flow's")
            sport = None  # wrong, whatever it is
            reply = (a.proto, destination, port, source, sport)
        flow = Flow(a.key, reply, frontend, self.now)
        flow.track(0, a.chunks if a.proto == SCTP else a.segment, self.now, self.tables.liberal)
        packet = a.packet
        if (source, sport, destination, port) != self.addresses(a):
            packet = translated(packet, source, destination, sport if sport is not None else 0, port)
        if not self.forward(a, packet, hop, flow):
            return False
        if mapping is not None:
            mapping.uses += 1
            flow.mapping = self.mappings[mapping.inside] = mapping
        self.flows[flow.original] = flow, 0
        self.flows[flow.reply] = flow, 1
        return True

    def masquerade_address(self, hop, family):
        """MASQ-5."""
        if hop.tunnel is not None and family == 4:
            return hop.tunnel.masquerade
        primary = hop.interface.primary(family)
        return primary or next(i.primary(family) for i in self.tables.interfaces if i.uplink and i.primary(family))

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
        if a.proto in (TCP, UDP, SCTP):
            self.port_unreachable(a)
        elif a.packet.v4 and a.proto != ICMP:
            self.send_error(a, "unreachable", code=2, source=a.packet.dst)
        return self.drop(*self.reasons_at_port(a))

    def reasons_at_port(self, a):
        """MASQ-13, RFC 4787 REQ-8: whom a mapping's endpoint did not ask learns as much, but it is counted apart."""
        first, last = self.tables.snat
        begins = a.proto in (UDP, SCTP) or a.proto == TCP and tcp_event(a.segment.flags) == "SYN"
        if self.tables.endpoint_independent and begins and first <= a.dport <= last:
            owners = [mapping for (proto, _, _, outside), mapping in self.mappings.items()
                      if (proto, outside, mapping.port) == (a.proto, a.packet.dst, a.dport)]  # fmt: skip
            if any(map(self.holds, owners)):
                return ("mapping_filtered",)
            if owners:  # the router may have it yet
                return "local_no_listener", "mapping_filtered"
        return ("local_no_listener",)

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
                # To the router itself it may be about a tunnel (MTU-3), so it is looked at first.
                return self.drop("icmp_no_flow", *(() if checksums_right(p) else ("icmp_bad_checksum",)))
            if route.kind != "hops":
                return self.refuse(a, route)
            self.say("an ICMP error in transit")
            return self.forward(a, p, self.choose_hop(a, route, p.dst))
        flow, direction = found
        if flow.one_way:
            return self.of_direct_flow(a, flow, direction)
        self.say("an ICMP error about a packet of a flow")
        if not checksums_right(p):
            return self.drop("icmp_bad_checksum")
        if p.dst != quoted.src:
            return self.drop("icmp_malformed")
        peer, peer_port, sender, sender_port = flow.rewrite(direction)  # as the sender of the quoted packet knows them
        shown_peer = (flow.reply if direction else flow.original)[1]
        hides = self.tables.error_source_vip and peer != shown_peer
        source = peer if hides or p.src == shown_peer else p.src  # ICMP-2
        head = p.l4[8 : 8 + quoted.header]
        total = struct.unpack_from(">H", head, 2)[0] - quoted.header if quoted.v4 else struct.unpack_from(">H", head, 4)[0]
        inner = translated(quoted, sender, peer, sender_port, peer_port, total)
        if quoted.v4:
            head = head[:10] + b"\0\0" + sender + peer + head[20:]
            head = head[:10] + struct.pack(">H", 65535 - (ones_sum(head) or 65535)) + head[12:]
        else:
            head = head[:8] + sender + peer + head[40:]
        error = icmp(source, sender, p.l4[0], p.l4[1], p.l4[4:8], head + inner.l4)
        route = self.tables.route(sender)
        if route.kind != "hops":
            return self.drop(route.reason or "no_route", "no_route", "service_loop")
        packet = p.but(src=source, dst=sender, l4=error.l4)
        return self.forward(a, packet, self.choose_hop(a, route, sender))


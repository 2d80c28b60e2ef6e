"""Direct server return (docs/config.md, forwarding): packets of clients from outside go as they are, inside IPIP, to
the node of the endpoint, and the router sees nothing of the answers."""

from conntrack import STREAM_AGE, Flow, tcp_event
from routing import Hop, Tunnel
from wire import TCP, UDP

# The specification has no table for half a connection; this one is the router's (nat/tcp_state.cpp). What follows from
# it are times, and that a SYN behind the client's FIN or RST begins another connection.
STATES = "none SYN_SENT EST FIN_WAIT CLOSE".split()
TABLE = """
SYN    SYN_SENT same     same     new-flow new-flow
SYNACK invalid  same     same     same     same
FIN    invalid  FIN_WAIT FIN_WAIT same     FIN_WAIT
ACK    EST      EST      same     same     EST
RST    invalid  CLOSE    CLOSE    CLOSE    same
"""
TABLE = {
    (row[0], state): cell
    for row in (line.split() for line in TABLE.split("\n") if line)
    for state, cell in zip(STATES, row[1:], strict=True)
}


def wants(service):
    return service["metadata"].get("annotations", {}).get("sluice.dev/forwarding") == "dsr"


class DirectTunnels:
    """Part of Tables."""

    def direct_tunnel(self, name):
        """To a node; None: it is this one, or nobody knows where it is."""
        remote = self.underlay(name) if name in self.nodes and not self.is_own(name) else None
        hops = self._hops_to(remote) if remote is not None else []
        if not hops:
            return None
        tunnel = Tunnel(f"direct@{name}", "ipip", remote, {}, self.overlay)
        tunnel.hop, tunnel.local = hops[0], self.underlay(self.node_name)
        tunnel.masquerade = tunnel.local
        automatic = min(interface.mtu for interface in self.interfaces if interface.uplink) - 20
        tunnel.mtu = automatic if self.overlay["mtu"] == "auto" else self.overlay["mtu"]
        return Hop(tunnel.hop.interface, tunnel.hop.mac, tunnel)

    def _add_direct_return(self, service, endpoints):
        """Nodes of endpoints that answer clients themselves; SVC-65 says which node is another one."""
        service.nodes = {e.at: e.node for e in endpoints if not e.local and self.direct_tunnel(e.node) is not None}
        self.direct_nodes |= set(service.nodes.values())
        self.tunnel_pairs |= {
            (hop.tunnel.local, hop.tunnel.remote) for hop in map(self.direct_tunnel, service.nodes.values())
        }


class OneWayFlow(Flow):
    """Of a client's packets alone. `endpoint`: whom they go to; `node`: where it is."""

    __slots__ = ("at", "node")
    one_way = True

    def __init__(self, key, endpoint, node, frontend, now):
        proto, src, sport, dst, dport = key
        super().__init__(key, (proto, dst, dport, src, sport), frontend, now)
        self.at, self.node = endpoint, node

    @property
    def endpoint(self):
        return self.at

    def track(self, direction, segment, now, liberal):
        if self.original[0] == UDP:
            self.assured = self.assured or now - self.created > STREAM_AGE
        if self.original[0] != TCP or segment is None:
            return super().track(direction, segment, now, liberal)
        cell = TABLE.get((tcp_event(segment.flags), self.state), "invalid")
        if cell in ("invalid", "new-flow"):
            return cell
        if cell != "same":
            self.state = cell
        return "pass"


class DirectReturn:
    """Part of Model."""

    def ends_here(self, flow):
        """The service is answered through the router now, or no service needs the tunnel any more."""
        frontend = self.tables.frontends.get(flow.frontend)
        return (frontend is not None and not frontend.service.direct) or flow.node not in self.tables.direct_nodes

    def is_direct(self, a, frontend):
        outside = self.tables.client_kind(a.packet.src, a.interface, a.tunnel) == "outside"
        return outside and frontend.service.direct and frontend.kind in ("external", "balancer")

    def seen_at_node(self, a, nodes):
        """Whose tunnel the packet came out of, of these nodes by endpoint; None: of none."""
        for frame in self.candidates(a):
            for endpoint, node in sorted(nodes.items()):
                remote = self.tables.direct_tunnel(node).tunnel.remote
                if frame.outer is not None and frame.outer.dst == remote and frame.packet.dst == a.packet.dst:
                    return endpoint
        return None

    def open_direct(self, a, endpoint, node, frontend):
        """True if it was sent, and opened."""
        self.say(f"goes to {node} as it is (direct server return)")
        flow = OneWayFlow(a.key, endpoint, node, frontend, self.now)
        flow.track(0, a.chunks if a.segment is None else a.segment, self.now, True)
        if not self.forward(a, a.packet, self.tables.direct_tunnel(node), flow):
            return False
        self.flows[flow.original] = flow, 0
        self.flows[flow.reply] = flow, 1
        return True

    def of_direct_flow(self, a, flow, direction):
        """A client's packet or an ICMP error about an answer follows the first one; others are nothing of it."""
        if direction == 0:
            if a.error and a.packet.dst != flow.original[3]:
                return self.drop("icmp_malformed")
            if a.error and (a.tunnel is not None or flow.node not in self.tables.direct_nodes):
                return self.drop("icmp_no_flow", "no_route")
            hop = self.tables.direct_tunnel(flow.node)
        else:
            route = self.tables.route(a.packet.dst)
            if route.kind != "hops":
                return self.refuse(a, route)
            hop = self.choose_hop(a, route, a.packet.dst)
        return self.forward(a, a.packet, hop, flow)

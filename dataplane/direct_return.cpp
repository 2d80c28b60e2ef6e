// Direct server return: the client's packet goes to its endpoint as it came, inside a tunnel, and the endpoint, or the
// router of its node, answers the client past this router. So only the client's half of such a connection is seen here.
//
// Its entry keeps it with its endpoint. Nothing is translated: both keys are the client's and the service's addresses,
// one the other reversed, so both are one worker's, and there is nothing that another connection could clash with
// (MASQ-7). The original direction's rewrite tells the endpoint, for those who ask whether it still serves; it is not
// applied. Without room for an entry the packet goes all the same: Maglev leads the next one there, too.
#include "dataplane/net/l4_checksum.h"
#include "dataplane/net/parse.h"
#include "dataplane/pipeline.h"
#include "nat/rewrite.h"

namespace sluice::dataplane {

using net::DropReason;
using net::FlowKey;
using net::FlowPacket;
using net::V4;
using net::V6;

// `port`: that the client speaks to.
template <class F>
Egress Pipeline::direct_egress(const nat::Backend<F>& backend, net::be16 port, uint64_t hash) const {
  const DirectReturn<F>* const way = context_.snapshot->family<F>().direct_return(backend.addr);
  if (way == nullptr || (way->same_port_only && backend.port != port)) return {};
  return output_.tunnel_egress(way->tunnel, hash);
}

// Of an open connection: where its endpoint is now. An endpoint that is no longer named may still have connections
// (SVC-92), while there is a tunnel to where it was.
template <class F>
Egress Pipeline::direct_egress(const nat::Flow<F>& flow, uint64_t hash) const {
  const DirectReturn<F>* const way = context_.snapshot->family<F>().direct_return(flow.tuple.dst);
  return output_.tunnel_egress(way != nullptr ? way->tunnel : flow.route, hash);
}

template <class F>
void Pipeline::open_direct(FlowPacket<F>& packet, const Egress& egress, const nat::Backend<F>& backend,
                           const nat::ServicePort<F>& service) {
  // CT-21: what the port found damaged opens nothing.
  if (net::is_l4_damaged(packet.mbuf)) {
    return context_.drop(packet.mbuf, DropReason::L4BadChecksum);
  }
  if (ends_before_it_opens(packet, egress)) return;
  nat::Conntrack<F>& table = connections_.of<F>();
  const FlowKey<F> reply = packet.key.reversed();
  const nat::Opened opened = make_entry(packet, reply, packet.hash);
  if (opened.status == nat::OpenStatus::OriginalExists) return forward_flow(packet, opened.flow);
  keep_affinity<F>(packet.key.src, service, backend);
  if (opened.status != nat::OpenStatus::Ok) return forward<F>(packet, egress, nullptr);

  const nat::ConnectionId id = nat::connection_of(opened.flow);
  nat::Flow<F>& original = table.flow(opened.flow);
  original.flags |= nat::flow_flag::direct_return;
  table.set_rewrite(opened.flow,
                    nat::make_rewrite(packet.key, packet.key.src, backend.addr, packet.key.src_port, backend.port));
  table.set_rewrite(nat::opposite(opened.flow),
                    nat::make_rewrite(reply, reply.src, reply.dst, reply.src_port, reply.dst_port));
  original.route = egress.tunnel;
  if (egress.neighbor != no_neighbor) {
    original.neighbor = egress.neighbor;
    original.generation = context_.snapshot->generation;
  }
  nat::Connection& connection = table.connection(id);
  connection.flags |= nat::connection_flag::one_way;
  connection.ingress = packet.ingress;
  connection.service = service.id;
  context_.counters.add(Event::ServiceFlows);
  context_.counters.add(Event::DirectReturnFlows);
  context_.counters.add(Event::FlowsOpened);
  note<F>(FlowEvent::Kind::Opened, id);
  forward_flow(packet, opened.flow);
}

// An ICMP error about a packet of such a connection; `id`: the direction whose key is the quoted one, reversed. About
// the endpoint's answers it comes here, to the service's address, and follows the client's packets as it is (RFC 5508
// section 4.2 is the endpoint's side to fulfil). About the client's packets it is transit: those who forwarded them saw
// what the client sent.
template <class F>
void Pipeline::relay_error(FlowPacket<F>& packet, nat::FlowId id) {
  const nat::Flow<F>& flow = connections_.of<F>().flow(id);
  if (nat::direction_of(id) == nat::Direction::Reply) {
    const Egress egress = output_.route<F>(packet.key.dst, packet.hash);
    return egress.forwards() ? forward<F>(packet, egress, nullptr) : refuse(packet, egress);
  }
  // To the sender of what it quotes, or it is nobody's; and what was relayed to us is not relayed again.
  if (packet.key.dst != flow.key.dst) return context_.drop(packet.mbuf, DropReason::IcmpMalformed);
  if (packet.tunnel_source != net::no_tunnel_source) return context_.drop(packet.mbuf, DropReason::IcmpNoFlow);
  const Egress egress = direct_egress(flow, packet.hash);
  if (!egress.forwards()) return refuse(packet, egress);
  forward<F>(packet, egress, nullptr);
}

template Egress Pipeline::direct_egress<V4>(const nat::Backend<V4>&, net::be16, uint64_t) const;
template Egress Pipeline::direct_egress<V6>(const nat::Backend<V6>&, net::be16, uint64_t) const;
template Egress Pipeline::direct_egress<V4>(const nat::Flow<V4>&, uint64_t) const;
template Egress Pipeline::direct_egress<V6>(const nat::Flow<V6>&, uint64_t) const;
template void Pipeline::open_direct<V4>(FlowPacket<V4>&, const Egress&, const nat::Backend<V4>&,
                                        const nat::ServicePort<V4>&);
template void Pipeline::open_direct<V6>(FlowPacket<V6>&, const Egress&, const nat::Backend<V6>&,
                                        const nat::ServicePort<V6>&);
template void Pipeline::relay_error<V4>(FlowPacket<V4>&, nat::FlowId);
template void Pipeline::relay_error<V6>(FlowPacket<V6>&, nat::FlowId);

}  // namespace sluice::dataplane

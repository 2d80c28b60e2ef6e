// Endpoint-independent mapping of what natOutgoing translates (MASQ-13, nat/mapping.h): with it, all connections of one
// address and port inside have one port outside.
//
// One worker keeps all mappings of such an endpoint, chosen by a hash of it alone, and gives out the ports that are its
// by their number, so that a port outside has one owner without anybody asking. Connections by a mapping live where it
// does. Their packets arrive where their keys hash to: the first one is handed over (open_outgoing), and leaves stubs
// at both workers, so that a change of configuration does not lead the later ones elsewhere.
#include <optional>

#include "dataplane/net/parse.h"
#include "dataplane/pipeline.h"

namespace sluice::dataplane {

using net::be16;
using net::FlowKey;
using net::FlowPacket;
using net::V4;
using net::V6;

// Whether there is a source port, or what stands for one, to translate. An identifier may be 0; what stands in the
// place of a port otherwise is 0 because there is none (flow_key.h).
template <class F>
bool Pipeline::has_port(const FlowPacket<F>& packet) {
  constexpr uint8_t icmp = F::is_v4 ? net::protocol::icmp : net::protocol::icmpv6;
  constexpr uint8_t echo_request = F::is_v4 ? net::icmpv4::echo_request : net::icmpv6::echo_request;
  return packet.protocol == net::protocol::tcp || packet.protocol == net::protocol::udp ||
         packet.protocol == net::protocol::sctp || packet.key.src_port != be16{} ||
         (packet.protocol == icmp && packet.has_ports && packet.l4_header()[0] == echo_request);
}

// Whether a packet without a flow opens one here although its key is another worker's.
template <class F>
bool Pipeline::keeps_mapping(const FlowPacket<F>& packet) const {
  const Snapshot& now = *context_.snapshot;
  return now.endpoint_independent && has_port(packet) &&
         nat::nat_outgoing<F>(packet.key.src, packet.key.dst, now.family<F>().pool_view()) &&
         nat::mapping_worker(packet.key, context_.tables.hasher, context_.tables.workers) == context_.worker;
}

// The mapping of whoever sends packets with this key, a new one if it has none; no_mapping if no port is left.
template <class F>
nat::MappingId Pipeline::map_endpoint(const FlowKey<F>& key, const typename F::Addr& outside) {
  nat::MappingTable<F>& mappings = connections_.mappings<F>();
  const Snapshot& now = *context_.snapshot;
  const nat::PortRange range = nat::in_class_of(key.src_port, {now.nat_outgoing_first, now.nat_outgoing_last});
  if (const nat::MappingId known = mappings.find(key, outside); known != nat::no_mapping) {
    if (mappings[known].uses != 0 || range.contains(mappings[known].port.host())) return known;
    close_mapping<F>(known);  // its port is no longer ours to give
  }
  // Of the table, or of the ports.
  const auto make_room = [&] {
    const nat::MappingId idle = mappings.find_idle(outside, key.protocol, range);
    if (idle != nat::no_mapping) close_mapping<F>(idle);
    return idle != nat::no_mapping;
  };
  if (mappings.size() == mappings.capacity() && !make_room()) {
    ports_.refuse();
    return nat::no_mapping;
  }
  std::optional<be16> port = free_port(key, outside);
  // What an idle one gives back is the first to be looked at.
  if (!port && make_room()) port = free_port(key, outside);
  if (port) return mappings.open(key, outside, *port, context_.now);
  ports_.refuse();
  return nat::no_mapping;
}

// Whether the port is this worker's and no mapping has it.
template <class F>
bool Pipeline::is_unmapped(const FlowKey<F>& key, const typename F::Addr& outside, be16 port) const {
  return port.host() % context_.tables.workers == context_.worker &&
         connections_.mappings<F>().owner(outside, port, key.protocol) == nat::no_mapping;
}

template <class F>
std::optional<be16> Pipeline::free_port(const FlowKey<F>& key, const typename F::Addr& outside) {
  const Snapshot& now = *context_.snapshot;
  const nat::PortRange range = nat::in_class_of(key.src_port, {now.nat_outgoing_first, now.nat_outgoing_last});
  return ports_.search(range, port_space<F>(outside, key.protocol), context_.now,
                       [&](be16 port) { return is_unmapped<F>(key, outside, port); });
}

// Another port for a mapping that nobody holds: one that no connection without a mapping is known to have towards
// where `reply` comes from. no_mapping, and all as it was, if there is none.
template <class F>
nat::MappingId Pipeline::move_mapping(nat::MappingId id, const FlowKey<F>& key, const FlowKey<F>& reply) {
  const Snapshot& now = *context_.snapshot;
  const net::FlowHasher& hasher = context_.tables.hasher;
  const nat::PortRange range = nat::in_class_of(key.src_port, {now.nat_outgoing_first, now.nat_outgoing_last});
  FlowKey<F> moved = reply;
  // Not the number of connections without a mapping: where they are short of ports a mapping may find one.
  const uint64_t towards = ~nat::snat_destination(reply, hasher);
  const std::optional<be16> port = ports_.search(range, towards, context_.now, [&](be16 other) {
    if (!is_unmapped<F>(key, reply.dst, other)) return false;
    moved.dst_port = other;
    const uint64_t hash = hasher(moved);
    return net::owner_of(hash, context_.tables.workers) == context_.worker
               ? connections_.of<F>().find(moved, hash) == nat::no_flow
               : !clashes_.recent(hash, context_.now);
  });
  if (!port) return nat::no_mapping;
  close_mapping<F>(id);
  return connections_.mappings<F>().open(key, reply.dst, *port, context_.now);
}

// What the allocator takes for a destination: the ports of an address and protocol, whatever the destination.
template <class F>
uint64_t Pipeline::port_space(const typename F::Addr& outside, uint8_t protocol) const {
  return nat::snat_destination(FlowKey<F>{{}, outside, {}, {}, protocol, {}}, context_.tables.hasher);
}

// Of a mapping that nobody holds: its port is free.
template <class F>
void Pipeline::close_mapping(nat::MappingId id) {
  nat::MappingTable<F>& mappings = connections_.mappings<F>();
  const typename nat::MappingTable<F>::Mapping& mapping = mappings[id];
  ports_.release(port_space<F>(mapping.inside.dst, mapping.inside.protocol), mapping.port);
  mappings.close(id);
}

// The connection ends.
template <class F>
void Pipeline::release_mapping(nat::ConnectionId id) {
  const nat::Conntrack<F>& table = connections_.of<F>();
  const FlowKey<F>& original = table.flow(nat::flow_id(id, nat::Direction::Original)).key;
  const FlowKey<F>& reply = table.flow(nat::flow_id(id, nat::Direction::Reply)).key;
  nat::MappingTable<F>& mappings = connections_.mappings<F>();
  if ((table.connection(id).flags & nat::connection_flag::masqueraded) != 0) {
    const nat::MappingId mapping = mappings.find(original, reply.dst);
    mappings.revoke(mapping, original.dst);
    mappings.release(mapping, context_.now);
  } else {
    mappings.release(mappings.owner(original.dst, original.dst_port, original.protocol), context_.now);
  }
  const uint16_t owner = net::owner_of(context_.tables.hasher(original), context_.tables.workers);
  if (owner != context_.worker) {
    (void)send_stub<F>(F::is_v4 ? StubMessage::Kind::RemoveV4 : StubMessage::Kind::RemoveV6, id, original, owner);
  }
}

template <class F>
void Pipeline::expire_mappings(unsigned budget) {
  nat::MappingTable<F>& mappings = connections_.mappings<F>();
  for (nat::MappingId id; budget != 0 && (id = mappings.find_expired(context_.now)) != nat::no_mapping; --budget) {
    close_mapping<F>(id);
  }
}

template bool Pipeline::has_port<V4>(const FlowPacket<V4>&);
template bool Pipeline::has_port<V6>(const FlowPacket<V6>&);
template bool Pipeline::keeps_mapping<V4>(const FlowPacket<V4>&) const;
template bool Pipeline::keeps_mapping<V6>(const FlowPacket<V6>&) const;
template nat::MappingId Pipeline::map_endpoint<V4>(const FlowKey<V4>&, const net::Ipv4Addr&);
template nat::MappingId Pipeline::map_endpoint<V6>(const FlowKey<V6>&, const net::Ipv6Addr&);
template nat::MappingId Pipeline::move_mapping<V4>(nat::MappingId, const FlowKey<V4>&, const FlowKey<V4>&);
template nat::MappingId Pipeline::move_mapping<V6>(nat::MappingId, const FlowKey<V6>&, const FlowKey<V6>&);
template void Pipeline::release_mapping<V4>(nat::ConnectionId);
template void Pipeline::release_mapping<V6>(nat::ConnectionId);
template void Pipeline::expire_mappings<V4>(unsigned);
template void Pipeline::expire_mappings<V6>(unsigned);

}  // namespace sluice::dataplane

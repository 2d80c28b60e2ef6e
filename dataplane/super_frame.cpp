#include "dataplane/super_frame.h"

#include <array>
#include <cstring>

#include "dataplane/net/plain.h"
#include "dataplane/pod_socket.h"
#include "dataplane/splice_flow.h"
#include "nat/rewrite.h"

namespace sluice::dataplane {
namespace {

constexpr uint16_t l3 = net::ethernet_header_length;
constexpr uint8_t ece = 0x40;  // RFC 3168 section 6.1
constexpr uint8_t may_have = net::tcp_flag::psh | net::tcp_flag::cwr | ece;
constexpr uint32_t most_header = net::tcp_header_length + 12;  // what advance_window takes

template <class F>
net::FlowKey<F> key_of(const SuperFrame& frame) {
  const uint8_t* const ip = frame.l3_header();
  const uint8_t* const tcp = frame.l4_header();
  return {net::IpHeader<F>::source(ip),
          net::IpHeader<F>::destination(ip),
          net::be16::from_wire(net::load<uint16_t>(tcp)),
          net::be16::from_wire(net::load<uint16_t>(tcp + 2)),
          net::protocol::tcp,
          {}};
}

// Within what the receiver allowed: then one packet teaches the same as the many would.
bool is_allowed(const nat::TcpEnd& receiver, const uint8_t* tcp, uint32_t payload) {
  const uint32_t end = net::load_be32(tcp + 4) + payload;
  return !nat::seq_before(receiver.limit, end);
}

// Whether a spliced connection leaves this direction to short cuts, as forward_plain_spliced() asks.
bool is_left_alone(const nat::Connection& connection, nat::Direction direction) {
  const uint32_t record = direction == nat::Direction::Original ? nat::splice::has_record : nat::splice::busy;
  return (connection.splice & record) == 0;
}

// Another interface of the kernel that carries the packets.
bool carries(const Context& context, const Adjacency* way, const SuperFrame& frame) {
  return way != nullptr && way->in_place == l3 && way->buffer->port >= first_pod_port &&
         context.snapshot->ports[way->buffer->port].kernel_index != 0 && frame.ip_length() <= way->mtu;
}

// What forward_misses() in pipeline.cpp asks of a packet without a flow that needs none.
template <class F>
bool needs_no_flow(const Context& context, const Connections& connections, const net::FlowKey<F>& key,
                   uint16_t ingress) {
  const FamilyTables<F>& tables = context.snapshot->family<F>();
  if (context.interface(ingress).rpf != ReversePathFilter::Off || tables.any_nat_outgoing || !tables.content->empty()) {
    return false;
  }
  if (tables.endpoints->empty()) return true;
  return !tables.endpoints->contains(key.dst, key.dst_port, key.protocol) &&
         !(connections.hints<F>().in_use(context.now) &&
           tables.endpoints->contains(key.src, key.src_port, key.protocol));
}

}  // namespace

VnetHeader SuperFrame::about() const {
  VnetHeader out;
  out.flags = VnetHeader::needs_checksum;
  out.gso_type = is_v4() ? VnetHeader::gso_tcp_v4 : VnetHeader::gso_tcp_v6;
  if ((l4_header()[13] & net::tcp_flag::cwr) != 0) out.gso_type |= VnetHeader::gso_ecn;
  out.header_length = headers;
  out.gso_size = packet_limit;
  out.checksum_start = l4;
  out.checksum_offset = tcp_checksum_offset;
  return out;
}

bool read_super_frame(uint8_t* frame, uint32_t length, const VnetHeader& about, SuperFrame& out) {
  const auto gso = static_cast<uint8_t>(about.gso_type & ~VnetHeader::gso_ecn);
  const bool v4 = gso == VnetHeader::gso_tcp_v4;
  if (!v4 && gso != VnetHeader::gso_tcp_v6) return false;
  const uint32_t l4 = l3 + (v4 ? net::ipv4_header_length : net::ipv6_header_length);
  if ((about.flags & VnetHeader::needs_checksum) == 0 || about.checksum_start != l4 ||
      about.checksum_offset != tcp_checksum_offset || about.gso_size == 0 || length < l4 + net::tcp_header_length) {
    return false;
  }
  if (net::load_be16(frame + 12) != (v4 ? net::ether_type_ipv4 : net::ether_type_ipv6) ||
      frame[l3 + (v4 ? 9 : 6)] != net::protocol::tcp) {
    return false;
  }
  const uint8_t* const tcp = frame + l4;
  const uint32_t headers = l4 + (tcp[12] >> 4) * 4U;
  if (headers < l4 + net::tcp_header_length || headers >= length || (tcp[13] & ~may_have) != net::tcp_flag::ack) {
    return false;
  }
  const uint32_t packets = (length - headers + about.gso_size - 1) / about.gso_size;
  if (packets < 2 || packets > most_segments) return false;
  out.frame = frame;
  out.length = length;
  out.l4 = static_cast<uint16_t>(l4);
  out.headers = static_cast<uint16_t>(headers);
  out.packets = static_cast<uint16_t>(packets);
  out.packet_limit = about.gso_size;
  return true;
}

bool SuperFrames::forward(const SuperFrame& frame, uint16_t port) {
  const uint16_t ingress = context_.snapshot->ports[port].interfaces.untagged;
  if (ingress == net::no_interface ||
      std::memcmp(frame.frame, context_.interface(ingress).mac.bytes.data(), sizeof(net::MacAddr)) != 0) {
    return false;
  }
  return frame.is_v4() ? forward_as<net::V4>(frame, ingress) : forward_as<net::V6>(frame, ingress);
}

template <class F>
const Adjacency* SuperFrames::way_of(const SuperFrame& frame, const nat::Flow<F>& flow) {
  constexpr uint8_t kind = nat::flow_flag::settled | nat::flow_flag::direct_return;
  if ((flow.flags & kind) != nat::flow_flag::settled || flow.generation != context_.snapshot->generation) {
    return nullptr;
  }
  const Adjacency* const way = output_.flow_adjacency(flow.way());
  return carries(context_, way, frame) ? way : nullptr;
}

template <class F>
bool SuperFrames::forward_as(const SuperFrame& frame, uint16_t ingress) {
  uint8_t* const ip = frame.l3_header();
  uint8_t* const tcp = frame.l4_header();
  if (net::plain_length<F>(ip, false) != frame.length - l3 || net::IpHeader<F>::ttl(ip) <= 1) return false;
  const net::FlowKey<F> key = key_of<F>(frame);
  if (!context_.interface(ingress).may_come_from(key.src)) return false;
  const uint64_t hash = context_.tables.hasher(key);
  if (net::owner_of(hash, context_.tables.workers) != context_.worker) return false;
  nat::Conntrack<F>& table = connections_.of<F>();
  const nat::FlowId id = table.find(key, hash);
  const Adjacency* way = nullptr;
  nat::Flow<F>* flow = nullptr;
  l7::Splice splice;
  const nat::Direction direction = nat::direction_of(id);
  if (table.is_connection(id)) {
    flow = &table.flow(id);
    way = way_of(frame, *flow);
    if (way == nullptr) return false;
    const nat::ConnectionId owner = nat::connection_of(id);
    const uint32_t header = frame.headers - uint32_t{frame.l4};
    std::array<uint8_t, most_header> seen;
    const uint8_t* numbers = tcp;
    if ((flow->flags & nat::flow_flag::spliced) != 0) {
      if (!is_left_alone(table.connection(owner), direction) || header > most_header) return false;
      splice = splice_of(table, owner);
      if (direction == nat::Direction::Reply) {
        std::memcpy(seen.data(), tcp, header);
        l7::renumber(splice, seen.data());
        numbers = seen.data();
      }
    }
    nat::TcpEnd& receiver = table.flow(nat::opposite(id)).end;
    if (!is_allowed(receiver, numbers, frame.length - frame.headers) ||
        !nat::advance_window(flow->end, receiver, numbers, frame.length - frame.l4)) {
      return false;
    }
    flow->last_seen = context_.now;
    flow->packets += frame.packets;
    flow->bytes += frame.total_ip_length();
    context_.counters.add(Event::FlowHits, frame.packets);
  } else {
    if (id != nat::no_flow || !needs_no_flow(context_, connections_, key, ingress)) return false;
    way = output_.hop_adjacency(context_.tables.fib->lookup(key.dst));
    if (!carries(context_, way, frame)) return false;
    context_.counters.add(Event::FlowMisses, frame.packets);
    context_.counters.add(Event::Transit, frame.packets);
  }
  context_.counters.add(Event::PacketsIn, frame.packets);
  InterfaceCounters& counters = context_.counters.interfaces[ingress];
  counters.rx_packets += frame.packets;
  counters.rx_bytes += frame.total_length();
  if (flow != nullptr && (flow->flags & nat::flow_flag::translated) != 0) {
    nat::apply_tcp_and_decrement_ttl(*flow, table.flow(nat::opposite(id)).key, ip, tcp);
  } else {
    nat::decrement_ttl<F>(ip);
  }
  if (flow != nullptr && (flow->flags & nat::flow_flag::spliced) != 0) {
    const uint32_t header = frame.headers - uint32_t{frame.l4};
    if (direction == nat::Direction::Reply) {
      l7::to_client(splice, tcp, header);
    } else {
      l7::to_endpoint(splice, tcp, header);
    }
  }
  begin_tcp_checksum(frame.frame, frame.l4, frame.length - frame.l4);
  send(frame, *way);
  return true;
}

void SuperFrames::send(const SuperFrame& frame, const Adjacency& way) {
  InterfaceCounters& counters = context_.counters.interfaces[way.interface];
  counters.tx_packets += frame.packets;
  counters.tx_bytes += frame.total_length();
  std::memcpy(frame.frame, way.header.data(), 12);
  // Nothing overtakes what came before it.
  output_.flush();
  const Snapshot& now = *context_.snapshot;
  now.workers[context_.worker].pods->send_super_frame(context_, frame, now.ports[way.buffer->port].kernel_index);
}

}  // namespace sluice::dataplane

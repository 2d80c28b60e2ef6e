#include "dataplane/dry_run.h"

#include "dataplane/l7/syn_cookie.h"
#include "dataplane/net/parse.h"
#include "nat/rewrite.h"

namespace sluice::dataplane {
namespace {

using net::be16;
using net::V4;
using net::V6;

constexpr uint32_t connections = 64;
constexpr nat::Millis begin = 1000;

Context make_context(const Tables& tables, const Snapshot& snapshot, uint64_t random) {
  Context context;
  context.tables = tables;
  context.tables.workers = 1;  // whose flow it is makes no difference
  context.tables.punts = nullptr;
  context.snapshot = &snapshot;
  context.tsc = rte_rdtsc();
  context.now = begin;
  context.random = random;
  return context;
}

}  // namespace

DryRun::DryRun(const Tables& tables, const Snapshot& snapshot, uint64_t random)
    : context_(make_context(tables, snapshot, random)),
      punt_(context_),
      output_(context_),
      icmp_(context_, output_),
      pipeline_(context_, output_, icmp_, nullptr, nullptr, connections_),
      recorder_(context_, output_, pipeline_, connections_) {
  context_.punt = &punt_;
  output_.keep_everything();
  const NeighborTable& neighbors = *tables.neighbors;
  for (uint32_t i = 0; i < NeighborTable::capacity(); ++i) {
    if (neighbors[i].live.load(std::memory_order_acquire) && neighbors[i].used.load(std::memory_order_relaxed) == 0) {
      unused_neighbors_.push_back(i);
    }
  }
}

DryRun::~DryRun() {
  output_.flush();
  // A worker that has used one meanwhile says so again with its next packet.
  for (const uint32_t index : unused_neighbors_) {
    (*context_.tables.neighbors)[index].used.store(0, std::memory_order_relaxed);
  }
}

net::Result<std::unique_ptr<DryRun>> DryRun::create(const Tables& tables, const Snapshot& snapshot, uint64_t random) {
  std::unique_ptr<DryRun> run(new DryRun(tables, snapshot, random));
  Connections& own = run->connections_;
  own.v4 = nat::Conntrack<V4>::create({connections, 0}, begin);
  own.v6 = nat::Conntrack<V6>::create({connections, 0}, begin);
  own.affinity_v4 = nat::AffinityTable<V4>::create(tables.hasher);
  own.affinity_v6 = nat::AffinityTable<V6>::create(tables.hasher);
  own.hints_v4 = nat::HintTable<V4>::create();
  own.hints_v6 = nat::HintTable<V6>::create();
  own.mappings_v4 = nat::MappingTable<V4>::create(connections, tables.hasher);
  own.mappings_v6 = nat::MappingTable<V6>::create(connections, tables.hasher);
  if (!run->pipeline_.bind_late(connections, 4) || !own.v4 || !own.v6 || !own.affinity_v4 || !own.affinity_v6 ||
      !own.hints_v4 || !own.hints_v6 || !own.mappings_v4 || !own.mappings_v6) {
    return net::Error{"there is no memory for a connection table"};
  }
  return run;
}

template <class F>
uint32_t DryRun::cookie(const net::FlowKey<F>& key) const {
  return l7::SynCookies(context_.tables.cookie_key).make(key, 0, l7::read_offer(nullptr, 0), context_.now);
}
template uint32_t DryRun::cookie(const net::FlowKey<V4>&) const;
template uint32_t DryRun::cookie(const net::FlowKey<V6>&) const;

void DryRun::remember_flow(const FlowRecord& flow) {
  if (flow.src.is_v4()) {
    remember<V4>(flow);
  } else {
    remember<V6>(flow);
  }
}

void DryRun::remember_mapping(const Command::Mapping& mapping) {
  if (mapping.outside.is_v4()) {
    remember_mapping_of<V4>(mapping);
  } else {
    remember_mapping_of<V6>(mapping);
  }
}

template <class F>
void DryRun::remember_mapping_of(const Command::Mapping& mapping) {
  const net::FlowKey<F> key{F::addr_of(mapping.inside), {}, be16::from_host(mapping.inside_port), {},
                            mapping.protocol,           {}};
  const nat::MappingId id = hold_mapping<F>(key, F::addr_of(mapping.outside), be16::from_host(mapping.outside_port));
  if (id != nat::no_mapping && mapping.permitted) connections_.mappings<F>().permit(id, F::addr_of(mapping.peer));
}

template <class F>
nat::MappingId DryRun::hold_mapping(const net::FlowKey<F>& key, const typename F::Addr& outside, be16 port) {
  nat::MappingTable<F>& mappings = connections_.mappings<F>();
  nat::MappingId id = mappings.owner(outside, port, key.protocol);
  if (id == nat::no_mapping) id = mappings.open(key, outside, port, context_.now);
  // Its flow may have ended since, and another source have the port.
  if (id != nat::no_mapping && !(mappings[id].inside.src == key.src && mappings[id].inside.src_port == key.src_port)) {
    return nat::no_mapping;
  }
  if (id != nat::no_mapping) mappings.acquire(id);
  return id;
}

// As Pipeline::open or open_direct wrote it. Its route is looked up again, with the same answer.
template <class F>
void DryRun::remember(const FlowRecord& flow) {
  const auto key_of = [&](const net::IpAddr& src, const net::IpAddr& dst, uint16_t src_port, uint16_t dst_port) {
    return net::FlowKey<F>{F::addr_of(src),           F::addr_of(dst), be16::from_host(src_port),
                           be16::from_host(dst_port), flow.protocol,   {}};
  };
  const auto original = key_of(flow.src, flow.dst, flow.src_port, flow.dst_port);
  const bool one_way = (flow.flags & nat::connection_flag::one_way) != 0;
  const auto endpoint = key_of(flow.reply_src, flow.reply_dst, flow.reply_src_port, flow.reply_dst_port);
  const auto reply = one_way ? original.reversed() : endpoint;
  nat::Conntrack<F>& table = connections_.of<F>();
  const nat::Opened opened =
      table.open(original, context_.tables.hasher(original), reply, context_.tables.hasher(reply), context_.now);
  if (opened.status != nat::OpenStatus::Ok) return;
  const nat::ConnectionId id = nat::connection_of(opened.flow);
  nat::Flow<F>& there = table.flow(opened.flow);
  nat::Flow<F>& back = table.flow(nat::flow_id(id, nat::Direction::Reply));
  if (one_way) {
    there.flags |= nat::flow_flag::direct_return;
    there.route = no_tunnel;
  } else if (!(reply.reversed() == original)) {
    there.flags |= nat::flow_flag::translated;
    back.flags |= nat::flow_flag::translated;
  }
  table.set_rewrite(opened.flow,
                    nat::make_rewrite(original, endpoint.dst, endpoint.src, endpoint.dst_port, endpoint.src_port));
  table.set_rewrite(nat::opposite(opened.flow),
                    nat::make_rewrite(reply, original.dst, original.src, original.dst_port, original.src_port));
  nat::Connection& connection = table.connection(id);
  connection.service = flow.service;
  connection.flags |=
      flow.flags & (nat::connection_flag::replied | nat::connection_flag::masqueraded | nat::connection_flag::one_way);
  connection.tcp_state = flow.tcp_state;
  if ((flow.flags & nat::connection_flag::mapped) != 0) {
    const bool from_inside = (flow.flags & nat::connection_flag::masqueraded) != 0;
    const nat::MappingId mapping = from_inside ? hold_mapping<F>(original, reply.dst, reply.dst_port)
                                               : hold_mapping<F>(reply, original.dst, original.dst_port);
    if (mapping != nat::no_mapping) connection.flags |= nat::connection_flag::mapped;
    if (mapping != nat::no_mapping && from_inside) connections_.mappings<F>().permit(mapping, original.dst);
  }
  table.be_liberal(id);
  there.packets = flow.packets;
  there.bytes = flow.bytes;
  back.packets = flow.reply_packets;
  back.bytes = flow.reply_bytes;
}

template <class F>
void DryRun::remember_endpoint(const typename F::Addr& client, const nat::ServicePort<F>& service,
                               const nat::Backend<F>& endpoint) {
  (void)connections_.affinity<F>().remember(client, service.affinity_key, endpoint, service.affinity_seconds * 1000,
                                            context_.now);
}

template void DryRun::remember_endpoint<V4>(const net::Ipv4Addr&, const nat::ServicePort<V4>&, const nat::Backend<V4>&);
template void DryRun::remember_endpoint<V6>(const net::Ipv6Addr&, const nat::ServicePort<V6>&, const nat::Backend<V6>&);

void DryRun::run(rte_mbuf* frame, uint16_t port, PacketTrace& out) {
  recorder_.begin(out, frame);
  out.port = port;
  pipeline_.process_frames(&frame, 1, port);
  finish();
}

void DryRun::run_from_tunnel(rte_mbuf* packet, uint16_t interface, uint16_t source, PacketTrace& out) {
  recorder_.begin(out, packet);
  if (net::ip_version(rte_pktmbuf_mtod(packet, const uint8_t*)) == 4) {
    set_note<V4>(packet, interface, source);
  } else {
    set_note<V6>(packet, interface, source);
  }
  pipeline_.process_handed_over(&packet, 1);
  finish();
}

// What a worker that took the tunnel off would tell the one that owns the flow.
template <class F>
void DryRun::set_note(rte_mbuf* packet, uint16_t interface, uint16_t source) const {
  net::FlowPacket<F> parsed;
  parsed.mbuf = packet;
  (void)net::parse_ip(parsed, true);
  HandoffNote note;
  note.kind = HandoffKind::Flow;
  note.where = interface;
  note.tunnel_source = source;
  note.decapsulations = 1;
  context_.tables.rings->note(packet) = note;
  HandoffRings::set_hash(packet, context_.tables.hasher(parsed.key));
}

void DryRun::finish() {
  recorder_.end();
  output_.flush();
}

}  // namespace sluice::dataplane

// What must be known of endpoint-independent mappings to say what becomes of a packet (MASQ-13).
#include <algorithm>

#include "control/probe.h"

namespace sluice::control {
namespace {

using dataplane::Command;
using net::be16;
using net::V4;
using net::V6;

bool has_port(uint8_t protocol) {
  return protocol == net::protocol::tcp || protocol == net::protocol::udp || protocol == net::protocol::sctp;
}

template <class F>
std::vector<Command::Mapping> questions_of(const Probe& probe, const dataplane::Snapshot& now) {
  const dataplane::FamilyTables<F>& tables = now.family<F>();
  const auto source = F::addr_of(probe.from);
  const auto destination = F::addr_of(probe.to);
  const bool in_range = probe.to_port >= now.nat_outgoing_first && probe.to_port <= now.nat_outgoing_last;
  if (!now.endpoint_independent || !has_port(probe.protocol) || !in_range || !tables.owns(destination)) return {};
  Command::Mapping there;
  there.protocol = probe.protocol;
  there.outside = probe.to;
  there.outside_port = probe.to_port;
  there.peer = probe.from;
  const bool inside = std::any_of(tables.pools.begin(), tables.pools.end(), [&](const nat::Pool<F>& pool) {
    return pool.nat_outgoing && pool.cidr.contains(source);
  });
  if (!inside) return {there};
  const auto& fixed = tables.nat_outgoing_address;
  there.peer = fixed == typename F::Addr{} ? probe.to : net::IpAddr(fixed);
  if (!probe.from_port) return {there};
  Command::Mapping own;
  own.protocol = probe.protocol;
  own.by_inside = true;
  own.inside = probe.from;
  own.inside_port = *probe.from_port;
  own.outside = there.peer;
  own.peer = probe.to;
  return {there, own};
}

template <class F>
uint16_t keeper_of_inside(const Command::Mapping& mapping, const dataplane::Tables& tables) {
  const net::FlowKey<F> key{F::addr_of(mapping.inside), {}, be16::from_host(mapping.inside_port), {},
                            mapping.protocol,           {}};
  return nat::mapping_worker(key, tables.hasher, tables.workers);
}

}  // namespace

std::vector<Command::Mapping> mapping_questions(const Probe& probe, const dataplane::Snapshot& snapshot) {
  return probe.to.is_v4() ? questions_of<V4>(probe, snapshot) : questions_of<V6>(probe, snapshot);
}

uint16_t keeper_of(const Command::Mapping& mapping, const dataplane::Tables& tables) {
  if (!mapping.by_inside) return mapping.outside_port % tables.workers;
  return mapping.outside.is_v4() ? keeper_of_inside<V4>(mapping, tables) : keeper_of_inside<V6>(mapping, tables);
}

std::optional<Probe> turned_back(const Probe& probe, const dataplane::Snapshot& snapshot,
                                 const std::optional<dataplane::FlowRecord>& flow,
                                 const std::vector<Command::Mapping>& mappings) {
  Probe out = probe;
  if (flow) {
    const bool original = flow->src == probe.from && flow->dst == probe.to && flow->src_port == probe.from_port &&
                          flow->dst_port == probe.to_port;
    const bool from_inside = (flow->flags & nat::connection_flag::masqueraded) != 0;
    if ((flow->flags & nat::connection_flag::mapped) == 0 || original != from_inside) return std::nullopt;
    out.from = original ? flow->reply_dst : flow->dst;
    out.from_port = original ? flow->reply_dst_port : flow->dst_port;
    out.to = original ? flow->reply_src : flow->src;
    out.to_port = original ? flow->reply_src_port : flow->src_port;
  } else {
    const auto own =
        std::find_if(mappings.begin(), mappings.end(), [](const auto& mapping) { return mapping.by_inside; });
    if (own == mappings.end()) return std::nullopt;
    out.from = own->outside;
    out.from_port = own->outside_port;
  }
  const bool ours = out.to.is_v4() ? snapshot.v4.owns(out.to.v4()) : snapshot.v6.owns(out.to.v6());
  return ours ? std::optional(out) : std::nullopt;
}

}  // namespace sluice::control

#include "dataplane/membership.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <rte_mbuf.h>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/next_hop.h"
#include "dataplane/output.h"
#include "dataplane/own_packet.h"

namespace sluice::dataplane {
namespace {

using net::Ipv6Addr;
using net::MacAddr;

// RFC 3810 section 5.2.14: all MLDv2-capable routers.
constexpr Ipv6Addr all_mld_routers{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16}};
constexpr Ipv6Addr all_nodes{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
constexpr uint8_t report_v1 = 131;
constexpr uint8_t report_v2 = 143;
// RFC 3810 section 5.2.12; of no source: every sender is welcome.
constexpr uint8_t mode_is_exclude = 2;
constexpr uint8_t change_to_exclude_mode = 4;
constexpr uint16_t options_length = 8;
constexpr uint16_t message_v1 = 24;  // a query or a report
constexpr uint16_t query_v2 = 28;    // at least
constexpr uint16_t report_header = 8;
constexpr uint16_t record_length = 20;
constexpr uint16_t records_per_report = 60;  // 1280 bytes, the least MTU of IPv6
constexpr uint16_t groups_per_tick = 60;
// RFC 3810 section 9.12: two queries and an answer, with the values of section 9.
constexpr nat::Millis v1_patience = 2 * 125000 + 10000;

// RFC 2711: an option of value 0, multicast listener discovery.
bool has_router_alert(const uint8_t* options, uint16_t length) {
  for (uint16_t at = 2; at < length;) {
    if (options[at] == 0) {  // Pad1
      ++at;
      continue;
    }
    if (at + 2 > length) return false;
    const uint8_t size = options[at + 1];
    if (options[at] == 5) return size == 2 && at + 4 <= length && net::load_be16(options + at + 2) == 0;
    at = static_cast<uint16_t>(at + 2 + size);
  }
  return false;
}

// The groups of an interface, one after the other: those of its addresses, then those that are announced.
template <class Visit>
void each_group(const Context& context, uint16_t interface, const Visit& visit) {
  for (const Ipv6Addr& address : context.interface(interface).addresses_v6) {
    if (!visit(address.solicited_node())) return;
  }
  for (const Announcement& announced : context.snapshot->announcements->all()) {
    if (announced.interface != interface || !announced.answers || announced.address.is_v4()) continue;
    if (!visit(announced.address.v6().solicited_node())) return;
  }
}

}  // namespace

MembershipListener::MembershipListener(Context& context, Output& output)
    : context_(context), output_(output), states_(max_interfaces) {}

// ---- queries -------------------------------------------------------------------------------------------

std::optional<MembershipListener::Query> MembershipListener::read(const rte_mbuf* mbuf, uint16_t l3_offset) const {
  const auto* const l3 = rte_pktmbuf_mtod_offset(mbuf, const uint8_t*, l3_offset);
  const auto visible = static_cast<uint16_t>(mbuf->data_len - l3_offset);
  if (visible < net::ipv6_header_length + options_length || mbuf->nb_segs != 1) return std::nullopt;
  const uint8_t* const options = l3 + net::ipv6_header_length;
  const auto options_size = static_cast<uint16_t>(options[1] * 8 + 8);
  const uint16_t payload = net::load_be16(l3 + 4);
  if (payload < options_size + message_v1 || net::ipv6_header_length + payload > visible) return std::nullopt;
  const auto length = static_cast<uint16_t>(payload - options_size);
  const uint8_t* const message = options + options_size;
  const bool ours = l3[6] == net::protocol::hop_by_hop && options[0] == net::protocol::icmpv6 &&
                    message[0] == multicast_listener_query && message[1] == 0 && l3[7] == 1 &&
                    net::IpHeader<net::V6>::source(l3).is_link_local() && has_router_alert(options, options_size);
  if (!ours || (length != message_v1 && length < query_v2)) return std::nullopt;
  if (net::checksum_fold(net::checksum_sum(message, length, icmp_pseudo_sum<net::V6>(l3, length))) != 0xffff) {
    return std::nullopt;
  }
  Query query;
  query.group = net::load<Ipv6Addr>(message + 8);
  const auto destination = net::IpHeader<net::V6>::destination(l3);
  if (!(destination == (query.group.is_unspecified() ? all_nodes : query.group))) return std::nullopt;
  query.v1 = length == message_v1;
  const uint16_t code = net::load_be16(message + 4);
  query.delay = query.v1 ? code : mld_response_delay(code);
  return query;
}

void MembershipListener::on_query(rte_mbuf* mbuf, uint16_t l3, uint16_t interface) {
  const std::optional<Query> query = read(mbuf, l3);
  if (!query) return context_.drop(mbuf, net::DropReason::NdMalformed);
  context_.discard(mbuf);
  State& state = states_[interface];
  if (query->v1) state.v1_end = context_.now + v1_patience;
  const auto delay = static_cast<nat::Millis>(context_.next_random() % (uint64_t{query->delay} + 1));
  const nat::Millis due = context_.now + delay;
  if (!state.due) {
    state.due = due;
    state.group = query->group;
    state.next = 0;
    return;
  }
  // RFC 3810 section 6.2: one answer for both, at the earlier time.
  if (!(state.group == query->group)) state.group = Ipv6Addr{};
  if (nat::millis_between(due, *state.due) > 0) state.due = due;
  state.next = 0;
}

// RFC 3810 section 8.2.1.
bool MembershipListener::speaks_v1(State& state) const {
  if (state.v1_end && nat::millis_between(*state.v1_end, context_.now) >= 0) state.v1_end.reset();
  return state.v1_end.has_value();
}

void MembershipListener::tick() {
  const size_t interfaces = std::min(states_.size(), context_.snapshot->interfaces.size());
  for (size_t index = 0; index < interfaces; ++index) {
    State& state = states_[index];
    if (!state.due || nat::millis_between(*state.due, context_.now) < 0) continue;
    if (answer(static_cast<uint16_t>(index), state)) state.due.reset();
  }
}

bool MembershipListener::answer(uint16_t interface, State& state) {
  if (!context_.interface(interface).present) return true;
  std::array<Ipv6Addr, groups_per_tick> groups;
  uint16_t count = 0;
  uint32_t at = 0;
  bool more = false;
  each_group(context_, interface, [&](const Ipv6Addr& group) {
    if (at++ < state.next || !(state.group.is_unspecified() || state.group == group)) return true;
    more = count == groups.size();
    if (more) return false;
    groups[count++] = group;
    return true;
  });
  state.next = more ? at - 1 : 0;
  if (count == 0) return true;
  if (speaks_v1(state)) {
    for (uint16_t i = 0; i < count; ++i) send_v1(interface, groups[i]);
  } else {
    send_v2(interface, mode_is_exclude, groups.data(), count);
  }
  return !more;
}

// ---- reports -------------------------------------------------------------------------------------------

void MembershipListener::join(uint16_t interface, const Ipv6Addr& address) {
  if (!context_.interface(interface).present || context_.interface(interface).role == Role::Workload) return;
  const Ipv6Addr group = address.solicited_node();
  if (speaks_v1(states_[interface])) return send_v1(interface, group);
  send_v2(interface, change_to_exclude_mode, &group, 1);
}

// RFC 2710 section 3: to the group itself.
void MembershipListener::send_v1(uint16_t interface, const Ipv6Addr& group) {
  rte_mbuf* mbuf = nullptr;
  uint8_t* const message = start_packet(interface, group, message_v1, mbuf);
  if (message == nullptr) return;
  message[0] = report_v1;
  net::store(message + 8, group);
  finish_packet(mbuf, interface, group, message_v1);
}

// RFC 3810 section 5.2; a group has one record, without sources.
void MembershipListener::send_v2(uint16_t interface, uint8_t type, const Ipv6Addr* groups, uint16_t count) {
  static_assert(groups_per_tick <= records_per_report);
  const auto length = static_cast<uint16_t>(report_header + count * record_length);
  rte_mbuf* mbuf = nullptr;
  uint8_t* const message = start_packet(interface, all_mld_routers, length, mbuf);
  if (message == nullptr) return;
  message[0] = report_v2;
  net::store_be16(message + 6, count);
  for (uint16_t i = 0; i < count; ++i) {
    uint8_t* const record = message + report_header + i * record_length;
    record[0] = type;
    net::store(record + 4, groups[i]);
  }
  finish_packet(mbuf, interface, all_mld_routers, length);
}

// The message, of zeros; nullptr: there is no buffer.
uint8_t* MembershipListener::start_packet(uint16_t interface, const Ipv6Addr& destination, uint16_t length,
                                          rte_mbuf*& mbuf) const {
  mbuf = rte_pktmbuf_alloc(context_.tables.pool);
  if (mbuf == nullptr) {
    context_.counters.drop(net::DropReason::NoBuffer);
    return nullptr;
  }
  auto* const l3 = reinterpret_cast<uint8_t*>(
      rte_pktmbuf_append(mbuf, static_cast<uint16_t>(net::ipv6_header_length + options_length + length)));
  if (l3 == nullptr) {
    rte_pktmbuf_free(mbuf);
    return nullptr;
  }
  write_own_header(l3, context_.interface(interface).link_local, destination, net::protocol::hop_by_hop, 0,
                   static_cast<uint16_t>(options_length + length), 0);
  l3[7] = 1;  // RFC 3810 section 5: hop limit
  uint8_t* const options = l3 + net::ipv6_header_length;
  std::memset(options, 0, size_t{options_length} + length);
  options[0] = net::protocol::icmpv6;
  options[2] = 5;  // router alert (RFC 2711): multicast listener discovery
  options[3] = 2;
  options[6] = 1;  // PadN
  return options + options_length;
}

void MembershipListener::finish_packet(rte_mbuf* mbuf, uint16_t interface, const Ipv6Addr& destination,
                                       uint16_t length) {
  auto* const l3 = rte_pktmbuf_mtod(mbuf, uint8_t*);
  uint8_t* const message = l3 + net::ipv6_header_length + options_length;
  const uint64_t pseudo = icmp_pseudo_sum<net::V6>(l3, length);
  net::store(message + 2, net::checksum(message, length, pseudo));
  output_.send_to(mbuf, 0, interface, MacAddr::for_multicast(destination));
}

}  // namespace sluice::dataplane

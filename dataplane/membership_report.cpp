#include "dataplane/membership_report.h"

#include <cstring>

#include <rte_mbuf.h>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/output.h"
#include "dataplane/own_packet.h"

namespace sluice::dataplane {
namespace {

using net::MacAddr;

// RFC 3810 section 5.2.14: all MLDv2-capable routers.
constexpr net::Ipv6Addr all_mld_routers{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16}};
constexpr uint8_t report_v2 = 143;
constexpr uint8_t change_to_exclude_mode = 4;  // section 5.2.12; of no source: every sender is welcome
constexpr uint16_t hop_by_hop_length = 8;
constexpr uint16_t report_length = 8 + 20;  // with one record

void write_report(uint8_t* l3, const net::Ipv6Addr& source, const net::Ipv6Addr& group) {
  write_own_header(l3, source, all_mld_routers, net::protocol::hop_by_hop, 0, hop_by_hop_length + report_length, 0);
  l3[7] = 1;  // section 5: hop limit
  uint8_t* const options = l3 + net::ipv6_header_length;
  std::memset(options, 0, hop_by_hop_length + report_length);
  options[0] = net::protocol::icmpv6;
  options[2] = 5;  // router alert (RFC 2711): multicast listener discovery
  options[3] = 2;
  options[6] = 1;  // PadN
  uint8_t* const report = options + hop_by_hop_length;
  report[0] = report_v2;
  report[7] = 1;  // records
  report[8] = change_to_exclude_mode;
  net::store(report + 12, group);
  const uint64_t pseudo = icmp_pseudo_sum<net::V6>(l3, report_length);
  net::store(report + 2, net::checksum(report, report_length, pseudo));
}

}  // namespace

void send_membership_report(Context& context, Output& output, uint16_t interface_index, const net::Ipv6Addr& address) {
  const Interface& interface = context.interface(interface_index);
  if (!interface.present || interface.role == Role::Workload) return;
  rte_mbuf* const mbuf = rte_pktmbuf_alloc(context.tables.pool);
  if (mbuf == nullptr) return context.counters.drop(net::DropReason::NoBuffer);
  auto* const l3 =
      reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, net::ipv6_header_length + hop_by_hop_length + report_length));
  if (l3 == nullptr) return rte_pktmbuf_free(mbuf);
  write_report(l3, interface.link_local, address.solicited_node());
  output.send_to(mbuf, 0, interface_index, MacAddr::for_multicast(all_mld_routers));
}

}  // namespace sluice::dataplane

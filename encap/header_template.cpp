#include "encap/header_template.h"

#include <cstddef>

#include "dataplane/net/checksum.h"
#include "encap/ecn.h"

namespace sluice::encap {

HeaderTemplate HeaderTemplate::build(const TunnelSpec& spec) {
  static_assert(offsetof(HeaderTemplate, outer_) + longest == sizeof(HeaderTemplate), "ends where the block ends");
  HeaderTemplate out;
  out.kind_ = spec.kind;
  // ECN-1: uniform or pipe (RFC 2983 section 3.1), normal or compatibility mode (RFC 6040 section 4.1).
  out.tos_copied_ = static_cast<uint8_t>((spec.copy_dscp ? ~ecn_mask : 0) | (spec.copy_ecn ? ecn_mask : 0));
  out.tos_fixed_ = static_cast<uint8_t>(spec.copy_dscp ? 0 : spec.dscp << 2);

  uint8_t* const ip = out.outer_.data() + longest - overhead(spec.kind);
  constexpr uint8_t dont_fragment = net::ipv4_dont_fragment >> 8;
  const uint8_t df = spec.outer_df == OuterDf::Set ? dont_fragment : 0;
  ip[0] = 0x45;
  net::store(ip + 12, spec.local.v4());
  net::store(ip + 16, spec.remote.v4());
  switch (spec.kind) {
    case Kind::Vxlan:
      ip[6] = df;
      ip[8] = vxlan_outer_ttl;
      ip[9] = net::protocol::udp;
      write_vxlan(spec, ip + net::ipv4_header_length);
      out.port_first_ = spec.source_port_first;
      out.port_range_ = static_cast<uint16_t>(spec.source_port_last - spec.source_port_first);
      break;
    case Kind::Ipip:
      out.df_copied_ = dont_fragment;  // RFC 2003 section 3.1, whatever outer_df says
      out.df_fixed_ = df;
      out.ttl_copied_ = spec.ipip_ttl == 0 ? 0xff : 0;
      out.ttl_fixed_ = spec.ipip_ttl;
      break;
  }
  out.ip_sum_ = net::be16::from_wire(net::checksum_fold(net::checksum_sum(ip, net::ipv4_header_length))).host();
  return out;
}

}  // namespace sluice::encap

#include "encap/header_template_v6.h"

#include "encap/ecn.h"

namespace sluice::encap {

HeaderTemplateV6 HeaderTemplateV6::build(const TunnelSpec& spec) {
  HeaderTemplateV6 out;
  out.kind_ = spec.kind;
  // ECN-1, as over IPv4 (header_template.cpp).
  out.class_copied_ = static_cast<uint8_t>((spec.copy_dscp ? ~ecn_mask : 0) | (spec.copy_ecn ? ecn_mask : 0));
  out.class_fixed_ = static_cast<uint8_t>(spec.copy_dscp ? 0 : spec.dscp << 2);
  uint8_t* const ip = out.outer_.data() + longest_copy - overhead(spec.kind, net::Family::V6);
  net::store(ip + 8, spec.local.v6());
  net::store(ip + 24, spec.remote.v6());
  switch (spec.kind) {
    case Kind::Vxlan:
      ip[6] = net::protocol::udp;
      out.hops_fixed_ = vxlan_outer_ttl;
      out.checksum_ = !spec.zero_checksum;
      out.port_first_ = spec.source_port_first;
      out.port_range_ = static_cast<uint16_t>(spec.source_port_last - spec.source_port_first);
      write_vxlan(spec, ip + net::ipv6_header_length);
      out.pseudo_sum_ =
          net::checksum_fold(net::checksum_sum(ip + 8, 32)) + uint32_t{net::be16::from_host(net::protocol::udp).wire()};
      break;
    case Kind::Ipip:
      out.hops_copied_ = spec.ipip_ttl == 0 ? 0xff : 0;
      out.hops_fixed_ = spec.ipip_ttl;
      break;
  }
  return out;
}

}  // namespace sluice::encap

#include "control/frame_text.h"

#include <array>
#include <utility>

#include <fmt/format.h>

#include "control/flow_entry.h"
#include "dataplane/net/flow_key.h"
#include "dataplane/net/headers.h"

namespace sluice::control {
namespace {

using Bytes = std::span<const uint8_t>;

std::string number_text(unsigned number, std::span<const std::pair<uint8_t, std::string_view>> names) {
  for (const auto& [value, name] : names) {
    if (value == number) return std::string(name);
  }
  return fmt::format("code {}", number);
}

std::string icmp4_text(uint8_t type, uint8_t code, uint16_t mtu) {
  using namespace net::icmpv4;
  static constexpr std::array<std::pair<uint8_t, std::string_view>, 5> codes{{{code_net, "network"},
                                                                              {code_host, "host"},
                                                                              {code_protocol, "protocol"},
                                                                              {code_port, "port"},
                                                                              {code_admin_prohibited, "prohibited"}}};
  if (type == echo_request) return "echo request";
  if (type == echo_reply) return "echo reply";
  if (type == time_exceeded) return "time exceeded";
  if (type == unreachable && code == code_fragmentation_needed) return fmt::format("fragmentation needed, MTU {}", mtu);
  if (type == unreachable) return fmt::format("unreachable ({})", number_text(code, codes));
  return fmt::format("type {}", type);
}

std::string icmp6_text(uint8_t type, uint8_t code, uint32_t word) {
  using namespace net::icmpv6;
  static constexpr std::array<std::pair<uint8_t, std::string_view>, 4> codes{{{code_no_route, "no route"},
                                                                              {code_admin_prohibited, "prohibited"},
                                                                              {code_address, "address"},
                                                                              {code_port, "port"}}};
  if (type == echo_request) return "echo request";
  if (type == echo_reply) return "echo reply";
  if (type == time_exceeded) return "time exceeded";
  if (type == packet_too_big) return fmt::format("packet too big, MTU {}", word);
  if (type == unreachable) return fmt::format("unreachable ({})", number_text(code, codes));
  if (type == neighbor_solicitation) return "neighbour solicitation";
  if (type == neighbor_advertisement) return "neighbour advertisement";
  return fmt::format("type {}", type);
}

void describe_icmp(FrameText& out, bool v4, Bytes l4, const std::string& addresses) {
  const uint8_t type = l4[0];
  if (v4) {
    if (net::icmpv4::is_error(type)) out.kind = FrameText::Kind::IcmpError;
    out.text = fmt::format("icmp {} {}", icmp4_text(type, l4[1], net::load_be16(&l4[6])), addresses);
    return;
  }
  if (net::icmpv6::is_error(type)) out.kind = FrameText::Kind::IcmpError;
  if (type >= net::icmpv6::router_solicitation && type <= net::icmpv6::redirect) out.kind = FrameText::Kind::Discovery;
  out.text = fmt::format("icmpv6 {} {}", icmp6_text(type, l4[1], net::load_be32(&l4[4])), addresses);
}

void describe_ip(FrameText& out, Bytes packet, unsigned depth) {
  const bool v4 = net::ip_version(packet.data()) == 4;
  const size_t least = v4 ? net::ipv4_header_length : net::ipv6_header_length;
  if (packet.size() < least) return;
  const uint8_t* const l3 = packet.data();
  out.kind = FrameText::Kind::Ip;
  const net::IpAddr src = v4 ? net::IpAddr(net::IpHeader<net::V4>::source(l3)) : net::IpHeader<net::V6>::source(l3);
  const net::IpAddr dst =
      v4 ? net::IpAddr(net::IpHeader<net::V4>::destination(l3)) : net::IpHeader<net::V6>::destination(l3);
  const size_t length = v4 ? net::load_be16(l3 + 2) : size_t{net::load_be16(l3 + 4)} + net::ipv6_header_length;
  const uint8_t protocol = v4 ? l3[9] : l3[6];
  const bool later = v4 && (net::load_be16(l3 + 6) & net::ipv4_offset_mask) != 0;
  const size_t header = v4 ? size_t{l3[0] & 0xfU} * 4 : least;
  packet = packet.first(std::min(packet.size(), std::max(length, least)));
  const Bytes l4 = packet.subspan(std::min(header, packet.size()));
  const std::string size = fmt::format("{} bytes", length);
  const std::string addresses = fmt::format("{} > {}", net::to_string(src), net::to_string(dst));
  if (later) {
    out.text = fmt::format("{} fragment {}, {}", protocol_name(protocol), addresses, size);
    return;
  }
  const auto ports = [&] {
    return fmt::format("{} > {}", endpoint_text(src, net::load_be16(l4.data())),
                       endpoint_text(dst, net::load_be16(l4.data() + 2)));
  };
  const auto enter = [&](std::string_view name, size_t skip) {
    if (depth == 0 || l4.size() <= skip) return false;
    FrameText inner;
    describe_ip(inner, l4.subspan(skip), depth - 1);
    if (inner.text.empty()) return false;
    inner.headers = fmt::format("{} {}", name, addresses);
    out = std::move(inner);
    return true;
  };
  constexpr uint16_t vxlan_port = 4789;
  if (protocol == net::protocol::ipip || protocol == net::protocol::ipv6) {
    if (enter("ipip", 0)) return;
  } else if (protocol == net::protocol::udp && l4.size() > 8 && net::load_be16(l4.data() + 2) == vxlan_port) {
    if (enter("vxlan", net::udp_header_length + net::vxlan_header_length + net::ethernet_header_length)) return;
  }
  const bool has_ports =
      protocol == net::protocol::tcp || protocol == net::protocol::udp || protocol == net::protocol::sctp;
  if ((protocol == net::protocol::icmp || protocol == net::protocol::icmpv6) && l4.size() >= 8) {
    describe_icmp(out, v4, l4, addresses);
  } else if (protocol == net::protocol::tcp && l4.size() >= net::tcp_header_length) {
    out.text = fmt::format("tcp {} {}", tcp_flags_text(l4[13]), ports());
    out.payload = l4.subspan(std::min<size_t>(l4.size(), size_t{l4[12]} / 16 * 4));
  } else if (has_ports && l4.size() >= 4) {
    out.text = fmt::format("{} {}", protocol_name(protocol), ports());
    if (protocol == net::protocol::udp) out.payload = l4.subspan(std::min<size_t>(l4.size(), net::udp_header_length));
  } else {
    out.text = fmt::format("{} {}", protocol_name(protocol), addresses);
  }
  out.text += fmt::format(", {}", size);
}

}  // namespace

std::string endpoint_text(const net::IpAddr& address, uint16_t port) {
  const std::string text = net::to_string(address);
  if (port == 0) return text;
  return address.is_v4() ? fmt::format("{}:{}", text, port) : fmt::format("[{}]:{}", text, port);
}

std::string tcp_flags_text(uint8_t flags) {
  static constexpr std::array<std::pair<uint8_t, std::string_view>, 6> names{{{net::tcp_flag::syn, "SYN"},
                                                                              {net::tcp_flag::fin, "FIN"},
                                                                              {net::tcp_flag::rst, "RST"},
                                                                              {net::tcp_flag::psh, "PSH"},
                                                                              {net::tcp_flag::urg, "URG"},
                                                                              {net::tcp_flag::ack, "ACK"}}};
  std::string out;
  for (const auto& [bit, name] : names) {
    if ((flags & bit) != 0) out += fmt::format("{}{}", out.empty() ? "" : ",", name);
  }
  return out.empty() ? "no flags" : out;
}

FrameText describe_frame(std::span<const uint8_t> bytes, bool l3) {
  FrameText out;
  constexpr unsigned most_tunnels = 2;
  if (l3) {
    if (!bytes.empty()) describe_ip(out, bytes, most_tunnels);
    return out;
  }
  size_t at = net::ethernet_header_length;
  if (bytes.size() < at) return out;
  uint16_t type = net::load_be16(&bytes[12]);
  if (type == net::ether_type_vlan && bytes.size() >= at + net::vlan_tag_length) {
    type = net::load_be16(&bytes[16]);
    at += net::vlan_tag_length;
  }
  const Bytes body = bytes.subspan(at);
  if (type == net::ether_type_arp) {
    out.kind = FrameText::Kind::Discovery;
    out.text = "arp";
    if (body.size() >= 28) {
      const auto address = [&](size_t offset) {
        return net::to_string(net::Ipv4Addr::from_wire(net::load<uint32_t>(&body[offset])));
      };
      out.text = net::load_be16(&body[6]) == 1 ? fmt::format("arp who has {}, tell {}", address(24), address(14))
                                               : fmt::format("arp reply of {}", address(14));
    }
  } else if ((type == net::ether_type_ipv4 || type == net::ether_type_ipv6) && !body.empty()) {
    describe_ip(out, body, most_tunnels);
  }
  if (out.text.empty()) out.text = fmt::format("frame of EtherType {:#06x}", type);
  return out;
}

}  // namespace sluice::control

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rte_hash_crc.h>
#include <rte_ip.h>

#include "tests/packet/frames.h"

namespace sluice::packet_test {
namespace {

using net::load_be16;
using net::load_be32;

net::IpAddr address_at(const uint8_t* from, bool v4) {
  if (v4) return net::Ipv4Addr::from_wire(net::load<uint32_t>(from));
  return net::load<net::Ipv6Addr>(from);
}

// Reads an IP header; false if it is none. `whole`: all of the packet is there (not a quote).
bool read_header(const Bytes& l3, bool whole, Ip& ip, size_t& l4) {
  const size_t shortest = l3.empty() || l3[0] >> 4 == 4 ? net::ipv4_header_length : net::ipv6_header_length;
  if (l3.size() < shortest) {
    ADD_FAILURE() << "an IP packet of " << l3.size() << " bytes";
    return false;
  }
  const bool v4 = l3[0] >> 4 == 4;
  l4 = shortest;
  if (v4) {
    l4 = size_t{l3[0] & 0xfU} * 4;
    if (l3[0] >> 4 != 4 || l4 < shortest || l4 > l3.size()) {
      ADD_FAILURE() << "version and header length " << int{l3[0]};
      return false;
    }
    EXPECT_EQ(rte_raw_cksum(l3.data(), l4), 0xffff) << "IPv4 header checksum";
    if (whole) {
      EXPECT_EQ(load_be16(&l3[2]), l3.size()) << "IPv4 total length";
    }
    ip.tos = l3[1];
    ip.id = load_be16(&l3[4]);
    const uint16_t fragment = load_be16(&l3[6]);
    ip.df = (fragment & net::ipv4_dont_fragment) != 0;
    ip.mf = (fragment & net::ipv4_more_fragments) != 0;
    ip.offset = static_cast<uint16_t>((fragment & net::ipv4_offset_mask) * 8);
    ip.ttl = l3[8];
    ip.protocol = l3[9];
  } else {
    EXPECT_EQ(l3[0] >> 4, 6) << "IP version";
    if (whole) {
      EXPECT_EQ(load_be16(&l3[4]) + size_t{net::ipv6_header_length}, l3.size()) << "IPv6 payload length";
    }
    ip.tos = static_cast<uint8_t>(load_be32(l3.data()) >> 20);
    ip.protocol = l3[6];
    ip.ttl = l3[7];
    if (ip.protocol == net::protocol::hop_by_hop && l3.size() >= l4 + 8) {
      ip.protocol = l3[l4];
      l4 += 8U + l3[l4 + 1] * 8U;
    }
    if (ip.protocol == net::protocol::fragment && l3.size() >= l4 + 8) {
      const uint16_t field = load_be16(&l3[l4 + 2]);
      ip.protocol = l3[l4];
      ip.offset = field & 0xfff8;
      ip.mf = (field & 1) != 0;
      l4 += 8;
    }
  }
  ip.src.address = address_at(&l3[v4 ? 12 : 8], v4);
  ip.dst.address = address_at(&l3[v4 ? 16 : 24], v4);
  return true;
}

bool udp_without_checksum(const Bytes& l3, const Ip& ip, size_t l4) {
  return ip.protocol == net::protocol::udp && l3.size() >= l4 + net::udp_header_length && load_be16(&l3[l4 + 6]) == 0;
}

void verify_l4(const Bytes& l3, const Ip& ip, size_t l4) {
  const bool v4 = ip.src.address.is_v4();
  if (!v4 && l4 != net::ipv6_header_length) {
    // DPDK computes the pseudo header's length from the payload length: without the extension header.
    Bytes plain = l3;
    plain.erase(plain.begin() + net::ipv6_header_length, plain.begin() + static_cast<std::ptrdiff_t>(l4));
    net::store_be16(&plain[4], static_cast<uint16_t>(plain.size() - net::ipv6_header_length));
    plain[6] = ip.protocol;
    return verify_l4(plain, ip, net::ipv6_header_length);
  }
  if (ip.protocol == net::protocol::icmp) {
    EXPECT_EQ(rte_raw_cksum(&l3[l4], l3.size() - l4), 0xffff) << "ICMP checksum";
    return;
  }
  if (ip.protocol == net::protocol::sctp) {
    Bytes zeroed(l3.begin() + static_cast<std::ptrdiff_t>(l4), l3.end());
    net::store(&zeroed[8], uint32_t{0});
    EXPECT_EQ(net::load<uint32_t>(&l3[l4 + 8]), ~rte_hash_crc(zeroed.data(), static_cast<uint32_t>(zeroed.size()), ~0U))
        << "SCTP checksum";
    return;
  }
  const bool udp = ip.protocol == net::protocol::udp;
  if (!udp && ip.protocol != net::protocol::tcp && ip.protocol != net::protocol::icmpv6) return;
  if (udp) {
    EXPECT_EQ(load_be16(&l3[l4 + 4]), l3.size() - l4) << "UDP length";
  }
  if (udp_without_checksum(l3, ip, l4)) return;  // describe() says so where it is unusual
  const int bad = v4 ? rte_ipv4_udptcp_cksum_verify(reinterpret_cast<const rte_ipv4_hdr*>(l3.data()), &l3[l4])
                     : rte_ipv6_udptcp_cksum_verify(reinterpret_cast<const rte_ipv6_hdr*>(l3.data()), &l3[l4]);
  EXPECT_EQ(bad, 0) << "L4 checksum of protocol " << int{ip.protocol};
}

// Of IPv4: " options 94040000".
std::string options_of(const Bytes& l3) {
  if (l3[0] >> 4 != 4 || l3[0] == 0x45) return "";
  std::string out = " options ";
  for (size_t at = net::ipv4_header_length; at < (l3[0] & 0xfU) * 4; ++at) out += fmt::format("{:02x}", l3[at]);
  return out;
}

std::string tcp_letters(uint8_t flags) {
  static constexpr std::string_view letters = "SFRPAU";
  static constexpr uint8_t bits[] = {2, 1, 4, 8, 16, 32};
  std::string out;
  for (size_t i = 0; i < letters.size(); ++i) {
    if ((flags & bits[i]) != 0) out += letters[i];
  }
  return out.empty() ? "-" : out;
}

std::string describe(const Bytes& l3, bool whole, Ip& ip);

std::string describe_icmp(const Bytes& l3, size_t l4, Ip& ip, bool& quotes) {
  const bool v4 = ip.src.address.is_v4();
  ip.type = l3[l4];
  ip.code = l3[l4 + 1];
  ip.rest = load_be32(&l3[l4 + 4]);
  const uint8_t request = v4 ? net::icmpv4::echo_request : net::icmpv6::echo_request;
  const uint8_t reply = v4 ? net::icmpv4::echo_reply : net::icmpv6::echo_reply;
  if (ip.type == request || ip.type == reply) {
    ip.src.port = ip.dst.port = static_cast<uint16_t>(ip.rest >> 16);
    return ip.type == request ? "echo" : "echo-reply";
  }
  if (!v4 && (ip.type == net::icmpv6::neighbor_solicitation || ip.type == net::icmpv6::neighbor_advertisement)) {
    return fmt::format("nd {} {}", ip.type == net::icmpv6::neighbor_solicitation ? "solicit" : "advert",
                       net::to_string(address_at(&l3[l4 + 8], false)));
  }
  quotes = v4 ? net::icmpv4::is_error(ip.type) : net::icmpv6::is_error(ip.type);
  std::string out = fmt::format("icmp {}/{}", ip.type, ip.code);
  if ((v4 && ip.type == 3 && ip.code == 4) || (!v4 && ip.type == net::icmpv6::packet_too_big)) {
    out += fmt::format(" mtu {}", ip.rest);
  }
  return out;
}

std::string describe(const Bytes& l3, bool whole, Ip& ip) {
  size_t l4 = 0;
  if (!read_header(l3, whole, ip, l4)) return "broken";
  const bool fragment = ip.mf || ip.offset != 0;
  if (whole && !fragment) verify_l4(l3, ip, l4);
  const std::string addresses = net::to_string(ip.src.address) + ">" + net::to_string(ip.dst.address);
  std::string out;
  std::string quoted;
  bool unsummed = false;
  const bool ports =
      (ip.protocol == net::protocol::udp || ip.protocol == net::protocol::tcp || ip.protocol == net::protocol::sctp) &&
      ip.offset == 0;
  if (ports) {
    ip.src.port = load_be16(&l3[l4]);
    ip.dst.port = load_be16(&l3[l4 + 2]);
    out = ip.protocol == net::protocol::udp ? "udp " : ip.protocol == net::protocol::tcp ? "tcp " : "sctp ";
    if (ip.protocol == net::protocol::tcp && l3.size() >= l4 + net::tcp_header_length) {
      ip.seq = load_be32(&l3[l4 + 4]);
      ip.ack = load_be32(&l3[l4 + 8]);
      ip.flags = l3[l4 + 13];
      out += tcp_letters(ip.flags) + " ";
    }
    out += ip.src.text() + ">" + ip.dst.text();
    unsummed = !ip.src.address.is_v4() && udp_without_checksum(l3, ip, l4);
  } else if ((ip.protocol == net::protocol::icmp || ip.protocol == net::protocol::icmpv6) && ip.offset == 0) {
    bool quotes = false;
    out = describe_icmp(l3, l4, ip, quotes) + " " + addresses;
    if (out.starts_with("echo")) out += fmt::format(" id {}", ip.src.port);
    if (quotes) {
      Ip inner;
      const Bytes quote(l3.begin() + static_cast<std::ptrdiff_t>(l4 + net::icmp_header_length), l3.end());
      quoted = " [ " + describe(quote, false, inner) + " ]";
    }
  } else {
    const std::string name = ip.protocol == net::protocol::udp ? "udp" : fmt::format("protocol {}", ip.protocol);
    out = name + " " + addresses;
  }
  out += fmt::format(" ttl {}", ip.ttl);
  if (ip.tos != 0 && quoted.empty()) out += fmt::format(" tos {}", ip.tos);
  if (ip.df) out += " df";
  if (fragment) out += fmt::format(" frag {}{} len {}", ip.offset, ip.mf ? "+" : "", l3.size());
  if (unsummed) out += " no checksum";
  out += options_of(l3);
  const size_t payload_at = l4 + (ip.protocol == net::protocol::tcp ? 20U : 8U);
  if (l3.size() > payload_at) ip.payload.assign(l3.begin() + static_cast<std::ptrdiff_t>(payload_at), l3.end());
  return out + quoted;
}

// Takes tunnels off, outermost first.
std::string describe_tunnels(Bytes l3, Bytes& innermost, Ip& ip) {
  std::string out;
  for (;;) {
    Ip outer;
    size_t l4 = 0;
    innermost = l3;
    if (!read_header(l3, true, outer, l4)) return out + "broken";
    const std::string ends = net::to_string(outer.src.address) + ">" + net::to_string(outer.dst.address);
    size_t skip = 0;
    if (outer.protocol == net::protocol::ipip || outer.protocol == net::protocol::ipv6) {
      out += fmt::format("ipip {} | ", ends);
      skip = l4;
    } else if (outer.protocol == net::protocol::udp && load_be16(&l3[l4 + 2]) == 4789) {
      const bool checksum = load_be16(&l3[l4 + 6]) != 0;
      EXPECT_FALSE(checksum && outer.src.address.is_v4()) << "CSUM-4: VXLAN over IPv4 has no UDP checksum";
      if (checksum) verify_l4(l3, outer, l4);
      EXPECT_EQ(load_be16(&l3[l4 + 4]), l3.size() - l4) << "length of the outer UDP header";
      EXPECT_EQ(l3[l4 + 8], 0x08) << "VXLAN flags";
      out += fmt::format("vxlan {} vni {} | ", ends, load_be32(&l3[l4 + 12]) >> 8);
      skip = l4 + net::udp_header_length + net::vxlan_header_length + net::ethernet_header_length;
    } else {
      return out + describe(l3, true, ip);
    }
    l3.erase(l3.begin(), l3.begin() + static_cast<std::ptrdiff_t>(skip));
  }
}

std::string describe_arp(const Bytes& frame, size_t at) {
  if (frame.size() < at + 28) return "arp broken";
  const auto sender = net::to_string(address_at(&frame[at + 14], true));
  const auto target = net::to_string(address_at(&frame[at + 24], true));
  if (load_be16(&frame[at + 6]) == 1) return fmt::format("arp request {}? from {}", target, sender);
  return fmt::format("arp reply {} is {} to {}", sender, net::to_string(net::load<net::MacAddr>(&frame[at + 8])),
                     target);
}

}  // namespace

std::string text_of(const Bytes& l3) {
  Ip ip;
  return describe(l3, true, ip);
}

View view(const std::string& port, const Bytes& frame) {
  View out;
  out.port = port;
  out.frame = frame;
  if (frame.size() < net::ethernet_header_length) {
    ADD_FAILURE() << "a frame of " << frame.size() << " bytes";
    return out;
  }
  out.to = net::load<net::MacAddr>(&frame[0]);
  out.from = net::load<net::MacAddr>(&frame[6]);
  size_t at = net::ethernet_header_length;
  uint16_t type = load_be16(&frame[12]);
  out.text = fmt::format("{}/{:02x} ", port, out.to.bytes[5]);
  if (type == net::ether_type_vlan) {
    out.vlan = load_be16(&frame[14]);
    out.text += fmt::format("vlan {} ", out.vlan);
    type = load_be16(&frame[16]);
    at += net::vlan_tag_length;
  }
  if (type == net::ether_type_arp) {
    out.text += describe_arp(frame, at);
    return out;
  }
  out.outer.assign(frame.begin() + static_cast<std::ptrdiff_t>(at), frame.end());
  EXPECT_EQ(type, out.outer[0] >> 4 == 4 ? net::ether_type_ipv4 : net::ether_type_ipv6) << "Ethernet type";
  out.text += describe_tunnels(out.outer, out.l3, out.ip);
  return out;
}

}  // namespace sluice::packet_test

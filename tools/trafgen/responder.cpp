#include "tools/trafgen/responder.h"

#include <algorithm>

#include "tools/trafgen/turn_around.h"

namespace sluice::trafgen {
namespace {

constexpr uint16_t arp_length = net::ethernet_header_length + sizeof(rte_arp_hdr);
constexpr uint16_t arp_request = 1;
constexpr uint16_t arp_reply = 2;
constexpr uint16_t solicitation_length = 24;  // RFC 4861 section 4.3, without options
constexpr uint16_t link_option_length = 8;
constexpr uint16_t neighbor_length =
    net::ethernet_header_length + net::ipv6_header_length + solicitation_length + link_option_length;

void write_arp(uint8_t* frame, uint16_t operation, const net::MacAddr& from, uint32_t from_ip, const net::MacAddr& to,
               uint32_t to_ip) {
  const bool asks = operation == arp_request;
  net::store(frame, asks ? net::MacAddr::broadcast() : to);
  net::store(frame + 6, from);
  net::store_be16(frame + 12, net::ether_type_arp);
  rte_arp_hdr arp{};
  arp.arp_hardware = rte_cpu_to_be_16(RTE_ARP_HRD_ETHER);
  arp.arp_protocol = rte_cpu_to_be_16(net::ether_type_ipv4);
  arp.arp_hlen = 6;
  arp.arp_plen = 4;
  arp.arp_opcode = rte_cpu_to_be_16(operation);
  std::memcpy(&arp.arp_data.arp_sha, from.bytes.data(), 6);
  arp.arp_data.arp_sip = from_ip;
  std::memcpy(&arp.arp_data.arp_tha, to.bytes.data(), 6);
  arp.arp_data.arp_tip = to_ip;
  net::store(frame + net::ethernet_header_length, arp);
}

// A solicitation or advertisement with one link-layer address option.
void write_neighbor(uint8_t* frame, uint8_t type, uint32_t flags, const net::MacAddr& from, const net::MacAddr& to,
                    const net::Ipv6Addr& src, const net::Ipv6Addr& dst, const net::Ipv6Addr& target) {
  constexpr uint16_t message = solicitation_length + link_option_length;
  net::store(frame, to);
  net::store(frame + 6, from);
  net::store_be16(frame + 12, net::ether_type_ipv6);
  uint8_t* ip = frame + net::ethernet_header_length;
  std::memset(ip, 0, net::ipv6_header_length + message);
  ip[0] = 0x60;
  net::store_be16(ip + 4, message);
  ip[6] = net::protocol::icmpv6;
  ip[7] = 255;
  net::store(ip + 8, src);
  net::store(ip + 24, dst);
  uint8_t* icmp = ip + net::ipv6_header_length;
  icmp[0] = type;
  net::store_be32(icmp + 4, flags);
  net::store(icmp + 8, target);
  icmp[24] = type == net::icmpv6::neighbor_solicitation ? 1 : 2;
  icmp[25] = 1;
  net::store(icmp + 26, from);
  const uint64_t pseudo = net::checksum_sum(ip + 8, 32) + net::be16::from_host(message).wire() +
                          net::be16::from_host(net::protocol::icmpv6).wire();
  net::store(icmp + 2, net::checksum(icmp, message, pseudo));
}

}  // namespace

bool Responder::is_own(const net::IpAddr& addr) const {
  return std::any_of(profile_.addresses.begin(), profile_.addresses.end(),
                     [&](const net::Prefix& own) { return own.addr == addr; }) ||
         (addr.is_v6() && addr.v6() == mac_.link_local());
}

bool Responder::answers_for(const net::IpAddr& addr) const {
  const WideAddr wide = WideAddr::of(addr);
  return is_own(addr) || std::any_of(profile_.answers_for.begin(), profile_.answers_for.end(),
                                     [&](const AddrRange& r) { return r.family == addr.family() && r.contains(wide); });
}

std::optional<net::IpAddr> Responder::own(net::Family family) const {
  for (const net::Prefix& address : profile_.addresses) {
    if (address.family() == family) return address.addr;
  }
  return std::nullopt;
}

void Responder::learn(const net::IpAddr& addr, const net::MacAddr& mac) {
  const std::optional<net::IpAddr>* gateways[] = {&profile_.gateway, &profile_.gateway6};
  for (size_t i = 0; i < 2; ++i) {
    if (*gateways[i] != addr || known_[i].load(std::memory_order_relaxed)) continue;
    macs_[i] = mac;
    known_[i].store(true, std::memory_order_release);
  }
}

net::MacAddr Responder::gateway_mac(net::Family family) const {
  if (profile_.gateway && (profile_.gateway->family() == family || !profile_.gateway6)) return macs_[0];
  return macs_[1];
}

bool Responder::receive(const FrameView& view, uint16_t room, uint16_t& length) {
  length = 0;
  if (view.kind == FrameKind::Arp) return receive_arp(view, length);
  if (view.kind != FrameKind::Packet || !view.icmp() || view.tunnel != TunnelKind::None) return false;
  const uint8_t type = view.data[view.l4];
  if (!view.v4 && (type == net::icmpv6::neighbor_solicitation || type == net::icmpv6::neighbor_advertisement)) {
    return receive_neighbor(view, room, length);
  }
  const bool request = type == (view.v4 ? net::icmpv4::echo_request : net::icmpv6::echo_request);
  if (!request || !is_own(view.dst().to_ip(view.v4 ? net::Family::V4 : net::Family::V6))) return false;
  turn_around(view);
  length = view.length;
  answered_.add();
  return true;
}

bool Responder::receive_arp(const FrameView& view, uint16_t& length) {
  if (view.length < arp_length) return false;
  const auto arp = net::load<rte_arp_hdr>(view.data + net::ethernet_header_length);
  const auto sender = net::load<net::MacAddr>(&arp.arp_data.arp_sha);
  const auto sender_ip = net::Ipv4Addr::from_wire(arp.arp_data.arp_sip);
  learn(sender_ip, sender);
  if (arp.arp_opcode != rte_cpu_to_be_16(arp_request)) return true;
  if (!answers_for(net::Ipv4Addr::from_wire(arp.arp_data.arp_tip))) return true;
  write_arp(view.data, arp_reply, mac_, arp.arp_data.arp_tip, sender, arp.arp_data.arp_sip);
  length = view.length;
  answered_.add();
  return true;
}

bool Responder::receive_neighbor(const FrameView& view, uint16_t room, uint16_t& length) {
  const uint8_t* icmp = view.data + view.l4;
  if (view.l4_length < solicitation_length || !view.l4_checksum_ok()) return true;
  const auto target = net::load<net::Ipv6Addr>(icmp + 8);
  const auto sender = net::load<net::MacAddr>(view.data + 6);
  const auto src = net::load<net::Ipv6Addr>(view.ip() + 8);
  if (icmp[0] == net::icmpv6::neighbor_advertisement) {
    const bool option = view.l4_length >= solicitation_length + link_option_length && icmp[24] == 2 && icmp[25] == 1;
    learn(target, option ? net::load<net::MacAddr>(icmp + 26) : sender);
    return true;
  }
  if (src.is_unspecified() || !answers_for(target) || room < neighbor_length) return true;
  write_neighbor(view.data, net::icmpv6::neighbor_advertisement, 0x60000000, mac_, sender, target, src, target);
  length = neighbor_length;
  answered_.add();
  return true;
}

uint16_t Responder::ask(uint8_t* out) {
  for (unsigned i = 0; i < 2; ++i) {
    const unsigned which = turn_++ & 1;
    const auto& gateway = which == 0 ? profile_.gateway : profile_.gateway6;
    if (!gateway || known_[which].load(std::memory_order_relaxed)) continue;
    return gateway->is_v4() ? ask_arp(out, *gateway) : ask_neighbor(out, *gateway);
  }
  return 0;
}

uint16_t Responder::ask_arp(uint8_t* out, const net::IpAddr& gateway) const {
  const auto from = own(net::Family::V4);
  if (!from) return 0;
  std::memset(out, 0, 60);
  write_arp(out, arp_request, mac_, from->v4().wire(), {}, gateway.v4().wire());
  return 60;
}

uint16_t Responder::ask_neighbor(uint8_t* out, const net::IpAddr& gateway) const {
  const auto from = own(net::Family::V6);
  if (!from) return 0;
  const net::Ipv6Addr group = gateway.v6().solicited_node();
  write_neighbor(out, net::icmpv6::neighbor_solicitation, 0, mac_, net::MacAddr::for_multicast(group), from->v6(),
                 group, gateway.v6());
  return neighbor_length;
}

}  // namespace sluice::trafgen

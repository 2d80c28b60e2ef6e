#include <stdexcept>

#include <rte_hash_crc.h>
#include <rte_ip.h>

#include "dataplane/net/addr.h"
#include "tests/packet/frames.h"

namespace sluice::packet_test {
namespace {

using net::store;
using net::store_be16;
using net::store_be32;

constexpr size_t sctp_header_length = 12;
constexpr size_t sctp_chunk_header_length = 4;

void put_address(uint8_t* to, const net::IpAddr& address) {
  std::memcpy(to, address.bytes().data(), address.bit_length() / 8);
}

bool is_icmp(uint8_t protocol) { return protocol == net::protocol::icmp || protocol == net::protocol::icmpv6; }

// The L4 header without its checksum. Nothing for a later fragment.
Bytes l4_header(const Ip& ip) {
  if (ip.offset != 0) return {};
  Bytes l4;
  if (ip.protocol == net::protocol::udp) {
    l4.resize(net::udp_header_length);
    store_be16(&l4[4], static_cast<uint16_t>(l4.size() + ip.payload.size()));
  } else if (ip.protocol == net::protocol::tcp) {
    l4.resize(net::tcp_header_length);
    store_be32(&l4[4], ip.seq);
    store_be32(&l4[8], ip.ack);
    l4[12] = 0x50;
    l4[13] = ip.flags;
    store_be16(&l4[14], 65535);
  } else if (ip.protocol == net::protocol::sctp) {
    l4.resize(sctp_header_length + sctp_chunk_header_length);
    store_be32(&l4[4], ip.seq);
    l4[12] = ip.flags;
    store_be16(&l4[14], static_cast<uint16_t>(sctp_chunk_header_length + ip.payload.size()));
  } else if (is_icmp(ip.protocol)) {
    l4.resize(net::icmp_header_length);
    l4[0] = ip.type;
    l4[1] = ip.code;
    store_be32(&l4[4], ip.rest);
    return l4;
  } else {
    return l4;
  }
  store_be16(&l4[0], ip.src.port);
  store_be16(&l4[2], ip.dst.port);
  return l4;
}

void put_l4_checksum(const Ip& ip, Bytes& packet, size_t l4_offset) {
  if (ip.offset != 0 || (ip.protocol == net::protocol::udp && ip.no_checksum)) return;
  if (ip.protocol == net::protocol::sctp) {
    // RFC 9260 section 6.8 and appendix A: over everything with the field zero, low byte first.
    const Bytes aligned(packet.begin() + static_cast<ptrdiff_t>(l4_offset), packet.end());
    const uint32_t crc = ~rte_hash_crc(aligned.data(), static_cast<uint32_t>(aligned.size()), ~0U);
    return store(&packet[l4_offset + 8], crc);
  }
  size_t at = 0;
  if (ip.protocol == net::protocol::udp) {
    at = 6;
  } else if (ip.protocol == net::protocol::tcp) {
    at = 16;
  } else if (is_icmp(ip.protocol)) {
    at = 2;
  } else {
    return;
  }
  uint8_t* const l4 = packet.data() + l4_offset;
  uint16_t sum = 0;
  if (ip.protocol == net::protocol::icmp) {
    sum = static_cast<uint16_t>(~rte_raw_cksum(l4, packet.size() - l4_offset));
  } else if (ip.src.address.is_v4()) {
    sum = rte_ipv4_udptcp_cksum(reinterpret_cast<const rte_ipv4_hdr*>(packet.data()), l4);
  } else {
    sum = rte_ipv6_udptcp_cksum(reinterpret_cast<const rte_ipv6_hdr*>(packet.data()), l4);
  }
  store(l4 + at, sum);
}

Bytes header(const Ip& ip, size_t payload) {
  Bytes out;
  if (ip.src.address.is_v4()) {
    out.resize(net::ipv4_header_length);
    out[0] = 0x45;
    out[1] = ip.tos;
    store_be16(&out[2], static_cast<uint16_t>(payload + out.size()));
    store_be16(&out[4], ip.id);
    store_be16(&out[6], static_cast<uint16_t>((ip.df ? net::ipv4_dont_fragment : 0) |
                                              (ip.mf ? net::ipv4_more_fragments : 0) | ip.offset / 8));
    out[8] = ip.ttl;
    out[9] = ip.protocol;
    put_address(&out[12], ip.src.address);
    put_address(&out[16], ip.dst.address);
    finish_ipv4(out);
  } else {
    out.resize(net::ipv6_header_length);
    store_be32(&out[0], 0x60000000U | static_cast<uint32_t>(ip.tos) << 20);
    store_be16(&out[4], static_cast<uint16_t>(payload));
    out[6] = ip.protocol;
    out[7] = ip.ttl;
    put_address(&out[8], ip.src.address);
    put_address(&out[24], ip.dst.address);
  }
  return out;
}

void append(Bytes& to, const Bytes& from) { to.insert(to.end(), from.begin(), from.end()); }

uint8_t icmp_of(const Endpoint& endpoint) {
  return endpoint.address.is_v4() ? net::protocol::icmp : net::protocol::icmpv6;
}

}  // namespace

Endpoint::Endpoint(const char* text) : Endpoint(std::string(text)) {}

Endpoint::Endpoint(const std::string& text) {
  std::string host = text;
  if (!text.empty() && text[0] == '[') {
    const size_t end = text.find(']');
    host = text.substr(1, end - 1);
    if (end + 2 < text.size()) port = static_cast<uint16_t>(std::stoul(text.substr(end + 2)));
  } else if (const size_t colon = text.find(':');
             colon != std::string::npos && text.find(':', colon + 1) == std::string::npos) {
    host = text.substr(0, colon);
    port = static_cast<uint16_t>(std::stoul(text.substr(colon + 1)));
  }
  const auto parsed = net::parse_ip(host);
  if (!parsed) throw std::invalid_argument("not an address: " + text);
  address = *parsed;
}

std::string Endpoint::text() const {
  const std::string host = net::to_string(address);
  return (address.is_v4() ? host : "[" + host + "]") + ":" + std::to_string(port);
}

Ip Ip::with_ttl(uint8_t value) const {
  Ip out = *this;
  out.ttl = value;
  return out;
}
Ip Ip::with_tos(uint8_t value) const {
  Ip out = *this;
  out.tos = value;
  return out;
}
Ip Ip::with_df() const {
  Ip out = *this;
  out.df = true;
  return out;
}
Ip Ip::with_id(uint16_t value) const {
  Ip out = *this;
  out.id = value;
  return out;
}
Ip Ip::with_seq(uint32_t seq_value, uint32_t ack_value) const {
  Ip out = *this;
  out.seq = seq_value;
  out.ack = ack_value;
  return out;
}
Ip Ip::with_payload(size_t size) const {
  Ip out = *this;
  out.payload.resize(size);
  for (size_t i = 0; i < size; ++i) out.payload[i] = static_cast<uint8_t>(i * 7 + 1);
  return out;
}

Bytes Ip::bytes() const {
  Bytes l4 = l4_header(*this);
  append(l4, payload);
  Bytes packet = header(*this, l4.size());
  const size_t l4_offset = packet.size();
  append(packet, l4);
  put_l4_checksum(*this, packet, l4_offset);
  return packet;
}

Ip udp(const Endpoint& src, const Endpoint& dst) {
  Ip ip;
  ip.src = src;
  ip.dst = dst;
  return ip.with_payload(20);
}

Ip tcp(const Endpoint& src, const Endpoint& dst, std::string_view flags) {
  Ip ip;
  ip.src = src;
  ip.dst = dst;
  ip.protocol = net::protocol::tcp;
  static constexpr std::string_view letters = "FSRPAU";
  for (const char letter : flags) ip.flags = static_cast<uint8_t>(ip.flags | 1U << letters.find(letter));
  return ip;
}

Ip echo(const Endpoint& src, const Endpoint& dst, uint16_t id) {
  Ip ip;
  ip.src = src;
  ip.dst = dst;
  ip.protocol = icmp_of(src);
  ip.type = src.address.is_v4() ? net::icmpv4::echo_request : net::icmpv6::echo_request;
  ip.rest = uint32_t{id} << 16 | 1;
  return ip.with_payload(32);
}

Ip echo_reply(const Endpoint& src, const Endpoint& dst, uint16_t id) {
  Ip ip = echo(src, dst, id);
  ip.type = src.address.is_v4() ? net::icmpv4::echo_reply : net::icmpv6::echo_reply;
  return ip;
}

Ip sctp(const Endpoint& src, const Endpoint& dst, uint8_t chunk, uint32_t vtag) {
  Ip ip = udp(src, dst);
  ip.protocol = net::protocol::sctp;
  ip.flags = chunk;
  ip.seq = vtag;
  return ip;
}

Ip icmp_error(const Endpoint& src, const Endpoint& dst, uint8_t type, uint8_t code, const Bytes& quoted,
              uint32_t rest) {
  Ip ip;
  ip.src = src;
  ip.dst = dst;
  ip.protocol = icmp_of(src);
  ip.type = type;
  ip.code = code;
  ip.rest = rest;
  ip.payload = quoted;
  return ip;
}

Bytes shortest_quote(const Bytes& packet) {
  const size_t header_size = packet[0] >> 4 == 4 ? net::ipv4_header_length : net::ipv6_header_length;
  return {packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(header_size + 8)};
}

Bytes vxlan(const Endpoint& src, const Endpoint& dst, const Bytes& inner, const VxlanOptions& options) {
  Bytes payload(net::vxlan_header_length + net::ethernet_header_length);
  payload[0] = options.flags;
  store_be32(&payload[4], options.vni << 8);
  store(&payload[8], options.inner_destination);
  payload[14] = 0x66;
  const uint16_t by_version = inner[0] >> 4 == 4 ? net::ether_type_ipv4 : net::ether_type_ipv6;
  store_be16(&payload[20], options.ether_type != 0 ? options.ether_type : by_version);
  append(payload, inner);
  Ip ip = udp(src, dst);
  ip.src.port = options.source_port;
  ip.dst.port = 4789;
  ip.tos = options.tos;
  ip.no_checksum = !options.checksum.value_or(src.address.is_v6());
  ip.payload = std::move(payload);
  return ip.bytes();
}

Bytes ipip(const Endpoint& src, const Endpoint& dst, const Bytes& inner, uint8_t tos) {
  Ip ip;
  ip.src = src;
  ip.dst = dst;
  ip.protocol = inner[0] >> 4 == 4 ? net::protocol::ipip : net::protocol::ipv6;
  ip.tos = tos;
  ip.payload = inner;
  return ip.bytes();
}

std::vector<Bytes> fragments(const Bytes& packet, size_t first, uint32_t id) {
  return fragments(packet, std::vector<size_t>{first}, id);
}

std::vector<Bytes> fragments(const Bytes& packet, const std::vector<size_t>& cuts, uint32_t id) {
  const bool v4 = packet[0] >> 4 == 4;
  const size_t header_size = v4 ? net::ipv4_header_length : net::ipv6_header_length;
  const auto part = [&](size_t from, size_t to, bool more) {
    Bytes out(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(header_size));
    if (v4) {
      store_be16(&out[2], static_cast<uint16_t>(header_size + to - from));
      store_be16(&out[6], static_cast<uint16_t>((more ? net::ipv4_more_fragments : 0) | from / 8));
      finish_ipv4(out);
    } else {
      store_be16(&out[4], static_cast<uint16_t>(8 + to - from));
      Bytes extension{out[6], 0, 0, 0, 0, 0, 0, 0};
      store_be16(&extension[2], static_cast<uint16_t>(from | (more ? 1 : 0)));
      store_be32(&extension[4], id);
      out[6] = net::protocol::fragment;
      append(out, extension);
    }
    const auto body = packet.begin() + static_cast<std::ptrdiff_t>(header_size);
    out.insert(out.end(), body + static_cast<std::ptrdiff_t>(from), body + static_cast<std::ptrdiff_t>(to));
    return out;
  };
  std::vector<Bytes> parts;
  size_t from = 0;
  for (const size_t to : cuts) {
    parts.push_back(part(from, to, true));
    from = to;
  }
  parts.push_back(part(from, packet.size() - header_size, false));
  return parts;
}

Bytes reassembled(const Bytes& head, const Bytes& tail) {
  if (head[0] >> 4 == 4) {
    Bytes whole = head;
    whole.insert(whole.end(), tail.begin() + net::ipv4_header_length, tail.end());
    store_be16(&whole[2], static_cast<uint16_t>(whole.size()));
    store_be16(&whole[6], 0);
    finish_ipv4(whole);
    return whole;
  }
  constexpr auto payload_at = static_cast<std::ptrdiff_t>(net::ipv6_header_length + 8);
  Bytes whole(head.begin(), head.begin() + net::ipv6_header_length);
  whole[6] = head[net::ipv6_header_length];
  whole.insert(whole.end(), head.begin() + payload_at, head.end());
  whole.insert(whole.end(), tail.begin() + payload_at, tail.end());
  store_be16(&whole[4], static_cast<uint16_t>(whole.size() - net::ipv6_header_length));
  return whole;
}

void finish_ipv4(Bytes& packet) {
  store(&packet[10], uint16_t{0});
  const size_t length = (packet[0] & 0xfU) * 4;
  store(&packet[10], static_cast<uint16_t>(~rte_raw_cksum(packet.data(), std::min(length, packet.size()))));
}

Bytes ethernet(const net::MacAddr& dst, const net::MacAddr& src, const Bytes& l3, uint16_t vlan) {
  Bytes frame(vlan == 0 ? 14 : 18);
  store(&frame[0], dst);
  store(&frame[6], src);
  if (vlan != 0) {
    store_be16(&frame[12], net::ether_type_vlan);
    store_be16(&frame[14], vlan);
  }
  store_be16(&frame[frame.size() - 2], l3[0] >> 4 == 4 ? net::ether_type_ipv4 : net::ether_type_ipv6);
  append(frame, l3);
  return frame;
}

Bytes arp(uint16_t operation, const net::MacAddr& sender_mac, const char* sender, const char* target,
          const net::MacAddr& to, uint16_t vlan) {
  Bytes body(28);
  store_be16(&body[0], 1);
  store_be16(&body[2], net::ether_type_ipv4);
  body[4] = 6;
  body[5] = 4;
  store_be16(&body[6], operation);
  store(&body[8], sender_mac);
  put_address(&body[14], Endpoint(sender).address);
  put_address(&body[24], Endpoint(target).address);
  Bytes frame = ethernet(to, sender_mac, body, vlan);
  store_be16(&frame[vlan == 0 ? 12 : 16], net::ether_type_arp);
  return frame;
}

namespace {

Bytes nd(uint8_t type, uint32_t flags, const Endpoint& source, const Endpoint& destination, const char* target,
         uint8_t option, const net::MacAddr& mac) {
  Ip ip = icmp_error(source, destination, type, 0, {}, flags);
  ip.ttl = 255;
  ip.payload.resize(24);
  put_address(ip.payload.data(), Endpoint(target).address);
  ip.payload[16] = option;
  ip.payload[17] = 1;
  store(&ip.payload[18], mac);
  return ip.bytes();
}

}  // namespace

Bytes nd_advert(const char* target, const char* to, const net::MacAddr& mac) {
  return nd(net::icmpv6::neighbor_advertisement, 0x60000000, target, to, target, 2, mac);
}

Bytes nd_solicit(const char* source, const char* target, const net::MacAddr& mac) {
  Endpoint group;
  group.address = Endpoint(target).address.v6().solicited_node();
  return nd(net::icmpv6::neighbor_solicitation, 0, source, group, target, 1, mac);
}

}  // namespace sluice::packet_test

// Any frame through the whole input path: IP checks, tunnel termination, IP checks of the inner packet, the packet
// quoted in an ICMP error; then what was accepted once more into a tunnel and out of it.
//
// The input is an Ethernet frame. Its source address, which nothing here reads, steers: bytes 0 and 1 say where the
// frame is cut into two segments (0: nowhere), bit 0 of byte 2 whether the IPv4 header checksum is verified.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/net/parse.h"
#include "encap/decap.h"
#include "encap/header_template.h"
#include "encap/header_template_v6.h"
#include "tests/unit/encap_plain_check.h"
#include "tests/unit/fake_mbuf.h"
#include "tests/unit/net_plain_check.h"

namespace sluice {
namespace {

using net::DropReason;
using net::V4;
using net::V6;
using test::FakeMbuf;

constexpr net::MacAddr mac{{0x66, 0xf9, 0x37, 0xc3, 0x7e, 0x94}};
constexpr auto local = net::Ipv4Addr::from_host(0xc0a86466);
constexpr auto remote = net::Ipv4Addr::from_host(0xc0a86465);
constexpr net::Ipv6Addr local_v6{{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};
constexpr net::Ipv6Addr remote_v6{{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};

void check(bool invariant) {
  if (!invariant) __builtin_trap();
}

const encap::Terminator& terminator() {
  static const encap::Terminator all{
      .accept_vxlan = true,
      .accept_ipip = true,
      .vni = 4096,
      .vtep_mac = mac,
      .vtep_mac_v6 = mac,
      .sources = encap::KnownSources({}, {net::Prefix{net::Ipv4Addr{}, 0}, net::Prefix{net::Ipv6Addr{}, 0}}, 1)};
  return all;
}

void check_segments(const rte_mbuf& mbuf) {
  uint32_t bytes = 0;
  uint16_t segments = 0;
  for (const rte_mbuf* segment = &mbuf; segment != nullptr; segment = segment->next, ++segments) {
    check(segment->data_off + segment->data_len <= segment->buf_len);
    bytes += segment->data_len;
  }
  check(bytes == mbuf.pkt_len && segments == mbuf.nb_segs);
}

template <class F>
void check_parsed(const net::FlowPacket<F>& packet) {
  check_segments(*packet.mbuf);
  check(packet.l3 + packet.l3_length == packet.mbuf->pkt_len);
  check(packet.l4 > packet.l3 && packet.l4 <= packet.l3 + packet.l3_length && packet.l4 <= packet.mbuf->data_len);
  check(!packet.has_ports || packet.contiguous(packet.l4) >= 8);
  check(!packet.has_ports || packet.fragment != net::FragmentKind::Later);
  check(!packet.icmp_error || packet.has_ports);
  check(packet.key.protocol == packet.protocol);
  check(net::FlowHasher{}(packet.key) == net::FlowHasher{}(packet.key.reversed()));
}

template <class F>
void read_quoted(const net::FlowPacket<F>& packet) {
  const auto at = static_cast<uint16_t>(packet.l4 + 8);
  const uint16_t length = packet.contiguous(at);
  // A copy of just that length: a byte read behind it is found.
  const std::vector<uint8_t> bytes(packet.data() + at, packet.data() + at + length);
  net::FlowKey<F> key;
  uint16_t l4 = 0;
  if (net::parse_quoted<F>(bytes.data(), length, key, l4)) check(l4 >= 20 && l4 + 8 <= length);
}

// What apply() made of the packet `inner` comes out of the tunnel as it was.
template <class F, class Outer>
void comes_out(FakeMbuf& mbuf, const std::vector<uint8_t>& inner) {
  net::FlowPacket<Outer> again;
  again.mbuf = mbuf.get();
  check(net::parse_ip(again, false) == DropReason::None);
  const encap::DecapResult result = encap::decapsulate(again, terminator());
  if (result.reason == DropReason::TunnelLoop) return;
  check(result.what == encap::Decap::Stripped && result.inner == F::family && !result.odd_ecn);
  check(mbuf.bytes() == inner);
}

// An accepted packet goes into a tunnel and comes out of it as it was.
template <class F>
void go_round(const net::FlowPacket<F>& packet, encap::Kind kind) {
  static const encap::HeaderTemplate outer[] = {
      encap::HeaderTemplate::build(
          {.kind = encap::Kind::Vxlan, .local = remote, .remote = local, .vni = 4096, .inner_destination = mac}),
      encap::HeaderTemplate::build({.kind = encap::Kind::Ipip, .local = remote, .remote = local})};
  static const encap::HeaderTemplateV6 outer_v6[] = {
      encap::HeaderTemplateV6::build(
          {.kind = encap::Kind::Vxlan, .local = remote_v6, .remote = local_v6, .vni = 4096, .inner_destination = mac}),
      encap::HeaderTemplateV6::build({.kind = encap::Kind::Ipip, .local = remote_v6, .remote = local_v6})};
  const std::vector<uint8_t> inner(packet.l3_header(), packet.data() + packet.mbuf->data_len);
  if (inner.size() != packet.l3_length || inner.size() + encap::overhead(kind, net::Family::V6) > 65535) return;
  FakeMbuf mbuf(inner);
  check(outer[static_cast<size_t>(kind)].apply<F>(mbuf.get(), 0, packet.l3_length, net::FlowHasher{}(packet.key), 1));
  comes_out<F, V4>(mbuf, inner);
  FakeMbuf other(inner);
  check(outer_v6[static_cast<size_t>(kind)].apply<F>(other.get(), 0, packet.l3_length, net::FlowHasher{}(packet.key)));
  comes_out<F, V6>(other, inner);
}

template <class F>
bool parse(net::FlowPacket<F>& packet, bool checksum_known_good) {
  if (packet.mbuf->nb_segs == 1) {
    const std::vector<uint8_t> frame(packet.data(), packet.data() + packet.mbuf->data_len);
    check(test::wrong_about_plain<F>(frame, packet.l3, checksum_known_good) == nullptr);
  }
  if (net::parse_ip(packet, checksum_known_good) != DropReason::None) return false;
  check_parsed(packet);
  if (packet.icmp_error) read_quoted(packet);
  go_round(packet, encap::Kind::Vxlan);
  go_round(packet, encap::Kind::Ipip);
  return true;
}

template <class F>
void go_on(const net::Packet& outer, const FakeMbuf& mbuf, bool checksum_known_good);

template <class Outer>
void terminate(net::FlowPacket<Outer>& packet, const FakeMbuf& mbuf, bool checksum_known_good) {
  const std::vector<uint8_t> before = mbuf.bytes();
  const uint8_t earlier = packet.decapsulations;
  if (Outer::is_v4 && earlier == 0 && packet.mbuf->nb_segs == 1) {
    check(test::wrong_about_plain_inner(before, packet.l3, checksum_known_good, terminator()) == nullptr);
  }
  const encap::DecapResult result = encap::decapsulate(packet, terminator());
  check((result.what == encap::Decap::Dropped) == (result.reason != DropReason::None));
  check_segments(*packet.mbuf);
  if (result.what != encap::Decap::Stripped) {
    check(mbuf.bytes() == before && packet.decapsulations == earlier);
    return;
  }
  check(earlier == 0 && packet.decapsulations == 1 && packet.l3 == 0 && packet.tunnel_source == 1);
  check(net::ip_version(packet.data()) == static_cast<uint8_t>(result.inner));
  if (result.inner == net::Family::V4) {
    check(packet.mbuf->data_len >= net::ipv4_header_length);
    go_on<V4>(packet, mbuf, checksum_known_good);
  } else {
    check(packet.mbuf->data_len >= net::ipv6_header_length);
    go_on<V6>(packet, mbuf, checksum_known_good);
  }
}

template <class F>
void go_on(const net::Packet& outer, const FakeMbuf& mbuf, bool checksum_known_good) {
  net::FlowPacket<F> inner;
  static_cast<net::Packet&>(inner) = outer;
  if (parse(inner, checksum_known_good)) terminate(inner, mbuf, checksum_known_good);
}

void run(const uint8_t* data, size_t size) {
  if (size < net::ethernet_header_length + 1 || size > 9216) return;
  const std::vector<uint8_t> frame(data, data + size);
  const size_t cut = net::load_be16(data + 6) % (size + 1);
  const bool checksum_known_good = (data[8] & 1) == 0;

  const auto middle = cut == 0 ? frame.end() : frame.begin() + static_cast<ptrdiff_t>(cut);
  FakeMbuf mbuf({frame.begin(), middle});
  FakeMbuf tail({middle, frame.end()});
  if (middle != frame.end()) mbuf.chain(tail);
  if (mbuf->data_len <= net::ethernet_header_length) return;

  if (data[14] >> 4 == 4) {
    net::FlowPacket<V4> packet;
    packet.mbuf = mbuf.get();
    packet.l3 = net::ethernet_header_length;
    if (parse(packet, checksum_known_good)) terminate(packet, mbuf, checksum_known_good);
  } else {
    net::FlowPacket<V6> packet;
    packet.mbuf = mbuf.get();
    packet.l3 = net::ethernet_header_length;
    if (parse(packet, checksum_known_good)) terminate(packet, mbuf, checksum_known_good);
  }
}

}  // namespace
}  // namespace sluice

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sluice::run(data, size);
  return 0;
}

// Errors about translated packets. The expectation of every case is the error that a router would have sent about
// the packet as its sender sent it, built from nothing with DPDK's checksums, and compared byte by byte.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/net/headers.h"
#include "dataplane/net/parse.h"
#include "nat/icmp_error.h"
#include "nat/rewrite.h"

namespace sluice::nat {
namespace {

namespace protocol = net::protocol;
using net::DropReason;
using net::load;
using net::store;
using net::V4;
using net::V6;

using Bytes = std::vector<uint8_t>;

be16 port(uint16_t host) { return be16::from_host(host); }

template <class F>
constexpr size_t header_length = F::is_v4 ? 20 : 40;

template <class F>
typename F::Addr addr(const char* text) {
  return F::addr_of(*net::parse_ip(text));
}

// Who takes part.
template <class F>
struct Net;
template <>
struct Net<V4> {
  static constexpr const char* client = "203.0.113.2";
  static constexpr const char* vip = "10.96.7.7";
  static constexpr const char* backend = "10.244.34.5";
  static constexpr const char* gateway = "10.244.0.1";         // masquerade address
  static constexpr const char* inner_router = "192.168.77.1";  // between us and the backend
  static constexpr const char* outer_router = "198.51.100.9";  // between us and the client
};
template <>
struct Net<V6> {
  static constexpr const char* client = "2001:db8::2";
  static constexpr const char* vip = "fd00:96::7";
  static constexpr const char* backend = "fd00:244:34::5";
  static constexpr const char* gateway = "fd00:244::1";
  static constexpr const char* inner_router = "fd00:77::1";
  static constexpr const char* outer_router = "2001:db8:100::9";
};

template <class F>
void write_ip_header(uint8_t* l3, const typename F::Addr& src, const typename F::Addr& dst, uint8_t proto, uint8_t ttl,
                     size_t payload) {
  if constexpr (F::is_v4) {
    l3[0] = 0x45;
    l3[1] = 0x12;
    net::store_be16(l3 + 2, static_cast<uint16_t>(20 + payload));
    net::store_be16(l3 + 4, 0xbeef);
    net::store_be16(l3 + 6, net::ipv4_dont_fragment);
    l3[8] = ttl;
    l3[9] = proto;
    store(l3 + 12, src);
    store(l3 + 16, dst);
    store<uint16_t>(l3 + 10, 0);
    store(l3 + 10, rte_ipv4_cksum(reinterpret_cast<const rte_ipv4_hdr*>(l3)));
  } else {
    net::store_be32(l3, 0x61234567);
    net::store_be16(l3 + 4, static_cast<uint16_t>(payload));
    l3[6] = proto;
    l3[7] = ttl;
    store(l3 + 8, src);
    store(l3 + 24, dst);
  }
}

template <class F>
uint16_t l4_checksum(const uint8_t* l3, const uint8_t* l4) {
  if constexpr (F::is_v4) {
    return rte_ipv4_udptcp_cksum(reinterpret_cast<const rte_ipv4_hdr*>(l3), l4);
  } else {
    return rte_ipv6_udptcp_cksum(reinterpret_cast<const rte_ipv6_hdr*>(l3), l4);
  }
}

uint32_t crc32c(const uint8_t* data, size_t length) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < length; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
  }
  return ~crc;
}

// A valid packet with this key. An echo's key has the identifier as one of its ports.
template <class F>
Bytes build_packet(const FlowKey<F>& key, bool udp_checksum = true) {
  constexpr size_t l4_length = 20 + 37;
  Bytes packet(header_length<F> + l4_length);
  for (size_t i = 0; i < packet.size(); ++i) packet[i] = static_cast<uint8_t>(i * 7 + 3);
  write_ip_header<F>(packet.data(), key.src, key.dst, key.protocol, 1, l4_length);
  uint8_t* const l4 = packet.data() + header_length<F>;
  const auto checksum = [&](size_t at) {
    store<uint16_t>(l4 + at, 0);
    store(l4 + at, l4_checksum<F>(packet.data(), l4));
  };
  switch (key.protocol) {
    case protocol::icmp:
    case protocol::icmpv6: {
      const bool request = key.src_port.wire() != 0;
      l4[0] = key.protocol == protocol::icmp ? (request ? 8 : 0) : (request ? 128 : 129);
      l4[1] = 0;
      store(l4 + 4, request ? key.src_port.wire() : key.dst_port.wire());
      if (key.protocol == protocol::icmpv6) {
        checksum(2);
      } else {
        store<uint16_t>(l4 + 2, 0);
        store(l4 + 2, static_cast<uint16_t>(~rte_raw_cksum(l4, l4_length)));
      }
      break;
    }
    case protocol::tcp:
    case protocol::udp:
    case protocol::sctp:
      store(l4, key.src_port.wire());
      store(l4 + 2, key.dst_port.wire());
      if (key.protocol == protocol::tcp) checksum(16);
      if (key.protocol == protocol::udp) checksum(6);
      if (key.protocol == protocol::udp && !udp_checksum) store<uint16_t>(l4 + 6, 0);
      if (key.protocol == protocol::sctp) {
        store<uint32_t>(l4 + 8, 0);
        store(l4 + 8, crc32c(l4, l4_length));
      }
      break;
    default:
      break;
  }
  return packet;
}

template <class F>
void finish_icmp(Bytes& message) {
  uint8_t* const icmp = message.data() + header_length<F>;
  store<uint16_t>(icmp + 2, 0);
  const auto checksum = F::is_v4 ? static_cast<uint16_t>(~rte_raw_cksum(icmp, message.size() - 20))
                                 : l4_checksum<F>(message.data(), icmp);
  store(icmp + 2, checksum);
}

struct Error {
  uint8_t type;
  uint8_t code;
  uint32_t rest = 0;     // the second word of the ICMP header, host byte order
  size_t quoted = 9999;  // bytes of the quoted packet that are there
  Bytes behind = {};     // what follows it: padding, extension objects
};

template <class F>
Bytes build_error(const typename F::Addr& src, const typename F::Addr& dst, const Error& error, const Bytes& about) {
  const size_t quoted = std::min(error.quoted, about.size());
  Bytes message(header_length<F> + 8);
  message.insert(message.end(), about.begin(), about.begin() + static_cast<std::ptrdiff_t>(quoted));
  message.insert(message.end(), error.behind.begin(), error.behind.end());
  write_ip_header<F>(message.data(), src, dst, F::is_v4 ? protocol::icmp : protocol::icmpv6, 60,
                     message.size() - header_length<F>);
  uint8_t* const icmp = message.data() + header_length<F>;
  icmp[0] = error.type;
  icmp[1] = error.code;
  net::store_be32(icmp + 4, error.rest);
  finish_icmp<F>(message);
  return message;
}

template <class F>
struct OneWay {
  FlowKey<F> key;
  Rewrite<F> rewrite;
};

template <class F>
struct Connected {
  OneWay<F> original;
  OneWay<F> reply;
};

// client:port to the virtual address, translated to the backend; with `masquerade` the source, too.
template <class F>
Connected<F> service_flow(uint8_t proto, bool masquerade) {
  Connected<F> flow;
  const FlowKey<F> key{addr<F>(Net<F>::client), addr<F>(Net<F>::vip), port(40000), port(80), proto, {}};
  flow.original.key = key;
  flow.original.rewrite =
      make_rewrite<F>(key, masquerade ? addr<F>(Net<F>::gateway) : key.src, addr<F>(Net<F>::backend),
                      masquerade ? port(50123) : key.src_port, port(8080));
  flow.reply.key = rewritten_key(key, flow.original.rewrite).reversed();
  flow.reply.rewrite = make_rewrite<F>(flow.reply.key, key.dst, key.src, key.dst_port, key.src_port);
  return flow;
}

// The backend as a client of somebody outside, masqueraded (natOutgoing). The "port" of an echo is its identifier.
template <class F>
Connected<F> outgoing_flow(uint8_t proto) {
  Connected<F> flow;
  const bool echo = proto == protocol::icmp || proto == protocol::icmpv6;
  const FlowKey<F> key{addr<F>(Net<F>::backend), addr<F>(Net<F>::client), port(40000), port(echo ? 0 : 443), proto, {}};
  flow.original.key = key;
  flow.original.rewrite = make_rewrite<F>(key, addr<F>(Net<F>::gateway), key.dst, port(50123), key.dst_port);
  flow.reply.key = rewritten_key(key, flow.original.rewrite).reversed();
  flow.reply.rewrite = make_rewrite<F>(flow.reply.key, key.dst, key.src, key.dst_port, key.src_port);
  return flow;
}

template <class F>
DropReason translate(Bytes& message, const OneWay<F>& reverse, bool source_as_vip = true) {
  return translate_error<F>(message.data(), static_cast<uint16_t>(message.size()), header_length<F>, reverse.key,
                            reverse.rewrite, source_as_vip);
}

// `about`: the direction whose packet, translated, is quoted; `reverse`: the opposite one. The error comes from
// `sender` and shall leave with `seen_as`.
template <class F>
void expect_translated(const OneWay<F>& about, const OneWay<F>& reverse, const char* sender, const char* seen_as,
                       const Error& error, bool source_as_vip = true, bool udp_checksum = true) {
  const FlowKey<F> sent = about.key;
  const FlowKey<F> forwarded = rewritten_key(sent, about.rewrite);
  // What the caller looks up.
  ASSERT_EQ(forwarded.reversed(), reverse.key);

  Bytes message = build_error<F>(addr<F>(sender), forwarded.src, error, build_packet<F>(forwarded, udp_checksum));
  const Bytes expected = build_error<F>(addr<F>(seen_as), sent.src, error, build_packet<F>(sent, udp_checksum));
  ASSERT_EQ(translate<F>(message, reverse, source_as_vip), DropReason::None);
  EXPECT_EQ(message, expected);
}

template <class F>
Error time_exceeded() {
  return {F::is_v4 ? net::icmpv4::time_exceeded : net::icmpv6::time_exceeded, 0};
}
template <class F>
Error port_unreachable() {
  return F::is_v4 ? Error{net::icmpv4::unreachable, net::icmpv4::code_port}
                  : Error{net::icmpv6::unreachable, net::icmpv6::code_port};
}
template <class F>
Error too_big(uint16_t mtu) {
  return F::is_v4 ? Error{net::icmpv4::unreachable, net::icmpv4::code_fragmentation_needed, mtu}
                  : Error{net::icmpv6::packet_too_big, 0, mtu};
}

template <class F>
class IcmpError : public ::testing::Test {};
struct FamilyNames {
  template <class F>
  static std::string GetName(int) {  // NOLINT(readability-identifier-naming): GoogleTest's name
    return F::is_v4 ? "V4" : "V6";
  }
};
using Families = ::testing::Types<V4, V6>;
TYPED_TEST_SUITE(IcmpError, Families, FamilyNames);

constexpr uint8_t transports[] = {protocol::tcp, protocol::udp, protocol::sctp};

TYPED_TEST(IcmpError, ICMP1_ICMP2a_FromBehindUsAboutTheClientsPacket) {
  using F = TypeParam;
  for (const uint8_t proto : transports) {
    for (const bool masquerade : {false, true}) {
      const auto flow = service_flow<F>(proto, masquerade);
      for (const Error& error : {port_unreachable<F>(), time_exceeded<F>(), too_big<F>(1400)}) {
        for (const char* sender : {Net<F>::backend, Net<F>::inner_router}) {
          expect_translated<F>(flow.original, flow.reply, sender, Net<F>::vip, error);
        }
      }
    }
  }
}

TYPED_TEST(IcmpError, ICMP2a_OptionKeepsTheOriginalSender) {
  using F = TypeParam;
  const auto flow = service_flow<F>(protocol::tcp, true);
  expect_translated<F>(flow.original, flow.reply, Net<F>::inner_router, Net<F>::inner_router, time_exceeded<F>(),
                       false);
  // The endpoint's own error is translated like everything it sends.
  expect_translated<F>(flow.original, flow.reply, Net<F>::backend, Net<F>::vip, port_unreachable<F>(), false);
}

TYPED_TEST(IcmpError, ICMP2b_FromTheClientSideAboutTheReply) {
  using F = TypeParam;
  for (const uint8_t proto : transports) {
    const auto flow = service_flow<F>(proto, false);
    for (const bool source_as_vip : {false, true}) {
      // The client's address means the same on both sides, so a router in front of it stays visible.
      expect_translated<F>(flow.reply, flow.original, Net<F>::outer_router, Net<F>::outer_router, too_big<F>(1300),
                           source_as_vip);
      expect_translated<F>(flow.reply, flow.original, Net<F>::client, Net<F>::client, port_unreachable<F>(),
                           source_as_vip);
    }
  }
}

TYPED_TEST(IcmpError, ICMP2b_FromTheClientSideOfAMasqueradedFlow) {
  using F = TypeParam;
  const auto flow = service_flow<F>(protocol::udp, true);
  // The backend knows the client as the gateway.
  expect_translated<F>(flow.reply, flow.original, Net<F>::outer_router, Net<F>::gateway, too_big<F>(1300));
  expect_translated<F>(flow.reply, flow.original, Net<F>::outer_router, Net<F>::outer_router, too_big<F>(1300), false);
  expect_translated<F>(flow.reply, flow.original, Net<F>::client, Net<F>::gateway, port_unreachable<F>(), false);
}

// Whether a quote of so many L4 bytes ends inside the checksum field.
bool cuts_checksum(uint8_t proto, size_t bytes) {
  return (proto == protocol::tcp && bytes == 17) || (proto == protocol::sctp && bytes > 8 && bytes < 12);
}

TYPED_TEST(IcmpError, ICMP3_EightBytesOfTcp) {
  using F = TypeParam;
  const auto flow = service_flow<F>(protocol::tcp, true);
  // At 18 bytes the checksum is there, below it is not.
  for (size_t bytes = 8; bytes < 24; ++bytes) {
    if (cuts_checksum(protocol::tcp, bytes)) continue;
    Error error = time_exceeded<F>();
    error.quoted = header_length<F> + bytes;
    expect_translated<F>(flow.original, flow.reply, Net<F>::backend, Net<F>::vip, error);
    expect_translated<F>(flow.reply, flow.original, Net<F>::client, Net<F>::gateway, error);
  }
}

TYPED_TEST(IcmpError, ICMP3_QuoteOfAnyLength) {
  using F = TypeParam;
  for (const uint8_t proto : transports) {
    const auto flow = service_flow<F>(proto, true);
    for (size_t bytes = 8; bytes <= 57; ++bytes) {
      if (cuts_checksum(proto, bytes)) continue;
      Error error = port_unreachable<F>();
      error.quoted = header_length<F> + bytes;
      expect_translated<F>(flow.original, flow.reply, Net<F>::inner_router, Net<F>::vip, error);
    }
  }
}

TYPED_TEST(IcmpError, ICMP3_PartOfAChecksumIsLeftAlone) {
  using F = TypeParam;
  for (const uint8_t proto : transports) {
    const auto flow = service_flow<F>(proto, true);
    for (size_t bytes = 8; bytes < 18; ++bytes) {
      if (!cuts_checksum(proto, bytes)) continue;
      Error error = time_exceeded<F>();
      error.quoted = header_length<F> + bytes;
      const Bytes before = build_packet<F>(rewritten_key(flow.original.key, flow.original.rewrite));
      Bytes message = build_error<F>(addr<F>(Net<F>::backend), flow.original.rewrite.src, error, before);
      ASSERT_EQ(translate<F>(message, flow.reply), DropReason::None);
      // Ports as they were sent, the rest of what is there as it came; and the message's checksum is right.
      const auto cut = static_cast<std::ptrdiff_t>(header_length<F>);
      EXPECT_TRUE(std::equal(message.begin() + 2 * cut + 8 + 4, message.end(), before.begin() + cut + 4));
      EXPECT_EQ(load<uint16_t>(message.data() + 2 * header_length<F> + 8), flow.original.key.src_port.wire());
      const Bytes left = message;
      finish_icmp<F>(message);
      EXPECT_EQ(message, left);
    }
  }
}

TYPED_TEST(IcmpError, ICMP3_UdpWithoutChecksumStaysWithout) {
  using F = TypeParam;
  const auto flow = service_flow<F>(protocol::udp, true);
  expect_translated<F>(flow.original, flow.reply, Net<F>::backend, Net<F>::vip, port_unreachable<F>(), true, false);
}

// VPP test_cnat: error type 11 from a backend about a packet client to backend.
TEST(IcmpErrorFacts, ICMP4_TimeExceededOfABackend) {
  const auto flow = service_flow<V4>(protocol::udp, false);
  const FlowKey<V4> forwarded = rewritten_key(flow.original.key, flow.original.rewrite);
  Bytes message = build_error<V4>(addr<V4>(Net<V4>::backend), forwarded.src, {11, 0}, build_packet<V4>(forwarded));
  ASSERT_EQ(translate<V4>(message, flow.reply), DropReason::None);

  EXPECT_EQ(net::IpHeader<V4>::source(message.data()), addr<V4>(Net<V4>::vip));
  EXPECT_EQ(net::IpHeader<V4>::destination(message.data()), addr<V4>(Net<V4>::client));
  EXPECT_EQ(message[20], 11);
  FlowKey<V4> quoted;
  uint16_t l4 = 0;
  ASSERT_TRUE(net::parse_quoted<V4>(message.data() + 28, static_cast<uint16_t>(message.size() - 28), quoted, l4));
  EXPECT_EQ(quoted, flow.original.key);
  EXPECT_EQ(rte_raw_cksum(message.data(), 20), 0xffff);
  EXPECT_EQ(rte_raw_cksum(message.data() + 20, message.size() - 20), 0xffff);
  EXPECT_EQ(rte_raw_cksum(message.data() + 28, 20), 0xffff);
  EXPECT_EQ(Bytes(message.begin() + 28, message.end()), build_packet<V4>(flow.original.key));
}

TYPED_TEST(IcmpError, ICMP6_MasqueradedFlowGetsItsSourceBack) {
  using F = TypeParam;
  const uint8_t echo = F::is_v4 ? protocol::icmp : protocol::icmpv6;
  for (const uint8_t proto : {protocol::tcp, protocol::udp, protocol::sctp, echo}) {
    const auto flow = outgoing_flow<F>(proto);
    // Traceroute: the routers outside stay visible, with either option.
    for (const bool source_as_vip : {false, true}) {
      expect_translated<F>(flow.original, flow.reply, Net<F>::outer_router, Net<F>::outer_router, time_exceeded<F>(),
                           source_as_vip);
      expect_translated<F>(flow.original, flow.reply, Net<F>::client, Net<F>::client, port_unreachable<F>(),
                           source_as_vip);
    }
    // From inside, about the reply (RFC 5508 REQ-5).
    expect_translated<F>(flow.reply, flow.original, Net<F>::inner_router, Net<F>::gateway, too_big<F>(1400));
    expect_translated<F>(flow.reply, flow.original, Net<F>::backend, Net<F>::gateway, port_unreachable<F>(), false);
  }
}

TYPED_TEST(IcmpError, ICMP11_QuotedEchoIdentifier) {
  using F = TypeParam;
  const auto flow = outgoing_flow<F>(F::is_v4 ? protocol::icmp : protocol::icmpv6);
  Error error = time_exceeded<F>();
  error.quoted = header_length<F> + 8;
  expect_translated<F>(flow.original, flow.reply, Net<F>::outer_router, Net<F>::outer_router, error);
  expect_translated<F>(flow.reply, flow.original, Net<F>::inner_router, Net<F>::gateway, error);
}

TYPED_TEST(IcmpError, CT37_OtherProtocolsByAddress) {
  using F = TypeParam;
  constexpr uint8_t esp = 50;
  auto flow = outgoing_flow<F>(esp);
  flow.original.key.src_port = flow.original.key.dst_port = {};
  const auto& key = flow.original.key;
  flow.original.rewrite = make_rewrite<F>(key, addr<F>(Net<F>::gateway), key.dst, {}, {});
  flow.reply.key = rewritten_key(key, flow.original.rewrite).reversed();
  flow.reply.rewrite = make_rewrite<F>(flow.reply.key, key.dst, key.src, {}, {});
  expect_translated<F>(flow.original, flow.reply, Net<F>::outer_router, Net<F>::outer_router, time_exceeded<F>());
}

// RFC 4884: the quote is padded to 128 bytes, its length stands in the header, extension objects follow.
TYPED_TEST(IcmpError, RFC4884_PaddingAndExtensionsStayUntouched) {
  using F = TypeParam;
  for (const uint8_t proto : transports) {
    const auto flow = service_flow<F>(proto, true);
    Error error = time_exceeded<F>();
    const size_t quoted = header_length<F> + 57;
    error.rest = F::is_v4 ? 128 / 4 << 16 : 128u / 8 << 24;
    error.behind.assign(128 - quoted, 0);
    // Version 2, checksum, one MPLS object: and an odd end.
    const Bytes extension{0x20, 0, 0xab, 0xcd, 0, 8, 1, 1, 0x12, 0x34, 0x51, 0xff, 0x99};
    error.behind.insert(error.behind.end(), extension.begin(), extension.end());
    expect_translated<F>(flow.original, flow.reply, Net<F>::inner_router, Net<F>::vip, error);
  }
}

// A short quote directly before the extension: what looks like the TCP checksum is not.
TYPED_TEST(IcmpError, RFC4884_LengthAttributeEndsTheQuote) {
  using F = TypeParam;
  const auto flow = service_flow<F>(protocol::tcp, true);
  Error error = time_exceeded<F>();
  error.quoted = header_length<F> + 8;
  error.rest = F::is_v4 ? 28 / 4 << 16 : 48u / 8 << 24;
  error.behind = {0x20, 0, 0xab, 0xcd, 0, 8, 1, 1, 0x12, 0x34, 0x51, 0xff};
  expect_translated<F>(flow.original, flow.reply, Net<F>::inner_router, Net<F>::vip, error);
}

// Whatever is refused is left as it was.
template <class F>
void expect_refused(Bytes message, const OneWay<F>& reverse, DropReason reason) {
  const Bytes before = message;
  EXPECT_EQ(translate<F>(message, reverse), reason);
  EXPECT_EQ(message, before);
}

template <class F>
Bytes error_to_refuse(const Connected<F>& flow, const Error& error = time_exceeded<F>()) {
  const FlowKey<F> forwarded = rewritten_key(flow.original.key, flow.original.rewrite);
  return build_error<F>(addr<F>(Net<F>::inner_router), forwarded.src, error, build_packet<F>(forwarded));
}

TYPED_TEST(IcmpError, RFC5508_REQ3_WrongChecksumIsRefused) {
  using F = TypeParam;
  const auto flow = service_flow<F>(protocol::tcp, true);
  Bytes message = error_to_refuse(flow);
  message.back() ^= 1;
  expect_refused<F>(message, flow.reply, DropReason::IcmpBadChecksum);
  // ICMPv6 sees a wrong address in its pseudo header.
  if (!F::is_v4) {
    message = error_to_refuse(flow);
    message[8 + 15] ^= 1;
    expect_refused<F>(message, flow.reply, DropReason::IcmpBadChecksum);
  }
}

TEST(IcmpErrorFacts, RFC5508_REQ3_WrongQuotedHeaderChecksumIsRefused) {
  const auto flow = service_flow<V4>(protocol::tcp, true);
  Bytes message = error_to_refuse(flow);
  message[28 + 8] ^= 1;
  finish_icmp<V4>(message);
  expect_refused<V4>(message, flow.reply, DropReason::IcmpBadChecksum);
}

TEST(IcmpErrorFacts, RFC5508_REQ3_OptionsOfTheQuotedPacketAreSteppedOver) {
  const auto flow = service_flow<V4>(protocol::tcp, true);
  // Router alert between the header and TCP.
  const auto with_option = [](Bytes packet) {
    packet.insert(packet.begin() + 20, {0x94, 0x04, 0, 0});
    packet[0] = 0x46;
    net::store_be16(packet.data() + 2, static_cast<uint16_t>(packet.size()));
    store<uint16_t>(packet.data() + 10, 0);
    store(packet.data() + 10, static_cast<uint16_t>(~rte_raw_cksum(packet.data(), 24)));
    return packet;
  };
  const FlowKey<V4> forwarded = rewritten_key(flow.original.key, flow.original.rewrite);
  Bytes message =
      build_error<V4>(addr<V4>(Net<V4>::backend), forwarded.src, {11, 0}, with_option(build_packet<V4>(forwarded)));
  ASSERT_EQ(translate<V4>(message, flow.reply), DropReason::None);
  EXPECT_EQ(message, build_error<V4>(addr<V4>(Net<V4>::vip), addr<V4>(Net<V4>::client), {11, 0},
                                     with_option(build_packet<V4>(flow.original.key))));
}

TYPED_TEST(IcmpError, ICMP3_WhatIsNotAboutTheFlowIsRefused) {
  using F = TypeParam;
  const auto flow = service_flow<F>(protocol::tcp, true);
  const auto other = service_flow<F>(protocol::udp, true);
  expect_refused<F>(error_to_refuse(flow), other.reply, DropReason::IcmpMalformed);
  expect_refused<F>(error_to_refuse(flow), flow.original, DropReason::IcmpMalformed);
  // No error at all.
  expect_refused<F>(error_to_refuse(flow, {F::is_v4 ? net::icmpv4::echo_request : net::icmpv6::echo_request, 0}),
                    flow.reply, DropReason::IcmpMalformed);
  // Not for the sender of what it quotes.
  const FlowKey<F> forwarded = rewritten_key(flow.original.key, flow.original.rewrite);
  expect_refused<F>(build_error<F>(addr<F>(Net<F>::inner_router), addr<F>(Net<F>::outer_router), time_exceeded<F>(),
                                   build_packet<F>(forwarded)),
                    flow.reply, DropReason::IcmpMalformed);
}

TYPED_TEST(IcmpError, ICMP3_TooShortIsRefused) {
  using F = TypeParam;
  const auto flow = service_flow<F>(protocol::tcp, true);
  for (size_t quoted = 0; quoted < header_length<F> + 8; ++quoted) {
    Error error = time_exceeded<F>();
    error.quoted = quoted;
    expect_refused<F>(error_to_refuse(flow, error), flow.reply, DropReason::IcmpMalformed);
  }
  Bytes message = error_to_refuse(flow);
  for (uint16_t length = 0; length < header_length<F> + 8; ++length) {
    EXPECT_EQ(translate_error<F>(message.data(), length, header_length<F>, flow.reply.key, flow.reply.rewrite, true),
              DropReason::IcmpMalformed);
  }
}

TEST(IcmpErrorFacts, RFC8200_ExtensionHeadersOfTheQuotedPacketAreSteppedOver) {
  const auto flow = service_flow<V6>(protocol::udp, true);
  // Destination options, padded.
  const auto with_options = [](Bytes packet) {
    packet.insert(packet.begin() + 40, {packet[6], 0, 1, 4, 0, 0, 0, 0});
    packet[6] = protocol::destination_options;
    net::store_be16(packet.data() + 4, static_cast<uint16_t>(packet.size() - 40));
    return packet;
  };
  const FlowKey<V6> forwarded = rewritten_key(flow.original.key, flow.original.rewrite);
  Bytes message = build_error<V6>(addr<V6>(Net<V6>::inner_router), forwarded.src, too_big<V6>(1280),
                                  with_options(build_packet<V6>(forwarded)));
  ASSERT_EQ(translate<V6>(message, flow.reply), DropReason::None);
  EXPECT_EQ(message, build_error<V6>(addr<V6>(Net<V6>::vip), addr<V6>(Net<V6>::client), too_big<V6>(1280),
                                     with_options(build_packet<V6>(flow.original.key))));
}

TYPED_TEST(IcmpError, ICMP1_UntranslatedFlowPassesUnchanged) {
  using F = TypeParam;
  Connected<F> flow;
  const FlowKey<F> key{addr<F>(Net<F>::client), addr<F>(Net<F>::backend), port(40000), port(80), protocol::tcp, {}};
  flow.original.key = key;
  flow.original.rewrite = make_rewrite<F>(key, key.src, key.dst, key.src_port, key.dst_port);
  flow.reply.key = key.reversed();
  flow.reply.rewrite = make_rewrite<F>(flow.reply.key, key.dst, key.src, key.dst_port, key.src_port);
  expect_translated<F>(flow.original, flow.reply, Net<F>::inner_router, Net<F>::inner_router, too_big<F>(1400));
}

}  // namespace
}  // namespace sluice::nat

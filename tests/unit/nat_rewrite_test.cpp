// Rewritten packets against full recomputation: DPDK's checksum functions, and a bit-by-bit CRC32c for SCTP.
#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "nat/rewrite.h"

namespace sluice::nat {
namespace {

namespace protocol = net::protocol;
using net::load;
using net::store;
using net::V4;
using net::V6;

constexpr uint8_t gre = 47;

// RFC 9260 appendix A, one bit at a time.
uint32_t crc32c(const uint8_t* data, size_t length) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < length; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
  }
  return ~crc;
}

template <class F>
constexpr size_t header_length = F::is_v4 ? 20 : 40;

// Bytes of a packet and where its parts are. A tail that no checksum may cover stands behind it.
template <class F>
struct Bytes {
  std::vector<uint8_t> data;
  size_t l4_length = 0;
  uint8_t protocol = 0;

  static constexpr size_t trailer = 6;
  uint8_t* l3() { return data.data(); }
  uint8_t* l4() { return data.data() + header_length<F>; }

  size_t checksum_offset() const {
    switch (protocol) {
      case protocol::tcp:
        return 16;
      case protocol::udp:
        return 6;
      case protocol::sctp:
        return 8;
      default:
        return 2;
    }
  }

  // What a checksum over the whole packet is, whatever stands in the field.
  void recompute() {
    if constexpr (F::is_v4) {
      store<uint16_t>(l3() + 10, 0);
      store(l3() + 10, rte_ipv4_cksum(reinterpret_cast<const rte_ipv4_hdr*>(l3())));
    }
    uint8_t* const field = l4() + checksum_offset();
    switch (protocol) {
      case protocol::tcp:
      case protocol::udp:
      case protocol::icmpv6:
        store<uint16_t>(field, 0);
        if constexpr (F::is_v4) {
          store(field, rte_ipv4_udptcp_cksum(reinterpret_cast<const rte_ipv4_hdr*>(l3()), l4()));
        } else {
          store(field, rte_ipv6_udptcp_cksum(reinterpret_cast<const rte_ipv6_hdr*>(l3()), l4()));
        }
        break;
      case protocol::icmp:
        store<uint16_t>(field, 0);
        store(field, static_cast<uint16_t>(~rte_raw_cksum(l4(), l4_length)));
        break;
      case protocol::sctp:
        store<uint32_t>(field, 0);
        store(field, crc32c(l4(), l4_length));
        break;
      default:
        break;
    }
  }
};

class Source {
 public:
  explicit Source(uint64_t seed) : random_(seed) {}
  uint64_t number() { return random_(); }
  be16 port() { return be16::from_wire(static_cast<uint16_t>(random_())); }
  template <class F>
  typename F::Addr addr() {
    typename F::Addr result;
    for (size_t at = 0; at < sizeof result; at += 4) {
      store(reinterpret_cast<uint8_t*>(&result) + at, static_cast<uint32_t>(random_()));
    }
    return result;
  }

  // A valid packet with random content.
  template <class F>
  Bytes<F> packet(uint8_t proto, uint8_t icmp_type, size_t payload) {
    Bytes<F> packet;
    packet.protocol = proto;
    packet.l4_length = 20 + payload;
    packet.data.resize(header_length<F> + packet.l4_length + Bytes<F>::trailer);
    for (uint8_t& byte : packet.data) byte = static_cast<uint8_t>(random_());
    uint8_t* const l3 = packet.l3();
    if constexpr (F::is_v4) {
      l3[0] = 0x45;
      net::store_be16(l3 + 2, static_cast<uint16_t>(20 + packet.l4_length));
      net::store_be16(l3 + 6, 0);
      l3[9] = proto;
    } else {
      l3[0] = 0x60;
      net::store_be16(l3 + 4, static_cast<uint16_t>(packet.l4_length));
      l3[6] = proto;
    }
    if (proto == protocol::icmp || proto == protocol::icmpv6) packet.l4()[0] = icmp_type;
    packet.recompute();
    return packet;
  }

 private:
  std::mt19937_64 random_;
};

bool is_request(uint8_t proto, uint8_t type) { return type == (proto == protocol::icmp ? 8 : 128); }
bool is_reply(uint8_t proto, uint8_t type) { return type == (proto == protocol::icmp ? 0 : 129); }

template <class F>
FlowKey<F> key_of(Bytes<F>& packet) {
  FlowKey<F> key{
      net::IpHeader<F>::source(packet.l3()), net::IpHeader<F>::destination(packet.l3()), {}, {}, packet.protocol, {}};
  const uint8_t* const l4 = packet.l4();
  const uint8_t proto = packet.protocol;
  if (proto == protocol::tcp || proto == protocol::udp || proto == protocol::sctp) {
    key.src_port = be16::from_wire(load<uint16_t>(l4));
    key.dst_port = be16::from_wire(load<uint16_t>(l4 + 2));
  } else if (proto == protocol::icmp || proto == protocol::icmpv6) {
    if (is_request(proto, l4[0])) key.src_port = be16::from_wire(load<uint16_t>(l4 + 4));
    if (is_reply(proto, l4[0])) key.dst_port = be16::from_wire(load<uint16_t>(l4 + 4));
    if (!is_request(proto, l4[0]) && !is_reply(proto, l4[0])) key.dst_port = be16::from_wire(load<uint16_t>(l4));
  }
  return key;
}

// Some or all fields new; only those that the packet has.
template <class F>
Rewrite<F> random_rewrite(Source& source, const FlowKey<F>& key, bool ports, bool src_port, bool dst_port) {
  const uint64_t choice = source.number();
  return make_rewrite<F>(key, (choice & 1) != 0 ? source.addr<F>() : key.src,
                         (choice & 2) != 0 ? source.addr<F>() : key.dst,
                         ports && src_port && (choice & 4) != 0 ? source.port() : key.src_port,
                         ports && dst_port && (choice & 8) != 0 ? source.port() : key.dst_port);
}

// The packet with the rewrite's fields written by hand and all checksums computed anew.
template <class F>
Bytes<F> expected(Bytes<F> packet, const Rewrite<F>& rewrite) {
  std::memcpy(packet.l3() + (F::is_v4 ? 12 : 8), &rewrite.src, sizeof rewrite.src);
  std::memcpy(packet.l3() + (F::is_v4 ? 16 : 24), &rewrite.dst, sizeof rewrite.dst);
  uint8_t* const l4 = packet.l4();
  const uint8_t proto = packet.protocol;
  if (proto == protocol::tcp || proto == protocol::udp || proto == protocol::sctp) {
    store(l4, rewrite.src_port.wire());
    store(l4 + 2, rewrite.dst_port.wire());
  } else if (proto == protocol::icmp || proto == protocol::icmpv6) {
    if (is_request(proto, l4[0])) store(l4 + 4, rewrite.src_port.wire());
    if (is_reply(proto, l4[0])) store(l4 + 4, rewrite.dst_port.wire());
  }
  packet.recompute();
  return packet;
}

struct Case {
  const char* name;
  uint8_t protocol;
  uint8_t icmp_type;
  bool src_port;
  bool dst_port;
};
constexpr Case cases[] = {
    {"CSUM3_Tcp", protocol::tcp, 0, true, true},
    {"CSUM3_Udp", protocol::udp, 0, true, true},
    {"SVC97_Sctp", protocol::sctp, 0, true, true},
    {"CSUM3_MASQ12_EchoRequest", protocol::icmp, 8, true, false},
    {"CSUM3_MASQ12_EchoReply", protocol::icmp, 0, false, true},
    {"CSUM3_Timestamp", protocol::icmp, 13, false, false},
    {"CSUM3_MASQ12_EchoRequestV6", protocol::icmpv6, 128, true, false},
    {"CSUM3_MASQ12_EchoReplyV6", protocol::icmpv6, 129, false, true},
    {"CSUM3_NodeInformationV6", protocol::icmpv6, 139, false, false},
    {"CT37_Gre", gre, 0, false, false},
    {"CT37_UdpLite", 136, 0, false, false},
};

class RewriteOf : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Protocols, RewriteOf, ::testing::ValuesIn(cases),
                         [](const auto& info) { return std::string(info.param.name); });

template <class F>
void compare_with_recomputation(const Case& each) {
  Source source(each.protocol * 256u + each.icmp_type);
  for (int round = 0; round < 3000; ++round) {
    const Bytes<F> before = source.packet<F>(each.protocol, each.icmp_type, source.number() % 1440);
    Bytes<F> packet = before;
    const FlowKey<F> key = key_of(packet);
    const auto rewrite = random_rewrite(source, key, true, each.src_port, each.dst_port);
    apply(rewrite, packet.l3(), packet.l4(), each.protocol);
    ASSERT_EQ(packet.data, expected(before, rewrite).data) << round;

    // MASQ-14: the other direction's rewrite, made from this one alone, undoes it.
    const FlowKey<F> out = rewritten_key(key, rewrite);
    ASSERT_EQ(out.protocol, key.protocol);
    const auto undo = make_rewrite<F>(out, key.src, key.dst, key.src_port, key.dst_port);
    apply(undo, packet.l3(), packet.l4(), each.protocol);
    ASSERT_EQ(packet.data, before.data) << round;
  }
}

TEST_P(RewriteOf, EqualsFullRecomputationV4) { compare_with_recomputation<V4>(GetParam()); }
TEST_P(RewriteOf, EqualsFullRecomputationV6) { compare_with_recomputation<V6>(GetParam()); }

template <class F>
void compare_with_one_hop_less(const Case& each) {
  Source source(each.protocol * 256u + each.icmp_type + 1);
  constexpr size_t ttl = F::is_v4 ? 8 : 7;
  for (int round = 0; round < 3000; ++round) {
    Bytes<F> packet = source.packet<F>(each.protocol, each.icmp_type, source.number() % 100);
    packet.l3()[ttl] |= 1;
    packet.recompute();
    const FlowKey<F> key = key_of(packet);
    const auto rewrite = random_rewrite(source, key, true, each.src_port, each.dst_port);
    Bytes<F> hand_made = packet;
    --hand_made.l3()[ttl];
    Flow<F> flow;
    flow.key = key;
    flow.l3 = rewrite.l3;
    flow.l4 = rewrite.l4;
    if (flow.keeps_numbers()) {
      flow.end = {};
      apply_tcp_and_decrement_ttl(flow, rewritten_key(key, rewrite).reversed(), packet.l3(), packet.l4());
    } else {
      flow.tuple = rewrite;
      apply_and_decrement_ttl(flow, packet.l3(), packet.l4(), each.protocol);
    }
    ASSERT_EQ(packet.data, expected(hand_made, rewrite).data) << round;
  }
}

TEST_P(RewriteOf, TTL1_WithOneHopLessEqualsRecomputationV4) { compare_with_one_hop_less<V4>(GetParam()); }
TEST_P(RewriteOf, TTL1_WithOneHopLessEqualsRecomputationV6) { compare_with_one_hop_less<V6>(GetParam()); }

template <class F>
void wrong_checksum_stays_wrong(const Case& each) {
  Source source(7);
  Bytes<F> packet = source.packet<F>(each.protocol, each.icmp_type, 64);
  const FlowKey<F> key = key_of(packet);
  const auto rewrite =
      make_rewrite<F>(key, source.addr<F>(), source.addr<F>(), each.src_port ? source.port() : key.src_port,
                      each.dst_port ? source.port() : key.dst_port);
  packet.l4()[30] ^= 0x10;
  apply(rewrite, packet.l3(), packet.l4(), each.protocol);
  Bytes<F> right = packet;
  right.recompute();
  EXPECT_NE(packet.data, right.data);
}

// Those with a checksum over the payload.
class ChecksummedRewriteOf : public RewriteOf {};
INSTANTIATE_TEST_SUITE_P(Protocols, ChecksummedRewriteOf, ::testing::ValuesIn(cases, cases + 9),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(ChecksummedRewriteOf, CSUM1_WrongChecksumStaysWrong) {
  wrong_checksum_stays_wrong<V4>(GetParam());
  wrong_checksum_stays_wrong<V6>(GetParam());
}

TEST_P(RewriteOf, FRAG1_LaterFragmentsChangeOnlyInTheIpHeader) {
  Source source(11);
  const Bytes<V4> before = source.packet<V4>(GetParam().protocol, GetParam().icmp_type, 100);
  Bytes<V4> packet = before;
  const FlowKey<V4> key = key_of(packet);
  const auto rewrite = make_rewrite<V4>(key, source.addr<V4>(), source.addr<V4>(), key.src_port, key.dst_port);
  apply(rewrite, packet.l3(), nullptr, GetParam().protocol);
  EXPECT_TRUE(std::equal(packet.data.begin() + 20, packet.data.end(), before.data.begin() + 20));
  EXPECT_EQ(rte_raw_cksum(packet.l3(), 20), 0xffff);
  EXPECT_EQ(net::IpHeader<V4>::source(packet.l3()), rewrite.src);
  EXPECT_EQ(net::IpHeader<V4>::destination(packet.l3()), rewrite.dst);
}

template <class F>
void expect_no_checksum() {
  Source source(1);
  Bytes<F> packet = source.packet<F>(protocol::udp, 0, 33);
  store<uint16_t>(packet.l4() + 6, 0);
  const auto rewrite = random_rewrite(source, key_of(packet), true, true, true);
  apply(rewrite, packet.l3(), packet.l4(), protocol::udp);
  EXPECT_EQ(load<uint16_t>(packet.l4() + 6), 0);
  EXPECT_EQ(load<uint16_t>(packet.l4()), rewrite.src_port.wire());
}

// In IPv6 it is for the receiver to refuse (RFC 8200 section 8.1), and where it does not, it has agreed (RFC 6936).
TEST(Rewrite, CT36_CSUM2_UdpWithoutChecksumStaysWithout) {
  expect_no_checksum<V4>();
  expect_no_checksum<V6>();
}

// A packet whose checksum after translation is computed as 0: UDP sends ffff, TCP 0.
template <class F>
uint16_t checksum_that_becomes_zero(uint8_t proto) {
  Source source(proto);
  Bytes<F> packet = source.packet<F>(proto, 0, 32);
  const FlowKey<F> key = key_of(packet);
  const auto rewrite = make_rewrite<F>(key, source.addr<F>(), source.addr<F>(), source.port(), source.port());
  // Adding the checksum of the translated packet to a word of its payload leaves nothing to complement.
  Bytes<F> translated = expected(packet, rewrite);
  const auto checksum = load<uint16_t>(translated.l4() + translated.checksum_offset());
  const auto word = load<uint16_t>(packet.l4() + 24);
  store(packet.l4() + 24, net::checksum_fold(uint64_t{word} + checksum));
  packet.recompute();
  apply(rewrite, packet.l3(), packet.l4(), proto);
  EXPECT_EQ(packet.data, expected(packet, rewrite).data);
  return load<uint16_t>(packet.l4() + packet.checksum_offset());
}

TEST(Rewrite, CSUM2_UdpResultZeroIsSentAsAllOnes) {
  EXPECT_EQ(checksum_that_becomes_zero<V4>(protocol::udp), 0xffff);
  EXPECT_EQ(checksum_that_becomes_zero<V6>(protocol::udp), 0xffff);
  EXPECT_EQ(checksum_that_becomes_zero<V4>(protocol::tcp), 0);
  EXPECT_EQ(checksum_that_becomes_zero<V6>(protocol::tcp), 0);
}

TEST(Rewrite, CSUM3_Deltas) {
  Source source(3);
  const auto deltas = [&](uint8_t proto, bool addresses, bool ports) {
    const FlowKey<V4> key{source.addr<V4>(), source.addr<V4>(), source.port(), source.port(), proto, {}};
    return make_rewrite<V4>(key, addresses ? source.addr<V4>() : key.src, key.dst, ports ? source.port() : key.src_port,
                            key.dst_port);
  };
  const net::ChecksumDelta none;
  for (const uint8_t proto : {protocol::tcp, protocol::udp, protocol::icmp, protocol::icmpv6, protocol::sctp, gre}) {
    EXPECT_EQ(deltas(proto, false, false).l3, none);
    EXPECT_EQ(deltas(proto, false, false).l4, none);
    EXPECT_NE(deltas(proto, true, false).l3, none);
  }
  EXPECT_NE(deltas(protocol::tcp, true, false).l4, none);
  EXPECT_NE(deltas(protocol::udp, true, false).l4, none);
  EXPECT_NE(deltas(protocol::icmpv6, true, false).l4, none);
  EXPECT_EQ(deltas(protocol::icmp, true, false).l4, none);
  EXPECT_NE(deltas(protocol::icmp, false, true).l4, none);
  EXPECT_EQ(deltas(protocol::sctp, true, true).l4, none);
  EXPECT_EQ(deltas(gre, true, false).l4, none);
}

TEST(Rewrite, CSUM3_Ipv6HasNoHeaderChecksum) {
  Source source(5);
  const FlowKey<V6> key{source.addr<V6>(), source.addr<V6>(), source.port(), source.port(), protocol::tcp, {}};
  EXPECT_EQ(make_rewrite<V6>(key, source.addr<V6>(), source.addr<V6>(), key.src_port, key.dst_port).l3,
            net::ChecksumDelta());
}

TEST(Rewrite, SVC97_SctpWithoutChangeOfPortsKeepsItsChecksum) {
  Source source(9);
  Bytes<V4> packet = source.packet<V4>(protocol::sctp, 0, 48);
  store<uint32_t>(packet.l4() + 8, 0x12345678);
  const FlowKey<V4> key = key_of(packet);
  apply(make_rewrite<V4>(key, source.addr<V4>(), source.addr<V4>(), key.src_port, key.dst_port), packet.l3(),
        packet.l4(), protocol::sctp);
  EXPECT_EQ(load<uint32_t>(packet.l4() + 8), 0x12345678u);
}

TEST(Rewrite, SVC97_OracleKnowsTheCheckValue) {
  // The check value by which CRC-32C (Castagnoli) is catalogued.
  EXPECT_EQ(crc32c(reinterpret_cast<const uint8_t*>("123456789"), 9), 0xe3069283u);
}

}  // namespace
}  // namespace sluice::nat

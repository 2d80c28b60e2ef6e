// Frames as the generator builds and turns them around, against DPDK's checksum functions.
#include "tests/unit/trafgen_frames.h"

#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "tools/trafgen/connections.h"
#include "tools/trafgen/fault.h"

namespace sluice::trafgen {
namespace {

// By DPDK's arithmetic; the checksum field is set to 0 for it, so the bytes are a copy.
uint16_t dpdk_l4_checksum(std::vector<uint8_t> bytes, const FrameView& view) {
  net::store<uint16_t>(bytes.data() + view.checksum_offset(), 0);
  const void* ip = bytes.data() + view.l3;
  const void* l4 = bytes.data() + view.l4;
  if (view.v4 && view.icmp()) {
    return static_cast<uint16_t>(~rte_raw_cksum(l4, view.l4_length));
  }
  return view.v4 ? rte_ipv4_udptcp_cksum(static_cast<const rte_ipv4_hdr*>(ip), l4)
                 : rte_ipv6_udptcp_cksum(static_cast<const rte_ipv6_hdr*>(ip), l4);
}

void expect_right(std::vector<uint8_t>& bytes, const FrameView& view) {
  ASSERT_EQ(view.kind, FrameKind::Packet);
  EXPECT_TRUE(view.ip_checksum_ok);
  EXPECT_TRUE(view.l4_checksum_ok());
  EXPECT_EQ(net::load<uint16_t>(bytes.data() + view.checksum_offset()), dpdk_l4_checksum(bytes, view));
  for (const uint16_t l3 : {view.l3, view.outer_l3}) {
    if (l3 == 0 || bytes[l3] >> 4 != 4) continue;
    rte_ipv4_hdr ip = net::load<rte_ipv4_hdr>(bytes.data() + l3);
    const uint16_t found = ip.hdr_checksum;
    ip.hdr_checksum = 0;
    EXPECT_EQ(found, rte_ipv4_cksum(&ip));
  }
}

struct Shape {
  bool v4;
  Protocol protocol;
  TunnelKind tunnel;
  uint16_t size;
};

FrameSpec spec_of(const Shape& shape) {
  TunnelProfile tunnel{.kind = shape.tunnel,
                       .src = *parse_addr_range("172.16.0.1-172.16.0.3"),
                       .dst = *parse_addr_range("172.16.1.1"),
                       .vni = 4096,
                       .port = 4789,
                       .inner_src = mac(3),
                       .inner_dst = mac(4)};
  return {.size = shape.size, .protocol = shape.protocol, .tunnel = tunnel};
}

Frames frames_of(const Shape& shape) {
  return Frames(shape.v4 ? flow_spec("10.0.0.0/24", "10.96.0.0/28", "1-60000", "53-99", 1 << 20)
                         : flow_spec("2001:db8::/96", "2001:db8:1::/124", "1-60000", "53-99", 1 << 20),
                spec_of(shape));
}

class TrafgenFrames : public testing::TestWithParam<std::tuple<bool, Protocol, TunnelKind, uint16_t>> {
 protected:
  Shape shape() const {
    const auto [v4, protocol, tunnel, size] = GetParam();
    return {v4, protocol, tunnel, size};
  }
};

TEST_P(TrafgenFrames, ChecksumsAreDpdks) {
  const Frames frames = frames_of(shape());
  for (const uint32_t flow : {0U, 1U, 77U, 65535U, 1048575U}) {
    for (const uint32_t sequence : {0U, 1U, 0xfffffffeU}) {
      auto bytes = frames.build(flow, sequence, flow * 31 + sequence, sequence == 0);
      const FrameView view = frames.view(bytes);
      expect_right(bytes, view);
    }
  }
}

TEST_P(TrafgenFrames, ReadsBackWhatItWrote) {
  const Frames frames = frames_of(shape());
  auto bytes = frames.build(4711, 9, 1234);
  const FrameView view = frames.view(bytes);
  const Tuple tuple = frames.flows.at(4711);
  EXPECT_EQ(view.src(), tuple.src);
  EXPECT_EQ(view.dst(), tuple.dst);
  EXPECT_EQ(view.src_port(), tuple.src_port);
  if (shape().protocol != Protocol::Icmp) {
    EXPECT_EQ(view.dst_port(), tuple.dst_port);
  }
  EXPECT_EQ(view.tunnel, shape().tunnel);
  if (view.tunnel != TunnelKind::None) {
    EXPECT_EQ(view.outer_dst(), 0xac100101U);
  }
  if (view.tunnel == TunnelKind::Vxlan) {
    EXPECT_EQ(view.vni, 4096);
  }
  const Signature signature = Signature::read(view.data + view.payload);
  EXPECT_TRUE(signature.genuine(test_key));
  EXPECT_FALSE(signature.genuine(test_key + 1));
  EXPECT_EQ(signature.stream(), 3);
  EXPECT_EQ(signature.flow(), 4711);
  EXPECT_EQ(signature.sequence, 9);
  EXPECT_EQ(signature.stamp, 1234);
}

TEST_P(TrafgenFrames, TurnedAroundItIsStillRight) {
  const Frames frames = frames_of(shape());
  auto bytes = frames.build(4711, 9, 1234, true);
  const FrameView sent = frames.view(bytes);
  const Signature before = Signature::read(sent.data + sent.payload);
  turn_around(sent);
  replace_signature(sent, before, Signature::make(3, 4711, true, 9, 1234, test_key));
  const FrameView view = frames.view(bytes);
  expect_right(bytes, view);
  const Tuple tuple = frames.flows.at(4711);
  EXPECT_EQ(view.src(), tuple.dst);
  EXPECT_EQ(view.dst(), tuple.src);
  EXPECT_EQ(net::load<net::MacAddr>(bytes.data()), mac(1));
  if (view.tunnel != TunnelKind::None) {
    EXPECT_EQ(view.outer_src(), 0xac100101U);
  }
  if (shape().protocol == Protocol::Tcp) {
    EXPECT_EQ(view.tcp_flags(), net::tcp_flag::syn | net::tcp_flag::ack);
  }
  EXPECT_TRUE(Signature::read(view.data + view.payload).answer());
}

INSTANTIATE_TEST_SUITE_P(Shapes, TrafgenFrames,
                         testing::Combine(testing::Bool(),
                                          testing::Values(Protocol::Udp, Protocol::Tcp, Protocol::Icmp),
                                          testing::Values(TunnelKind::None, TunnelKind::Vxlan, TunnelKind::Ipip),
                                          testing::Values<uint16_t>(60, 64, 65, 594, 1514)));

TEST(TrafgenFrameSize, IsWhatWasAskedForOrTheLeastThatFits) {
  const auto length = [](bool v4, Protocol protocol, TunnelKind tunnel, uint16_t size) {
    return frames_of({v4, protocol, tunnel, size}).frame().length();
  };
  EXPECT_EQ(length(true, Protocol::Udp, TunnelKind::None, 60), 60);
  EXPECT_EQ(length(true, Protocol::Udp, TunnelKind::None, 64), 64);
  EXPECT_EQ(length(true, Protocol::Tcp, TunnelKind::None, 64), 70);
  EXPECT_EQ(length(false, Protocol::Udp, TunnelKind::None, 64), 78);
  EXPECT_EQ(length(false, Protocol::Tcp, TunnelKind::None, 64), 90);
  EXPECT_EQ(length(true, Protocol::Udp, TunnelKind::None, 1514), 1514);
  EXPECT_EQ(length(true, Protocol::Udp, TunnelKind::Vxlan, 64), 64 + 50);
  EXPECT_EQ(length(true, Protocol::Udp, TunnelKind::Ipip, 64), 64 + 20);
}

TEST(TrafgenConnections, OpenAndCloseWithRightChecksums) {
  const FlowSpace flows = FlowSpace::make(flow_spec("10.0.0.0/24", "10.96.0.1", "1000-1999", "80", 100000)).value();
  const FrameTemplate frame({.protocol = Protocol::Tcp, .src_mac = mac(1), .dst_mac = mac(2), .bare_tcp = true});
  ConnectionClient client(5, flows.count());
  std::vector<uint8_t> bytes(2048);
  const auto view = [&] { return read_frame(bytes.data(), frame.length()); };
  const auto fill = [&](const ConnectionId& id, uint8_t flags, uint32_t seq, uint32_t ack) {
    frame.fill_segment(bytes.data(), flows.at(id.flow), id.flow, flags, seq, ack);
  };
  for (uint32_t round = 0; round < 10; ++round) {
    const ConnectionId id = client.open(77777);
    EXPECT_EQ(id.generation, (round + 1) % 8);
    const uint32_t first = id.first_sequence();
    fill(id, net::tcp_flag::syn, first, 0);
    expect_right(bytes, view());
    auto segment = identify_segment(view());
    ASSERT_TRUE(segment);
    EXPECT_TRUE(segment->to_server);
    EXPECT_EQ(segment->id.flow, 77777);
    EXPECT_EQ(segment->id.stream, 5);

    EXPECT_EQ(answer_tcp(view()), TcpAnswer::SynAck);
    expect_right(bytes, view());
    segment = identify_segment(view());
    ASSERT_TRUE(segment);
    EXPECT_FALSE(segment->to_server);
    EXPECT_EQ(client.receive(segment->id, view()), ConnectionClient::Reaction::AckAndFin);
    EXPECT_EQ(client.receive(segment->id, view()), ConnectionClient::Reaction::None) << "a second copy";

    fill(id, net::tcp_flag::fin | net::tcp_flag::ack, first + 1, first + server_sequence_offset + 1);
    expect_right(bytes, view());
    EXPECT_TRUE(identify_segment(view())->to_server);
    EXPECT_EQ(answer_tcp(view()), TcpAnswer::FinAck);
    expect_right(bytes, view());
    EXPECT_EQ(client.receive(identify_segment(view())->id, view()), ConnectionClient::Reaction::LastAck);
    EXPECT_TRUE(client.idle(77777));
    EXPECT_EQ(client.counters().duplicated.get(), 2 * round + 1);
    EXPECT_EQ(client.receive(identify_segment(view())->id, view()), ConnectionClient::Reaction::None);
    EXPECT_EQ(client.counters().duplicated.get(), 2 * round + 2) << "a second copy of the last answer";
  }
  EXPECT_EQ(client.counters().opened.get(), 10);
  EXPECT_EQ(client.counters().completed.get(), 10);
}

TEST(TrafgenConnections, AnAnswerToWhatWasGivenUpIsLateAndNoSecondCopy) {
  const FlowSpace flows = FlowSpace::make(flow_spec("10.0.0.1", "10.96.0.1", "1000-1999", "80", 1000)).value();
  const FrameTemplate frame({.protocol = Protocol::Tcp, .bare_tcp = true});
  ConnectionClient client(0, flows.count());
  const ConnectionId id = client.open(7);
  client.give_up(7);
  EXPECT_TRUE(client.idle(7));
  std::vector<uint8_t> bytes(2048);
  frame.fill_segment(bytes.data(), flows.at(7), 7, net::tcp_flag::syn, id.first_sequence(), 0);
  const FrameView view = read_frame(bytes.data(), frame.length());
  ASSERT_EQ(answer_tcp(view), TcpAnswer::SynAck);
  EXPECT_EQ(client.receive(id, view), ConnectionClient::Reaction::None);
  EXPECT_EQ(client.counters().duplicated.get(), 0);
  EXPECT_EQ(client.counters().failed.get(), 1);
  EXPECT_EQ(client.open(7).generation, id.generation + 1);
}

TEST(TrafgenConnections, ARefusalIsCounted) {
  const FlowSpace flows = FlowSpace::make(flow_spec("10.0.0.1", "10.96.0.1", "1000-1999", "80", 1000)).value();
  const FrameTemplate frame({.protocol = Protocol::Tcp, .bare_tcp = true});
  ConnectionClient client(0, flows.count());
  const ConnectionId id = client.open(7);
  std::vector<uint8_t> bytes(2048);
  frame.fill_segment(bytes.data(), flows.at(7), 7, net::tcp_flag::rst | net::tcp_flag::ack, 0, id.first_sequence() + 1);
  const FrameView view = read_frame(bytes.data(), frame.length());
  const auto segment = identify_segment(view);
  ASSERT_TRUE(segment);
  EXPECT_FALSE(segment->to_server);
  EXPECT_EQ(client.receive(segment->id, view), ConnectionClient::Reaction::None);
  EXPECT_EQ(client.counters().reset.get(), 1);
  EXPECT_TRUE(client.finished(7, id.generation));
}

TEST(TrafgenFault, EachSpoilsWhatItSays) {
  const Frames frames = frames_of({true, Protocol::Udp, TunnelKind::None, 64});
  const auto spoiled = [&](Fault fault, bool checksum_right, bool other_source) {
    auto bytes = frames.build(1, 1);
    const WideAddr src = frames.view(bytes).src();
    spoil(frames.view(bytes), fault);
    EXPECT_EQ(frames.view(bytes).l4_checksum_ok(), checksum_right);
    EXPECT_EQ(frames.view(bytes).src() != src, other_source);
    EXPECT_TRUE(frames.view(bytes).ip_checksum_ok);
  };
  spoiled(Fault::WrongChecksum, false, false);
  spoiled(Fault::Corrupt, false, false);
  spoiled(Fault::SwapEndpoint, true, true);
  spoiled(Fault::Signature, false, false);
  auto bytes = frames.build(1, 1);
  spoil(frames.view(bytes), Fault::Length);
  EXPECT_EQ(frames.view(bytes).kind, FrameKind::Malformed);
}

TEST(TrafgenView, RefusesLengthsThatContradict) {
  const Frames frames = frames_of({true, Protocol::Udp, TunnelKind::Vxlan, 64});
  const auto good = frames.build(1, 1);
  for (uint16_t length = 0; length < frames.frame().length(); ++length) {
    auto bytes = good;
    EXPECT_NE(read_frame(bytes.data(), length).kind, FrameKind::Packet) << length;
  }
}

}  // namespace
}  // namespace sluice::trafgen

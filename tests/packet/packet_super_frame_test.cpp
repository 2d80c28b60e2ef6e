// Super-frames from pod to pod (dataplane/super_frame.h): which go on as they are, and what becomes of the others.
//
// A frame that is cut comes out in pieces of no more than 64 packets, so that one of 100 packets shows what was done.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/packet/pod_rig.h"
#include "tests/packet/splice_network.h"

namespace sluice::packet_test {
namespace {

using dataplane::VnetHeader;

constexpr uint16_t l3 = 14;
constexpr uint8_t fin = 1, push = 8;
constexpr uint16_t limit = 300;  // payload of a packet
constexpr uint32_t many = 100 * limit;

class SuperFrame : public testing::Test {
 protected:
  void start(uint16_t workers = 1) {
    pods_.reset();
    pods_ = std::make_unique<PodRig>(workers);
  }
  void SetUp() override { start(); }
  [[nodiscard]] PodRig& pods() { return *pods_; }
  PodConnection to_service() { return pods().connect("10.244.0.5:1000", "10.96.0.10:80", 1); }
  PodConnection to_service_v6() { return pods().connect("[fd00:10:246:1::5]:1000", "[fd00:10:96::10]:80", 1); }

  std::vector<Got> send(int pod, const Ip& packet, uint16_t packet_limit = limit) {
    Bytes frame = PodRig::frame_of(pod, packet);
    const VnetHeader about = leave_unfinished(frame, packet_limit);
    pods().put(pod, frame, about);
    return pods().run();
  }
  // Whether a frame of 100 packets that `change` made something else of goes on in one piece.
  template <class Change>
  bool goes_whole(const PodConnection& connection, const Change& change) {
    Ip packet = PodRig::data(connection, 0, many);
    change(packet);
    return is_whole(send(0, packet));
  }
  static bool is_whole(const std::vector<Got>& got) { return got.size() == 1 && got[0].frame.size() > many; }
  // One frame that is right in all that a pod looks at.
  void expect_whole(const std::vector<Got>& got, const Ip& sent, uint16_t packet_limit, const PodConnection::Side& to) {
    ASSERT_EQ(got.size(), 1U) << pods().rig().drops();
    const VnetHeader& about = got[0].about;
    const bool v4 = sent.src.address.is_v4();
    EXPECT_EQ(about.flags, VnetHeader::needs_checksum);
    EXPECT_EQ(about.gso_type, v4 ? VnetHeader::gso_tcp_v4 : VnetHeader::gso_tcp_v6);
    EXPECT_EQ(about.gso_size, packet_limit);
    EXPECT_EQ(about.header_length, v4 ? 54 : 74);
    // The checksum finished over all of it is right, which view() looks at.
    Got finished = got[0];
    finished.about.gso_type = VnetHeader::no_gso;
    const std::vector<View> one = pods().packets(finished);
    ASSERT_EQ(one.size(), 1U);
    EXPECT_EQ(one[0].to, PodRig::mac_of(to.pod));
    EXPECT_EQ(one[0].from, gateway_mac);
    EXPECT_EQ(one[0].ip.src.text(), to.other.text());
    EXPECT_EQ(one[0].ip.dst.text(), to.own.text());
    EXPECT_EQ(one[0].ip.ttl, sent.ttl - 1);
    EXPECT_EQ(one[0].ip.seq, sent.seq);
    EXPECT_EQ(one[0].ip.ack, sent.ack);
    EXPECT_EQ(one[0].ip.flags, sent.flags);
    EXPECT_EQ(one[0].ip.payload, sent.payload);
    EXPECT_EQ(pods().packets(got[0]).size(), (sent.payload.size() + packet_limit - 1) / packet_limit);
  }

 private:
  std::unique_ptr<PodRig> pods_;
};

TEST_F(SuperFrame, CSUM3_MTU5_GoesOnAsItIsBothWaysAndTranslated) {
  struct Case {
    const char* client;
    const char* frontend;
    int server;
  };
  for (const Case& each :
       {Case{"10.244.0.5:1000", "10.244.0.6:80", 1}, Case{"10.244.0.5:1001", "10.96.0.10:80", 1},
        Case{"10.244.0.5:1002", "10.96.0.11:80", 0}, Case{"[fd00:10:246:1::5]:1000", "[fd00:10:246:1::6]:80", 1},
        Case{"[fd00:10:246:1::5]:1001", "[fd00:10:96::10]:80", 1},
        Case{"[fd00:10:246:1::5]:1002", "[fd00:10:96::11]:80", 0}}) {
    SCOPED_TRACE(std::string(each.client) + " > " + each.frontend);
    PodConnection connection = pods().connect(each.client, each.frontend, each.server);
    for (int round = 0; round < 4; ++round) {
      for (const size_t from : {0, 1}) {
        const uint16_t packet_limit = round == 0 ? 1400 : limit;
        Ip packet = PodRig::data(connection, from, 60'000);
        packet.tos = 2;
        packet.flags |= round == 1 ? push : 0;
        if (packet_limit == limit) packet.payload.resize(many - static_cast<size_t>(round));
        expect_whole(send(connection.sides[from].pod, packet, packet_limit), packet, packet_limit,
                     connection.sides[1 - from]);
        connection.sides[from].seq += static_cast<uint32_t>(packet.payload.size());
      }
    }
  }
  EXPECT_EQ(pods().rig().drops(), "");
}

TEST_F(SuperFrame, SPOOF1_OnlyFromTheOwnAddressAndToTheGateway) {
  const PodConnection connection = to_service();
  EXPECT_TRUE(goes_whole(connection, [](Ip&) {}));
  // Pod 1 says that it is pod 0, in the midst of pod 0's connection.
  EXPECT_TRUE(send(1, PodRig::data(connection, 0, many)).empty());
  EXPECT_EQ(pods().rig().drops(), "spoofed_source 100");
  Bytes frame = ethernet(mac(0x77), PodRig::mac_of(0), PodRig::data(connection, 0, many).bytes());
  const VnetHeader about = leave_unfinished(frame, limit);
  pods().put(0, frame, about);
  EXPECT_TRUE(pods().run().empty());
  EXPECT_EQ(pods().rig().drops(), "not_our_mac 100");
}

TEST_F(SuperFrame, CT20_WhatIsNotDataOfAnEstablishedConnectionIsCut) {
  const PodConnection connection = to_service();
  const auto whole = [&](auto change) { return goes_whole(connection, change); };
  EXPECT_TRUE(whole([](Ip&) {}));
  EXPECT_TRUE(whole([](Ip& packet) { packet.flags |= push; }));
  EXPECT_FALSE(whole([](Ip& packet) { packet.flags |= 0x20; })) << "URG";
  EXPECT_TRUE(whole([](Ip& packet) { packet.flags |= 0x40; })) << "ECE";
  EXPECT_TRUE(whole([](Ip& packet) { packet.flags |= 0x80; })) << "CWR, of the first packet";
  EXPECT_FALSE(whole([](Ip& packet) { packet.ttl = 1; }));
  EXPECT_TRUE(whole([](Ip& packet) { packet.ttl = 2; }));
  EXPECT_FALSE(whole([](Ip& packet) { packet.mf = true; }));
  EXPECT_EQ(pods().rig().drops(), "ttl_exceeded 100");
}

TEST_F(SuperFrame, CT10_CT20_OutsideTheWindowEveryPacketIsJudged) {
  const PodConnection connection = to_service();
  EXPECT_FALSE(goes_whole(connection, [](Ip& packet) { packet.ack = 502; })) << "acknowledges what was not sent";
  EXPECT_EQ(pods().rig().drops(), "conntrack_invalid 100");
  // The window ends in its midst: what is within passes.
  const std::vector<Got> got = send(0, PodRig::data(connection, 0, many).with_seq(101 + 65'535 - 10 * limit, 501));
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(pods().packets(got[0]).size(), 11U) << "one begins where the window ends";
  EXPECT_EQ(pods().rig().drops(), "conntrack_invalid 89");
  EXPECT_TRUE(goes_whole(connection, [](Ip&) {}));
}

TEST_F(SuperFrame, CT3_AFinIsTheLastPacketsAndEndsTheShortCut) {
  const PodConnection connection = to_service();
  EXPECT_FALSE(goes_whole(connection, [](Ip& packet) { packet.flags |= fin; }));
  EXPECT_FALSE(goes_whole(connection, [](Ip&) {})) << "half closed";
  EXPECT_NE(pods().records().at(0).tcp_state, nat::TcpState::Established);
}

TEST_F(SuperFrame, CT7_NotBeforeTheConnectionIsEstablished) {
  PodConnection connection;
  connection.sides[0] = {0, "10.244.0.5:1000", "10.96.0.10:80", 101};
  EXPECT_FALSE(goes_whole(connection, [](Ip&) {})) << "unknown";
  EXPECT_FALSE(goes_whole(connection, [](Ip&) {})) << "picked up, unanswered";
}

TEST_F(SuperFrame, MTU2_PacketsThatAreTooLargeForTheWayOut) {
  const PodConnection connection = to_service();
  const auto with_mtu = [&](uint16_t mtu) {
    pods().republish([&](dataplane::Snapshot& next) { next.interfaces[pods().interface(1)].mtu = mtu; }, 1);
    // The route is looked up anew by the first packet of a generation.
    pods().put(0, PodRig::frame_of(0, PodRig::data(connection, 0, 1)));
    EXPECT_EQ(pods().run().size(), 1U);
  };
  with_mtu(40 + limit);
  EXPECT_TRUE(goes_whole(connection, [](Ip&) {}));
  with_mtu(40 + limit - 1);
  const std::vector<Got> got = send(0, PodRig::data(connection, 0, many));
  EXPECT_FALSE(is_whole(got));
  ASSERT_FALSE(got.empty());
  EXPECT_THAT(pods().packets(got[0]).at(0).text, testing::HasSubstr("icmp 3/4 mtu 339"));
}

TEST_F(SuperFrame, PIPE3_AfterAChangeTheRouteIsLookedUpAnew) {
  for (const bool v4 : {true, false}) {
    SCOPED_TRACE(v4 ? "IPv4" : "IPv6");
    start();
    const PodConnection connection = v4 ? to_service() : to_service_v6();
    EXPECT_TRUE(goes_whole(connection, [](Ip&) {}));
    pods().republish([](dataplane::Snapshot&) {}, 1);
    EXPECT_FALSE(goes_whole(connection, [](Ip&) {})) << "the old generation's route";
    EXPECT_TRUE(goes_whole(connection, [](Ip&) {}));
    pods().republish(
        [&](dataplane::Snapshot& next) {
          next.interfaces[pods().interface(1)].present = false;
          next.ports[dataplane::first_pod_port + 1].present = false;
        },
        1);
    EXPECT_TRUE(send(0, PodRig::data(connection, 0, many)).empty());
    EXPECT_EQ(pods().rig().drops(), "interface_gone 100");
  }
}

TEST_F(SuperFrame, VXL1_IntoATunnelInPackets) {
  const Endpoint client = "10.244.0.5:1000", server = "10.244.34.5:80";
  pods().put(0, PodRig::frame_of(0, tcp(client, server, "S").with_seq(100, 0)));
  EXPECT_TRUE(pods().run().empty());
  const Bytes answer = tcp(server, client, "SA").with_seq(500, 101).bytes();
  (void)pods().rig().send("b", vxlan("192.168.0.11", "192.168.0.1", answer, {}));
  pods().put(0, PodRig::frame_of(0, tcp(client, server, "A").with_seq(101, 501)));
  (void)pods().run();
  PodConnection connection;
  connection.sides[0] = {0, client, server, 101};
  connection.sides[1].seq = 501;
  EXPECT_TRUE(send(0, PodRig::data(connection, 0, many)).empty());
  EXPECT_EQ(pods().rig().out().size(), 100U);
}

TEST_F(SuperFrame, EXP5_WhileSomebodyTracesEveryPacketIsShown) {
  const PodConnection connection = to_service();
  EXPECT_TRUE(goes_whole(connection, [](Ip&) {}));
  pods().trace_something();
  EXPECT_FALSE(goes_whole(connection, [](Ip&) {}));
}

// Between pods that are nobody's service there is no connection to know, established or not.
TEST_F(SuperFrame, CT37_TransitNeedsNone) {
  PodConnection connection;
  connection.sides[0] = {0, "10.244.0.5:1000", "10.244.0.6:80", 101};
  EXPECT_TRUE(goes_whole(connection, [](Ip&) {}));
  EXPECT_EQ(pods().rig().count(dataplane::Event::Transit), 100U);
  EXPECT_TRUE(pods().records().empty());
  connection.sides[0].other = "10.244.0.6:8080";
  EXPECT_FALSE(goes_whole(connection, [](Ip&) {})) << "an endpoint's, which is tracked";
  EXPECT_EQ(pods().records().size(), 1U);
  connection.sides[0].other = "10.244.0.6:80";
  const auto change = [&](auto setting) {
    pods().republish(setting, 1);
    return goes_whole(connection, [](Ip&) {});
  };
  EXPECT_FALSE(change([](dataplane::Snapshot& next) { next.v4.any_nat_outgoing = true; }));
  EXPECT_TRUE(change([](dataplane::Snapshot& next) { next.v4.any_nat_outgoing = false; }));
  EXPECT_FALSE(change([&](dataplane::Snapshot& next) {
    next.interfaces[pods().interface(0)].rpf = dataplane::ReversePathFilter::Strict;
  }));
}

// What a pod may write that no kernel writes. Each is refused or cut as before; none goes on whole.
TEST_F(SuperFrame, CSUM3_OddDescriptionsAreNotBelieved) {
  const PodConnection connection = to_service();
  const auto whole = [&](auto change) {
    Bytes frame = PodRig::frame_of(0, PodRig::data(connection, 0, many));
    VnetHeader about = leave_unfinished(frame, limit);
    change(frame, about);
    pods().put(0, frame, about);
    return is_whole(pods().run());
  };
  EXPECT_TRUE(whole([](Bytes&, VnetHeader&) {}));
  EXPECT_TRUE(whole([](Bytes& frame, VnetHeader&) { frame[l3 + 20 + 16] ^= 1; })) << "the sum is written anew";
  EXPECT_FALSE(whole([](Bytes&, VnetHeader& about) { about.flags = 0; }));
  EXPECT_FALSE(whole([](Bytes&, VnetHeader& about) { about.gso_size = 0; }));
  EXPECT_FALSE(whole([](Bytes&, VnetHeader& about) { about.gso_size = 100; })) << "300 packets";
  EXPECT_FALSE(whole([](Bytes&, VnetHeader& about) { about.gso_type = VnetHeader::gso_tcp_v6; }));
  EXPECT_FALSE(whole([](Bytes&, VnetHeader& about) { about.gso_type = VnetHeader::gso_udp | VnetHeader::gso_ecn; }));
  EXPECT_FALSE(whole([](Bytes&, VnetHeader& about) { about.checksum_start += 4; }));
  EXPECT_FALSE(whole([](Bytes&, VnetHeader& about) { about.checksum_offset = 6; }));
  EXPECT_FALSE(whole([](Bytes& frame, VnetHeader&) { frame.push_back(0); })) << "longer than its IP packet";
  EXPECT_FALSE(whole([](Bytes& frame, VnetHeader&) { frame.pop_back(); }));
  EXPECT_FALSE(whole([](Bytes& frame, VnetHeader&) { frame[l3] = 0x46; }));
  EXPECT_FALSE(whole([](Bytes& frame, VnetHeader&) { frame[l3 + 10] ^= 1; })) << "the checksum of its IPv4 header";
  EXPECT_FALSE(whole([](Bytes& frame, VnetHeader&) { frame[l3 + 20 + 12] = 0x40; }));
  EXPECT_FALSE(whole([](Bytes& frame, VnetHeader&) { frame[12] = 0x86; }));
  EXPECT_TRUE(whole([](Bytes&, VnetHeader&) {}));
}

// RFC 3168 section 6.1: the first packet of many has CWR, all of them ECE, and the kernel is told of the first.
TEST_F(SuperFrame, ECN5_WhatTheFlagsOfCongestionSay) {
  constexpr uint8_t ece = 0x40, cwr = 0x80;
  for (const uint8_t flags : {ece, cwr, static_cast<uint8_t>(ece | cwr)}) {
    for (const bool told : {false, true}) {
      start();
      const PodConnection connection = to_service();
      Ip packet = PodRig::data(connection, 0, many);
      packet.flags |= flags;
      Bytes frame = PodRig::frame_of(0, packet);
      VnetHeader about = leave_unfinished(frame, limit);
      if (told && (flags & cwr) != 0) about.gso_type |= VnetHeader::gso_ecn;
      pods().put(0, frame, about);
      const std::vector<Got> got = pods().run();
      ASSERT_TRUE(is_whole(got)) << int{flags};
      EXPECT_EQ(got[0].about.gso_type & VnetHeader::gso_ecn, (flags & cwr) != 0 ? VnetHeader::gso_ecn : 0);
      const std::vector<View> packets = pods().packets(got[0]);
      ASSERT_EQ(packets.size(), 100U);
      for (const View& each : packets) {
        const bool first = &each == packets.data();
        EXPECT_EQ(each.ip.flags & (ece | cwr), first ? flags : flags & ece);
      }
    }
  }
}

// RFC 7323: what nearly every connection has.
TEST_F(SuperFrame, CT12_Timestamps) {
  const Bytes timestamp{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2};
  Bytes and_more = timestamp;
  and_more.insert(and_more.end(), {1, 1, 5, 10, 0, 0, 1, 245, 0, 0, 1, 246});
  for (const bool v4 : {true, false}) {
    SCOPED_TRACE(v4 ? "IPv4" : "IPv6");
    start();
    const PodConnection connection = v4 ? to_service() : to_service_v6();
    const size_t header = v4 ? net::ipv4_header_length : net::ipv6_header_length;
    const auto with_options = [&](const Bytes& options) {
      Bytes packet = PodRig::data(connection, 0, many).bytes();
      packet.insert(packet.begin() + static_cast<ptrdiff_t>(header + 20), options.begin(), options.end());
      packet[header + 12] = static_cast<uint8_t>((5 + options.size() / 4) << 4);
      if (v4) {
        net::store_be16(&packet[2], static_cast<uint16_t>(packet.size()));
        finish_ipv4(packet);
      } else {
        net::store_be16(&packet[4], static_cast<uint16_t>(packet.size() - header));
      }
      Bytes frame = ethernet(gateway_mac, PodRig::mac_of(0), packet);
      const VnetHeader about = leave_unfinished(frame, limit);
      pods().put(0, frame, about);
      const std::vector<Got> got = pods().run();
      if (is_whole(got)) {
        EXPECT_EQ(got[0].about.header_length, 14 + header + 20 + options.size());
        EXPECT_EQ(pods().packets(got[0]).size(), 100U);
      }
      return is_whole(got);
    };
    EXPECT_TRUE(with_options(timestamp));
    EXPECT_FALSE(with_options(and_more)) << "CT-12: a selective acknowledgement is read";
  }
}

// A pod, an address with rules, and the pod that they choose; both speak TCP with options, in segments that only a
// super-frame carries. What one says is what the other hears.
TEST_F(SuperFrame, SPL5_SPL6_SplicedConnectionsAreTranslatedInOnePiece) {
  struct Case {
    const char *client, *front, *server;
  };
  for (const Case& each : {Case{"10.244.0.5:1000", "10.96.0.11:80", "10.244.0.6:8080"},
                           Case{"[fd00:10:246:1::5]:1000", "[fd00:10:96::11]:80", "[fd00:10:246:1::6]:8080"}}) {
    for (const bool timestamps : {true, false}) {
      for (const std::optional<uint8_t> scale : {std::optional<uint8_t>(7), std::optional<uint8_t>(2)}) {
        SCOPED_TRACE(std::string(each.front) + (timestamps ? " timestamps" : "") + " scale " + std::to_string(*scale));
        start();
        pods().republish(
            [](dataplane::Snapshot& next) {
              put_listener(next.v4, {"10.96.0.11"}, {"10.96.0.10"});
              put_listener(next.v6, {"fd00:10:96::11"}, {"fd00:10:96::10"});
            },
            1);
        const PeerOptions options{.mss = 1400, .scale = scale, .timestamps = timestamps, .buffer = 50'000};
        TcpPeer client(each.client, each.front, 0xffffff00, {.mss = 1400, .timestamps = timestamps, .buffer = 50'000});
        std::unique_ptr<TcpPeer> server;
        std::array<unsigned, 2> whole{};
        uint32_t now = 0;
        const auto say = [&](int pod, TcpPeer& peer, bool again) {
          for (const TcpSegment& segment : peer.send(again, now)) {
            Bytes frame = ethernet(gateway_mac, PodRig::mac_of(pod), segment.bytes());
            const VnetHeader about = segment.data.size() > 1400 ? leave_unfinished(frame, limit) : VnetHeader{};
            pods().put(pod, frame, about);
            for (const Got& got : pods().run()) {
              for (const View& packet : pods().packets(got)) {
                const TcpSegment arrived = segment_of(packet);
                const bool at_server = packet.to == PodRig::mac_of(1);
                if (at_server && !server) server = std::make_unique<TcpPeer>(each.server, arrived.src, 77, options);
                (at_server ? *server : client).receive(arrived);
              }
              if (got.frame.size() > 20'000) ++whole[static_cast<size_t>(pod)];
            }
          }
        };
        const auto turns = [&](int count) {
          for (int i = 0; i < count; ++i) {
            now += 10;
            say(0, client, i % 4 == 3);
            if (server) say(1, *server, i % 4 == 3);
          }
        };
        client.connect();
        client.say("1 0\n");
        turns(10);
        ASSERT_TRUE(server && server->heard() == "1 0\n") << client.fault() << pods().rig().drops();
        client.cut(25'000);
        server->cut(25'000);
        server->say(pattern(400'000, 1));
        client.say(pattern(300'000, 2));
        turns(120);
        EXPECT_TRUE(client.heard() == pattern(400'000, 1)) << client.heard().size();
        EXPECT_TRUE(server->heard() == "1 0\n" + pattern(300'000, 2)) << server->heard().size();
        EXPECT_EQ(client.fault() + server->fault(), "");
        EXPECT_EQ(pods().rig().drops(), "");
        EXPECT_GT(whole[0], 5U) << "from the client";
        EXPECT_GT(whole[1], 5U) << "from the endpoint";
      }
    }
  }
}

TEST_F(SuperFrame, PIPE2_BehindWhatCameBeforeIt) {
  for (const bool known : {false, true}) {
    start();
    PodConnection connection = to_service();
    const auto put = [&](size_t size, bool super) {
      const Ip packet = PodRig::data(connection, 0, size);
      Bytes frame = PodRig::frame_of(0, packet);
      const VnetHeader about = super ? leave_unfinished(frame, limit) : VnetHeader{};
      pods().put(0, frame, about);
      connection.sides[0].seq += static_cast<uint32_t>(size);
    };
    const uint32_t first = connection.sides[0].seq;
    // The last one of those before decides whether the next is looked at.
    put(known ? 3000 : 100, known);
    for (const size_t size : {100, 50, 20'000, 70, 10'000, 700, 1, 2}) put(size, size > 1000);
    uint32_t next = first;
    for (const Got& got : pods().run()) {
      for (const View& packet : pods().packets(got)) {
        EXPECT_EQ(packet.ip.seq, next) << "overtaken";
        next = packet.ip.seq + static_cast<uint32_t>(packet.ip.payload.size());
      }
    }
    EXPECT_EQ(next, connection.sides[0].seq);
    EXPECT_EQ(pods().rig().drops(), "");
  }
}

// Of another pod's, in the same burst.
TEST_F(SuperFrame, PIPE2_PodsTakeTurnsInOneRing) {
  PodConnection connection = to_service();
  for (int round = 0; round < 3; ++round) {
    for (const size_t from : {0, 1}) {
      Bytes frame = PodRig::frame_of(connection.sides[from].pod, PodRig::data(connection, from, many / 2));
      const VnetHeader about = leave_unfinished(frame, limit);
      pods().put(connection.sides[from].pod, frame, about);
      connection.sides[from].seq += many / 2;
    }
  }
  const std::vector<Got> got = pods().run();
  std::array<uint32_t, 2> next{101, 501};
  for (const Got& each : got) {
    for (const View& packet : pods().packets(each)) {
      const size_t from = packet.to == PodRig::mac_of(1) ? 0 : 1;
      EXPECT_EQ(packet.ip.seq, next[from]);
      next[from] += static_cast<uint32_t>(packet.ip.payload.size());
    }
  }
  EXPECT_EQ(next[0], connection.sides[0].seq);
  EXPECT_EQ(next[1], connection.sides[1].seq);
}

// The kernel takes no more: what is lost is counted in packets, and the ring goes on.
TEST_F(SuperFrame, PIPE2_WhatTheKernelRefusesIsCounted) {
  const PodConnection connection = to_service();
  Bytes frame = PodRig::frame_of(0, PodRig::data(connection, 0, many));
  const VnetHeader about = leave_unfinished(frame, limit);
  constexpr size_t frames = 60;
  for (size_t i = 0; i < frames; ++i) pods().put(0, frame, about);
  const size_t arrived = pods().run().size();
  ASSERT_GT(arrived, 0U);
  ASSERT_LT(arrived, frames);
  EXPECT_EQ(pods().rig().drops(), "transmit_full " + std::to_string((frames - arrived) * 100));
  EXPECT_TRUE(goes_whole(connection, [](Ip&) {}));
}

TEST_F(SuperFrame, PIPE2_AnotherWorkersFlowIsHandedOverInPackets) {
  start(2);
  size_t whole = 0;
  for (uint16_t port = 1000; port < 1016; ++port) {
    const Endpoint client = "10.244.0.5:" + std::to_string(port), server = "10.244.0.6:80";
    const net::FlowKey<net::V4> key{client.address.v4(),      server.address.v4(), net::be16::from_host(port),
                                    net::be16::from_host(80), net::protocol::tcp,  {}};
    const uint16_t owner = net::owner_of(pods().rig().plane().tables().hasher(key), 2);
    const PodConnection connection = pods().connect(client, server, 1);
    for (const size_t from : {0, 1}) {
      const Ip packet = PodRig::data(connection, from, many);
      const std::vector<Got> got = send(connection.sides[from].pod, packet);
      EXPECT_EQ(is_whole(got), owner == from) << "pod N is looked after by worker N";
      Bytes arrived;
      for (const Got& each : got) {
        for (const View& part : pods().packets(each)) {
          arrived.insert(arrived.end(), part.ip.payload.begin(), part.ip.payload.end());
        }
      }
      EXPECT_EQ(arrived, packet.payload);
      whole += is_whole(got);
    }
  }
  EXPECT_EQ(whole, 16U);
  EXPECT_EQ(pods().rig().drops(), "");
}

}  // namespace
}  // namespace sluice::packet_test

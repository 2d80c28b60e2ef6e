// CT-9 under pressure: a connection table full of established connections, floods of SYNs whose sources are made up,
// and honest clients in the middle of it.
#include <functional>

#include <gtest/gtest.h>

#include "nat/hints.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

struct Family {
  const char* vip;
  const char* endpoint;
  const char* client;
  const char* others;  // the first bytes of the addresses of a flood
  const char* end;     // what closes an address in front of its port
};
constexpr Family v4{"10.96.0.10", "10.246.1.20", "10.246.1.5", "10.246.1.3", ""};
constexpr Family v6{"[fd00:10:96::10", "[fd00:10:246::20", "[fd00:10:246::5", "[fd00:10:246::3", "]"};

class Flood : public RigTest {
 protected:
  static constexpr uint32_t records = 128;

  void SetUp() override {}
  // Both families one after the other, each with a router of its own.
  void both(const std::function<void()>& test, const std::string& more = "") {
    for (const Family* family : {&v4, &v6}) {
      SCOPED_TRACE(family->vip);
      family_ = family;
      start({.connections = records});
      load(more);
      test();
      if (HasFatalFailure()) return;
    }
  }
  void load(const std::string& more = "") {
    const ServiceSpec web{.name = "web",
                          .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                          .ports = {"TCP 80 8080 30080", "UDP 53 5353 30053"},
                          .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};
    rig().load(list({gateway(more), cluster(), service(web)}));
  }
  [[nodiscard]] std::string at(const char* address, int port) const {
    return address + std::string(family_->end) + ":" + std::to_string(port);
  }
  [[nodiscard]] std::string client(int port) const { return at(family_->client, port); }
  [[nodiscard]] std::string vip(int port = 80) const { return at(family_->vip, port); }
  [[nodiscard]] std::string endpoint(int port = 8080) const { return at(family_->endpoint, port); }
  [[nodiscard]] std::string forwarded(const char* flags, int port) const {
    return std::string("b/13 tcp ") + flags + " " + client(port) + ">" + endpoint() + " ttl 63";
  }
  [[nodiscard]] std::string answered(const char* flags, int port) const {
    return std::string("b/13 tcp ") + flags + " " + vip() + ">" + client(port) + " ttl 63";
  }
  // Three packets.
  [[nodiscard]] bool connect(int port) {
    return rig().send("b", tcp(client(port), vip(), "S").with_seq(100, 0)) == forwarded("S", port) &&
           rig().send("b", tcp(endpoint(), client(port), "SA").with_seq(500, 101)) == answered("SA", port) &&
           rig().send("b", tcp(client(port), vip(), "A").with_seq(101, 501)) == forwarded("A", port);
  }
  [[nodiscard]] testing::AssertionResult talks(int port) {
    const std::string there = rig().send("b", tcp(client(port), vip(), "PA").with_seq(101, 501));
    if (there != forwarded("PA", port)) return testing::AssertionFailure() << port << " there: " << there;
    const std::string back = rig().send("b", tcp(endpoint(), client(port), "PA").with_seq(501, 101));
    if (back != answered("PA", port)) return testing::AssertionFailure() << port << " back: " << back;
    return testing::AssertionSuccess();
  }
  // Established connections from port 1000 on until no worker has a record left, and some more.
  void fill() {
    for (last_ = 1000; rig().flows() < records; ++last_) {
      ASSERT_TRUE(connect(last_)) << last_;
      ASSERT_LT(last_, 1000 + 8 * static_cast<int>(records));
    }
    for (const int end = last_ + 8; last_ < end; ++last_) ASSERT_TRUE(connect(last_)) << last_;
    ASSERT_EQ(rig().flows(), records);
    ASSERT_GE(stateless(), 3u * 8);
  }
  // SYNs of made up sources, each of them sent on to the endpoint.
  void flood(int count) {
    std::vector<Bytes> burst;
    for (int i = 0; i < count; ++i) {
      const int source = next_++;
      const std::string address = family_->others + std::to_string(source / 60000 % 10);
      burst.push_back(tcp(at(address.c_str(), 2000 + source % 60000), vip(), "S").bytes());
    }
    (void)rig().send_burst("b", burst);
    ASSERT_EQ(rig().out().size(), static_cast<size_t>(count));
    for (const View& seen : rig().out()) ASSERT_EQ(seen.ip.dst.text(), endpoint());
  }
  [[nodiscard]] uint64_t stateless() { return rig().count(dataplane::Event::StatelessForwards); }
  // Ends a connection that has a record or had one, by reset.
  void reset(int port) { (void)rig().send("b", tcp(client(port), vip(), "RA").with_seq(101, 501)); }

  const Family* family_ = &v4;
  int last_ = 0;  // behind the last port of fill()
  int next_ = 0;
};

TEST_P(Flood, CT9_SpoofedSynsEvictNoEstablishedConnection) {
  both([&] {
    constexpr int few = static_cast<int>(records) / 4;
    for (int port = 1000; port < 1000 + few; ++port) ASSERT_TRUE(connect(port)) << port;
    const uint64_t closed = rig().count(dataplane::Event::FlowsClosed);
    for (int round = 0; round < 20; ++round) ASSERT_NO_FATAL_FAILURE(flood(200));
    EXPECT_LE(rig().flows(), records) << "bounded";
    EXPECT_EQ(rig().count(dataplane::Event::FlowsClosed) - closed, rig().count(dataplane::Event::FlowsEvicted));
    EXPECT_GT(rig().count(dataplane::Event::FlowsEvicted), 3000u);
    EXPECT_EQ(stateless(), 0u) << "room was made for each";
    for (int port = 1000; port < 1000 + few; ++port) EXPECT_TRUE(talks(port));
    EXPECT_EQ(stateless(), 0u) << "by their records";
    EXPECT_EQ(rig().drops(), "");
  });
}

TEST_P(Flood, CT9_EstablishedConnectionsFillTheTableAndNewOnesPassAllTheSame) {
  both([&] {
    fill();
    const uint64_t opened = rig().count(dataplane::Event::FlowsOpened);
    for (int round = 0; round < 10; ++round) ASSERT_NO_FATAL_FAILURE(flood(200));
    EXPECT_EQ(rig().count(dataplane::Event::FlowsOpened), opened);
    EXPECT_EQ(rig().count(dataplane::Event::FlowsEvicted), 0u);
    const uint64_t before = stateless();
    ASSERT_TRUE(connect(9000));
    EXPECT_EQ(stateless() - before, 3u) << "every packet is counted";
    for (int port = 1000; port < last_; ++port) EXPECT_TRUE(talks(port));
    EXPECT_EQ(rig().flows(), records);
    EXPECT_EQ(rig().drops(), "");
  });
}

// Between any two packets of the client hundreds of others ask for its place: in a table that makes room for each, and
// in one that cannot.
TEST_P(Flood, CT9_HonestClientsGetThroughAFlood) {
  for (const bool full : {false, true}) {
    SCOPED_TRACE(full);
    both([&] {
      if (full) fill();
      for (int number = 0; number < 4; ++number) {
        const int port = 9000 + number;
        bool greeted = false;
        // What the flood has overwritten the client sends again, like any.
        for (int attempt = 0; attempt < 4 && !greeted; ++attempt) {
          ASSERT_EQ(rig().send("b", tcp(client(port), vip(), "S").with_seq(100, 0)), forwarded("S", port));
          ASSERT_NO_FATAL_FAILURE(flood(200));
          const std::string answer = rig().send("b", tcp(endpoint(), client(port), "SA").with_seq(500, 101));
          // With two workers the stub of a connection that lost its record may meet the packet.
          greeted = answer == answered("SA", port);
        }
        ASSERT_TRUE(greeted);
        ASSERT_NO_FATAL_FAILURE(flood(200));
        ASSERT_EQ(rig().send("b", tcp(client(port), vip(), "A").with_seq(101, 501)), forwarded("A", port));
        for (int round = 0; round < 3; ++round) {
          ASSERT_NO_FATAL_FAILURE(flood(200));
          EXPECT_TRUE(talks(port));
        }
      }
    });
  }
}

TEST_P(Flood, CT9_MASQ7_DirectConversationsAreNotTranslated) {
  both([&] {
    fill();
    ASSERT_TRUE(connect(9000));
    // Another port of the same client, and later the same one.
    ASSERT_EQ(rig().send("b", tcp(client(9001), endpoint(), "S")), forwarded("S", 9001));
    EXPECT_EQ(rig().send("b", tcp(endpoint(), client(9001), "SA")),
              "b/13 tcp SA " + endpoint() + ">" + client(9001) + " ttl 63");
    EXPECT_EQ(rig().send("b", tcp(endpoint(), client(9000), "PA")), answered("PA", 9000));
    ASSERT_EQ(rig().send("b", tcp(client(9000), endpoint(), "S")), forwarded("S", 9000));
    EXPECT_EQ(rig().send("b", tcp(endpoint(), client(9000), "SA")),
              "b/13 tcp SA " + endpoint() + ">" + client(9000) + " ttl 63");
    EXPECT_EQ(rig().drops(), "");
  });
}

// The endpoint goes away; whoever has its address then says nothing about the service.
TEST_P(Flood, CT9_HintsEndWithTheirEndpoint) {
  both([&] {
    fill();
    ASSERT_TRUE(connect(9000));
    rig().load(list({gateway(), cluster(),
                     service({.name = "web",
                              .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                              .ports = {"TCP 80 8080"},
                              .endpoints = {"10.246.1.21 node3", "fd00:10:246::21 node3"}})}));
    EXPECT_EQ(rig().send("b", tcp(endpoint(), client(9000), "SA")),
              "b/13 tcp SA " + endpoint() + ">" + client(9000) + " ttl 63");
  });
}

TEST_P(Flood, CT7_ARecordAsSoonAsThereIsRoom) {
  for (const char* more : {"", R"("conntrack":{"tcpLoose":false})"}) {
    SCOPED_TRACE(more);
    both(
        [&] {
          fill();
          ASSERT_TRUE(connect(9000));
          ASSERT_TRUE(talks(9000));
          for (int port = 1000; port < last_; ++port) reset(port);
          (void)rig().advance(15'000);
          ASSERT_EQ(rig().flows(), 0u);
          ASSERT_TRUE(talks(9000));
          EXPECT_EQ(rig().flows(), 1u);
          const uint64_t before = stateless();
          EXPECT_TRUE(talks(9000));
          EXPECT_EQ(stateless(), before) << "by its record";
          // The endpoint's answer to what was picked up makes it assured (CT-9).
          for (int round = 0; round < 4; ++round) ASSERT_NO_FATAL_FAILURE(flood(200));
          EXPECT_TRUE(talks(9000));
          EXPECT_EQ(stateless(), before);
          EXPECT_EQ(rig().drops(), "");
        },
        more);
  }
}

TEST_P(Flood, CT20_WhatEndsAConnectionPassesWhileThereAreSome) {
  both([&] {
    fill();
    ASSERT_TRUE(connect(9000));
    EXPECT_EQ(rig().send("b", tcp(client(9000), vip(), "FA").with_seq(101, 501)), forwarded("FA", 9000));
    EXPECT_EQ(rig().send("b", tcp(endpoint(), client(9000), "FA").with_seq(501, 102)), answered("FA", 9000));
    EXPECT_EQ(rig().send("b", tcp(client(9000), vip(), "RA").with_seq(102, 502)), forwarded("RA", 9000));
    EXPECT_EQ(rig().send("b", tcp(client(9001), vip(), "FA")), forwarded("FA", 9001)) << "its hint may be lost";
    for (const char* flags : {"SA", "SF", ""}) {
      EXPECT_EQ(rig().send("b", tcp(client(9000), vip(), flags)), "") << flags;
      EXPECT_EQ(rig().drops(), "conntrack_invalid 1") << flags;
    }
    (void)rig().advance(125'000);
    EXPECT_EQ(rig().send("b", tcp(client(9000), vip(), "FA")), "");
    EXPECT_EQ(rig().drops(), "conntrack_invalid 1");
  });
}

TEST_P(Flood, CT20_WithoutLoosePickUpOnlyWhatHasAHintGoesOn) {
  both(
      [&] {
        fill();
        ASSERT_TRUE(connect(9000));
        EXPECT_TRUE(talks(9000));
        EXPECT_EQ(rig().send("b", tcp(client(9000), vip(), "FA")), forwarded("FA", 9000));
        for (const char* flags : {"A", "FA", "RA"}) {
          EXPECT_EQ(rig().send("b", tcp(client(9001), vip(), flags)), "") << flags;
          EXPECT_EQ(rig().drops(), "conntrack_invalid 1") << flags;
        }
      },
      R"("conntrack":{"tcpLoose":false})");
}

TEST_P(Flood, CT9_UdpBothWays) {
  both([&] {
    fill();
    for (int round = 0; round < 3; ++round) {
      EXPECT_EQ(rig().send("b", udp(client(9000), vip(53))),
                "b/13 udp " + client(9000) + ">" + endpoint(5353) + " ttl 63");
      EXPECT_EQ(rig().send("b", udp(endpoint(5353), client(9000))),
                "b/13 udp " + vip(53) + ">" + client(9000) + " ttl 63");
    }
    EXPECT_EQ(rig().flows(), records);
    EXPECT_EQ(rig().drops(), "");
  });
}

// Nothing but a record keeps two clients apart that share a translated source.
TEST_P(Flood, CT9_MasqueradedConnectionsNeedARecord) {
  start({.connections = records});
  load();
  fill();
  EXPECT_EQ(rig().send("a", tcp("198.51.100.9:1000", "192.0.2.1:30080", "S")), "");
  EXPECT_EQ(rig().drops(), "conntrack_full 1");
}

// A path's MTU must be learnt without a record, too (ICMP-1).
TEST_P(Flood, CT9_ICMP1_ErrorsAboutThemAreTranslated) {
  start({.connections = records});
  load();
  fill();
  ASSERT_TRUE(connect(9000));
  const Bytes quoted = tcp(client(9000), endpoint(), "PA").with_df().bytes();
  const std::string told = rig().send("b", icmp_error("10.246.1.1", "10.246.1.5", 3, 4, quoted, 1400));
  EXPECT_EQ(told,
            "b/13 icmp 3/4 mtu 1400 10.96.0.10>10.246.1.5 ttl 63 [ tcp PA 10.246.1.5:9000>10.96.0.10:80 ttl 64 df ]");
}

SLUICE_WITH_WORKERS(Flood);

// What goes no further than here opens nothing.
class Opening : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    const ServiceSpec web{.name = "web",
                          .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                          .ports = {"TCP 80 8080 30080", "UDP 53 5353"},
                          .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};
    rig().load(list({gateway(), cluster(R"("natOutgoing":true)"), service(web)}));
  }
  void expect_nothing(const char* drop) {
    EXPECT_EQ(rig().drops(), drop);
    EXPECT_EQ(rig().flows(), 0u);
    EXPECT_EQ(rig().count(dataplane::Event::FlowsOpened), 0u);
    EXPECT_EQ(rig().count(dataplane::Event::Masqueraded), 0u);
  }
};

TEST_P(Opening, TTL2_NotWhatIsOutOfHops) {
  EXPECT_TRUE(like(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "S").with_ttl(1)), "b/13 icmp 11/0 *"));
  EXPECT_TRUE(
      like(rig().send("b", tcp("[fd00:10:246::5]:1000", "[fd00:10:96::10]:80", "S").with_ttl(1)), "b/13 icmp 3/0 *"));
  EXPECT_TRUE(like(rig().send("b", udp("10.246.1.5:1000", "198.51.100.9:53").with_ttl(1)), "b/13 icmp 11/0 *"));
  EXPECT_TRUE(like(rig().send("a", tcp("198.51.100.9:1000", "192.0.2.1:30080", "S").with_ttl(1)), "a/fe icmp 11/0 *"));
  expect_nothing("ttl_exceeded 4");
}

TEST_P(Opening, MTU2_NotWhatIsTooLarge) {
  const auto large = [](const char* from, const char* to) { return udp(from, to).with_df().with_payload(1600); };
  EXPECT_TRUE(like(rig().send("b", large("10.246.1.5:1000", "10.96.0.10:53")),
                   "b/13 icmp 3/4 mtu 1500 * [ udp 10.246.1.5:1000>10.96.0.10:53 *"));
  EXPECT_TRUE(like(rig().send("b", large("[fd00:10:246::5]:1000", "[fd00:10:96::10]:53")), "b/13 icmp 2/0 mtu 1500 *"));
  EXPECT_TRUE(like(rig().send("b", large("10.246.1.5:1000", "198.51.100.9:53")), "b/13 icmp 3/4 mtu 1500 *"));
  expect_nothing("mtu_exceeded 3");
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:1000", "10.96.0.10:53")),
            "b/13 udp 10.246.1.5:1000>10.246.1.20:5353 ttl 63");
}

SLUICE_WITH_WORKERS(Opening);

}  // namespace
}  // namespace sluice::packet_test

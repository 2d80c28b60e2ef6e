// Packets that come together: what an earlier one of a burst does to the connections of a later one (the table uses a
// record again at once, so a flow id from before that may name another connection), and packets in several buffers.
#include <chrono>
#include <thread>

#include <gtest/gtest.h>
#include <rte_cycles.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

ServiceSpec web(const char* endpoint) {
  return {.name = "web",
          .cluster_ips = {"10.96.0.10"},
          .ports = {"TCP 80 8080 30080", "UDP 53 5353"},
          .endpoints = {std::string(endpoint) + " node3"}};
}
const ServiceSpec shop{
    .name = "shop", .cluster_ips = {"10.96.0.12"}, .ports = {"TCP 80 9090"}, .endpoints = {"10.246.1.30 node3"}};

constexpr const char* old_endpoint = "10.246.1.20";
constexpr const char* new_endpoint = "10.246.1.21";
constexpr const char* vip = "10.96.0.10:80";

class Burst : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load(old_endpoint);
  }
  void load(const char* endpoint) { rig().load(list({gateway(), cluster(), service(web(endpoint)), service(shop)})); }
  static std::string client(int port) { return "10.246.1.5:" + std::to_string(port); }
  void expect_truthful_counters() {
    EXPECT_EQ(rig().count(dataplane::Event::FlowsOpened) - rig().count(dataplane::Event::FlowsClosed), rig().flows());
  }
  // An open connection; then, with close(), one in TIME_WAIT.
  void connect(const std::string& from) {
    (void)rig().send("b", tcp(from, vip, "S").with_seq(100, 0));
    (void)rig().send("b", tcp("10.246.1.20:8080", from, "SA").with_seq(500, 101));
    ASSERT_EQ(rig().send("b", tcp(from, vip, "A").with_seq(101, 501)),
              "b/13 tcp A " + from + ">10.246.1.20:8080 ttl 63");
  }
  void close(const std::string& from) {
    (void)rig().send("b", tcp(from, vip, "FA").with_seq(101, 501));
    (void)rig().send("b", tcp("10.246.1.20:8080", from, "FA").with_seq(501, 102));
    ASSERT_EQ(rig().send("b", tcp(from, vip, "A").with_seq(102, 502)),
              "b/13 tcp A " + from + ">10.246.1.20:8080 ttl 63");
  }
};

// Where it matters which one comes first: with one worker only that is given.
class BurstInOrder : public Burst {};

// Both in one connection: the refusal ends it (CT-8), the client's next SYN is the first packet of another. A worker
// that went on with the ended record would forward the SYN and know nothing of the connection when the answer comes.
TEST_P(Burst, CT8_ASynBehindTheRefusalOpensAConnection) {
  for (int port = 1000; port < 1032; ++port) {
    const std::string from = client(port);
    ASSERT_NE(rig().send("b", tcp(from, vip, "S").with_seq(100, 0)), "");
    (void)rig().send_burst("b", {tcp("10.246.1.20:8080", from, "RA").with_seq(0, 101).bytes(),
                                 tcp(from, vip, "S").with_seq(9000, 0).bytes()});
    EXPECT_EQ(rig().out().size(), 2u);
    // With two workers the two may be taken in either order: then the client's next SYN is the one.
    if (rig().flows() < static_cast<uint64_t>(port - 999) && GetParam() == 2)
      (void)rig().send("b", tcp(from, vip, "S").with_seq(9000, 0));
    ASSERT_EQ(rig().flows(), static_cast<uint64_t>(port - 999));
    EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", from, "SA").with_seq(1, 9001)),
              "b/13 tcp SA 10.96.0.10:80>" + from + " ttl 63");
    expect_truthful_counters();
  }
  EXPECT_EQ(rig().drops(), "");
}

// What cannot begin a connection is nobody's packet behind the refusal; and the record it would have touched is free.
TEST_P(Burst, CT8_CT20_AFinBehindTheRefusalIsInvalid) {
  for (int port = 1000; port < 1032; ++port) {
    const std::string from = client(port);
    ASSERT_NE(rig().send("b", tcp(from, vip, "S").with_seq(100, 0)), "");
    EXPECT_EQ(rig().send_burst("b", {tcp("10.246.1.20:8080", from, "RA").with_seq(0, 101).bytes(),
                                     tcp(from, vip, "FA").with_seq(101, 1).bytes()}),
              "b/13 tcp RA 10.96.0.10:80>" + from + " ttl 63");
    EXPECT_EQ(rig().drops(), "conntrack_invalid 1");
    expect_truthful_counters();
  }
  EXPECT_EQ(rig().flows(), 0u);
  for (int port = 1000; port < 1064; ++port) connect(client(port));
  for (int port = 1000; port < 1064; ++port) {
    EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", client(port), "PA").with_seq(501, 101)),
              "b/13 tcp PA 10.96.0.10:80>" + client(port) + " ttl 63");
  }
  EXPECT_EQ(rig().flows(), 64u);
}

// The client's port is used again (CT-4) and leads to another endpoint; behind it comes a late packet of the old one.
// The record is the new connection's by now, and the late packet is no answer of the new endpoint.
TEST_P(BurstInOrder, CT4_ALatePacketOfTheOldEndpointIsNotTheNewOnes) {
  for (int port = 1000; port < 1016; ++port) {
    const std::string from = client(port);
    load(old_endpoint);
    connect(from);
    close(from);
    load(new_endpoint);
    const std::string out = rig().send_burst("b", {tcp(from, vip, "S").with_seq(9000, 0).bytes(),
                                                   tcp("10.246.1.20:8080", from, "A").with_seq(502, 103).bytes()});
    EXPECT_TRUE(like(out, "*b/13 tcp S " + from + ">10.246.1.21:8080 ttl 63*"));
    EXPECT_FALSE(like(out, "*tcp A 10.96.0.10:80>*")) << out;
    EXPECT_EQ(rig().send("b", tcp("10.246.1.21:8080", from, "SA").with_seq(1, 9001)),
              "b/13 tcp SA 10.96.0.10:80>" + from + " ttl 63");
  }
}

// The same where a change of endpoints moves a UDP flow (SVC-94).
TEST_P(BurstInOrder, SVC94_ALateAnswerOfTheOldEndpointIsNotTheNewOnes) {
  for (int port = 1000; port < 1016; ++port) {
    const std::string from = client(port);
    load(old_endpoint);
    ASSERT_EQ(rig().send("b", udp(from, "10.96.0.10:53")), "b/13 udp " + from + ">10.246.1.20:5353 ttl 63");
    load(new_endpoint);
    const std::string out =
        rig().send_burst("b", {udp(from, "10.96.0.10:53").bytes(), udp("10.246.1.20:5353", from).bytes()});
    EXPECT_TRUE(like(out, "*b/13 udp " + from + ">10.246.1.21:5353 ttl 63*"));
    EXPECT_FALSE(like(out, "*udp 10.96.0.10:53>*")) << out;
    EXPECT_EQ(rig().send("b", udp("10.246.1.21:5353", from)), "b/13 udp 10.96.0.10:53>" + from + " ttl 63");
  }
}

// Many ends and beginnings of different clients and services in one burst: everybody has its own translation then.
TEST_P(Burst, CT4_CT8_EveryPacketOfTheBurstHasItsOwnFlow) {
  constexpr int clients = 10;
  for (int round = 0; round < 8; ++round) {
    const int base = 1000 + round * 100;
    for (int i = 0; i < clients; ++i) {
      connect(client(base + i));
      close(client(base + i));
      ASSERT_NE(rig().send("b", tcp(client(base + 50 + i), "10.96.0.12:80", "S").with_seq(100, 0)), "");
    }
    std::vector<Bytes> burst;
    std::string expected;
    for (int i = 0; i < clients; ++i) {
      // Refused by the shop; re-opened at web; the shop's client again.
      burst.push_back(tcp("10.246.1.30:9090", client(base + 50 + i), "RA").with_seq(0, 101).bytes());
      burst.push_back(tcp(client(base + i), vip, "S").with_seq(9000, 0).bytes());
      burst.push_back(tcp(client(base + 50 + i), "10.96.0.12:80", "S").with_seq(7000, 0).bytes());
    }
    (void)rig().send_burst("b", burst);
    EXPECT_EQ(rig().out().size(), burst.size());
    for (const View& seen : rig().out()) {
      const bool to_web = seen.ip.dst.text() == "10.246.1.20:8080" && seen.ip.src.port < base + 50;
      const bool to_shop = seen.ip.dst.text() == "10.246.1.30:9090" && seen.ip.src.port >= base + 50;
      const bool refusal = seen.ip.src.text() == "10.96.0.12:80" && seen.ip.dst.port >= base + 50;
      EXPECT_TRUE(to_web || to_shop || refusal) << seen.text;
    }
    for (int i = 0; i < clients; ++i) {
      if (GetParam() == 2) (void)rig().send("b", tcp(client(base + 50 + i), "10.96.0.12:80", "S").with_seq(7000, 0));
      EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", client(base + i), "SA").with_seq(1, 9001)),
                "b/13 tcp SA 10.96.0.10:80>" + client(base + i) + " ttl 63");
      EXPECT_EQ(rig().send("b", tcp("10.246.1.30:9090", client(base + 50 + i), "SA").with_seq(1, 7001)),
                "b/13 tcp SA 10.96.0.12:80>" + client(base + 50 + i) + " ttl 63");
    }
    expect_truthful_counters();
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Burst, PIPE2_TheFirstPacketsOfAFlowOpenOneConnection) {
  std::vector<Bytes> burst;
  for (int i = 0; i < 32; ++i) burst.push_back(udp(client(1000 + i % 4), "10.96.0.10:53").bytes());
  (void)rig().send_burst("b", burst);
  EXPECT_EQ(rig().out().size(), 32u);
  for (const View& seen : rig().out()) EXPECT_EQ(seen.ip.dst.text(), "10.246.1.20:5353");
  EXPECT_EQ(rig().flows(), 4u);
  EXPECT_EQ(rig().count(dataplane::Event::FlowsOpened), 4u);
}

// Of two ends that speak at once the second one's packet belongs to the flow that the first one's has just opened.
TEST_P(BurstInOrder, PIPE2_AnAnswerBehindTheFirstPacketIsTranslated) {
  if (GetParam() != 1) return;
  (void)rig().send_burst("b",
                         {udp(client(1000), "10.96.0.10:53").bytes(), udp("10.246.1.20:5353", client(1000)).bytes(),
                          udp(client(1001), "10.246.1.40:9").bytes()});
  ASSERT_EQ(rig().out().size(), 3u);
  EXPECT_EQ(rig().out()[0].text, "b/13 udp " + client(1000) + ">10.246.1.20:5353 ttl 63");
  EXPECT_EQ(rig().out()[1].text, "b/13 udp 10.96.0.10:53>" + client(1000) + " ttl 63");
  EXPECT_EQ(rig().out()[2].text, "b/13 udp " + client(1001) + ">10.246.1.40:9 ttl 63");
}

// A masqueraded client: all packets of a burst leave by one port.
TEST_P(Burst, PIPE2_MASQ6_OnePortForAllOfThem) {
  std::vector<Bytes> burst{tcp("198.51.100.9:1000", "192.0.2.1:30080", "S").bytes()};
  for (int i = 0; i < 8; ++i) burst.push_back(tcp("198.51.100.9:1000", "192.0.2.1:30080", "S").with_seq(1, 0).bytes());
  (void)rig().send_burst("a", burst);
  ASSERT_EQ(rig().out().size(), 9u);
  for (const View& seen : rig().out()) EXPECT_EQ(seen.ip.src.text(), rig().out().front().ip.src.text());
  EXPECT_EQ(rig().flows(), 1u);
}

TEST_P(Burst, CT9_AFullTableInTheMiddleOfABurst) {
  start({.connections = 128});
  load(old_endpoint);
  std::vector<Bytes> burst;
  for (int i = 0; i < 400; ++i) burst.push_back(udp(client(1000 + i), "10.96.0.10:53").bytes());
  for (int round = 0; round < 4; ++round) {
    (void)rig().send_burst("b", burst);
    EXPECT_EQ(rig().out().size(), 400u);
    for (const View& seen : rig().out()) EXPECT_EQ(seen.ip.dst.text(), "10.246.1.20:5353");
  }
  EXPECT_EQ(rig().drops(), "");
  EXPECT_LE(rig().flows(), 128u * GetParam());
  EXPECT_GT(rig().count(dataplane::Event::FlowsEvicted), 0u);
  expect_truthful_counters();
}

// More openings wait for the other worker's word than there are records: each comes back to find its record given to
// another one, and leaves all the same.
TEST(BurstOfOpenings, CT9_MASQ7_MoreAskThanThereAreRecords) {
  constexpr int clients = 600;
  Rig rig({.workers = 2, .connections = 128});
  rig.load(list({gateway(), cluster(), service(web(old_endpoint))}));
  for (int i = 0; i < clients; ++i)
    rig.place("b", udp("10.246.1.5:" + std::to_string(1000 + i), "10.96.0.10:53").bytes());
  for (const uint16_t alone : {uint16_t{0}, uint16_t{1}}) {
    for (int loop = 0; loop < 50; ++loop) (void)rig.plane().worker(alone).run_once();
  }
  (void)rig.run();
  EXPECT_EQ(rig.out().size(), size_t{clients});
  for (const View& seen : rig.out()) EXPECT_EQ(seen.ip.dst.text(), "10.246.1.20:5353");
  EXPECT_GT(rig.count(dataplane::Event::FlowsEvicted), 0u);
  EXPECT_EQ(rig.count(dataplane::Event::StubClashes), 0u);
  EXPECT_EQ(rig.drops(), "");
}

// Thousands of flows end while the other worker does not get to run: it is told of every one of them, or keeps entries
// of flows that are gone, which would cost later clients their source port (MASQ-7).
TEST(BurstOfEnds, CT30_MASQ7_TheOtherWorkerIsToldOfEveryOne) {
  constexpr int clients = 40;
  constexpr int flows_each = 500;
  Rig rig({.workers = 2, .connections = 65536});
  const ServiceSpec twin{
      .name = "twin", .cluster_ips = {"10.96.0.14"}, .ports = {"UDP 53 5353"}, .endpoints = {"10.246.1.20 node3"}};
  rig.load(list({gateway(), cluster(), service(web(old_endpoint)), service(twin)}));
  const auto send_all = [&](const char* frontend, auto&& look) {
    for (int i = 0; i < clients; ++i) {
      std::vector<Bytes> burst;
      for (int port = 0; port < flows_each; ++port) {
        burst.push_back(
            udp("10.246.1." + std::to_string(100 + i) + ":" + std::to_string(1000 + port), frontend).bytes());
      }
      (void)rig.send_burst("b", burst);
      ASSERT_EQ(rig.out().size(), size_t{flows_each});
      look();
    }
  };
  send_all("10.96.0.10:53", [] {});
  ASSERT_EQ(rig.flows(), uint64_t{clients * flows_each});
  for (const uint16_t alone : {uint16_t{1}, uint16_t{0}}) {
    rig.plane().worker(alone).advance_clock(40000);
    for (int loop = 0; loop < 2000; ++loop) (void)rig.plane().worker(alone).run_once();
  }
  for (int loop = 0; loop < 2000; ++loop) {
    for (const uint16_t worker : {uint16_t{0}, uint16_t{1}}) (void)rig.plane().worker(worker).run_once();
  }
  ASSERT_EQ(rig.flows(), 0u);
  int changed = 0;
  send_all("10.96.0.14:53", [&] {
    for (const View& seen : rig.out())
      changed += seen.ip.src.port < 1000 || seen.ip.src.port >= 1000 + flows_each ? 1 : 0;
  });
  EXPECT_EQ(changed, 0);
  EXPECT_EQ(rig.count(dataplane::Event::StubClashes), 0u);
  EXPECT_EQ(rig.drops(), "");
}

// ---- several buffers -------------------------------------------------------------------------------------

// Headers lie in the first buffer (packet.h); where the payload is cut means nothing.
TEST_P(Burst, SEGMENTS_TransitServiceAndReply) {
  for (const std::vector<size_t>& cuts : {std::vector<size_t>{54}, {100}, {200, 400, 600}, {54, 55, 56}}) {
    const std::string from = client(static_cast<int>(1000 + cuts.size() * 10 + cuts[0]));
    EXPECT_EQ(rig().send_cut("b", tcp(from, vip, "S").with_payload(900).bytes(), cuts),
              "b/13 tcp S " + from + ">10.246.1.20:8080 ttl 63");
    const Bytes expected = tcp(from, "10.246.1.20:8080", "S").with_payload(900).with_ttl(63).bytes();
    EXPECT_EQ(rig().only().l3, expected) << "payload and checksum";
    EXPECT_EQ(rig().send_cut("b", tcp("10.246.1.20:8080", from, "SA").with_payload(900).bytes(), cuts),
              "b/13 tcp SA 10.96.0.10:80>" + from + " ttl 63");
    EXPECT_EQ(rig().send_cut("b", udp("192.168.0.13:5", "192.0.2.10:6").with_payload(900).bytes(), cuts),
              "a/10 udp 192.168.0.13:5>192.0.2.10:6 ttl 63");
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Burst, SEGMENTS_IntoTunnelsAndOutOfThem) {
  const Ip packet = udp("192.0.2.10:5", "10.244.34.5:6").with_payload(1000);
  ASSERT_EQ(rig().send_cut("a", packet.bytes(), {100, 500}),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 192.0.2.10:5>10.244.34.5:6 ttl 63");
  EXPECT_EQ(rig().only().l3, packet.with_ttl(63).bytes());
  const Ip reply = udp("10.245.40.6:6", "192.0.2.10:5").with_payload(1000);
  ASSERT_EQ(rig().send_cut("b", ipip("192.168.0.12", "192.168.0.1", reply.bytes()), {100, 500}),
            "a/10 udp 10.245.40.6:6>192.0.2.10:5 ttl 63");
  EXPECT_EQ(rig().only().l3, reply.with_ttl(63).bytes());
  VxlanOptions options;
  options.inner_destination = rig().snapshot().terminator.vtep_mac;
  const Ip other = udp("10.244.34.5:6", "192.0.2.10:5").with_payload(1000);
  ASSERT_EQ(rig().send_cut("b", vxlan("192.168.0.11", "192.168.0.1", other.bytes(), options), {120, 500, 900}),
            "a/10 udp 10.244.34.5:6>192.0.2.10:5 ttl 63");
  EXPECT_EQ(rig().only().l3, other.with_ttl(63).bytes());
}

TEST_P(Burst, SEGMENTS_AreCutIntoFragments) {
  const Ip packet = udp("192.0.2.10:5", "10.244.34.5:6").with_payload(1472);
  ASSERT_EQ(rig().send_cut("a", packet.bytes(), {100, 700, 1450}),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 192.0.2.10:5>10.244.34.5:6 ttl 63 frag 0+ len 1444\n"
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 192.0.2.10>10.244.34.5 ttl 63 frag 1424 len 76");
  EXPECT_EQ(reassembled(rig().out()[0].l3, rig().out()[1].l3), packet.with_ttl(63).bytes());
}

TEST_P(Burst, SEGMENTS_AreQuotedAndAnswered) {
  EXPECT_EQ(rig().send_cut("a", udp("192.0.2.10:5", "192.168.0.13:6").with_payload(700).with_ttl(1).bytes(), {60, 300}),
            "a/10 icmp 11/0 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>192.168.0.13:6 ttl 1 ]");
  EXPECT_EQ(rig().send_cut("a", echo("192.0.2.10", "192.0.2.1", 5).with_payload(700).bytes(), {60, 300}),
            "a/10 echo-reply 192.0.2.1>192.0.2.10 id 5 ttl 64");
  EXPECT_EQ(rig().send_cut("a", echo("2001:db8:2::10", "2001:db8:2::1", 5).with_payload(701).bytes(), {75, 300}),
            "a/10 echo-reply 2001:db8:2::1>2001:db8:2::10 id 5 ttl 64");
  ASSERT_NE(rig().send("b", udp(client(1000), "10.96.0.10:53").with_payload(500)), "");
  const Bytes error = icmp_error("10.246.1.20", "10.246.1.5", 3, 3, rig().only().l3).bytes();
  EXPECT_EQ(rig().send_cut("b", error, {90, 200}),
            "b/13 icmp 3/3 10.96.0.10>10.246.1.5 ttl 63 [ udp 10.246.1.5:1000>10.96.0.10:53 ttl 63 ]");
  Bytes damaged = echo("192.0.2.10", "192.0.2.1", 5).with_payload(700).bytes();
  damaged.back() ^= 1;
  (void)rig().drops();
  EXPECT_EQ(rig().send_cut("a", damaged, {60, 300}), "");
  EXPECT_EQ(rig().drops(), "icmp_bad_checksum 1");
}

// A header that does not lie in the first buffer is refused by name, wherever it is cut.
TEST_P(Burst, SEGMENTS_AHeaderInPiecesIsRefused) {
  const Bytes packet = tcp(client(1000), vip, "S").with_payload(100).bytes();
  for (const size_t cut : {5, 13, 14, 20, 33, 34, 40, 53}) {
    EXPECT_EQ(rig().send_cut("b", packet, {cut}), "") << cut;
    const std::string drops = rig().drops();
    EXPECT_TRUE(drops == "ethernet_truncated 1" || drops == "ip_truncated 1" || drops == "l4_truncated 1")
        << "cut at " << cut << ": " << drops;
  }
  const Bytes six = tcp("[fd00:10:246::5]:5", "[2001:db8:2::10]:6", "S").with_payload(100).bytes();
  for (const size_t cut : {14, 40, 53, 54, 70}) EXPECT_EQ(rig().send_cut("b", six, {cut}), "") << cut;
  EXPECT_EQ(rig().flows(), 0u);
}

// A sender's padding may lie in a buffer of its own.
TEST_P(Burst, SEGMENTS_PaddingIsCutOff) {
  Bytes padded = udp("192.0.2.10:1", "192.168.0.13:2").with_payload(60).bytes();
  const size_t whole = padded.size();
  padded.resize(whole + 40, 0xaa);
  for (const size_t cut : {whole + 14, whole + 20, size_t{60}}) {
    EXPECT_EQ(rig().send_cut("a", padded, {cut}), "b/13 udp 192.0.2.10:1>192.168.0.13:2 ttl 63");
    EXPECT_EQ(rig().only().frame.size(), whole + 14);
  }
}

TEST_P(Burst, SEGMENTS_WaitForTheirNeighbour) {
  Gateway asks;
  asks.neighbors = R"({"interface":"up","address":"192.0.2.10","mac":"02:00:00:00:00:10"})";
  rig().load(list({asks.text()}));
  ASSERT_EQ(rig().send_cut("a", udp("192.0.2.10:5", "192.168.0.50:6").with_payload(900).bytes(), {100, 500}),
            "b/ff arp request 192.168.0.50? from 192.168.0.1");
  ASSERT_EQ(rig().send_cut("a", udp("192.0.2.10:5", "192.168.0.51:6").with_payload(900).bytes(), {100, 500}),
            "b/ff arp request 192.168.0.51? from 192.168.0.1");
  EXPECT_EQ(rig().send_frame("b", arp(2, mac(0x50), "192.168.0.50", "192.168.0.1", mac(0x0b))),
            "b/50 udp 192.0.2.10:5>192.168.0.50:6 ttl 63");
  EXPECT_TRUE(like(rig().advance(6000), "a/10 icmp 3/1 * [ udp 192.0.2.10:5>192.168.0.51:6 ttl 64 ]*"));
}

// What a worker's load is counted by: between turns it may sleep.
TEST_P(Burst, TheCyclesOfAWorkerAreThoseOfItsSleepToo) {
  constexpr auto sleep = std::chrono::milliseconds(20);
  const dataplane::WorkerCounters& counters = rig().plane().worker(0).counters();
  (void)rig().plane().worker(0).run_once();
  const uint64_t awake = counters.awake_cycles;
  const uint64_t total = counters.total_cycles;
  std::this_thread::sleep_for(sleep);
  (void)rig().plane().worker(0).run_once();
  const uint64_t slept = rte_get_tsc_hz() / 1000 * sleep.count();
  EXPECT_GE((counters.total_cycles - total) - (counters.awake_cycles - awake), slept);
}

SLUICE_WITH_WORKERS(Burst);
INSTANTIATE_TEST_SUITE_P(OneWorker, BurstInOrder, testing::Values(uint16_t{1}));

}  // namespace
}  // namespace sluice::packet_test

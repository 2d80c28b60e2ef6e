// Packets on their way, recorded by the workers that forward them.
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/explain.h"

namespace sluice::packet_test {
namespace {

const ServiceSpec web{.name = "web",
                      .cluster_ips = {"10.96.0.10"},
                      .ports = {"TCP 80 8080 30080"},
                      .endpoints = {"10.246.1.20 node3"},
                      .load_balancer_ip = "198.51.100.80"};

class Trace : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    rig().load(list({gateway(), cluster(), service(web)}));
  }
};

bool any(const std::vector<std::string>& texts, const std::string& part) {
  for (const std::string& text : texts) {
    if (text.find(part) != std::string::npos) return true;
  }
  return false;
}

TEST_P(Trace, EXP5_OnlyWhatMatchesIsRecorded) {
  RigTrace trace(rig(), "tcp and host 10.246.1.5 and port 80");
  std::vector<Bytes> burst;
  for (int i = 0; i < 8; ++i) {
    burst.push_back(udp("10.246.1.5:1000", "203.0.113." + std::to_string(i + 1) + ":53").bytes());
    burst.push_back(tcp("10.246.1.6:" + std::to_string(1000 + i), "10.96.0.10:80", "S").bytes());
    if (i == 3) burst.push_back(tcp("10.246.1.5:999", "10.96.0.10:80", "S").bytes());
  }
  (void)rig().send_burst("b", burst);
  EXPECT_EQ(rig().out().size(), 17u);
  const auto texts = trace.texts();
  EXPECT_TRUE(any(texts, "10.246.1.5:999 > 10.96.0.10:80"));
  EXPECT_TRUE(any(texts, "flow: new: this packet opened it, worker"));
  EXPECT_TRUE(any(texts, "backend: 10.246.1.20:8080, the only endpoint"));
  EXPECT_TRUE(any(texts, "=> forwarded"));
  EXPECT_FALSE(any(texts, "10.246.1.6"));
  // On its way to its owner, there, at the worker that gets the answers, and back (MASQ-7).
  EXPECT_LE(texts.size(), 4u);
}

TEST_P(Trace, EXP5_AllPacketsOfAConnection) {
  RigTrace trace(rig(), "tcp port 80 or tcp port 8080");
  const std::string client = "10.246.1.5:1000";
  EXPECT_EQ(rig().send("b", tcp(client, "10.96.0.10:80", "S")), "b/13 tcp S " + client + ">10.246.1.20:8080 ttl 63");
  EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", client, "SA")), "b/13 tcp SA 10.96.0.10:80>" + client + " ttl 63");
  (void)trace.texts();
  EXPECT_EQ(rig().send("b", tcp(client, "10.96.0.10:80", "A").with_seq(1, 1)),
            "b/13 tcp A " + client + ">10.246.1.20:8080 ttl 63");
  const auto texts = trace.texts();
  EXPECT_TRUE(any(texts, "flow: known, original direction, ESTABLISHED, 2 packets there and 1 back"))
      << ::testing::PrintToString(texts);
  EXPECT_TRUE(any(texts, "nat: destination 10.96.0.10:80 to 10.246.1.20:8080\n"));
  EXPECT_TRUE(any(texts, "out: tcp ACK 10.246.1.5:1000 > 10.246.1.20:8080, 40 bytes by un"));
}

TEST_P(Trace, EXP5_DropsHaveTheirReasons) {
  RigTrace trace(rig(), "");
  (void)rig().send("a", tcp("192.0.2.10:1000", "10.96.0.10:80", "S"));
  EXPECT_TRUE(any(trace.texts(), "=> dropped (cluster_ip_from_outside)"));
  Ip odd = udp("192.0.2.10:1000", "203.0.113.9:53");
  Bytes broken = odd.bytes();
  broken[10] ^= 1;
  (void)rig().send("a", broken);
  const auto texts = trace.texts();
  const std::string size = std::to_string(broken.size());
  EXPECT_TRUE(any(texts, "parsed: udp 192.0.2.10:1000 > 203.0.113.9:53, " + size + " bytes, in by up"));
  EXPECT_TRUE(any(texts, "=> dropped (ip_bad_checksum)"));
  (void)rig().send("a", odd.with_ttl(1));
  EXPECT_TRUE(any(trace.texts(), "answer: icmp time exceeded 192.0.2.1 > 192.0.2.10"));
  (void)rig().send_frame("a", arp(1, mac(0x10), "192.0.2.10", "192.0.2.1"));
  EXPECT_TRUE(any(trace.texts(), "answer: arp reply of 192.0.2.1 by up"));
}

TEST_P(Trace, EXP5_PacketsThatWaitForTheirNeighbor) {
  RigTrace trace(rig(), "udp");
  (void)rig().send("a", udp("192.0.2.10:1000", "192.168.0.77:53"));
  const auto texts = trace.texts();
  EXPECT_TRUE(any(texts, "neighbor: no MAC address: 192.168.0.77 on un has not answered ARP yet"));
  EXPECT_TRUE(any(texts, "asks: arp who has 192.168.0.77, tell 192.168.0.1 by un"));
  EXPECT_TRUE(any(texts, "=> held"));
  (void)rig().advance(5000);
}

TEST_P(Trace, EXP5_PacketsOfTunnels) {
  rig().load(list({gateway(), cluster(),
                   service({.name = "far",
                            .cluster_ips = {"10.96.0.12"},
                            .ports = {"TCP 80 8080"},
                            .endpoints = {"10.245.40.5 node2"}})}));
  RigTrace trace(rig(), "ip proto 4");
  const Bytes inner = tcp("10.245.40.9:1000", "10.96.0.12:80", "S").bytes();
  (void)rig().send("b", ipip("192.168.0.12", "192.168.0.1", inner));
  const auto texts = trace.texts();
  EXPECT_TRUE(any(texts, "tunnel: ipip 192.168.0.12 > 192.168.0.1: ends here, taken off"))
      << ::testing::PrintToString(texts);
  EXPECT_TRUE(any(texts, "service: default/far:p80-tcp, ClusterIP 10.96.0.12:80; the client is a pod of this cluster"));
  EXPECT_TRUE(any(texts, "tunnel: ipip 192.168.0.12, MTU 1480"));
  EXPECT_TRUE(any(texts, "in ipip 192.168.0.1 > 192.168.0.12"));
}

TEST_P(Trace, EXP5_FramesAreKeptAsTheyCameAndAsTheyLeft) {
  RigTrace trace(rig(), "udp");
  const Ip packet = udp("192.0.2.10:1000", "10.246.1.20:53").with_payload(100);
  (void)rig().send("a", packet);
  const Bytes out = rig().only().frame;
  bool in_seen = false;
  bool out_seen = false;
  for (const auto& one : trace.take()) {
    if (one.port != net::no_interface) {
      in_seen = true;
      EXPECT_EQ(one.frame.length, 14 + 128);
      EXPECT_EQ(Bytes(one.bytes.begin() + 14, one.bytes.begin() + one.frame.captured), packet.bytes());
    }
    for (size_t i = 0; i < one.sent_count; ++i) {
      if (one.sent[i].to_worker) continue;
      out_seen = true;
      const auto* const from = one.bytes.begin() + one.sent[i].frame.offset;
      EXPECT_EQ(Bytes(from, from + one.sent[i].frame.captured), out);
    }
  }
  EXPECT_TRUE(in_seen && out_seen);
}

// A full ring delays and loses no packet, only records.
TEST_P(Trace, EXP6_MoreThanTheRingHolds) {
  RigTrace trace(rig(), "");
  uint64_t sent = 0;
  for (int round = 0; round < 20; ++round) {
    std::vector<Bytes> burst;
    for (int i = 0; i < 40; ++i) burst.push_back(udp("192.0.2.10:1000", "203.0.113.9:53").bytes());
    (void)rig().send_burst("a", burst);
    sent += rig().out().size();
  }
  EXPECT_EQ(sent, 800u);
  uint64_t lost = 0;
  for (uint16_t i = 0; i < rig().plane().worker_count(); ++i) lost += rig().plane().worker(i).tracer().ring().lost();
  const size_t recorded = trace.take().size();
  EXPECT_LE(recorded, dataplane::TraceRing::slots * rig().plane().worker_count());
  EXPECT_GE(recorded + lost, 800u);
  EXPECT_GT(lost, 0u);
  // Room again.
  (void)rig().send("a", udp("192.0.2.10:1000", "203.0.113.9:53"));
  EXPECT_FALSE(trace.take().empty());
}

TEST_P(Trace, EXP6_WhenNobodyTracesNothingIsRecorded) {
  { const RigTrace trace(rig(), ""); }
  (void)rig().send("a", udp("192.0.2.10:1000", "203.0.113.9:53"));
  for (uint16_t i = 0; i < rig().plane().worker_count(); ++i) {
    rig().plane().worker(i).tracer().ring().take([](const dataplane::PacketTrace&) { ADD_FAILURE() << "a record"; });
    EXPECT_EQ(rig().plane().worker(i).tracer().ring().lost(), 0u);
  }
}

SLUICE_WITH_WORKERS(Trace);

}  // namespace
}  // namespace sluice::packet_test

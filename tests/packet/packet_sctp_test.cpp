// SCTP through services (SVC-1, SVC-97): addresses and ports are translated, the CRC32c only where a port changes, and
// a wrong one stays wrong. Every checksum is verified by DPDK's CRC (frames_view.cpp).
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/families.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr uint8_t data = 0;
constexpr uint8_t init = 1;
constexpr uint8_t init_ack = 2;
constexpr uint8_t abort_chunk = 6;
constexpr uint8_t shutdown = 7;
constexpr uint8_t shutdown_ack = 8;
constexpr uint8_t cookie_echo = 10;
constexpr uint8_t cookie_ack = 11;
constexpr uint8_t shutdown_complete = 14;
const std::string reset_removed = R"("proxy":{"onBackendRemoved":"Reset"})";

const ServiceSpec same_port{.name = "diameter",
                            .cluster_ips = {"10.96.0.20", "fd00:10:96::20"},
                            .ports = {"SCTP 3868 3868 30868", "TCP 3868 8080"},
                            .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};
const ServiceSpec other_port{.name = "sigtran",
                             .cluster_ips = {"10.96.0.21", "fd00:10:96::21"},
                             .ports = {"SCTP 2905 12905"},
                             .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};
const ServiceSpec empty{.name = "empty", .cluster_ips = {"10.96.0.22"}, .ports = {"SCTP 2905 12905"}};

class Sctp : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    rig().load(list({gateway(), cluster(), service(same_port), service(other_port), service(empty)}));
  }
};

// The ends of an association of each family, by a service whose endpoint is there or is replaced by another.
struct Ends {
  const char* client;
  const char* service;
  const char* old_endpoint;
  const char* new_endpoint;
};
const Ends ends_v4{"10.246.1.5:1000", "10.96.0.24:2905", "10.246.1.20:12905", "10.246.1.21:12905"};
const Ends ends_v6{"[fd00:10:246::5]:1000", "[fd00:10:96::24]:2905", "[fd00:10:246::20]:12905",
                   "[fd00:10:246::21]:12905"};
constexpr uint32_t client_tag = 0x0c0c0c0c;    // in what the endpoint sends
constexpr uint32_t endpoint_tag = 0x0e0e0e0e;  // in what the client sends

// The ABORTs from port 2905 to port 1000 as Scapy builds them: to the client with the tag of what it sent and the T
// bit, or as the endpoint would send it (RFC 9260 section 8.5.1 B).
const Bytes reflected_abort{0x0b, 0x59, 0x03, 0xe8, 0x0e, 0x0e, 0x0e, 0x0e, 0xd6, 0xbf, 0x43, 0x30, 6, 1, 0, 4};
const Bytes endpoints_abort{0x0b, 0x59, 0x03, 0xe8, 0x0c, 0x0c, 0x0c, 0x0c, 0x61, 0x47, 0x3f, 0xa2, 6, 0, 0, 4};

class Association : public RigTest {
 protected:
  void load(const std::vector<std::string>& endpoints, const std::string& more = "") {
    rig().load(list({gateway(more), cluster(),
                     service({.name = "m3ua",
                              .cluster_ips = {"10.96.0.24", "fd00:10:96::24"},
                              .ports = {"SCTP 2905 12905 30905"},
                              .endpoints = endpoints})}));
  }
  void load_old(const std::string& more = "") { load({"10.246.1.20 node3", "fd00:10:246::20 node3"}, more); }
  void load_new(const std::string& more = "") { load({"10.246.1.21 node3", "fd00:10:246::21 node3"}, more); }

  std::string from_client(const Ends& ends, uint8_t chunk) {
    return rig().send("b", sctp(ends.client, ends.service, chunk, chunk == init ? 0 : endpoint_tag));
  }
  std::string from_endpoint(const Ends& ends, uint8_t chunk) {
    return rig().send("b", sctp(ends.old_endpoint, ends.client, chunk, client_tag));
  }
  [[nodiscard]] static std::string to(const std::string& from, const std::string& whom) {
    return "b/13 sctp " + from + ">" + whom + " ttl 63";
  }
  void establish(const Ends& ends) {
    ASSERT_EQ(from_client(ends, init), to(ends.client, ends.old_endpoint));
    ASSERT_EQ(from_endpoint(ends, init_ack), to(ends.service, ends.client));
    ASSERT_EQ(from_client(ends, cookie_echo), to(ends.client, ends.old_endpoint));
    ASSERT_EQ(from_endpoint(ends, cookie_ack), to(ends.service, ends.client));
  }
  // How long the association is kept when nothing more is sent, if it is one of these; in milliseconds.
  uint32_t kept() {
    for (const uint32_t time : {300U, 3'000U, 10'000U, 30'000U, 600'000U}) {
      constexpr uint32_t just_before = 10;
      constexpr uint32_t latest = 600;  // a slot of the timers, and the turn after it
      (void)rig().advance(time - just_before - passed_);
      passed_ = time - just_before;
      if (rig().flows() == 0) return 0;
      (void)rig().advance(latest);
      passed_ += latest;
      if (rig().flows() == 0) return time;
    }
    return UINT32_MAX;
  }
  uint32_t kept_after(const Ends& ends, uint8_t chunk, bool client) {
    passed_ = 0;
    (void)(client ? from_client(ends, chunk) : from_endpoint(ends, chunk));
    return kept();
  }

 private:
  uint32_t passed_ = 0;
};

// ---- times ---------------------------------------------------------------------------------------------------

// CT-2: each state has the time that the configuration gives it, others those of before.
TEST_P(Association, CT1_CT2_TimesAreThoseOfTheConfiguration) {
  struct Case {
    const char* timeouts;
    uint8_t chunk;
    bool client;
    bool established;
    uint32_t kept;
  };
  const Case cases[] = {
      {R"("sctpCookieWait":"10s")", init, true, false, 10'000},
      {R"("sctpCookieEchoed":"30s")", cookie_echo, true, false, 30'000},
      {R"("sctpEstablished":"30s")", data, true, true, 30'000},
      {R"("sctpShutdownSent":"3s")", shutdown, true, true, 3'000},
      {R"("sctpShutdownRecd":"10s")", shutdown, false, true, 10'000},
      {R"("sctpShutdownAckSent":"300ms")", shutdown_ack, false, true, 300},
      {R"("sctpClosed":"3s")", abort_chunk, true, true, 3'000},
      {R"("sctpUnreplied":"10s")", data, true, false, 10'000},
      {R"("sctpShutdownSent":"3s")", shutdown, false, true, 300},
  };
  for (const Case& one : cases) {
    for (const Ends& ends : {ends_v4, ends_v6}) {
      start({});
      load_old(R"("conntrack":{"timeouts":{)" + std::string(one.timeouts) + "}}");
      if (one.established) establish(ends);
      if (one.chunk == cookie_echo) {
        (void)from_client(ends, init);
        (void)from_endpoint(ends, init_ack);
      }
      EXPECT_EQ(kept_after(ends, one.chunk, one.client), one.kept) << one.timeouts << ", " << ends.client;
    }
  }
}

// ---- endpoints that are gone (3.11) --------------------------------------------------------------------------

TEST_P(Association, SVC92_AnInitWhoseEndpointIsGoneIsBalancedAnew) {
  for (const Ends& ends : {ends_v4, ends_v6}) {
    load_old();
    establish(ends);
    load_new();
    EXPECT_EQ(from_client(ends, data), to(ends.client, ends.old_endpoint))
        << "nothing is decided by the old one's data";
    EXPECT_EQ(rig().send("b", sctp(ends.client, ends.service, init, endpoint_tag)), to(ends.client, ends.old_endpoint))
        << "RFC 9260 section 8.5.1: that is no INIT";
    EXPECT_EQ(from_endpoint(ends, init), to(ends.service, ends.client)) << "nor does the endpoint begin anew";
    EXPECT_EQ(from_client(ends, init), to(ends.client, ends.new_endpoint));
    EXPECT_EQ(rig().send("b", sctp(ends.new_endpoint, ends.client, init_ack, client_tag)),
              to(ends.service, ends.client));
    EXPECT_EQ(from_client(ends, cookie_echo), to(ends.client, ends.new_endpoint));
  }
  EXPECT_EQ(rig().flows(), 2u);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Association, SVC92_AnEndpointThatStillServesKeepsItsAssociation) {
  load_old();
  establish(ends_v4);
  load({"10.246.1.20 node3 terminating", "10.246.1.21 node3"});
  EXPECT_EQ(from_client(ends_v4, init), to(ends_v4.client, ends_v4.old_endpoint)) << "RFC 9260 section 5.2.2";
}

TEST_P(Association, SVC92_AnInitAfterTheEndIsBalancedAnew) {
  for (const bool aborted : {true, false}) {
    for (const Ends& ends : {ends_v4, ends_v6}) {
      load_old();
      establish(ends);
      load({"10.246.1.20 node3 terminating", "10.246.1.21 node3", "fd00:10:246::20 node3 terminating",
            "fd00:10:246::21 node3"});
      EXPECT_EQ(from_client(ends, aborted ? abort_chunk : shutdown), to(ends.client, ends.old_endpoint));
      EXPECT_EQ(from_client(ends, init), to(ends.client, ends.new_endpoint));
      (void)from_client(ends, abort_chunk);
    }
  }
}

TEST_P(Association, SVC92_ResetAbortsTheClientThatSends) {
  for (const Ends& ends : {ends_v4, ends_v6}) {
    load_old(reset_removed);
    establish(ends);
    load_new(reset_removed);
    EXPECT_EQ(from_client(ends, data), "b/13 sctp " + std::string(ends.service) + ">" + ends.client + " ttl 64");
    const View& answer = rig().only();
    EXPECT_EQ(Bytes(answer.l3.end() - 16, answer.l3.end()), reflected_abort);
    EXPECT_EQ(rig().drops(), "endpoint_gone 1");
    EXPECT_EQ(from_client(ends, init), to(ends.client, ends.new_endpoint));
  }
  EXPECT_EQ(rig().count(dataplane::Event::ResetsSent), 2u);
}

TEST_P(Association, SVC92_ResetAbortsTheClientWhenTheEndpointSends) {
  for (const Ends& ends : {ends_v4, ends_v6}) {
    load_old(reset_removed);
    establish(ends);
    load_new(reset_removed);
    EXPECT_EQ(from_endpoint(ends, data), "b/13 sctp " + std::string(ends.service) + ">" + ends.client + " ttl 64");
    const View& answer = rig().only();
    EXPECT_EQ(Bytes(answer.l3.end() - 16, answer.l3.end()), endpoints_abort);
    EXPECT_EQ(rig().drops(), "endpoint_gone 1");
  }
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Association, SVC92_ResetNeverAnswersAnAbort) {
  load_old(reset_removed);
  establish(ends_v4);
  load_new(reset_removed);
  EXPECT_EQ(from_client(ends_v4, abort_chunk), to(ends_v4.client, ends_v4.old_endpoint)) << "RFC 9260 section 8.4";
  load_old(reset_removed);
  EXPECT_EQ(from_client(ends_v4, init), to(ends_v4.client, ends_v4.old_endpoint));
  load_new(reset_removed);
  EXPECT_EQ(rig().send("b", sctp(ends_v4.old_endpoint, ends_v4.client, init, 0)), "") << "whose tag is not known";
  EXPECT_EQ(rig().drops(), "endpoint_gone 1");
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Association, SVC92_ResetOfMasqueradedAssociations) {
  load_old(reset_removed);
  const std::string outside = "198.51.100.9:1000";
  ASSERT_TRUE(like(rig().send("a", sctp(outside, "192.0.2.1:30905", init, 0)),
                   "b/13 sctp 192.168.0.1:*>10.246.1.20:12905 ttl 63"));
  const std::string translated = rig().only().ip.src.text();
  ASSERT_EQ(rig().send("b", sctp("10.246.1.20:12905", translated, init_ack, client_tag)),
            "a/fe sctp 192.0.2.1:30905>" + outside + " ttl 63");
  load_new(reset_removed);
  EXPECT_EQ(rig().send("b", sctp("10.246.1.20:12905", translated, data, client_tag)),
            "a/fe sctp 192.0.2.1:30905>" + outside + " ttl 64");
  EXPECT_EQ(net::load_be32(&*(rig().only().l3.end() - 12)), client_tag);
}

TEST_P(Association, SVC92_DrainedHardEndsWithAnAbort) {
  load_old();
  establish(ends_v4);
  (void)rig().drains().add(*control::DrainTarget::parse("10.246.1.20"), true);
  load({"10.246.1.20 node3", "10.246.1.21 node3"});
  EXPECT_EQ(from_client(ends_v4, data), "b/13 sctp 10.96.0.24:2905>10.246.1.5:1000 ttl 64");
  EXPECT_EQ(rig().drops(), "endpoint_gone 1");
  EXPECT_EQ(from_client(ends_v4, init), to(ends_v4.client, ends_v4.new_endpoint));
}

// ---- for how long (5.1) ---------------------------------------------------------------------------------------

TEST_P(Association, CT1_TimesOfTheHandshake) {
  load_old();
  for (const Ends& ends : {ends_v4, ends_v6}) {
    EXPECT_EQ(kept_after(ends, init, true), 3'000u);
    (void)from_client(ends, init);
    EXPECT_EQ(kept_after(ends, init_ack, false), 3'000u);
    (void)from_client(ends, init);
    (void)from_endpoint(ends, init_ack);
    EXPECT_EQ(kept_after(ends, cookie_echo, true), 3'000u);
    (void)from_client(ends, init);
    (void)from_endpoint(ends, init_ack);
    (void)from_client(ends, cookie_echo);
    EXPECT_EQ(kept_after(ends, cookie_ack, false), UINT32_MAX) << "five days";
    EXPECT_EQ(kept_after(ends, abort_chunk, false), 10'000u);
  }
}

TEST_P(Association, CT1_TimesOfTheEnd) {
  load_old();
  for (const Ends& ends : {ends_v4, ends_v6}) {
    establish(ends);
    EXPECT_EQ(kept_after(ends, shutdown, true), 300u);
    establish(ends);
    EXPECT_EQ(kept_after(ends, shutdown, false), 300u);
    establish(ends);
    (void)from_client(ends, shutdown);
    EXPECT_EQ(kept_after(ends, shutdown_ack, false), 3'000u);
    establish(ends);
    (void)from_client(ends, shutdown);
    (void)from_endpoint(ends, shutdown_ack);
    EXPECT_EQ(kept_after(ends, shutdown_complete, true), 10'000u);
    establish(ends);
    EXPECT_EQ(kept_after(ends, abort_chunk, true), 10'000u);
  }
}

TEST_P(Association, CT1_OnePickedUpInTheMiddle) {
  load_old();
  for (const Ends& ends : {ends_v4, ends_v6}) {
    EXPECT_EQ(kept_after(ends, data, true), 30'000u) << "one way";
    (void)from_client(ends, data);
    EXPECT_EQ(kept_after(ends, data, false), UINT32_MAX);
    EXPECT_EQ(kept_after(ends, abort_chunk, false), 10'000u);
  }
}

// Whoever makes up an ABORT does not end what both ends go on with.
TEST_P(Association, CT1_WhatGoesOnAfterAnAbortIsNotOver) {
  load_old();
  establish(ends_v4);
  (void)rig().send("b", sctp(ends_v4.client, ends_v4.service, abort_chunk, 0x66666666));
  (void)from_client(ends_v4, data);
  EXPECT_EQ(kept_after(ends_v4, data, false), UINT32_MAX);
}

SLUICE_WITH_WORKERS(Association);

TEST_P(Sctp, SVC97_SVC100_AddressesAreTranslatedThereAndBack) {
  for (const auto& [family, frontend] : {std::pair{ipv4, "10.96.0.20:3868"}, {ipv6, "[fd00:10:96::20]:3868"}}) {
    const std::string endpoint = family.pod(20, 3868);
    for (int port = 1000; port < 1016; ++port) {
      const std::string client = family.pod(5, port);
      const Ip first = sctp(client, frontend, init, 0);
      ASSERT_EQ(rig().send("b", first), "b/13 sctp " + client + ">" + endpoint + " ttl 63");
      const auto behind_ip = [](const Bytes& packet) { return Bytes(packet.end() - 36, packet.end()); };
      EXPECT_EQ(behind_ip(rig().only().l3), behind_ip(first.bytes()))
          << "no pseudo header: with the ports the checksum stays";
      EXPECT_EQ(rig().send("b", sctp(endpoint, client, init_ack)),
                "b/13 sctp " + std::string(frontend) + ">" + client + " ttl 63");
      EXPECT_EQ(rig().send("b", sctp(client, frontend, data).with_payload(777)),
                "b/13 sctp " + client + ">" + endpoint + " ttl 63");
    }
  }
  EXPECT_EQ(rig().drops(), "");
  EXPECT_EQ(rig().flows(), 32u);
}

TEST_P(Sctp, SVC97_TheChecksumFollowsThePorts) {
  for (const auto& [family, frontend] : {std::pair{ipv4, "10.96.0.21:2905"}, {ipv6, "[fd00:10:96::21]:2905"}}) {
    const std::string endpoint = family.pod(20, 12905);
    for (const int size : {0, 1, 2, 3, 4, 100, 1399}) {
      const std::string client = family.pod(5, 1000 + size);
      const auto payload = static_cast<size_t>(size);
      EXPECT_EQ(rig().send("b", sctp(client, frontend, data).with_payload(payload)),
                "b/13 sctp " + client + ">" + endpoint + " ttl 63");
      EXPECT_EQ(rig().send("b", sctp(endpoint, client, data).with_payload(payload)),
                "b/13 sctp " + std::string(frontend) + ">" + client + " ttl 63");
    }
    Bytes damaged = sctp(family.pod(5, 999), frontend, data).bytes();
    damaged.back() ^= 1;
    std::string text;
    EXPECT_NONFATAL_FAILURE(text = rig().send("b", damaged), "SCTP checksum");
    EXPECT_EQ(text, "b/13 sctp " + family.pod(5, 999) + ">" + endpoint + " ttl 63") << "a wrong one stays wrong";
  }
}

TEST_P(Sctp, SVC1_IsAServiceOfItsOwn) {
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.20:3868", "S")),
            "b/13 tcp S 10.246.1.5:1000>10.246.1.20:8080 ttl 63");
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:1000", "10.96.0.20:3868")),
            "b/13 icmp 3/3 10.96.0.20>10.246.1.5 ttl 64 [ udp 10.246.1.5:1000>10.96.0.20:3868 ttl 64 ]");
}

TEST_P(Sctp, SVC97_MasqueradedByPort) {
  for (const Family& family : families) {
    const std::string node_port = family.node_port(30868), endpoint = family.pod(20, 3868);
    for (int port = 1000; port < 1016; ++port) {
      const std::string client = family.client(9, port);
      ASSERT_TRUE(like(rig().send("a", sctp(client, node_port, init, 0)), "b/13 sctp *>" + endpoint + " ttl 63"));
      const Endpoint translated = rig().only().ip.src;
      EXPECT_EQ(net::to_string(translated.address), family.router_b);
      EXPECT_EQ(rig().send("b", sctp(endpoint, translated, init_ack)),
                "a/fe sctp " + node_port + ">" + client + " ttl 63");
      EXPECT_EQ(rig().send("a", sctp(client, node_port, data)),
                "b/13 sctp " + translated.text() + ">" + endpoint + " ttl 63");
    }
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Sctp, SVC30_NoEndpointAndNoPort) {
  EXPECT_EQ(rig().send("b", sctp("10.246.1.5:1000", "10.96.0.22:2905", init, 0)),
            "b/13 icmp 3/3 10.96.0.22>10.246.1.5 ttl 64 [ sctp 10.246.1.5:1000>10.96.0.22:2905 ttl 64 ]");
  EXPECT_EQ(rig().drops(), "no_endpoint_rejected 1");
  EXPECT_EQ(rig().send("b", sctp("10.246.1.5:1000", "10.96.0.20:99", init, 0)),
            "b/13 icmp 3/3 10.96.0.20>10.246.1.5 ttl 64 [ sctp 10.246.1.5:1000>10.96.0.20:99 ttl 64 ]");
  EXPECT_EQ(rig().drops(), "service_port_unknown 1");
}

// RFC 792: eight bytes of it are quoted, which leaves the CRC out; and all of it, which does not.
TEST_P(Sctp, ICMP1_ICMP3_ErrorsAreTranslatedBack) {
  const Ip sent = sctp("10.246.1.5:1000", "10.96.0.21:2905", init, 0);
  ASSERT_NE(rig().send("b", sent), "");
  const Bytes seen = rig().only().l3;
  for (const bool shortest : {true, false}) {
    ASSERT_EQ(rig().send("b", icmp_error("192.168.0.13", "10.246.1.5", 3, 1, shortest ? shortest_quote(seen) : seen)),
              "b/13 icmp 3/1 10.96.0.21>10.246.1.5 ttl 63 [ sctp 10.246.1.5:1000>10.96.0.21:2905 ttl 63 ]");
  }
  const Bytes quoted(rig().only().l3.begin() + 28, rig().only().l3.end());
  Bytes expected = sent.bytes();
  expected[8] = 63;
  finish_ipv4(expected);
  EXPECT_EQ(quoted, expected) << "and its checksum";
}

TEST_P(Sctp, MASQ7_ClashTowardsTheEndpoint) {
  ServiceSpec twin = other_port;
  twin.name = "twin";
  twin.cluster_ips = {"10.96.0.23"};
  rig().load(list({gateway(), cluster(), service(other_port), service(twin)}));
  ASSERT_EQ(rig().send("b", sctp("10.246.1.5:1000", "10.96.0.21:2905", init, 0)),
            "b/13 sctp 10.246.1.5:1000>10.246.1.20:12905 ttl 63");
  Endpoint translated;
  // With two workers the clash may be found on the other one, after the packet left.
  for (int attempt = 0; attempt < (GetParam() == 1 ? 1 : 3); ++attempt) {
    ASSERT_NE(rig().send("b", sctp("10.246.1.5:1000", "10.96.0.23:2905", init, 0)), "");
    translated = rig().only().ip.src;
    if (translated.port != 1000) break;
  }
  ASSERT_NE(translated.port, 1000);
  EXPECT_EQ(rig().send("b", sctp("10.246.1.20:12905", translated.text(), init_ack)),
            "b/13 sctp 10.96.0.23:2905>10.246.1.5:1000 ttl 63");
  EXPECT_EQ(rig().send("b", sctp("10.246.1.20:12905", "10.246.1.5:1000", init_ack)),
            "b/13 sctp 10.96.0.21:2905>10.246.1.5:1000 ttl 63");
}

TEST_P(Sctp, SVC90_TheAssociationOutlivesAChangeOfEndpoints) {
  ASSERT_NE(rig().send("b", sctp("10.246.1.5:1000", "10.96.0.21:2905", init, 0)), "");
  ASSERT_NE(rig().send("b", sctp("10.246.1.20:12905", "10.246.1.5:1000", init_ack)), "");
  ServiceSpec more = other_port;
  more.endpoints = {"10.246.1.21 node3", "10.246.1.20 node3", "10.246.1.22 node3"};
  rig().load(list({gateway(), cluster(), service(more)}));
  EXPECT_EQ(rig().send("b", sctp("10.246.1.5:1000", "10.96.0.21:2905", data)),
            "b/13 sctp 10.246.1.5:1000>10.246.1.20:12905 ttl 63");
  EXPECT_EQ(rig().send("b", sctp("10.246.1.20:12905", "10.246.1.5:1000", abort_chunk)),
            "b/13 sctp 10.96.0.21:2905>10.246.1.5:1000 ttl 63");
}

TEST_P(Sctp, CSUM_TruncatedHeaderIsRefused) {
  Bytes packet = sctp("10.246.1.5:1000", "10.96.0.21:2905", init, 0).bytes();
  packet.resize(20 + 8);
  net::store_be16(&packet[2], 28);
  finish_ipv4(packet);
  EXPECT_EQ(rig().send("b", packet), "");
  EXPECT_EQ(rig().drops(), "l4_truncated 1");
}

SLUICE_WITH_WORKERS(Sctp);

}  // namespace
}  // namespace sluice::packet_test

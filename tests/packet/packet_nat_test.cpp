// Translation beyond service addresses: clashes, natOutgoing, ping, fragments, ICMP errors in both directions.
#include <map>

#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/families.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

const ServiceSpec first{.name = "first",
                        .cluster_ips = {"10.96.0.10"},
                        .ports = {"TCP 80 8080 30080", "UDP 53 5353 30053"},
                        .endpoints = {"10.246.1.20 node3"}};
const ServiceSpec second{
    .name = "second", .cluster_ips = {"10.96.0.12"}, .ports = {"TCP 80 8080"}, .endpoints = {"10.246.1.20 node3"}};
const ServiceSpec tunnelled{.name = "tunnelled",
                            .cluster_ips = {"10.96.0.13"},
                            .ports = {"UDP 53 5353 30054"},
                            .endpoints = {"10.244.34.5 node1"}};

class Nat : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    rig().load(list({gateway(), cluster(), service(first), service(second), service(tunnelled)}));
  }
  void nat_outgoing(const std::string& more = "") {
    rig().load(list({gateway(more), cluster(R"("natOutgoing":true)"), service(first)}));
  }
};

// Two services with one endpoint: the second connection of a client port needs another source port.
TEST_P(Nat, CT30_MASQ7_ClashTowardsTheEndpoint) {
  constexpr uint16_t port = 10000;
  for (int pod = 30; pod < 54; ++pod) {
    const std::string client = "10.246.1." + std::to_string(pod) + ":" + std::to_string(port);
    ASSERT_EQ(rig().send("b", tcp(client, "10.96.0.10:80", "S")), "b/13 tcp S " + client + ">10.246.1.20:8080 ttl 63");
    ASSERT_NE(rig().send("b", tcp(client, "10.96.0.12:80", "S")), "");
    const Endpoint translated = rig().only().ip.src;
    ASSERT_NE(translated.port, port) << "both connections have the same tuple towards the endpoint";
    EXPECT_EQ(translated.address, Endpoint(client).address) << "only the port is changed";
    EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", client, "SA")),
              "b/13 tcp SA 10.96.0.10:80>" + client + " ttl 63");
    EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", translated.text(), "SA")),
              "b/13 tcp SA 10.96.0.12:80>" + client + " ttl 63");
  }
}

TEST_P(Nat, MASQ7_WithoutClashNoPortIsChanged) {
  for (int port = 1000; port < 1050; ++port) {
    const std::string client = "10.246.1.5:" + std::to_string(port);
    EXPECT_EQ(rig().send("b", tcp(client, "10.96.0.12:80", "S")), "b/13 tcp S " + client + ">10.246.1.20:8080 ttl 63");
  }
}

// Its reply would have the same tuple: it needs no entry, and nothing to tell it apart.
TEST_P(Nat, MASQ7_AnEndpointThatTalksToItselfDirectlyKeepsItsPort) {
  const std::string self = "10.246.1.20:8080";
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(rig().send("b", tcp(self, self, "S")), "b/13 tcp S " + self + ">" + self + " ttl 63");
  }
  EXPECT_EQ(rig().send("b", tcp(self, self, "A")), "b/13 tcp A " + self + ">" + self + " ttl 63");
  EXPECT_EQ(rig().drops(), "");
}

// ---- natOutgoing ---------------------------------------------------------------------------------------

TEST_P(Nat, MASQ8_PodToOutsideIsMasqueraded) {
  nat_outgoing();
  for (int port = 1000; port < 1016; ++port) {
    const std::string pod = "10.246.1.5:" + std::to_string(port);
    ASSERT_TRUE(like(rig().send("b", udp(pod, "198.51.100.9:53")), "a/fe udp 192.0.2.1:*>198.51.100.9:53 ttl 63"));
    const std::string translated = rig().only().ip.src.text();
    EXPECT_EQ(rig().send("a", udp("198.51.100.9:53", translated)), "b/13 udp 198.51.100.9:53>" + pod + " ttl 63");
    EXPECT_EQ(rig().send("b", udp(pod, "198.51.100.9:53")), "a/fe udp " + translated + ">198.51.100.9:53 ttl 63");
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Nat, MASQ8_MASQ11_PodToPodAndOthersKeepTheirSource) {
  nat_outgoing();
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:1000", "10.245.40.6:53")),
            "b/12 ipip 192.168.0.1>192.168.0.12 | udp 10.246.1.5:1000>10.245.40.6:53 ttl 63");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:1000", "10.246.1.5:53")), "b/13 udp 192.0.2.10:1000>10.246.1.5:53 ttl 63");
  EXPECT_EQ(rig().send("b", udp("192.168.0.13:1000", "192.0.2.10:53")),
            "a/10 udp 192.168.0.13:1000>192.0.2.10:53 ttl 63");
  EXPECT_TRUE(like(rig().send("b", udp("10.246.1.5:1000", "192.168.0.12:53")),
                   "b/12 udp 192.168.0.1:*>192.168.0.12:53 ttl 63"));
  nat_outgoing(R"("snat":{"natOutgoingExclusions":"IPPoolsAndHostIPs"})");
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:1001", "192.168.0.12:53")),
            "b/12 udp 10.246.1.5:1001>192.168.0.12:53 ttl 63");
}

TEST_P(Nat, MASQ9_LooksAtTheRealDestination) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    ServiceSpec spec = first;
    spec.cluster_ips = {family.service};
    const std::string pod = family.pod(5, 1000), endpoint = family.client(77, 8080);
    const auto load_with = [&](const std::string& endpoint_text) {
      spec.endpoints = {endpoint_text};
      rig().load(list({gateway(), cluster(R"("natOutgoing":true)"), service(spec)}));
    };
    load_with(family.client(77) + " elsewhere");
    // From a node port the flow is masqueraded already (MASQ-2): once is enough.
    for (const std::string& frontend : {family.service_at(80), family.node_port(30080)}) {
      ASSERT_TRUE(like(rig().send("b", tcp(pod, frontend, "S")), "a/fe tcp S *>" + endpoint + " ttl 63"));
      const Endpoint translated = rig().only().ip.src;
      EXPECT_EQ(net::to_string(translated.address), family.router_a);
      EXPECT_EQ(rig().send("a", tcp(endpoint, translated, "SA")), "b/13 tcp SA " + frontend + ">" + pod + " ttl 63");
    }
    load_with(family.endpoint(20));
    EXPECT_EQ(rig().send("b", tcp(family.pod(5, 1001), family.service_at(80), "S")),
              "b/13 tcp S " + family.pod(5, 1001) + ">" + family.pod(20, 8080) + " ttl 63");
  }
}

TEST_P(Nat, MASQ12_PingIsMasqueradedByIdentifier) {
  nat_outgoing();
  std::map<uint16_t, std::string> identifiers;
  for (const char* pod : {"10.246.1.5", "10.246.1.6", "10.246.1.7"}) {
    ASSERT_TRUE(like(rig().send("b", echo(pod, "198.51.100.9", 7)), "a/fe echo 192.0.2.1>198.51.100.9 id * ttl 63"));
    identifiers[rig().only().ip.src.port] = pod;
  }
  ASSERT_EQ(identifiers.size(), 3u) << "each has its own";
  for (const auto& [id, pod] : identifiers) {
    EXPECT_EQ(rig().send("a", echo_reply("198.51.100.9", "192.0.2.1", id)),
              "b/13 echo-reply 198.51.100.9>" + pod + " id 7 ttl 63");
  }
  EXPECT_EQ(rig().send("b", echo("10.246.1.5", "10.245.40.6", 7)),
            "b/12 ipip 192.168.0.1>192.168.0.12 | echo 10.246.1.5>10.245.40.6 id 7 ttl 63");
}

// Data of any length, and bytes behind the packet, which are padding of the link and in no checksum.
TEST_P(Nat, ICMP11_DataOfPingsIsUntouched) {
  nat_outgoing();
  struct Ends {
    const char* pod;
    const char* outside;
    const char* router;
  };
  for (const Ends& ends :
       {Ends{"10.246.1.5", "198.51.100.9", "192.0.2.1"}, Ends{"fd00:10:246::5", "2001:db8:99::9", "2001:db8:2::1"}}) {
    for (const size_t size : {0, 1, 7, 56, 1399}) {
      for (const size_t behind : {0, 1, 18}) {
        const Ip ping = echo(ends.pod, ends.outside, 7).with_payload(size);
        Bytes frame = ping.bytes();
        frame.insert(frame.end(), behind, 0xa5);
        ASSERT_TRUE(like(rig().send("b", frame),
                         "a/fe echo " + std::string(ends.router) + ">" + ends.outside + " id * ttl 63"));
        const uint16_t id = rig().only().ip.src.port;
        EXPECT_EQ(rig().only().ip.payload, ping.payload);
        EXPECT_EQ(rig().only().l3.size(), ping.bytes().size());
        const Ip answer = echo_reply(ends.outside, ends.router, id).with_payload(size);
        frame = answer.bytes();
        frame.insert(frame.end(), behind, 0xa5);
        ASSERT_EQ(rig().send("a", frame),
                  "b/13 echo-reply " + std::string(ends.outside) + ">" + ends.pod + " id 7 ttl 63");
        EXPECT_EQ(rig().only().ip.payload, answer.payload);
        EXPECT_EQ(rig().only().l3.size(), answer.bytes().size());
      }
    }
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Nat, RFC5508_4_AnUnknownEchoReplyIsNotForwarded) {
  nat_outgoing();
  EXPECT_EQ(rig().send("a", echo_reply("198.51.100.9", "192.0.2.1", 9)), "");
  EXPECT_EQ(rig().drops(), "local_no_listener 1");
}

// ---- fragments -----------------------------------------------------------------------------------------

TEST_P(Nat, FRAG1_FragmentsOfATranslatedDatagramFollowTheFirst) {
  for (uint16_t id = 1; id <= 16; ++id) {
    const std::string client = "10.246.1.5:" + std::to_string(1000 + id);
    const auto parts = fragments(udp(client, "10.96.0.10:53").with_payload(1000).with_id(id).bytes(), 600);
    ASSERT_EQ(rig().send("b", parts[0]), "b/13 udp " + client + ">10.246.1.20:5353 ttl 63 frag 0+ len 620");
    const View head = rig().only();
    ASSERT_EQ(rig().send("b", parts[1]), "b/13 udp 10.246.1.5>10.246.1.20 ttl 63 frag 600 len 428");
    EXPECT_EQ(text_of(reassembled(head.l3, rig().only().l3)), "udp " + client + ">10.246.1.20:5353 ttl 63")
        << "and the checksum of the whole";
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Nat, FRAG1_RepliesAndMasqueradedOnes) {
  const auto parts = fragments(udp("198.51.100.9:1000", "192.0.2.1:30053").with_payload(1000).bytes(), 600);
  ASSERT_TRUE(like(rig().send("a", parts[0]), "b/13 udp 192.168.0.1:*>10.246.1.20:5353 ttl 63 frag 0+ len 620"));
  const std::string translated = rig().only().ip.src.text();
  EXPECT_EQ(rig().send("a", parts[1]), "b/13 udp 192.168.0.1>10.246.1.20 ttl 63 frag 600 len 428");
  const auto back = fragments(udp("10.246.1.20:5353", translated).with_payload(1000).bytes(), 600);
  EXPECT_EQ(rig().send("b", back[0]), "a/fe udp 192.0.2.1:30053>198.51.100.9:1000 ttl 63 frag 0+ len 620");
  EXPECT_EQ(rig().send("b", back[1]), "a/fe udp 192.0.2.1>198.51.100.9 ttl 63 frag 600 len 428");
}

// ---- ICMP errors ---------------------------------------------------------------------------------------

// A router between us and the endpoint complains about what it saw; the client must read about what it sent.
TEST_P(Nat, ICMP1_ICMP2a_ICMP4_ErrorFromBehindComesFromTheServiceAddress) {
  const char* const client = "10.246.1.5:1000";
  ASSERT_NE(rig().send("b", tcp(client, "10.96.0.10:80", "S").with_df()), "");
  const Bytes seen = rig().only().l3;
  for (const bool shortest : {false, true}) {
    const Bytes quote = shortest ? shortest_quote(seen) : seen;
    EXPECT_EQ(rig().send("b", icmp_error("192.168.0.13", "10.246.1.5", 3, 4, quote, 1300)),
              "b/13 icmp 3/4 mtu 1300 10.96.0.10>10.246.1.5 ttl 63 "
              "[ tcp " +
                  std::string(shortest ? "" : "S ") + "10.246.1.5:1000>10.96.0.10:80 ttl 63 df ]");
  }
  EXPECT_EQ(rig().count(dataplane::Event::IcmpErrorsTranslated), 2u);
  EXPECT_EQ(rig().send("b", icmp_error("10.246.1.20", "10.246.1.5", 11, 0, seen)),
            "b/13 icmp 11/0 10.96.0.10>10.246.1.5 ttl 63 [ tcp S 10.246.1.5:1000>10.96.0.10:80 ttl 63 df ]");
}

TEST_P(Nat, ICMP6_MasqueradedClientReadsAboutItsOwnPacket) {
  for (int port = 1000; port < 1016; ++port) {
    const std::string client = "198.51.100.9:" + std::to_string(port);
    ASSERT_NE(rig().send("a", udp(client, "192.0.2.1:30053")), "");
    const Bytes seen = rig().only().l3;
    EXPECT_EQ(rig().send("b", icmp_error("10.246.1.20", "192.168.0.1", 3, 3, shortest_quote(seen))),
              "a/fe icmp 3/3 192.0.2.1>198.51.100.9 ttl 63 [ udp " + client + ">192.0.2.1:30053 ttl 63 ]");
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Nat, ICMP2b_ErrorAboutTheReplyGoesToTheEndpoint) {
  ASSERT_TRUE(like(rig().send("a", udp("198.51.100.9:1000", "192.0.2.1:30053")), "b/13 *"));
  const std::string translated = rig().only().ip.src.text();
  ASSERT_NE(rig().send("b", udp("10.246.1.20:5353", translated).with_df().with_payload(1200)), "");
  const Bytes seen = rig().only().l3;
  EXPECT_EQ(rig().send("a", icmp_error("198.51.100.1", "192.0.2.1", 3, 4, shortest_quote(seen), 1000)),
            "b/13 icmp 3/4 mtu 1000 192.168.0.1>10.246.1.20 ttl 63 "
            "[ udp 10.246.1.20:5353>" +
                translated + " ttl 63 df ]");
}

TEST_P(Nat, ICMP2b_ErrorAboutTheReplyIntoATunnel) {
  ASSERT_TRUE(like(rig().send("a", udp("198.51.100.9:1000", "192.0.2.1:30054")), "b/11 vxlan * | udp 10.244.0.0:*"));
  const std::string translated = rig().only().ip.src.text();
  VxlanOptions options;
  options.inner_destination = rig().snapshot().terminator.vtep_mac;
  const Bytes reply = udp("10.244.34.5:5353", translated).with_df().with_payload(1200).bytes();
  ASSERT_EQ(rig().send("b", vxlan("192.168.0.11", "192.168.0.1", reply, options)),
            "a/fe udp 192.0.2.1:30054>198.51.100.9:1000 ttl 63 df");
  const Bytes seen = rig().only().l3;
  EXPECT_TRUE(like(rig().send("a", icmp_error("198.51.100.1", "192.0.2.1", 3, 4, seen, 1000)),
                   "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | icmp 3/4 mtu 1000 10.244.0.0>10.244.34.5 ttl 63 "
                   "[ udp 10.244.34.5:5353>" +
                       translated + " ttl 63 df ]"));
}

TEST_P(Nat, ICMP5_OwnErrorsQuoteThePacketAsItWasSent) {
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:1000", "10.96.0.10:53").with_ttl(1)),
            "b/13 icmp 11/0 192.168.0.1>10.246.1.5 ttl 64 [ udp 10.246.1.5:1000>10.96.0.10:53 ttl 1 ]");
  EXPECT_EQ(rig().send("a", udp("198.51.100.9:1000", "192.0.2.1:30054").with_df().with_payload(1472)),
            "a/fe icmp 3/4 mtu 1450 192.0.2.1>198.51.100.9 ttl 64 "
            "[ udp 198.51.100.9:1000>192.0.2.1:30054 ttl 64 df ]");
}

TEST_P(Nat, MTU6_ReplyFromBehindThatIsTooBig) {
  ServiceSpec small = first;
  Gateway narrow;
  std::string a = interface_a;
  a.insert(a.find("\"addresses\""), "\"mtu\":1400,");
  narrow.interfaces = a + "," + interface_b;
  rig().load(list({narrow.text(), cluster(), service(small)}));
  ASSERT_TRUE(like(rig().send("a", udp("198.51.100.9:1000", "192.0.2.1:30053")), "b/13 *"));
  const std::string translated = rig().only().ip.src.text();
  EXPECT_EQ(
      rig().send("b", udp("10.246.1.20:5353", translated).with_df().with_payload(1400)),
      "b/13 icmp 3/4 mtu 1400 192.168.0.1>10.246.1.20 ttl 64 [ udp 10.246.1.20:5353>" + translated + " ttl 64 df ]");
}

TEST_P(Nat, ICMP4_RFC5508_4_WithoutASession) {
  const Bytes about = udp("192.168.0.1:40000", "10.246.1.20:5353").bytes();
  EXPECT_EQ(rig().send("b", icmp_error("10.246.1.20", "192.168.0.1", 3, 3, about)), "");
  EXPECT_EQ(rig().drops(), "icmp_no_flow 1");
  const Bytes transit = udp("192.0.2.10:1", "10.246.1.20:2").bytes();
  EXPECT_EQ(rig().send("b", icmp_error("10.246.1.20", "192.0.2.10", 3, 3, transit)),
            "a/10 icmp 3/3 10.246.1.20>192.0.2.10 ttl 63 [ udp 192.0.2.10:1>10.246.1.20:2 ttl 64 ]");
}

TEST_P(Nat, RFC5508_3_DamagedErrorsAreDropped) {
  ASSERT_NE(rig().send("a", udp("198.51.100.9:1000", "192.0.2.1:30053")), "");
  const Bytes seen = rig().only().l3;
  Bytes damaged = icmp_error("10.246.1.20", "192.168.0.1", 3, 3, seen).bytes();
  damaged.back() ^= 1;
  EXPECT_EQ(rig().send("b", damaged), "");
  EXPECT_EQ(rig().drops(), "icmp_bad_checksum 1");
  Bytes quote = seen;
  quote[10] ^= 1;
  EXPECT_EQ(rig().send("b", icmp_error("10.246.1.20", "192.168.0.1", 3, 3, quote)), "");
  EXPECT_EQ(rig().drops(), "icmp_bad_checksum 1");
}

SLUICE_WITH_WORKERS(Nat);
INSTANTIATE_TEST_SUITE_P(ManyWorkers, Nat, testing::Values(uint16_t{4}));

}  // namespace
}  // namespace sluice::packet_test

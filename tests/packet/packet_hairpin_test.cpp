// MASQ-13: what comes to the port of an endpoint-independent mapping. Between two hosts inside it is turned back, with
// address and port outside on both sides (RFC 4787 REQ-9, RFC 5382 REQ-8); from outside snat.filtering decides (RFC
// 4787 REQ-8, RFC 5382 REQ-3).
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* anybody = "EndpointIndependent";
constexpr const char* by_address = "AddressDependent";
constexpr const char* by_address_and_port = "AddressAndPortDependent";
constexpr nat::Millis udp_timeout = 31'000;  // of what was not answered, and a little
constexpr nat::Millis hold = nat::MappingTable<net::V4>::hold + 1'000;

struct Hosts {
  std::string first, second;  // inside, without a port
  std::string peer;           // outside
  std::string outside;        // address of both
};
const Hosts hosts_v4{"10.246.1.5", "10.246.1.6", "198.51.100.1", "203.0.113.7"};
const Hosts hosts_v6{"[fd00:10:246::5]", "[fd00:10:246::6]", "[2001:db8:99::1]", "[2001:db8:77::7]"};

class Hairpin : public RigTest {
 protected:
  void load(const std::string& filtering, const std::string& mapping = "EndpointIndependent",
            const std::string& rpf = "off", const std::string& more = "") {
    Gateway gateway;
    gateway.interfaces = R"({"name":"up","device":"net_ring_a","mac":"02:00:00:00:00:0a","role":"uplink",
      "addresses":["192.0.2.1/24","2001:db8:2::1/64","203.0.113.7/32","2001:db8:77::7/128"],
      "gateway":{"v4":"192.0.2.254","v6":"2001:db8:2::fe"}},{"name":"un","device":"net_ring_b",
      "mac":"02:00:00:00:00:0b","role":"uplink","addresses":["192.168.0.1/24","2001:db8:a::1/64"],"rpf":")" +
                         rpf + "\"}";
    gateway.more = R"("snat":{"portRange":"40000-40999","natPortRange":"50000-50999","mapping":")" + mapping +
                   R"(","filtering":")" + filtering +
                   R"(","natOutgoingAddress":{"v4":"203.0.113.7","v6":"2001:db8:77::7"}})";
    rig().load(list({gateway.text(), cluster(R"("natOutgoing":true)"), more}));
  }
  static std::string at(const std::string& host, int port) { return host + ":" + std::to_string(port); }
  // What an endpoint inside is outside, as the peer sees it.
  std::string outside_of(const std::string& inside, const std::string& peer) {
    if (!like(rig().send("b", udp(inside, peer)), "a/fe udp *")) return "";
    return rig().only().ip.src.text();
  }
  static std::string to_inside(const std::string& from, const std::string& whom, int ttl = 62) {
    return "b/13 udp " + from + ">" + whom + " ttl " + std::to_string(ttl);
  }
  uint64_t mappings() {
    uint64_t sum = 0;
    for (uint16_t worker = 0; worker < GetParam(); ++worker)
      sum += rig().plane().worker(worker).counters().live_mappings;
    return sum;
  }
};

TEST_P(Hairpin, MASQ13_RFC4787_9_ExternalSourceAddressAndPort) {
  for (const char* rpf : {"off", "strict"}) {
    start({});
    load(anybody, "EndpointIndependent", rpf);
    for (const Hosts& hosts : {hosts_v4, hosts_v6}) {
      for (int port = 5000; port < 5024; ++port) {
        const std::string first = at(hosts.first, port);
        const std::string second = at(hosts.second, port + 100);
        const std::string second_outside = outside_of(second, at(hosts.peer, 3478));
        ASSERT_TRUE(like(second_outside, hosts.outside + ":50*"));
        // The first one needs no mapping before.
        ASSERT_TRUE(like(rig().send("b", udp(first, second_outside)),
                         "b/13 udp " + hosts.outside + ":50*>" + second + " ttl 62"));
        const std::string first_outside = rig().only().ip.src.text();
        for (int i = 0; i < 3; ++i) {
          EXPECT_EQ(rig().send("b", udp(second, first_outside)), to_inside(second_outside, first));
          EXPECT_EQ(rig().send("b", udp(first, second_outside)), to_inside(first_outside, second));
        }
        EXPECT_EQ(outside_of(first, at(hosts.peer, 53)), first_outside) << "it is the same towards everybody";
      }
    }
    EXPECT_EQ(rig().drops(), "");
  }
}

// Both ends of a new path send, and what comes first makes the way for the other.
TEST_P(Hairpin, MASQ13_RFC4787_8_RFC4787_9_HolesArePunched) {
  load(by_address_and_port);
  for (const Hosts& hosts : {hosts_v4, hosts_v6}) {
    for (int port = 5000; port < 5016; ++port) {
      const std::string first = at(hosts.first, port);
      const std::string second = at(hosts.second, port);
      const std::string first_outside = outside_of(first, at(hosts.peer, 3478));
      const std::string second_outside = outside_of(second, at(hosts.peer, 3478));
      EXPECT_EQ(rig().send("b", udp(first, second_outside)), "") << "nobody asked for it, and nobody is told";
      EXPECT_EQ(rig().drops(), "mapping_filtered 1");
      EXPECT_EQ(rig().send("b", udp(second, first_outside)), to_inside(second_outside, first));
      EXPECT_EQ(rig().send("b", udp(first, second_outside)), to_inside(first_outside, second));
      EXPECT_EQ(rig().send("b", udp(second, first_outside)), to_inside(second_outside, first));
      const std::string third = at(hosts.second, port + 100);
      EXPECT_EQ(rig().send("b", udp(third, first_outside)), "");
      EXPECT_EQ(rig().drops(), "mapping_filtered 1");
    }
  }
}

TEST_P(Hairpin, MASQ13_RFC4787_9_AnEndpointThatTalksToItself) {
  load(by_address_and_port);
  for (const Hosts& hosts : {hosts_v4, hosts_v6}) {
    for (int port = 5000; port < 5008; ++port) {
      const std::string inside = at(hosts.first, port);
      const std::string outside = outside_of(inside, at(hosts.peer, 3478));
      EXPECT_EQ(rig().send("b", udp(inside, outside)), to_inside(outside, inside));
    }
  }
}

TEST_P(Hairpin, MASQ13_RFC5382_8_TcpConnections) {
  load(anybody);
  for (const Hosts& hosts : {hosts_v4, hosts_v6}) {
    for (int port = 5000; port < 5012; ++port) {
      const std::string client = at(hosts.first, port);
      const std::string server = at(hosts.second, 80);
      const std::string to = at(hosts.peer, 443);
      ASSERT_TRUE(like(rig().send("b", tcp(server, to, "S").with_seq(1, 0)), "a/fe tcp S *"));
      const std::string server_outside = rig().only().ip.src.text();
      EXPECT_EQ(rig().send("b", tcp(client, server_outside, "A").with_seq(7, 9)), "") << "nothing begins like this";
      EXPECT_EQ(rig().drops(), "conntrack_invalid 1");
      ASSERT_TRUE(like(rig().send("b", tcp(client, server_outside, "S").with_seq(100, 0)),
                       "b/13 tcp S " + hosts.outside + ":*>" + server + " ttl 62"));
      const std::string client_outside = rig().only().ip.src.text();
      const std::string there = client_outside + ">" + server + " ttl 62";
      const std::string back = server_outside + ">" + client + " ttl 62";
      EXPECT_EQ(rig().send("b", tcp(server, client_outside, "SA").with_seq(500, 101)), "b/13 tcp SA " + back);
      EXPECT_EQ(rig().send("b", tcp(client, server_outside, "A").with_seq(101, 501)), "b/13 tcp A " + there);
      EXPECT_EQ(rig().send("b", tcp(client, server_outside, "PA").with_seq(101, 501).with_payload(50)),
                "b/13 tcp PA " + there);
      EXPECT_EQ(rig().send("b", tcp(server, client_outside, "FA").with_seq(501, 151)), "b/13 tcp FA " + back);
      EXPECT_EQ(rig().send("b", tcp(client, server_outside, "FA").with_seq(151, 502)), "b/13 tcp FA " + there);
      EXPECT_EQ(rig().send("b", tcp(server, client_outside, "A").with_seq(502, 152)), "b/13 tcp A " + back);
      EXPECT_EQ(rig().drops(), "");
    }
  }
}

TEST_P(Hairpin, MASQ13_FRAG1_FragmentsToo) {
  load(anybody);
  for (int port = 5000; port < 5008; ++port) {
    const std::string first = at(hosts_v4.first, port);
    const std::string second = at(hosts_v4.second, port);
    const std::string first_outside = outside_of(first, at(hosts_v4.peer, 3478));
    const std::string second_outside = outside_of(second, at(hosts_v4.peer, 3478));
    const auto id = static_cast<uint16_t>(port);
    (void)rig().send_burst("b", fragments(udp(first, second_outside).with_payload(600).with_id(id).bytes(), 304));
    ASSERT_EQ(rig().out().size(), 2u);
    EXPECT_EQ(text_of(reassembled(rig().out()[0].l3, rig().out()[1].l3)),
              "udp " + first_outside + ">" + second + " ttl 62");
  }
  EXPECT_EQ(rig().drops(), "");
}

// RFC 5508 REQ-7: who sent it reads of the packet as it was sent.
TEST_P(Hairpin, MASQ13_ICMP6_ErrorsGoBackAllTheWay) {
  load(anybody);
  for (int port = 5000; port < 5012; ++port) {
    const std::string first = at(hosts_v4.first, port);
    const std::string second = at(hosts_v4.second, port);
    const std::string second_outside = outside_of(second, at(hosts_v4.peer, 3478));
    const std::string sent = "udp " + first + ">" + second_outside;
    ASSERT_NE(rig().send("b", udp(first, second_outside)), "");
    const Bytes seen = rig().only().l3;
    EXPECT_TRUE(like(rig().send("b", icmp_error(hosts_v4.second, hosts_v4.outside, 3, 3, seen)),
                     "b/13 icmp 3/3 *>10.246.1.5 ttl 63 [ " + sent + " ttl * ]"));
    (void)rig().advance(200);  // the rate limit of errors
    for (const uint8_t ttl : {1, 2}) {
      EXPECT_TRUE(like(rig().send("b", udp(first, second_outside).with_ttl(ttl)),
                       "b/13 icmp 11/0 *>10.246.1.5 ttl * [ " + sent + " ttl 1 ]"))
          << "its time is up on the way to the address outside, or from there";
    }
  }
  EXPECT_EQ(rig().drops(), "ttl_exceeded 24");
}

// The same of who could not be reached, which is known when nobody remembers the packet.
TEST_P(Hairpin, MASQ13_ICMP5_ErrorsAboutWhoDoesNotAnswerARP) {
  load(anybody, "EndpointIndependent", "off", node("node4", "192.168.0.14") + "," + block("node4", "10.246.2.0/26"));
  for (int port = 5000; port < 5008; ++port) {
    const std::string first = at(hosts_v4.first, port);
    const std::string second = at("10.246.2.6", port);
    const std::string second_outside = outside_of(second, at(hosts_v4.peer, 3478));
    std::string said = rig().send("b", udp(first, second_outside));
    for (int i = 0; i < 8 && said.find("icmp") == std::string::npos; ++i) said = rig().advance(1000);
    EXPECT_TRUE(like(said, "*b/13 icmp 3/1 *>10.246.1.5 ttl * [ udp " + first + ">" + second_outside + " ttl * ]*"));
    (void)rig().drops();
    (void)rig().advance(60'000);  // the neighbour is forgotten
  }
}

// What does not fit the way of the second half is told to the first.
TEST_P(Hairpin, MASQ13_MTU2_TheSizeOfTheWholeWay) {
  load(anybody);
  VxlanOptions options;
  options.inner_destination = encap::vtep_mac("gw");
  for (int port = 5000; port < 5012; ++port) {
    const std::string far = at("10.244.34.5", port);
    const Bytes inner = udp(far, at(hosts_v4.peer, 3478)).bytes();
    ASSERT_TRUE(like(rig().send("b", vxlan("192.168.0.11", "192.168.0.1", inner, options)), "a/fe udp *"));
    const std::string far_outside = rig().only().ip.src.text();
    const std::string near = at(hosts_v4.first, port);
    EXPECT_TRUE(like(rig().send("b", udp(near, far_outside)),
                     "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 203.0.113.7:50*>" + far + " ttl 62"));
    EXPECT_TRUE(like(rig().send("b", udp(near, far_outside).with_payload(1440).with_df()),
                     "b/13 icmp 3/4 *>10.246.1.5 ttl * [ udp " + near + ">" + far_outside + " ttl * ]*"));
    const Bytes answer = udp(far, outside_of(near, at(hosts_v4.peer, 3478))).bytes();
    EXPECT_EQ(rig().send("b", vxlan("192.168.0.11", "192.168.0.1", answer, options)), to_inside(far_outside, near));
    (void)rig().advance(200);
  }
  EXPECT_EQ(rig().drops(), "mtu_exceeded 12");
}

// ---- from outside ----------------------------------------------------------------------------------------

TEST_P(Hairpin, MASQ13_RFC4787_8_FilteringFromOutside) {
  for (const char* filtering : {anybody, by_address, by_address_and_port}) {
    start({});
    load(filtering);
    for (const Hosts& hosts : {hosts_v4, hosts_v6}) {
      const bool v6 = hosts.peer.front() == '[';
      const std::string stranger = v6 ? "[2001:db8:99::2]" : "198.51.100.2";
      for (int port = 5000; port < 5012; ++port) {
        const std::string inside = at(hosts.first, port);
        const std::string outside = outside_of(inside, at(hosts.peer, 3478));
        EXPECT_EQ(rig().send("a", udp(at(hosts.peer, 3478), outside)), to_inside(at(hosts.peer, 3478), inside, 63));
        const auto passes = [&](const std::string& from) {
          const std::string out = rig().send("a", udp(from, outside));
          if (out != to_inside(from, inside, 63)) {
            EXPECT_TRUE(like(out, v6 ? "a/* icmp 1/4 *" : "a/* icmp 3/3 *")) << out;
            return false;
          }
          // The answer has the port of the mapping, and the next packet comes in as well.
          EXPECT_EQ(rig().send("b", udp(inside, from)), "a/fe udp " + outside + ">" + from + " ttl 63");
          EXPECT_EQ(rig().send("a", udp(from, outside)), out);
          return true;
        };
        EXPECT_EQ(passes(at(hosts.peer, 9)), filtering != by_address_and_port);
        EXPECT_EQ(passes(at(stranger, 3478)), filtering == anybody);
        (void)rig().advance(200);  // the rate limit of errors
      }
    }
  }
}

// RFC 5382 REQ-3
TEST_P(Hairpin, MASQ13_RFC5382_3_TcpFromOutside) {
  load(anybody);
  for (int port = 5000; port < 5008; ++port) {
    const std::string server = at(hosts_v4.first, port);
    ASSERT_TRUE(like(rig().send("b", tcp(server, at(hosts_v4.peer, 443), "S").with_seq(1, 0)), "a/fe tcp S *"));
    const std::string outside = rig().only().ip.src.text();
    const std::string client = at("198.51.100.2", 1000);
    EXPECT_TRUE(like(rig().send("a", tcp(client, outside, "A").with_seq(7, 9)), "a/fe icmp 3/3 *"));
    EXPECT_EQ(rig().send("a", tcp(client, outside, "S").with_seq(100, 0)),
              "b/13 tcp S " + client + ">" + server + " ttl 63");
    EXPECT_EQ(rig().send("b", tcp(server, client, "SA").with_seq(500, 101)),
              "a/fe tcp SA " + outside + ">" + client + " ttl 63");
    EXPECT_EQ(rig().send("a", tcp(client, outside, "A").with_seq(101, 501)),
              "b/13 tcp A " + client + ">" + server + " ttl 63");
    (void)rig().advance(200);
  }
}

// What an endpoint may be sent to ends with its connections; its mapping is held by those from outside, too.
TEST_P(Hairpin, MASQ13_RFC4787_5_RFC4787_8_HowLongItIsOpen) {
  load(by_address);
  const std::string inside = at(hosts_v4.first, 5000);
  const std::string outside = outside_of(inside, at(hosts_v4.peer, 3478));
  ASSERT_EQ(rig().send("a", udp(at(hosts_v4.peer, 9), outside)), to_inside(at(hosts_v4.peer, 9), inside, 63));
  (void)rig().advance(20'000);
  ASSERT_EQ(rig().send("a", udp(at(hosts_v4.peer, 9), outside)), to_inside(at(hosts_v4.peer, 9), inside, 63));
  (void)rig().advance(20'000);
  EXPECT_EQ(rig().flows(), 1u) << "its own one has ended";
  EXPECT_TRUE(like(rig().send("a", udp(at(hosts_v4.peer, 10), outside)), "a/fe icmp 3/3 *"));
  EXPECT_EQ(rig().send("a", udp(at(hosts_v4.peer, 9), outside)), to_inside(at(hosts_v4.peer, 9), inside, 63));
  (void)rig().advance(udp_timeout);
  EXPECT_EQ(rig().flows(), 0u);
  EXPECT_EQ(mappings(), 1u);
  (void)rig().advance(hold);
  EXPECT_EQ(mappings(), 0u);
}

// ---- the rest --------------------------------------------------------------------------------------------

// A port that nobody has, of the range or not, is the router's own business, for both sides.
TEST_P(Hairpin, MASQ13_PortsWithoutAMapping) {
  load(anybody);
  ASSERT_NE(outside_of(at(hosts_v4.first, 5000), at(hosts_v4.peer, 3478)), "");
  const int used = rig().only().ip.src.port;
  for (int port : {49'999, 50'000, 50'500, 50'999, 51'000}) {
    if (port == used) continue;
    EXPECT_TRUE(like(rig().send("b", udp(at(hosts_v4.second, 6000), at(hosts_v4.outside, port))),
                     "b/13 icmp 3/3 203.0.113.7>10.246.1.6 *"));
    EXPECT_TRUE(like(rig().send("a", udp(at(hosts_v4.peer, 3478), at(hosts_v4.outside, port))), "a/fe icmp 3/3 *"));
    (void)rig().advance(200);
  }
  EXPECT_EQ(mappings(), 1u);
  EXPECT_EQ(rig().flows(), 1u);
}

// A new configuration leads no packet of an open connection elsewhere.
TEST_P(Hairpin, MASQ13_PIPE1_ConnectionsOutliveTheOption) {
  for (const char* mapping : {"EndpointIndependent", "Symmetric"}) {
    start({});
    load(anybody);
    struct Pair {
      std::string first, second, first_outside, second_outside;
    };
    std::vector<Pair> pairs;
    for (int port = 5000; port < 5012; ++port) {
      Pair pair{at(hosts_v4.first, port), at(hosts_v4.second, port), "", ""};
      pair.second_outside = outside_of(pair.second, at(hosts_v4.peer, 3478));
      ASSERT_NE(rig().send("b", udp(pair.first, pair.second_outside)), "");
      pair.first_outside = rig().only().ip.src.text();
      pairs.push_back(pair);
    }
    load(by_address_and_port, mapping);
    for (const Pair& pair : pairs) {
      EXPECT_EQ(rig().send("b", udp(pair.first, pair.second_outside)), to_inside(pair.first_outside, pair.second));
      EXPECT_EQ(rig().send("b", udp(pair.second, pair.first_outside)), to_inside(pair.second_outside, pair.first));
    }
    EXPECT_EQ(rig().drops(), "");
    (void)rig().advance(130'000);
    EXPECT_EQ(rig().flows(), 0u);
    (void)rig().advance(hold);
    EXPECT_EQ(mappings(), 0u) << "nothing holds them any more";
  }
}

INSTANTIATE_TEST_SUITE_P(Workers, Hairpin, testing::Values(uint16_t{1}, uint16_t{2}, uint16_t{4}),
                         [](const auto& info) { return std::to_string(info.param); });

}  // namespace
}  // namespace sluice::packet_test
